//! Crops that change the size of images: in training at random, elsewhere in the middle.

use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use crate::photos::photos;

const CROP: &str =
    "stages.net.augment=[{ kind = \"resized_crop\", size = 8, scale = [0.3, 1.0] }, \"flip\"]";

/// A run of `p.toml` that ends well: all that it says.
fn done(root: &Path, settings: &[&str]) -> String {
    let (code, said) = ended(root, &["run", "p.toml"], settings);
    assert_eq!(code, Some(0), "{said}");
    said
}

fn ended(root: &Path, arguments: &[&str], settings: &[&str]) -> (Option<i32>, String) {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = arguments.iter().copied().chain(settings).collect();
    let output = runner(root, &arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

/// The photographs, with a second set of the middles of the first one's, and stages that look at both.
fn pipeline(root: &Path) {
    photos(root);
    let more = "
[stages.middles]
kind = \"normalize\"
input = \"images\"
center_crop = 8
mean = 0.4
std = 0.25

[stages.score_middles]
kind = \"evaluate\"
models = [\"net\", \"adapted\"]
on = [\"middles.test\"]

[stages.of_images]
kind = \"features\"
model = \"net\"
input = \"images\"

[stages.of_middles]
kind = \"features\"
model = \"net\"
input = \"middles\"
";
    let text = fs::read_to_string(root.join("photos.toml")).unwrap() + more;
    let text = text.replace("mean = \"auto\"\nstd = \"auto\"", "mean = 0.4\nstd = 0.25");
    let text = text.replace("name = \"photos\"", "name = \"p\"");
    fs::write(root.join("p.toml"), text).unwrap();
}

fn result(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join("results/p/latest").join(file)).unwrap()
}

#[test]
fn a_network_that_learns_from_crops_takes_the_middle_of_whole_images_everywhere_else() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root);
    // The target's images are changed as those of the source are, and seen without changes for the pseudo labels.
    let adapted = "stages.adapted.augment=[{ kind = \"random_crop\", size = [8, 8], padding = 1 }]";
    let shot = "stages.adapted.method={ kind = \"fixmatch\", target = \"images.test\", weak = [], \
                strong = [{ kind = \"random_crop\", size = 8 }, { kind = \"cutout\", size = 3 }] }";
    let said = done(root, &[CROP, adapted, shot]);
    let part = "the middle 8x8 of images of 12x12";
    assert!(said.contains(&format!("accuracy 100.0 to 100.0 %, {part}")), "{said}");
    assert!(said.contains(&format!("of {part}")), "the features: {said}");
    for stage in ["net", "adapted"] {
        let log = result(root, &format!("logs/{stage}.log"));
        let note = format!("images that are not cropped at random go in as {part}");
        assert!(log.contains(&note), "{stage}: {log}");
    }
    // What it makes of the middle of an image is what it makes of the image.
    let scores = |stage: &str, key: &str| result(root, &format!("{stage}.csv")).replace(key, "@on");
    let of_images = scores("score", "images.test");
    assert_eq!(of_images, scores("score_middles", "middles.test"));
    assert!(of_images.lines().count() > 4, "{of_images}");
    assert_eq!(result(root, "of_images.csv"), result(root, "of_middles.csv"));
    // An image that neither is of that size nor larger in the way of those of the training.
    let larger = "stages.images.resize=13";
    let other = "stages.score.on=[\"photos14.test\"]";
    let text = fs::read_to_string(root.join("p.toml")).unwrap();
    let stage = "\n[stages.photos14]\nkind = \"normalize\"\ninput = \"photos\"\nresize = 14\nchannels = 3\n";
    fs::write(root.join("p.toml"), text + stage).unwrap();
    let (code, said) = ended(root, &["run", "p.toml"], &[CROP, larger, other]);
    let message = "the model takes 8x8 images, or the middle of 13x13 ones, these are 14x14";
    assert!(code != Some(0) && said.contains(message), "{said}");
}

#[test]
fn crops_that_do_not_go_with_images_network_or_views_are_errors_in_their_place() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root);
    // How many classes there are is known once the files were read.
    done(root, &[CROP]);
    let weak = "stages.adapted.method={ kind = \"fixmatch\", target = \"images.test\", weak = [\"flip\"] }";
    let none = "stages.adapted.augment=[\"flip\"]";
    let other = "stages.adapted.augment=[{ kind = \"resized_crop\", size = 9 }]";
    for (settings, message) in [
        (
            &["stages.net.augment=[{ kind = \"random_crop\", size = 13 }]"][..],
            "`augment` makes 13x13 of images of 12x12, whose middle is smaller than that",
        ),
        (
            &[
                "stages.net.augment=[{ kind = \"resized_crop\", size = 6 }, { kind = \"random_crop\", size = 8 }]",
            ],
            "`random_crop` cuts out 8x8 pixels, and the images have 6x6 there with a border of 0",
        ),
        (&[CROP, none], "`augment` makes images of 12x12, and the network takes 8x8"),
        (&[CROP, other], "`augment` makes images of 9x9, and the network takes 8x8"),
        (&[CROP, weak], "`method.weak` makes images of 12x12, and the network takes 8x8"),
        (
            &["stages.net.augment=[{ kind = \"random_crop\", size = [8] }]"],
            "`size` must be a height and a width from 1 to 16384 pixels",
        ),
    ] {
        let (code, said) = ended(root, &["run", "p.toml"], settings);
        assert!(code == Some(2) && said.contains(message), "{settings:?}: {said}");
    }
    // With a file and a line where it stands in one.
    let text = fs::read_to_string(root.join("p.toml")).unwrap();
    let crop = "epochs = 4\naugment = [{ kind = \"random_crop\", size = 13 }]";
    fs::write(root.join("p.toml"), text.replace("epochs = 4", crop)).unwrap();
    let (_, said) = ended(root, &["check", "p.toml"], &[]);
    assert!(said.contains("p.toml:24:"), "{said}");
}

