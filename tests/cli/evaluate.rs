//! What `evaluate` says beyond accuracy, and scores of the target while a model trains.

use std::fs;
use std::path::Path;

use crate::binary::{csvs, files, runner, spawn, text};
use crate::photos::photos;

/// A second domain, and everything that `evaluate` can add.
const MORE: &[&str] = &[
    "run",
    "photos.toml",
    "--set",
    "stages.score.on=[\"images.train\", \"images.test\"]",
    "--set",
    "stages.score.proxy_a_distance=true",
    "--set",
    "stages.score.embedding={ points = 12, perplexity = 4.0 }",
];

/// The scores after each epoch that look at the target alone.
const OF_TARGET: &[&str] = &[
    "entropy",
    "info_max",
    "snd",
    "bnm",
    "class_ami",
    "diversity",
    "fbnm",
    "mano",
    "corr_c",
    "mcc",
    "rankme",
    "class_ss",
    "mixval",
    "mixval_intra",
    "mixval_inter",
];

/// What asks for `metrics` of the images `on`.
fn scores(on: &str, metrics: &[&str]) -> String {
    format!("stages.net.target_scores={{ on = {on:?}, metrics = {metrics:?} }}")
}

fn done(root: &Path, arguments: &[&str]) {
    let output = runner(root, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Header and rows.
fn table(path: &Path) -> (String, Vec<Vec<String>>) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap().to_owned();
    (header, lines.map(|line| line.split(',').map(str::to_owned).collect()).collect())
}

/// Name and bytes of everything in a stage's folder of the newest run.
fn beside(root: &Path, results: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = files(&root.join(results).join("photos/latest/score"))
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn evaluation_leaves_planes_mistakes_and_pictures_with_names_at_any_number_of_threads() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // A model that has learned nothing yet makes mistakes.
    let untrained = ["--set", "stages.net.epochs=1", "--set", "stages.net.optimizer.lr=1e-6"];
    let command = [MORE, &untrained[..]].concat();
    done(root, &[&command[..], &["--threads", "1"]].concat());
    let others = ["--threads", "3", "--store", "other", "--results", "others"];
    done(root, &[&command[..], &others[..]].concat());
    let found = beside(root, "results");
    assert_eq!(found, beside(root, "others"));

    let folder = root.join("results/photos/latest/score");
    let (header, rows) = table(&folder.join("embedding.csv"));
    assert_eq!(header, "model,dataset,method,index,label,predicted,x,y");
    // Two models, two methods, 12 images of each of two data sets.
    assert_eq!(rows.len(), 2 * 2 * 24);
    for model in ["net", "adapted"] {
        for (dataset, images) in [("images.train", 40), ("images.test", 16)] {
            for method in ["pca", "tsne"] {
                let of = |row: &&Vec<String>| row[..3] == [model, dataset, method];
                let points: Vec<_> = rows.iter().filter(of).collect();
                assert_eq!(points.len(), 12, "{model} {dataset} {method}");
                for row in points {
                    assert!(row[3].parse::<usize>().unwrap() < images);
                    assert!(row[6..].iter().all(|x| x.parse::<f64>().unwrap().is_finite()));
                }
            }
        }
    }

    let (header, rows) = table(&folder.join("mistakes.csv"));
    assert_eq!(header, "model,dataset,rank,index,label,predicted,confidence");
    assert!(!rows.is_empty(), "an untrained model makes mistakes");
    assert!(rows.iter().all(|row| row[4] != row[5]));
    for pair in rows.windows(2).filter(|pair| pair[0][..2] == pair[1][..2]) {
        let confidence = |row: &[String]| row[6].parse::<f64>().unwrap();
        assert!(confidence(&pair[0]) >= confidence(&pair[1]), "the surest come first: {pair:?}");
    }

    let (header, rows) = table(&folder.join("pictures.csv"));
    assert_eq!(header, "file,kind,model,dataset,tile,count");
    for row in &rows {
        let (tile, count): (u32, u32) = (row[4].parse().unwrap(), row[5].parse().unwrap());
        let picture = image::open(folder.join(&row[0])).unwrap();
        // 12 x 12 pixels, five times as large.
        assert_eq!((tile, picture.width(), picture.height()), (60, 60 * count, 60), "{row:?}");
    }
    let pngs = found.iter().filter(|it| it.0.ends_with(".png")).count();
    assert_eq!(pngs, rows.len(), "every picture is in the list");
    assert!(rows.contains(
        &["samples.1.png", "samples", "", "images.test", "60", "12"].map(str::to_owned).to_vec()
    ));

    let (_, scores) = table(&root.join("results/photos/latest/score.csv"));
    let value = |model: &str, dataset: &str, metric: &str| -> Option<f64> {
        let row = scores.iter().find(|row| row[..3] == [model, dataset, metric])?;
        Some(row[3].parse().unwrap())
    };
    for metric in ["macro_f1", "ece"] {
        let found = value("net", "images.test", metric).unwrap();
        assert!((0.0..=1.0).contains(&found), "{metric} {found}");
    }
    assert_eq!(value("net", "images.train", "proxy_a_distance"), None, "the first of `on`");
    let distance = value("net", "images.test", "proxy_a_distance").unwrap();
    assert!((-2.0..=2.0).contains(&distance), "{distance}");
    done(root, &["verify", "photos"]);
    let csv = folder.join("embedding.csv");
    fs::write(&csv, fs::read_to_string(&csv).unwrap().replace("pca", "pcb")).unwrap();
    let said = runner(root, &["verify", "photos"]);
    assert!(!said.status.success());
    let said = [text(&said.stdout), text(&said.stderr)].concat();
    assert!(said.contains("embedding.csv does not follow from its artifact"), "{said}");
}

#[test]
fn target_scores_are_rows_of_each_epoch_and_change_nothing_that_is_learned() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    done(root, &["run", "photos.toml"]);
    let plain = csvs(&root.join("results/photos/latest"));
    done(root, &["run", "photos.toml", "--set", &scores("images.test", OF_TARGET)]);
    let scored = csvs(&root.join("results/photos/latest"));
    let of = |all: &[(String, String)], name: &str| -> String {
        all.iter().find(|it| it.0 == name).unwrap().1.clone()
    };
    let rows = of(&scored, "net.csv");
    for epoch in 1..=4 {
        for metric in OF_TARGET {
            let row = format!("\n{epoch},{},target,{metric},", epoch * 3);
            assert_eq!(rows.matches(&row).count(), 1, "{row} in {rows}");
        }
    }
    let others: Vec<&str> = rows.lines().filter(|row| !row.contains(",target,")).collect();
    assert_eq!(others, of(&plain, "net.csv").lines().collect::<Vec<_>>());
    assert_eq!(of(&scored, "score.csv"), of(&plain, "score.csv"));
}

