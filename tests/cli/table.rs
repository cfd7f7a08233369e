//! `runner table` and `runner verify` over a run that is written here by hand: no training, every
//! number known.

use std::fs;
use std::path::{Path, PathBuf};

use crate::binary::{runner, text};
use serde_json::{Value, json};

/// Four seeds; without tables.
const PIPELINE: &str = r#"
[pipeline]
name = "digits"

[stages.mnist]
kind = "download"
dataset = "mnist-10k"

[stages.mnist_m]
kind = "synthesize"
recipe = "blend"
input = "mnist"
background = { recipe = "dead-leaves" }

[stages.source]
kind = "normalize"
input = "mnist"
channels = 3
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[stages.target]
kind = "normalize"
input = "mnist_m"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[stages.source_only]
kind = "pretrain"
train = "source"
model = { arch = "dacnn", classes = 10 }
epochs = 1
batch_size = 256
optimizer = { kind = "adam", lr = 1e-3 }

[stages.dann]
kind = "finetune"
model = "source_only"
train = "source"
method = { kind = "dann", target = "target" }
epochs = 1
batch_size = 256
optimizer = { kind = "adam", lr = 1e-3 }

[stages.target_trained]
kind = "pretrain"
train = "target"
model = { arch = "dacnn", classes = 10 }
epochs = 1
batch_size = 256
optimizer = { kind = "adam", lr = 1e-3 }

[stages.score]
kind = "evaluate"
models = ["source_only", "dann", "target_trained"]
on = ["source.test", "target.test"]

[sweep]
axes = { "pipeline.seed" = [0, 1, 2, 3] }
"#;

/// Accuracy of each model on source and target, for each seed.
const ACCURACY: [(&str, [[f64; 4]; 2]); 3] = [
    ("source_only", [[0.98, 0.99, 0.985, 0.98], [0.55, 0.60, 0.52, 0.57]]),
    ("dann", [[0.97, 0.98, 0.975, 0.98], [0.90, 0.92, 0.86, 0.91]]),
    ("target_trained", [[0.96, 0.97, 0.97, 0.98], [0.95, 0.96, 0.95, 0.96]]),
];

const EVERYTHING: &str = r#"
[[table]]
caption = "Digits & their twins"
over = "pipeline.seed"
best = "auto"
baseline = "source_only"
test = "t"
gap_closed = { source_only = "source_only", target_trained = "target_trained", on = "target.test" }
published = [
  { row = "dann", column = "target.test", value = 0.7666, cite = "Ganin et al. 2016, Table 1" },
  { row = "source_only", column = "target.test", value = 0.5225, cite = "Ganin et al. 2016, Table 1" },
]

[[table]]
name = "interval"
rows = "dataset"
columns = "model"
spread = "ci95"

[[table]]
name = "seeds"
rows = "pipeline.seed"
columns = "model"
only = { dataset = "target.test", model = ["source_only", "dann"] }
"#;