#[test]
fn images_whose_size_is_known_when_they_are_read_are_compared_with_crops_then() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root);
    let text = fs::read_to_string(root.join("p.toml")).unwrap();
    // Squares of 16 pixels without `resize`.
    for at in ["train/blue/0", "train/red/0", "test/blue/0", "test/red/0"] {
        let path = root.join("squares").join(format!("{at}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(root.join("photos").join(format!("{at}.png")), &path).unwrap();
        let image =
            image::open(&path).unwrap().resize_exact(16, 16, image::imageops::FilterType::Nearest);
        image.save(&path).unwrap();
    }
    let text = text.replace("file:photos", "file:squares").replace("resize = 12\n", "");
    fs::write(root.join("p.toml"), text).unwrap();
    let crop = "stages.net.augment=[{ kind = \"resized_crop\", size = 17 }]";
    let (code, said) = ended(root, &["run", "p.toml"], &[crop, "stages.net.batch_size=2"]);
    let message = "`augment` makes 17x17 of images of 16x16, whose middle is smaller";
    assert!(code == Some(2) && said.contains(message), "{said}");
    let said = done(root, &[CROP, "stages.net.batch_size=2", "stages.adapted.batch_size=2"]);
    assert!(said.contains("the middle 8x8 of images of 16x16"), "{said}");
}

#[test]
fn a_new_head_keeps_the_middle_of_images_of_that_size_and_says_where_it_does_not() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pipeline(root);
    let more = "
[stages.larger]
kind = \"normalize\"
input = \"photos\"
resize = 14
channels = 3

[stages.tuned]
kind = \"finetune\"
model = \"net\"
head = []
train = \"images\"
validate = \"images.test\"
epochs = 1
batch_size = 16

[stages.score_tuned]
kind = \"evaluate\"
models = [\"tuned\"]
on = [\"images.test\", \"middles.test\"]
";
    let text = fs::read_to_string(root.join("p.toml")).unwrap() + more;
    fs::write(root.join("p.toml"), text).unwrap();
    let said = done(root, &[CROP]);
    assert!(!said.contains("no longer the middle"), "{said}");
    let log = result(root, "logs/tuned.log");
    assert!(log.contains("go in as the middle 8x8 of images of 12x12"), "{log}");
    let scores = result(root, "score_tuned.csv");
    let of = |set: &str| -> Vec<String> {
        let rows = scores.lines().filter(|line| line.contains(set));
        rows.map(|row| row.replace(set, "@on")).collect()
    };
    assert!(of("images.test").len() > 2, "{scores}");
    assert_eq!(of("images.test"), of("middles.test"));
    // A crop of another size, and images of another one, are what is asked for.
    let crop = "stages.tuned.augment=[{ kind = \"random_crop\", size = 10 }]";
    let on = "stages.score_tuned.on=[\"images.test\"]";
    let (code, shown) = ended(root, &["show", "p.toml", "--model", "tuned"], &[CROP, crop, on]);
    assert!(code == Some(0) && shown.contains("3x10x10 images"), "{shown}");
    let larger = ["train=\"larger\"", "validate=\"larger.test\""];
    let larger = larger.map(|it| format!("stages.tuned.{it}"));
    let on = "stages.score_tuned.on=[\"larger.test\"]";
    let said = done(root, &[CROP, &larger[0], &larger[1], on]);
    let note = "takes images of 14x14, and no longer the middle of 12x12";
    assert!(said.contains(note), "{said}");
    assert!(result(root, "logs/tuned.log").contains(note));
}
