//! `RandAugment` and the presets of weak and strong views, through the real binary.

use std::fs;

use crate::binary::{csvs, runner, text};
use crate::photos::photos;

const STRONG: &str = "stages.net.augment=[\"weak\", { kind = \"randaugment\", ops = 3, magnitude = 20, fill = 128 }]";
const VIEWS: &str = "stages.adapted.method={ kind = \"fixmatch\", target = \"images.test\", threshold = 0.0, \
                     weak = [\"weak\"], strong = [\"strong\"] }";

#[test]
fn strong_views_are_the_same_at_any_number_of_threads_and_count() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let results = |name: &str, threads: &str, settings: &[&str]| {
        let (store, results) = (format!("store-{name}"), format!("results-{name}"));
        let arguments =
            ["run", "photos.toml", "--threads", threads, "--store", &store, "--results", &results];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> = arguments.into_iter().chain(settings).collect();
        let output = runner(root, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        csvs(&root.join(results).join("photos/latest"))
    };
    let one = results("one", "1", &[STRONG, VIEWS]);
    assert_eq!(one, results("four", "4", &[STRONG, VIEWS]));
    let of = |all: &[(String, String)], stage: &str| {
        all.iter().find(|(name, _)| name == &format!("{stage}.csv")).unwrap().1.clone()
    };
    // On the processor a preset is the list that it stands for, in images of 12 pixels a side.
    let written =
        VIEWS.replace("[\"weak\"]", "[\"flip\", { kind = \"random_crop\", padding = 1 }]");
    let written = written.replace(
        "[\"strong\"]",
        "[\"flip\", { kind = \"random_crop\", padding = 1 }, \"randaugment\", { kind = \"cutout\", size = 6 }]",
    );
    let listed = results("listed", "2", &[STRONG, &written]);
    assert_eq!(of(&one, "adapted"), of(&listed, "adapted"));
    let plain = results("plain", "2", &[STRONG, &VIEWS.replace("[\"strong\"]", "[\"weak\"]")]);
    assert_eq!(of(&one, "net"), of(&plain, "net"));
    assert_ne!(of(&one, "adapted"), of(&plain, "adapted"));
}

#[test]
fn magnitudes_beyond_the_bins_are_errors_in_their_place() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let check = |augment: &str| {
        let edited =
            pipeline.replace("epochs = 4\n", &format!("epochs = 4\naugment = {augment}\n"));
        fs::write(root.join("p.toml"), edited).unwrap();
        let output = runner(root, &["check", "p.toml"]);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let line = pipeline.lines().position(|line| line == "epochs = 4").unwrap() + 2;
    // What is wrong, and where it begins.
    for (augment, wrong, message) in [
        (
            "[{ kind = \"randaugment\", magnitude = 31 }]",
            "31",
            "`augment.0.magnitude` must be an integer from 0 to 30",
        ),
        (
            "[{ kind = \"randaugment\", bins = 11, magnitude = 12 }]",
            "12",
            "`augment.0.magnitude` must be an integer from 0 to 10",
        ),
        (
            "[{ kind = \"randaugment\", ops = 0 }]",
            "0",
            "`augment.0.ops` must be an integer from 1 to 16",
        ),
        ("[{ kind = \"randaugment\", bins = 5 }]", "{ kind", "missing key `augment.0.magnitude`"),
        ("[\"flip\", { kind = \"strong\", ops = 3 }]", "ops", "unknown key `augment.1.ops`"),
    ] {
        let column = "augment = ".len() + augment.find(wrong).unwrap() + 1;
        let (code, said) = check(augment);
        let place = format!("p.toml:{line}:{column}");
        assert!(
            code == Some(2) && said.contains(message) && said.contains(&place),
            "{augment}, {place}: {said}"
        );
    }
    assert_eq!(check("[\"strong\"]").0, Some(0));
}
