//! Advice about crops that change the size of images.

use super::mistakes::GOOD;
use super::scene::{Scene, follow};

const CHECK: &[&str] = &["check", "p.toml"];

#[test]
fn advice_about_crops_helps_when_it_is_followed() {
    let epochs = "epochs = 1";
    let augment = |list: &str| format!("{epochs}\naugment = [{list}]");
    // Images of 28 x 28 pixels.
    let larger = "a `normalize` stage with `resize = [{height}, {width}]` makes them larger";
    let normalized = "kind = \"normalize\"\ninput = \"part\"\n";
    follow(
        GOOD,
        &[(epochs, &augment("{ kind = \"random_crop\", size = 32 }"))],
        larger,
        &[(normalized, &format!("{normalized}$1\n"))],
    );
    let twice = "{ kind = \"resized_crop\", size = 20 }, { kind = \"random_crop\", size = 24 }";
    let fits = "make `size` smaller or `padding` larger";
    for edit in [("$0 = 24", "$0 = 16"), ("$0 = 24", "$0 = 24, $1 = 2")] {
        let mut scene = Scene::new(GOOD);
        scene.edit((epochs, &augment(twice)), &[]);
        let words = scene.advised(CHECK, fits);
        scene.edit(edit, &words);
        scene.done(CHECK, fits);
    }
    // A network that takes images of 24 x 24 pixels goes on with others.
    let crop = augment("{ kind = \"random_crop\", size = 24 }");
    let tuned = |list: &str| {
        format!(
            "[stages.tuned]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"images\"\nepochs = 2\n\
             augment = [{list}]\n\n[stages.score]"
        )
    };
    let other = tuned("{ kind = \"resized_crop\", size = 20 }");
    follow(
        GOOD,
        &[(epochs, &crop), ("[stages.score]", &other)],
        "write `size = [{h}, {w}]`",
        &[("size = 20", "$0")],
    );
    follow(
        GOOD,
        &[(epochs, &crop), ("[stages.score]", &tuned("\"flip\""))],
        "begin with a crop: `{{ kind = \"resized_crop\", size = [{h}, {w}] }}`",
        &[("[\"flip\"]", "[$0, \"flip\"]")],
    );
    follow(
        GOOD,
        &[(epochs, &augment("{ kind = \"random_crop\", size = \"small\" }"))],
        "write `{key} = [224, 224]`, or `{key} = 224` for the same",
        &[("size = \"small\"", "$1"), ("224", "24")],
    );
}