/// A run's folder below `root`, with the tables of `tables`; `without` are trials that did not score,
/// with their state.
fn run_with(root: &Path, tables: &str, without: &[(usize, &str)]) -> PathBuf {
    fs::write(root.join("digits.toml"), format!("{PIPELINE}{tables}")).unwrap();
    let shown = runner(root, &["show", "digits.toml"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let pipeline = text(&shown.stdout);
    let folder = root.join("results/digits/20260101T000000Z-abcdef");
    let mut trials = "trial,pipeline.seed,state,objective,selected,reason\n".to_owned();
    let mut record = Vec::new();
    for seed in 0..4 {
        let lost = without.iter().find(|(trial, _)| *trial == seed).map(|(_, state)| *state);
        let state = lost.unwrap_or("done");
        trials += &format!("{seed:03},{seed},{state},,{},\n", seed % 2 == 1);
        let at = folder.join(format!("trials/{seed:03}"));
        fs::create_dir_all(&at).unwrap();
        let mut scores = "model,dataset,metric,value\n".to_owned();
        for (at, dataset) in ["source.test", "target.test"].iter().enumerate() {
            for (model, values) in ACCURACY {
                let accuracy = values[at][seed];
                scores += &format!("{model},{dataset},accuracy,{accuracy}\n");
                scores += &format!("{model},{dataset},loss,{}\n", 1.0 - accuracy);
            }
        }
        if lost.is_none() {
            fs::write(at.join("score.csv"), scores).unwrap();
        }
        record.push(stages(seed, lost));
    }
    fs::write(folder.join("trials.csv"), trials).unwrap();
    fs::write(folder.join("pipeline.toml"), &pipeline).unwrap();
    let record = json!({ "id": "x", "provenance": provenance(&pipeline), "trials": record });
    fs::write(folder.join("run.json"), record.to_string()).unwrap();
    folder
}

fn stages(seed: usize, lost: Option<&str>) -> Vec<Value> {
    let stage = |name: &str, kind: &str| {
        let state = match (lost, name) {
            (Some("failed"), "dann") => "failed",
            (Some(_), "dann" | "score") => "skipped",
            _ => "ran",
        };
        let error = (state == "failed").then(|| json!({ "message": "the loss is not a number" }));
        json!({
            "name": name, "kind": kind, "state": state, "seconds": 0.0, "settings": {},
            "fingerprint": format!("{seed:02x}").repeat(32), "content": null, "error": error,
        })
    };
    vec![stage("source_only", "pretrain"), stage("dann", "finetune"), stage("score", "evaluate")]
}

fn provenance(pipeline: &str) -> Value {
    json!({
        "pipeline": "digits", "text": pipeline, "sweep": true, "file": "digits.toml",
        "folder": "/", "runner": "0.1.0", "command": [], "git_commit": null, "git_dirty": null,
        "device": "cpu", "backend": "x", "instruction_set": "x", "architecture": "x",
        "threads": 1, "host": null, "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z",
    })
}

/// Changes the pipeline that a run kept.
fn change_pipeline(folder: &Path, change: impl Fn(&str) -> String) {
    change_record(folder, |record| {
        let changed = change(record["provenance"]["text"].as_str().unwrap());
        fs::write(folder.join("pipeline.toml"), &changed).unwrap();
        record["provenance"]["text"] = changed.into();
    });
}

fn change_record(folder: &Path, change: impl Fn(&mut Value)) {
    let path = folder.join("run.json");
    let mut record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    fs::write(path, record.to_string()).unwrap();
}

/// What `runner table` prints of a run.
fn table(folder: &Path, options: &[&str]) -> String {
    let run = folder.to_str().unwrap();
    let output = runner(folder, &[&["table", run], options].concat());
    assert!(output.status.success(), "{options:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(folder: &Path, options: &[&str]) -> String {
    let run = folder.to_str().unwrap();
    let output = runner(folder, &[&["table", run], options].concat());
    assert_eq!(output.status.code(), Some(2), "{options:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn every_format_shows_the_same_numbers() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), EVERYTHING, &[]);
    for format in ["text", "csv", "markdown", "latex", "html"] {
        insta::assert_snapshot!(format!("table_{format}"), table(&folder, &["--format", format]));
    }
    let all: Value = serde_json::from_str(&table(&folder, &["--format", "json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 3);
    let dann = &all[0]["rows"][1]["cells"][1];
    assert_eq!((&dann["row"], &dann["column"]), (&json!("dann"), &json!("target.test")));
    assert_eq!(dann["mean"].as_f64(), Some((0.90 + 0.92 + 0.86 + 0.91) / 4.0));
    assert_eq!(dann["values"][2]["over"], json!(["2"]));
    assert_eq!(dann["published"]["value"], json!(0.7666));
    assert_eq!(dann["difference"]["n"], json!(4));
    assert!(dann["difference"]["p"].as_f64() < dann["difference"]["p_holm"].as_f64());
    assert!(dann["ci95"][0].as_f64() < dann["mean"].as_f64());
}

#[test]
fn a_run_is_named_in_any_of_the_usual_ways_and_a_table_by_its_name() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), EVERYTHING, &[]);
    let whole = table(&folder, &["--name", "seeds"]);
    assert!(whole.starts_with("seeds\npipeline.seed"), "{whole}");
    let by_beginning = runner(root.path(), &["table", "20260101", "--name", "seeds"]);
    assert_eq!(text(&by_beginning.stdout), whole);
    let wrong = refused(&folder, &["--name", "seed"]);
    assert!(wrong.contains("no table `seed`; did you mean `seeds`?"), "{wrong}");
    let nobody = runner(root.path(), &["table", "2027"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("`runner ls` lists them"));
}

#[test]
fn text_that_is_not_for_a_terminal_has_no_escape_codes() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), EVERYTHING, &[]);
    assert!(!table(&folder, &[]).contains('\x1b'));
}

#[test]
fn a_cell_is_explained_by_its_trials_files_and_arithmetic() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), EVERYTHING, &[(3, "failed")]);
    let said = table(&folder, &["--explain", "dann", "target.test"]);
    let file = fs::canonicalize(folder.join("trials/002/score.csv")).unwrap();
    for part in [
        "= (0.9 + 0.92 + 0.86) / 3\n",
        "difference 0.33666",
        "to source_only = ((0.9 - 0.55) + (0.92 - 0.6) + (0.86 - 0.52)) / 3\n",
        "published  0.7666 (Ganin et al. 2016, Table 1)\n",
        "trial 002: pipeline.seed = 2\n  value    0.86 (accuracy)\n",
        &format!("  file     {}\n", file.display()),
        &format!("  artifact {} (dann)\n", "02".repeat(32)),
        "no score of 003: failed: dann: the loss is not a number\n",
    ] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let gap = table(&folder, &["--explain", "dann", "gap closed"]);
    assert!(gap.contains("share      0.8") && gap.contains("(row − source_only)"), "{gap}");
    let wrong = refused(&folder, &["--explain", "dan", "target.test"]);
    assert!(wrong.contains("the row `dan`") && wrong.contains("did you mean `dann`?"), "{wrong}");
}

