//! The folder of a sweep of 24 trials as the runner would leave it: 4 values of lambda, 2 learning rates, 3
//! seeds; a trial failed, one was pruned. Its texts try to be markup, its numbers are made up.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Epochs of each training.
pub const EPOCHS: usize = 12;

/// The title, as a user could write it.
pub const TITLE: &str = "Digits -> <b>\"colours\"</b> & </script><img src=x onerror=alert(1)>";

const LAMBDAS: [f64; 4] = [0.1, 0.3, 1.0, 3.0];
const RATES: [f64; 2] = [0.001, 0.003];
const LAMBDA: &str = "stages.dann.method.lambda.max";
const RATE: &str = "stages.dann.optimizer.lr";

/// A number from -1 to 1 that follows from `seed`.
fn noise(seed: usize) -> f64 {
    let x = (f64::from(u32::try_from(seed % 100_000).unwrap()) * 12.9898).sin() * 43_758.545_3;
    (x - x.floor()) * 2.0 - 1.0
}

fn number(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap())
}

/// Writes the run into `folder`, which is there.
pub fn write(folder: &Path) {
    let put = |name: String, text: String| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let pipeline = pipeline();
    put("pipeline.toml".into(), pipeline.clone());
    let mut trials =
        format!("trial,pipeline.seed,{LAMBDA},{RATE},state,objective,selected,reason\n");
    let mut records = Vec::new();
    for trial in 0..24 {
        let (seed, lambda, rate) = (trial / 8, LAMBDAS[trial / 2 % 4], RATES[trial % 2]);
        let (state, reason) = match trial {
            5 => ("failed", "dann: the loss is <not> a number"),
            11 => ("pruned", "rung 1: 7th of 12"),
            _ => ("done", ""),
        };
        let target = score(trial, "dann", "target.test");
        let objective = if state == "done" { format!("{target}") } else { String::new() };
        let selected = trial == 12;
        let _ = writeln!(
            trials,
            "{trial:03},{seed},{lambda:?},{rate:?},{state},{objective},{selected},{reason}"
        );
        let at = format!("trials/{trial:03}");
        put(format!("{at}/pipeline.toml"), pipeline.clone());
        put(format!("{at}/source_only.csv"), training(seed, EPOCHS, false));
        if state != "failed" {
            let epochs = if state == "pruned" { 4 } else { EPOCHS };
            put(format!("{at}/dann.csv"), training(trial + 50, epochs, true));
        }
        if state == "done" {
            put(format!("{at}/score.csv"), scores(trial, seed));
        }
        records.push(stages(trial, seed, state));
    }
    put("trials.csv".into(), trials);
    for trial in 0..24 {
        let line = format!("2026-01-02T03:04:05Z epoch  1/{EPOCHS} <img src=x onerror=alert(2)>\n");
        put(format!("logs/dann[{trial:03}].log"), line.repeat(EPOCHS));
    }
    put("logs/data.log".into(), "2026-01-02T03:04:05Z 10 images\n".into());
    extras(folder);
    let record = json!({
        "id": hash("run"),
        "provenance": {
            "pipeline": "synthetic", "text": pipeline, "sweep": true, "file": "synthetic.toml",
            "folder": "/work", "runner": "0.1.0", "command": ["runner", "sweep", "synthetic.toml"],
            "git_commit": "0123456789abcdef0123456789abcdef01234567", "git_dirty": true,
            "device": "cpu", "backend": "cpu avx2", "instruction_set": "avx2",
            "architecture": "x86_64", "threads": 2, "host": "host",
            "start": "2026-01-02T03:04:05+00:00", "end": "2026-01-02T04:00:00+00:00"
        },
        "tables": [{
            "name": null, "caption": null, "rows": "model", "columns": "dataset", "value": "accuracy",
            "over": ["pipeline.seed"], "only": {}, "spread": "sd", "best": null, "trials": "all",
            "baseline": null, "test": "permutation", "gap_closed": null, "published": []
        }],
        "selection": {
            "stage": "score", "by": "accuracy", "mode": "max", "per": [], "oracle": true
        },
        "trials": records
    });
    put("run.json".into(), serde_json::to_string_pretty(&record).unwrap());
}

