//! Advice about how a training treats the parts of its network.

use super::scene::{Scene, follow};
use super::sweeps::adapting;

#[test]
fn advice_about_batch_norm_helps_when_it_is_followed() {
    let base = adapting().replace("kind = \"dann\"", "kind = \"self_ensembling\"");
    let advice = "leave `batch_norm` out, or choose one of {}";
    let joint = "epochs = 4\nbatch_norm = \"joint\"";
    follow(&base, &[("epochs = 4", joint)], advice, &[(joint, "epochs = 4")]);
    let separate = &[("batch_norm = \"joint\"", "$0 = \"separate\"")];
    follow(&base, &[("epochs = 4", joint)], advice, separate);
}

#[test]
fn advice_about_the_parts_that_have_optimizers_helps_when_it_is_followed() {
    let base = adapting().replace("layers = [\"flatten\"]", "arch = \"dacnn\"");
    let own = "epochs = 4\noptimizers = { head = { kind = \"sgd\", lr = 0.1 } }";
    let named = &[("{ head =", "{ $1 =")];
    follow(&base, &[("epochs = 4", own)], "its parts are {}", named);
}

#[test]
fn advice_about_terms_that_do_not_go_together_helps_when_it_is_followed() {
    let (dann, twice) = ("kind = \"dann\"", "kind = \"dann\", plus = [\"mcc\", \"mcc\"]");
    let once = &[("[\"mcc\", \"mcc\"]", "[\"mcc\"]")];
    follow(&adapting(), &[(dann, twice)], "leave one of them out", once);
    let both = "kind = \"dann\", plus = [\"cdan\"]";
    follow(&adapting(), &[(dann, both)], "choose one of them", &[(both, "kind = \"cdan\"")]);
}

#[test]
fn advice_about_settings_of_another_form_of_a_method_helps_when_it_is_followed() {
    let dann = "kind = \"dann\"";
    let mcd = "kind = \"mcd\", projections = 64";
    let advice = "add `discrepancy = \"sliced_wasserstein\"`, or leave `projections` out";
    follow(&adapting(), &[(dann, mcd)], advice, &[("projections", "$0, projections")]);
    follow(&adapting(), &[(dann, mcd)], advice, &[(mcd, "kind = \"mcd\"")]);
    let afn = "kind = \"afn\", radius = 9.0";
    let advice = "leave it out, or choose the other `rule`";
    follow(&adapting(), &[(dann, afn)], advice, &[(afn, "kind = \"afn\"")]);
    follow(&adapting(), &[(dann, afn)], advice, &[("radius", "rule = \"hard\", radius")]);
    let cdan = "kind = \"cdan\", map = \"outer\", random_values = 64";
    let advice = "leave `random_values` out, or write `map = \"random\"`";
    follow(&adapting(), &[(dann, cdan)], advice, &[(", random_values = 64", "")]);
    follow(&adapting(), &[(dann, cdan)], advice, &[("map = \"outer\"", "$1")]);
}

/// A pipeline whose `adapted` has a method in closed form.
fn in_closed_form() -> String {
    let small = "layers = [\"flatten\"], bottleneck = [16]";
    let base = adapting().replace("layers = [\"flatten\"]", small);
    let base = base.replace("epochs = 4", "epochs = 1").replace("lr = 0.1", "lr = 0.0001");
    base.replace("kind = \"dann\"", "kind = \"subspace_alignment\"")
}

#[test]
fn advice_about_layers_of_a_classifier_that_is_one_layer_helps_when_it_is_followed() {
    let (model, head) = ("model = \"net\"", "model = \"net\"\nhead = [100, \"relu\"]");
    let edits = [("head = [100, \"relu\"]", "$0")];
    follow(&in_closed_form(), &[(model, head)], "write `head = []`", &edits);
}

#[test]
fn advice_about_a_frozen_classifier_helps_when_it_is_followed() {
    let frozen = "[stages.still]\nkind = \"freeze\"\nmodel = \"net\"\n\
        freeze = [\"classifier.*weight\"]\n\n[stages.adapted]";
    let mut scene = Scene::new(in_closed_form());
    scene.edit(("[stages.adapted]", frozen), &[]);
    let model = |name: &str| format!("kind = \"finetune\"\nmodel = \"{name}\"");
    scene.edit((&model("net"), &model("still")), &[]);
    let advice = "write `head = []`: the network then gets a new classifier that learns";
    let with_head = format!("{}\n$0", model("still"));
    let arguments = ["run", "p.toml"];
    scene.follow(&arguments, advice, &[(&model("still"), &with_head)]);
}
