//! Advice about data sets that are cut, pooled or padded, and about methods that want something of a network.

use super::mistakes::GOOD;
use super::scene::follow;
use super::sweeps::adapting;

const HOLDOUT: &str = "holdout = 0.1";

#[test]
fn advice_about_splits_that_become_one_helps_when_it_is_followed() {
    let pooled = "holdout = 0.1\npool = [\"train\", \"valid\"]\nfrom = \"test\"";
    let advice = "write `from = \"{}\"`";
    follow(GOOD, &[(HOLDOUT, pooled)], advice, &[("from = \"test\"", "$0")]);
}

#[test]
fn advice_about_proportions_of_classes_helps_when_it_is_followed() {
    let with = |numbers: &str| format!("{HOLDOUT}\nproportions = {numbers}");
    let forms = "`[1, 0.5, 0]` is for three classes, `{ \"CLASS\" = 0.1 }` leaves the others 1";
    let each = "give a number for each class, or a table of those that differ from 1: `{ \"CLASS\" = 0.1 }`";
    let none = "give at least one class a number above 0";
    let zeros = (0..10).map(|class| format!("\"{class}\" = 0")).collect::<Vec<_>>().join(", ");
    let zeros = format!("{{ {zeros} }}");
    for (wrong, advice, from, to) in [
        ("-1", forms, "proportions = -1", "proportions = { \"3\" = 0.1 }"),
        ("[1, 0.5, 0]", each, "proportions = [1, 0.5, 0]", "proportions = { \"3\" = 0.1 }"),
        (zeros.as_str(), none, "\"3\" = 0", "\"3\" = 0.5"),
    ] {
        follow(GOOD, &[(HOLDOUT, &with(wrong))], advice, &[(from, to)]);
    }
}

#[test]
fn advice_about_a_class_that_would_keep_no_image_helps_when_it_is_followed() {
    let mut scene = super::scene::Scene::new(GOOD);
    // A class so rare that none of its images fits beside those of the others.
    scene.edit((HOLDOUT, "holdout = 0.1\nproportions = { \"3\" = 0.000001 }"), &[]);
    let arguments = ["run", "p.toml"];
    let advice = "write 0 for a class that is to have no image, or leave it out with `classes`";
    scene.follow(&arguments, advice, &[("\"3\" = 0.000001", "\"3\" = 0")]);
}

#[test]
fn advice_about_a_border_helps_when_it_is_followed() {
    let advice = "write `pad = 6` for all sides, or `pad = [2, 6]` for rows and columns";
    let channels = "channels = 3";
    for (wrong, word) in [("-1", "$0"), ("[1, 2, 3]", "$1")] {
        let given = format!("{channels}\npad = {wrong}");
        let edits = [(&*format!("pad = {wrong}"), word)];
        follow(GOOD, &[(channels, &given)], advice, &edits);
    }
}

#[test]
fn advice_about_settings_of_another_form_of_transport_helps_when_it_is_followed() {
    let method = "{ kind = \"dann\", target = \"gray.train\" }";
    let wrong = "{ kind = \"optimal_transport\", target = \"gray.train\", form = \"linear\", samples = 100 }";
    let advice = "leave `form` out, or leave `{key}` out";
    // Few enough features for the method.
    let narrow = ("layers = [\"flatten\"]", "layers = [\"flatten\"], bottleneck = [16]");
    for left in ["form = \"linear\", ", ", samples = 100"] {
        follow(&adapting(), &[narrow, (method, wrong)], advice, &[(left, "")]);
    }
}

#[test]
fn advice_about_a_bottleneck_in_front_of_a_classifier_that_stays_helps_when_it_is_followed() {
    let method = "method = { kind = \"dann\", target = \"gray.train\" }";
    let wrong = "method = { kind = \"adda\", target = \"gray.train\" }\nbottleneck = [8]";
    follow(&adapting(), &[(method, wrong)], "leave `bottleneck` out", &[("bottleneck = [8]", "")]);
}