fn pipeline() -> String {
    format!(
        "[pipeline]\nname = \"synthetic\"\ntitle = {TITLE:?}\nseed = 0\n\n\
         [stages.data]\nkind = \"download\"\ndataset = \"mnist-10k\"\n\n\
         [stages.colours]\nkind = \"synthesize\"\ninput = \"data\"\n\n\
         [stages.source_only]\nkind = \"pretrain\"\ntrain = \"data.train\"\n\n\
         [stages.dann]\nkind = \"finetune\"\nmodel = \"source_only\"\ntrain = \"data.train\"\n\
         method = {{ kind = \"dann\", target = \"colours.train\" }}\n\n\
         [stages.score]\nkind = \"evaluate\"\nmodels = [\"source_only\", \"dann\"]\n\
         on = [\"data.test\", \"colours.test\"]\n\n\
         [sweep]\naxes = {{ \"pipeline.seed\" = [0, 1, 2] }}\n\n\
         [sweep.select]\nstage = \"score\"\nby = \"accuracy\"\nmode = \"max\"\noracle = true\n\n\
         [table]\nrows = \"model\"\ncolumns = \"dataset\"\nvalue = \"accuracy\"\nover = \"pipeline.seed\"\n"
    )
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn stages(trial: usize, seed: usize, state: &str) -> Vec<Value> {
    let data = json!([{ "title": "Digits & <i>more</i>", "licence": "CC BY 4.0",
        "citation": "N. N., 2020", "source": "https://example.org/digits" }]);
    let input = |(key, stage, split): &(&str, &str, Option<&str>)| json!({ "key": key, "stage": stage, "split": split });
    let stage = |name: &str, kind: &str, of: &str, state: &str, seconds: f64| {
        let made = state == "ran";
        let inputs: Vec<Value> = inputs(name).iter().map(input).collect();
        json!({
            "name": name, "kind": kind, "inputs": inputs, "state": state,
            "fingerprint": hash(&format!("{name} {of}")),
            "content": made.then(|| hash(&format!("{name} {of} content"))),
            "seconds": seconds,
            "settings": { "epochs": EPOCHS, "optimizer": { "kind": "adam", "lr": RATES[trial % 2] } }
        })
    };
    let each = trial.to_string();
    let mut first = stage("data", "download", "", "cached", 0.2);
    first["data"] = data;
    let trained = if state == "failed" { "failed" } else { "ran" };
    let mut dann = stage("dann", "finetune", &each, trained, 61.5 + noise(trial) * 3.0);
    if state == "failed" {
        dann["error"] = json!({ "message": "the loss is <not> a number", "help": [] });
    }
    let scored = if state == "done" { "ran" } else { "skipped" };
    let mut score = stage("score", "evaluate", &each, scored, 4.5);
    score["scores"] = json!([
        { "model": "source_only", "dataset": "data.test" },
        { "model": "dann", "dataset": "data.test" },
        { "model": "source_only", "dataset": "colours.test" },
        { "model": "dann", "dataset": "colours.test" },
    ]);
    vec![
        first,
        stage("colours", "synthesize", "", "ran", 1.2),
        stage("source_only", "pretrain", &seed.to_string(), "ran", 24.0),
        dann,
        score,
    ]
}

/// What a stage reads.
fn inputs(stage: &str) -> &'static [(&'static str, &'static str, Option<&'static str>)] {
    match stage {
        "colours" => &[("input", "data", None)],
        "source_only" => &[("train", "data", Some("train"))],
        "dann" => &[
            ("model", "source_only", None),
            ("train", "data", Some("train")),
            ("method.target", "colours", Some("train")),
        ],
        "score" => &[
            ("models.0", "source_only", None),
            ("models.1", "dann", None),
            ("on.0", "data", Some("test")),
            ("on.1", "colours", Some("test")),
        ],
        _ => &[],
    }
}

fn training(seed: usize, epochs: usize, adapts: bool) -> String {
    let mut text = "epoch,step,split,metric,value\n".to_owned();
    for epoch in 1..=epochs {
        let left = (-number(epoch) / 4.0).exp();
        let jitter = noise(seed * 31 + epoch) * 0.02;
        let mut row = |split: &str, metric: &str, value: f64| {
            let _ = writeln!(text, "{epoch},{},{split},{metric},{value}", epoch * 40);
        };
        row("train", "class_loss", left * 1.4 + 0.05 + jitter.abs());
        row("train", "accuracy", 1.0 - left * 0.4 + jitter / 4.0);
        if adapts {
            row("train", "source_domain_loss", 0.69 - 0.05 * left + jitter);
            row("train", "target_domain_loss", 0.69 - 0.06 * left - jitter);
            row("train", "domain_accuracy", 0.55 + 0.1 * left + jitter);
            let p = number(epoch) / number(EPOCHS);
            row("train", "lambda", 2.0 / (1.0 + (-10.0 * p).exp()) - 1.0);
            row("target", "entropy", 0.8 * left + 0.1 + jitter.abs());
        }
        row("train", "lr", 0.001 / (1.0 + 10.0 * number(epoch) / 12.0).powf(0.75));
        row("validate", "accuracy", 0.97 - left * 0.3 + jitter);
        row("validate", "loss", left + 0.1 + jitter.abs());
    }
    text
}