#[test]
fn models_are_asked_about_mixes_and_compared_with_the_mean_of_all_on_request() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let asked = ["--set", "stages.score.mixval=true", "--set", "stages.score.ensv=true"];
    done(root, &[&["run", "photos.toml"][..], &asked[..]].concat());
    let (_, rows) = table(&root.join("results/photos/latest/score.csv"));
    let value = |model: &str, metric: &str| -> Option<f64> {
        let row = rows.iter().find(|row| row[..3] == [model, "images.test", metric])?;
        Some(row[3].parse().unwrap())
    };
    // Of two classes, the mean of two models takes an image for what at least one of them does.
    let agreements = ["net", "adapted"].map(|model| value(model, "ensv").unwrap());
    assert!(agreements.iter().all(|share| (0.0..=1.0).contains(share)), "{agreements:?}");
    assert!(agreements.iter().sum::<f64>() >= 1.0, "{agreements:?}");
    for model in ["net", "adapted"] {
        let pairs = ["mixval_intra", "mixval_inter"].map(|metric| value(model, metric));
        let mean = pairs[0].zip(pairs[1]).map(|(intra, inter)| (intra + inter) / 2.0);
        assert_eq!(value(model, "mixval"), mean, "{model}: {pairs:?}");
        assert!(pairs.iter().flatten().all(|share| (0.0..=1.0).contains(share)), "{pairs:?}");
        assert!(pairs.iter().flatten().count() > 0, "two images are of one class or of two");
        // As many images of each class.
        assert_eq!(value(model, "balanced_accuracy"), value(model, "accuracy"), "{model}");
    }
}

