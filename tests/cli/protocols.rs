//! Shipped protocols whose data cannot be fetched, on stand-ins of the same form.

use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use runner::nn::geometry::Chw;
use runner::nn::ops::CpuOps;
use runner::nn::{Model, Saved, zoo};

/// Office-31's folders with a few small photographs of two classes in each domain, of the domain's own hue.
fn office(root: &Path) {
    for (domain, name) in ["amazon", "dslr", "webcam"].iter().enumerate() {
        for (class, kind) in ["back_pack", "bike"].iter().enumerate() {
            let folder = root.join("office31").join(name).join("images").join(kind);
            fs::create_dir_all(&folder).unwrap();
            for at in 0..4_u32 {
                let image = image::RgbImage::from_fn(40 + at, 30, |x, y| {
                    let noise = u8::try_from((x * 31 + y * 17 + at * 7) % 90).unwrap();
                    let mut pixel = [noise; 3];
                    pixel[domain] = noise + 60;
                    pixel[class] = noise + 120;
                    image::Rgb(pixel)
                });
                image.save(folder.join(format!("frame_{at:04}.jpg"))).unwrap();
            }
        }
    }
}

#[test]
fn the_protocol_of_tllib_runs_on_a_stand_in_and_plans_all_pairs() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    office(root);
    let input = Chw { channels: 3, height: 32, width: 32 };
    let spec = (zoo::find("mobilenet_v2").unwrap().build)(zoo::ArchSettings::new(input, 1000));
    let model = Model::new(spec, &CpuOps::shared(), 7).unwrap();
    Saved { model, classes: Vec::new() }.save(root).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/office31-tllib.toml");
    let mut settings = vec![
        "stages.imagenet={ kind = \"download\", source = \"file:weights.safetensors\", format = \"weights\", \
         model = { arch = \"mobilenet_v2\", classes = 1000 } }"
            .to_owned(),
        "stages.source_images.resize=32".to_owned(),
        "stages.target_images.resize=32".to_owned(),
    ];
    let methods = ["source_only", "dan", "jan", "dann", "cdan", "mcc", "mdd", "afn", "mcd"];
    for stage in methods {
        let short = [("epochs", 1), ("steps_per_epoch", 1), ("batch_size", 4)];
        settings.extend(short.map(|(key, value)| format!("stages.{stage}.{key}={value}")));
        settings.push(format!("stages.{stage}.lr_scale={{ \"features.*\" = 0.1 }}"));
    }
    // All six pairs are planned; one of them runs.
    let with = |verb: &'static str, more: &[&'static str]| {
        let mut arguments = vec![verb, file];
        settings.iter().for_each(|it| arguments.extend(["--set", it]));
        arguments.extend(more);
        let output = runner(root, &arguments);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(output.status.success(), "{said}");
        said
    };
    let plan = with("plan", &["--sweep"]);
    assert!(plan.contains("6 trials: "), "{plan}");
    with("run", &["--set", "stages.source_images.input=\"dslr\""]);
    // The tables are of the whole sweep; a plain run leaves its scores.
    let scores = root.join("results/office31-tllib/latest/score.csv");
    let scores = fs::read_to_string(scores).unwrap();
    let rows: Vec<Vec<&str>> = scores.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["model", "dataset", "metric", "value"]);
    for method in methods {
        let row = rows.iter().find(|row| row[..3] == [method, "target_images.train", "accuracy"]);
        let value = row.unwrap_or_else(|| panic!("no {method} in {scores}"))[3].parse::<f64>();
        assert!(value.is_ok_and(|value| (0.0..=1.0).contains(&value)), "{method} in {scores}");
    }
}
