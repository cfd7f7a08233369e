//! Advice about targets with images of none of the source's classes.

use super::mistakes::GOOD;
use super::scene::follow;

const OTHERS: &str = "\nothers = \"unknown\"";

/// [`GOOD`] with a class for images of no other one, and a network that learns to notice these.
fn open() -> String {
    let adapts = "kind = \"finetune\"\nmethod = { kind = \"osbp\", target = \"images.test\" }";
    let held = "holdout = 0.1";
    GOOD.replace("kind = \"pretrain\"", adapts).replace(held, &format!("{held}{OTHERS}"))
}

#[test]
fn advice_about_the_class_of_the_others_helps_when_it_is_followed() {
    let advice = "give `others` a name that no class has";
    let three = "\nothers = \"3\"";
    follow(&open(), &[(OTHERS, three)], advice, &[(three, OTHERS)]);

    let advice = "give the classes their new names in a `split` stage in front";
    let names = "\nclasses = { \"0\" = \"zero\" }";
    let stage = "[stages.part]\nkind = \"split\"\ninput = \"digits\"";
    let front = format!(
        "[stages.named]\nkind = \"$0\"\ninput = \"digits\"{names}\n\n\
         [stages.part]\nkind = \"split\"\ninput = \"named\""
    );
    let both = format!("{OTHERS}{names}");
    follow(&open(), &[(OTHERS, &both)], advice, &[(names, ""), (stage, &front)]);
}

#[test]
fn advice_about_models_without_a_class_for_the_unknown_helps_when_it_is_followed() {
    let advice =
        "a `split` stage in front of `train` and `method.target` adds that class: `others = {}`";
    follow(&open(), &[(OTHERS, "")], advice, &[("holdout = 0.1", "holdout = 0.1\n$3")]);

    let advice = "`head = []` gives the model a new classifier with the classes of `train`";
    let net = "[stages.net]";
    let known = "[stages.plain]\nkind = \"normalize\"\ninput = \"digits\"\nchannels = 3\n\n\
                 [stages.known]\nkind = \"pretrain\"\ntrain = \"plain\"\n\
                 model = { layers = [\"flatten\"] }\nepochs = 1\n\n[stages.net]";
    let fresh = "model = { layers = [\"flatten\"] }\nepochs = 1\noptimizer";
    let trained = "model = \"known\"\nepochs = 1\noptimizer";
    let edits = [("model = \"known\"", "model = \"known\"\n$0")];
    follow(&open(), &[(net, known), (fresh, trained)], advice, &edits);
}

#[test]
fn advice_about_scores_of_an_unknown_class_helps_when_it_is_followed() {
    let advice = "leave `unknown` out where every class of the model is a known one";
    let (on, unknown) = ("on = [\"images.test\"]", "\nunknown = \"unknown\"");
    let both = format!("{on}{unknown}");
    follow(GOOD, &[(on, &both)], advice, &[(unknown, "")]);
}

#[test]
fn advice_about_labels_that_would_teach_the_source_the_unknown_class_helps_when_it_is_followed() {
    let (epochs, smooth) = ("epochs = 1", "epochs = 1\nlabel_smoothing = 0.1");
    follow(&open(), &[(epochs, smooth)], "leave `{key}` out", &[(smooth, epochs)]);
}
