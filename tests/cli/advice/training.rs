//! Advice about how a training treats the parts of its network.

use super::scene::follow;
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
