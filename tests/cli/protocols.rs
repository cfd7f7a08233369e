//! Shipped protocols whose data cannot be fetched, on stand-ins of the same form.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::binary::{runner, text};
use runner::nn::geometry::Chw;
use runner::nn::ops::CpuOps;
use runner::nn::{Model, Saved, zoo};

/// Office-31's folders with a few small photographs of two classes in each domain, of the domain's own hue.
pub fn office(root: &Path) {
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

/// Settings that make a training one step long, of a network whose layers are called `features`.
fn one_step(stage: &str) -> Vec<String> {
    let short = [("epochs", 1), ("steps_per_epoch", 1), ("batch_size", 4)];
    let short = short.map(|(key, value)| format!("stages.{stage}.{key}={value}"));
    let rates = format!("stages.{stage}.lr_scale={{ \"features.*\" = 0.1 }}");
    short.into_iter().chain([rates]).collect()
}

/// What is said where a file with these settings does not fail.
fn succeeds(root: &Path, (verb, file): (&str, &str), settings: &[String], more: &[&str]) -> String {
    let mut arguments = vec![verb, file];
    settings.iter().for_each(|it| arguments.extend(["--set", it]));
    arguments.extend(more);
    let output = runner(root, &arguments);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success(), "{said}");
    said
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
        "stages.source_images.resize=40".to_owned(),
        "stages.target_images.resize=40".to_owned(),
    ];
    let methods = ["source_only", "dan", "jan", "dann", "cdan", "mcc", "mdd", "afn", "mcd"];
    settings.extend(methods.iter().flat_map(|stage| one_step(stage)));
    // 32 of 40 pixels, as 224 of 256.
    settings.extend(methods.iter().map(|stage| {
        let kind = if *stage == "afn" { "random_crop" } else { "resized_crop" };
        format!("stages.{stage}.augment=[{{ kind = \"{kind}\", size = 32 }}, \"flip\"]")
    }));
    // All six pairs are planned; one of them runs.
    let with = |verb: &str, more: &[&str]| succeeds(root, (verb, file), &settings, more);
    let plan = with("plan", &["--sweep"]);
    assert!(plan.contains("6 trials: "), "{plan}");
    let said = with("run", &["--set", "stages.source_images.input=\"dslr\""]);
    assert!(said.contains("the middle 32x32 of images of 40x40"), "{said}");
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

#[test]
fn the_six_pairs_of_office_31_make_a_table_with_a_column_for_each_and_their_average() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    office(root);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/office31-pairs.toml");
    let mut settings = vec![
        // A small network in the place of one that was trained on ImageNet.
        "stages.imagenet={ kind = \"pretrain\", train = \"source_images\", epochs = 1, batch_size = 4, \
         model = { layers = [{ kind = \"conv2d\", filters = 4, kernel = 3 }, \"batch_norm\", \"relu\", \"max_pool\"] } }"
            .to_owned(),
        "stages.source_images.resize=16".to_owned(),
        "stages.target_images.resize=16".to_owned(),
        "sweep.axes={ \"pipeline.seed\" = [0, 1] }".to_owned(),
    ];
    for stage in ["source_only", "dann", "mcc"] {
        settings.extend(one_step(stage));
        // The stand-in network was trained on whole images.
        settings.push(format!("stages.{stage}.augment=[\"flip\"]"));
    }
    let with = |verb: &str, more: &[&str]| succeeds(root, (verb, file), &settings, more);
    // Trainings on a source alone serve all its pairs: three for each seed, and not six.
    let plan = with("plan", &["--sweep"]);
    assert!(plan.contains("12 trials: "), "{plan}");
    with("sweep", &[]);
    let folder = root.join("results/office31-pairs/latest");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&read("run.json")).unwrap();
    let prints = |stage: &str| {
        let trials = record["trials"].as_array().unwrap().iter();
        let stages = trials.flat_map(|trial| trial.as_array().unwrap());
        let own = stages.filter(|it| it["name"] == stage);
        own.map(|it| it["fingerprint"].as_str().unwrap().to_owned()).collect::<HashSet<_>>().len()
    };
    assert_eq!([prints("source_only"), prints("dann"), prints("mcc")], [6, 12, 12]);
    // A column for each pair, in the order of the domains, and the mean of all.
    let table: serde_json::Value = serde_json::from_str(&read("table.json")).unwrap();
    let columns = table["columns"].as_array().unwrap();
    let named = |key: &str| columns.iter().map(|it| it[key].as_str()).collect::<Vec<_>>();
    let pairs = [
        "amazon → webcam",
        "amazon → dslr",
        "webcam → amazon",
        "webcam → dslr",
        "dslr → amazon",
        "dslr → webcam",
        "average",
    ];
    assert_eq!(named("name"), pairs.map(Some));
    let labels = ["A→W", "A→D", "W→A", "W→D", "D→A", "D→W"].map(Some);
    assert_eq!(named("label")[..6], labels);
    for row in table["rows"].as_array().unwrap() {
        let cells = row["cells"].as_array().unwrap();
        let value = |cell: &serde_json::Value, seed: usize| cell["values"][seed]["value"].as_f64();
        let of_seed = |seed: usize| {
            cells[..6].iter().map(|cell| value(cell, seed).unwrap()).sum::<f64>() / 6.0
        };
        let (first, second) = (of_seed(0), of_seed(1));
        let average = &cells[6];
        assert_eq!(average["n"], 2, "{average}");
        let near = |key: &str, wanted: f64| {
            assert!((average[key].as_f64().unwrap() - wanted).abs() < 1e-12, "{key}: {average}");
        };
        near("mean", f64::midpoint(first, second));
        // Not the mean of six deviations: that of the averages of the two seeds.
        near("sd", (first - second).abs() / 2.0_f64.sqrt());
        assert!(average["published"]["value"].as_f64().is_some(), "{average}");
    }
    let scores = read("scores.csv");
    let keys = "stages.source_images.input,stages.target_images.input,pipeline.seed,pair";
    assert!(scores.starts_with(&format!("trial,folder,{keys},stage,model")), "{scores}");
    assert!(scores.contains(",amazon,webcam,0,amazon → webcam,score,dann,"), "{scores}");
    let text = read("table.md");
    assert!(text.contains("| model | A→W | A→W (published) | A→D |"), "{text}");
    assert!(text.contains("Average: the mean of the 6 columns before it for each pipeline.seed"));
    let page = read("report.html");
    assert!(page.contains("<title>Office-31: six pairs of domains</title>"), "{page}");
    // Fewer pairs: TLLib's average is of all six.
    let axes = "sweep.axes={ \"pipeline.seed\" = [0, 1], \"pipeline.title\" = [\"A trial\"] }";
    let webcam = "stages.target_images.input=\"webcam\"";
    let said = with("sweep", &["--set", webcam, "--set", axes]);
    assert!(said.contains("leaves the pairs amazon → webcam, dslr → webcam"), "{said}");
    let text = read("table.md");
    assert!(text.contains("| model | A→W | A→W (published) | D→W | D→W (published) | average |"));
    assert!(text.contains("Left out: 15 published numbers of settings"), "{text}");
    // A title that is swept is a trial's; the page is about the table.
    let page = read("report.html");
    assert!(page.contains("<h1>Office-31: accuracy on the target (%)</h1>"), "{page}");
}