#[test]
fn what_is_missing_says_why() {
    let root = tempfile::tempdir().unwrap();
    let tables = "[table]\nrows = \"pipeline.seed\"\ncolumns = \"model\"\n\
        only = { dataset = \"target.test\" }\n";
    let lost = [(1, "failed"), (2, "pruned"), (3, "interrupted")];
    let folder = run_with(root.path(), tables, &lost);
    insta::assert_snapshot!("table_missing", table(&folder, &[]));
    let csv = table(&folder, &["--format", "csv"]);
    assert!(csv.contains("1,dann,,,0,failed\n") && csv.contains("0,dann,0.9,,1,\n"), "{csv}");
    let html = table(&folder, &["--format", "html"]);
    assert!(html.contains("<td class=\"missing\"><em>pruned</em></td>"), "{html}");
    // A swept stage may stand there as it was written, without the split.
    change_pipeline(&folder, |pipeline| {
        let (split, bare) =
            ("on = [\"source.test\", \"target.test\"]", "on = [\"source\", \"target\"]");
        assert!(pipeline.contains(split), "{pipeline}");
        pipeline.replace(split, bare)
    });
    assert_eq!(table(&folder, &["--format", "csv"]), csv);
    // Over the seeds, a mean of what is there says what it leaves out.
    let folder = run_with(root.path(), "", &lost[..2]);
    let text = table(&folder, &[]);
    assert!(
        text.contains("Means leave out 2 trials without a score: 001 (failed), 002 (pruned)."),
        "{text}"
    );
}

#[test]
fn selected_trials_and_an_oracle_are_told_in_every_format() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), "[table]\n", &[]);
    let select = "\n[sweep.select]\nstage = \"score\"\nby = \"accuracy\"\nmode = \"max\"\nper = [\"pipeline.seed\"]\noracle = true\n";
    change_pipeline(&folder, |pipeline| {
        pipeline.replace("trials = \"all\"", "trials = \"selected\"") + select
    });
    for format in ["text", "csv", "markdown", "latex", "html", "json"] {
        let said = table(&folder, &["--format", format]);
        assert!(said.contains("oracle: selected by target labels"), "{format}: {said}");
    }
    let said = table(&folder, &[]);
    assert!(
        said.contains("(n=2)")
            && said.contains(
                "selected by accuracy of score (max), a best one for each pipeline.seed."
            ),
        "{said}"
    );
}

#[test]
fn a_file_with_a_sweep_that_is_run_plainly_has_only_the_tables_that_need_no_trials() {
    let root = tempfile::tempdir().unwrap();
    let tables = "[[table]]\nname = \"seed\"\nrows = \"pipeline.seed\"\ncolumns = \"model\"\n\
        baseline = \"2\"\nonly = { dataset = \"target.test\" }\n\n[[table]]\n";
    let folder = run_with(root.path(), tables, &[]);
    assert!(table(&folder, &[]).contains("seed\npipeline.seed"));
    fs::remove_file(folder.join("trials.csv")).unwrap();
    fs::rename(folder.join("trials/000/score.csv"), folder.join("score.csv")).unwrap();
    change_record(&folder, |record| {
        record["provenance"]["sweep"] = false.into();
        record["trials"].as_array_mut().unwrap().truncate(1);
    });
    let plain = table(&folder, &[]);
    assert!(plain.starts_with("model") && plain.contains("55.0"), "{plain}");
}

