//! Advice about stages whose method learns without labelled images.

use super::mistakes::GOOD;
use super::scene::{Scene, follow};

/// [`GOOD`] with a network that is adapted without any source image.
fn adapting() -> String {
    let adapted = "[stages.gray]\nkind = \"normalize\"\ninput = \"digits\"\nchannels = 3\n\n\
        [stages.adapted]\nkind = \"finetune\"\nmodel = \"net\"\n\
        method = { kind = \"shot\", target = \"gray.train\" }\nepochs = 4\n\n[stages.score]";
    GOOD.replace("[stages.score]", adapted)
}

#[test]
fn advice_about_what_only_labelled_images_could_use_helps_when_it_is_followed() {
    for useless in [
        "train = \"images\"\n",
        "head = [16]\n",
        "bottleneck = [16]\n",
        "sampler = \"balanced\"\n",
        "label_smoothing = 0.1\n",
    ] {
        let key = useless.split(' ').next().unwrap();
        let written = format!("{useless}epochs = 4");
        let (advice, without) = ("leave `{key}` out", &[(&*written, "epochs = 4")]);
        follow(&adapting(), &[("epochs = 4", &written)], advice, without);
        let mut scene = Scene::new(adapting());
        scene.edit(("epochs = 4", &written), &[]);
        let (_, said) = scene.run(&["check", "p.toml"]);
        assert!(said.contains(&format!("leave `{key}` out")), "{said}");
    }
    let score = "target_scores = { on = \"gray.train\", metrics = [\"entropy\", \"iwv\"] }";
    follow(
        &adapting(),
        &[("epochs = 4", &format!("epochs = 4\nvalidate = \"images.held\"\n{score}"))],
        "leave `{key}` out",
        &[(", \"$0\"", "")],
    );
    follow(
        &adapting(),
        &[("epochs = 4", "epochs = 4\naugment = [\"flip\", \"mixup\"]")],
        "leave `mixup` out of `{key}`",
        &[(", \"$0\"]", "]")],
    );
    for length in ["longer", "source"] {
        let line = format!("epoch = \"{length}\"\n");
        follow(
            &adapting(),
            &[("epochs = 4", &format!("{line}epochs = 4"))],
            "leave `epoch` out: an epoch is then a pass over `{left}`",
            &[(&line, "")],
        );
    }
}

#[test]
fn advice_about_validation_without_source_images_helps_when_it_is_followed() {
    let advice = "let `validate` name labelled images like those that `model` learned from";
    let adds = &[("keep_best", "$0 = \"images.held\"\nkeep_best")];
    follow(&adapting(), &[("epochs = 4", "epochs = 4\nkeep_best = \"loss\"")], advice, adds);
    let of_target = "epochs = 4\nvalidate = \"gray.valid\"\nkeep_best = \"loss\"";
    follow(&adapting(), &[("epochs = 4", of_target)], advice, &[("gray.valid", "images.held")]);
}

#[test]
fn advice_about_a_new_network_that_nothing_trains_helps_when_it_is_followed() {
    let (trained, new) = ("kind = \"finetune\"\nmodel = \"net\"", "model = { arch = \"dacnn\" }");
    follow(
        &adapting(),
        &[(trained, &format!("kind = \"finetune\"\n{new}"))],
        "train the network in a stage of its own, and name that stage in `model`",
        &[(new, "$0 = \"net\"")],
    );
}

#[test]
fn advice_about_a_new_classifier_that_nothing_trains_helps_when_it_is_followed() {
    let mapped = adapting().replace("kind = \"shot\"", "kind = \"adda\"");
    let mapped =
        mapped.replace("model = \"net\"\nmethod", "model = \"net\"\ntrain = \"images\"\nmethod");
    for new in ["head = [16]\n", "bottleneck = [16]\n"] {
        let written = format!("{new}epochs = 4");
        follow(&mapped, &[("epochs = 4", &written)], "leave `{key}` out", &[(new, "")]);
    }
}