/// Accuracy by trial: lambda and learning rate matter for the adapted model on the target.
fn score(trial: usize, model: &str, dataset: &str) -> f64 {
    let best = (number(trial / 2 % 4) - 1.7).abs() * 0.06 + number(trial % 2) * 0.03;
    match (model, dataset) {
        ("dann", "target.test") => 0.9 - best + noise(trial * 7) * 0.015,
        (_, "target.test") => 0.52 + noise(trial / 8 + 900) * 0.03,
        _ => 0.97 + noise(trial / 8 + 300) * 0.01,
    }
}

fn scores(trial: usize, seed: usize) -> String {
    let mut text = "model,dataset,metric,value\n".to_owned();
    for model in ["source_only", "dann"] {
        for (dataset, kind) in [("data.test", "source.test"), ("colours.test", "target.test")] {
            let accuracy = score(trial, model, kind);
            let _ = writeln!(text, "{model},{dataset},accuracy,{accuracy}");
            let _ = writeln!(text, "{model},{dataset},macro_f1,{}", accuracy - 0.01);
            for true_class in 0..10 {
                for predicted in 0..10 {
                    let from = if model == "dann" { trial } else { seed };
                    let wrong = ((1.0 - accuracy)
                        * 220.0
                        * noise(from + true_class * 10 + predicted).abs())
                    .floor();
                    let count = if true_class == predicted { 900.0 } else { wrong };
                    let _ = writeln!(
                        text,
                        "{model},{dataset},confusion.{true_class}.{predicted},{count}"
                    );
                }
            }
        }
    }
    text
}

/// Planes of features, mistakes and pictures of one trial.
fn extras(folder: &Path) {
    let at = folder.join("trials/012/score");
    fs::create_dir_all(&at).unwrap();
    let mut plane = "model,dataset,method,index,label,predicted,x,y\n".to_owned();
    for (m, model) in ["source_only", "dann"].into_iter().enumerate() {
        for method in ["pca", "tsne"] {
            for (d, dataset) in ["data.test", "colours.test"].into_iter().enumerate() {
                for index in 0..300 {
                    let label = index % 10;
                    let apart = if m == 0 { number(d) * 2.5 } else { number(d) * 0.3 };
                    let angle = number(label) / 10.0 * std::f64::consts::TAU;
                    let x = angle.cos() * 3.0 + apart + noise(index * 3 + d) * 0.7;
                    let y = angle.sin() * 3.0 + noise(index * 5 + d + 40) * 0.7;
                    let _ = writeln!(
                        plane,
                        "{model},{dataset},{method},{index},{label},{label},{x:.4},{y:.4}"
                    );
                }
            }
        }
    }
    fs::write(at.join("embedding.csv"), plane).unwrap();
    let mut pictures = "file,kind,model,dataset,tile,count\n".to_owned();
    let mut mistakes = "model,dataset,rank,index,label,predicted,confidence\n".to_owned();
    for (d, dataset) in ["data.test", "colours.test"].into_iter().enumerate() {
        let name = format!("samples.{d}.png");
        tiles(&at.join(&name), 12, d);
        let _ = writeln!(pictures, "{name},samples,,{dataset},28,12");
        for (m, model) in ["source_only", "dann"].into_iter().enumerate() {
            let name = format!("mistakes.{m}.{d}.png");
            tiles(&at.join(&name), 12, d + 7);
            let _ = writeln!(pictures, "{name},mistakes,{model},{dataset},28,12");
            for rank in 0..12 {
                let sure = 0.999 - number(rank) * 0.01;
                let (label, taken) = (rank % 10, (rank + 3) % 10);
                let _ =
                    writeln!(mistakes, "{model},{dataset},{rank},{rank},{label},{taken},{sure}");
            }
        }
    }
    fs::write(at.join("pictures.csv"), pictures).unwrap();
    fs::write(at.join("mistakes.csv"), mistakes).unwrap();
}

/// A row of `count` tiles of 28 pixels: discs in front of a pattern.
fn tiles(path: &Path, count: u32, kind: usize) {
    let kind = u8::try_from(kind).unwrap();
    let image = image::RgbImage::from_fn(count * 28, 28, |x, y| {
        let (dx, dy) = (f64::from(x % 28) - 14.0, f64::from(y) - 14.0);
        let radius = 5.0 + f64::from(x / 28 % 4) * 2.0;
        let disc = (dx.hypot(dy) - radius).abs() < 2.2;
        let ground = if kind == 0 { 0 } else { (x * 5 + y * 3 * (x / 28 + 1)) % 160 };
        let ground = u8::try_from(ground).unwrap();
        if disc {
            image::Rgb([250, 250, 250])
        } else {
            image::Rgb([ground, ground / 2 + kind * 3, 160 - ground.min(150)])
        }
    });
    image.save(path).unwrap();
}