/// The files of all tables, as a run writes them.
fn write_tables(folder: &Path) -> Vec<PathBuf> {
    let formats =
        [("csv", "csv"), ("md", "markdown"), ("tex", "latex"), ("html", "html"), ("json", "json")];
    let mut written = Vec::new();
    for (stem, name) in
        [("table", None), ("table-interval", Some("interval")), ("table-seeds", Some("seeds"))]
    {
        for (ending, format) in formats {
            let all: Vec<&str> = match name {
                Some(name) => vec!["--format", format, "--name", name],
                None => vec!["--format", format],
            };
            let mut text = table(folder, &all);
            if name.is_none() {
                // The one without a name comes first.
                text = match ending {
                    "json" => first_of_array(&text),
                    _ => first(folder, format),
                };
            }
            let path = folder.join(format!("{stem}.{ending}"));
            fs::write(&path, text).unwrap();
            written.push(path);
        }
    }
    written
}

/// The first item of an array in pretty JSON, to the digit as it stands there.
fn first_of_array(text: &str) -> String {
    let (item, _) = text.strip_prefix("[\n").unwrap().split_once("\n  },").unwrap();
    let lines = item.lines().map(|line| line.strip_prefix("  ").unwrap());
    lines.collect::<Vec<_>>().join("\n") + "\n}\n"
}

/// The first table alone: what all of them have less than all.
fn first(folder: &Path, format: &str) -> String {
    let all = table(folder, &["--format", format]);
    let second = table(folder, &["--format", format, "--name", "interval"]);
    let at = all.find(&format!("\n{second}")).unwrap();
    all[..at].to_owned()
}

#[test]
fn verify_recomputes_every_file_of_every_table_from_the_csvs() {
    let root = tempfile::tempdir().unwrap();
    let folder = run_with(root.path(), EVERYTHING, &[]);
    let verify = || {
        let run = folder.to_str().unwrap();
        runner(root.path(), &["verify", run, "--store", "none"])
    };
    let missing = verify();
    assert_eq!(missing.status.code(), Some(1), "there are no tables yet");
    let written = write_tables(&folder);
    assert_eq!(written.len(), 15);
    let good = verify();
    assert!(good.status.success(), "{}", text(&good.stdout));
    for path in &written {
        let held = fs::read_to_string(path).unwrap();
        let changed = held.replacen('9', "8", 1);
        assert_ne!(held, changed, "{}", path.display());
        fs::write(path, changed).unwrap();
        let said = text(&verify().stdout);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(&format!("{name} does not follow from the CSVs")), "{name}: {said}");
        fs::write(path, held).unwrap();
    }
    // A number that is changed where it comes from.
    let csv = folder.join("trials/001/score.csv");
    fs::write(&csv, fs::read_to_string(&csv).unwrap().replace("0.92", "0.99")).unwrap();
    let said = text(&verify().stdout);
    assert_eq!(said.matches("does not follow from the CSVs").count(), 15, "{said}");
}

#[test]
fn latex_is_whole_whatever_the_names_and_citations() {
    let root = tempfile::tempdir().unwrap();
    let cites = [
        r"50% & more #1 {x} ~ ^ \\ $a_b$",
        "<a> | [2] *star* --dash-- `tick` 'quote'",
        "Müller–Søndergård ± λ × Δ − 1",
        "line\\nbreak \\\"quoted\\\" \\\\end{tabular}",
    ];
    let published: Vec<String> = cites
        .iter()
        .zip(["source_only", "dann", "target_trained", "dann"])
        .zip(["target.test", "target.test", "target.test", "source.test"])
        .map(|((cite, row), column)| {
            let cite = cite.replace(r"\\ $", r"\\\\ $");
            format!("{{ row = \"{row}\", column = \"{column}\", value = 0.5, cite = \"{cite}\" }}")
        })
        .collect();
    let tables = format!(
        "[table]\ncaption = \"100 % & [all]\"\nbaseline = \"source_only\"\ntest = \"t\"\n\
         published = [{}]\n",
        published.join(", ")
    );
    let folder = run_with(root.path(), &tables, &[(3, "failed")]);
    let text = table(&folder, &["--format", "latex"]);
    let tables = crate::latex::tabulars(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    assert_eq!(tables.len(), 1);
    // Names, two columns, two of published numbers; head and three rows.
    assert_eq!(tables[0], (5, 4));
}