#[test]
fn a_training_on_predictions_of_the_target_is_scored_on_the_source() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let circle = "[stages.predicted]\nkind = \"pseudo_label\"\nmodel = \"net\"\ntarget = \"images.test\"\n\n\
                  [stages.back]\nkind = \"pretrain\"\ntrain = \"predicted.test\"\nmodel = { layers = [\"max_pool\"], \
                  head = [] }\nepochs = 1\nbatch_size = 8\n\n[stages.circle]\nkind = \"evaluate\"\n\
                  models = [\"back\"]\non = [\"images.train\"]\n";
    fs::write(root.join("photos.toml"), format!("{pipeline}\n{circle}")).unwrap();
    done(root, &["run", "photos.toml"]);
    let folder = root.join("results/photos/latest");
    let (_, facts) = table(&folder.join("predicted.csv"));
    let images = |metric: &str| -> usize {
        let row = facts.iter().find(|row| row[..2] == ["test", metric]).unwrap();
        row[2].parse().unwrap()
    };
    assert_eq!((images("images"), images("class.blue") + images("class.red")), (16, 16));
    let (_, scores) = table(&folder.join("circle.csv"));
    assert!(scores.iter().any(|row| row[..3] == ["back", "images.train", "balanced_accuracy"]));
    // Nothing else of the target came along.
    assert!(facts.iter().all(|row| row[0] == "test"), "{facts:?}");
}

#[test]
fn some_scores_go_by_labelled_images_of_the_source() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // A target of its own; the training images are the source, its test images are held out.
    let pipeline = fs::read_to_string(root.join("photos.toml")).unwrap();
    let target = "[stages.target]\nkind = \"normalize\"\ninput = \"photos\"\nresize = 12\nchannels = 3\n\
                  mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\n[stages.net]";
    fs::write(root.join("photos.toml"), pipeline.replace("[stages.net]", target)).unwrap();
    let wanted = scores("target.train", &["iwv", "dev", "mmd", "centroid_distance", "atc"]);
    done(root, &["run", "photos.toml", "--set", &wanted]);
    let (_, rows) = table(&root.join("results/photos/latest/net.csv"));
    let values = |metric: &str| -> Vec<f64> {
        let rows = rows.iter().filter(|row| row[2] == "target" && row[3] == metric);
        rows.map(|row| row[4].parse().unwrap()).collect()
    };
    for metric in ["iwv", "mmd", "centroid_distance", "atc"] {
        let values = values(metric);
        assert_eq!(values.len(), 4, "{metric}");
        let fine = values.iter().all(|value| value.is_finite() && *value >= -1e-9);
        assert!(fine, "{metric}: {values:?}");
    }
    assert!(values("atc").iter().all(|value| *value <= 1.0));
    assert_eq!(values("dev").len(), 4);
    // Distances between the domains need no validation.
    let wanted = scores("target.train", &["mmd", "centroid_distance"]);
    let unvalidated = fs::read_to_string(root.join("photos.toml")).unwrap();
    let validates = unvalidated.lines().filter(|line| line.starts_with("validate")).count();
    assert_eq!(validates, 1, "{unvalidated}");
    let lines = unvalidated.lines().filter(|line| !line.starts_with("validate"));
    fs::write(root.join("photos.toml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    done(root, &["run", "photos.toml", "--set", &wanted]);
    let (_, rows) = table(&root.join("results/photos/latest/net.csv"));
    assert_eq!(rows.iter().filter(|row| row[2] == "target").count(), 8);
}

/// Interrupted after some epochs, whose scores are in the checkpoint.
#[cfg(unix)]
#[test]
fn target_scores_of_a_training_taken_up_again_are_those_of_an_unbroken_one() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let scores = scores("images.test", OF_TARGET);
    let command = ["run", "photos.toml", "--set", &scores, "--set", "stages.net.epochs=60"];
    done(root, &[&command[..], &["--store", "whole", "--results", "whole-results"]].concat());
    let whole = csvs(&root.join("whole-results/photos/latest"));
    let mut child = spawn(root, &command, Stdio::null(), Stdio::piped());
    let lines = BufReader::new(child.stderr.take().unwrap());
    for line in lines.lines() {
        if line.unwrap().contains("net: epoch  3/") {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(130), "stopped before its end");
    let said = text(&runner(root, &command).stderr);
    assert!(said.contains("goes on from a checkpoint"), "{said}");
    assert_eq!(csvs(&root.join("results/photos/latest")), whole);
}
