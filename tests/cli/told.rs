//! What lists, comparisons and results say beside numbers, and which results are those of a file: what a reader would take for
//! something else without it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::binary::{record, runner, text};

/// Two domains of moons that are standardised, and a network.
const MOONS: &str = r#"
[pipeline]
name = "moons"

[stages.x]
kind = "synthesize"
recipe = "two-moons"
samples = 20

[stages.y]
kind = "synthesize"
recipe = "two-moons"
samples = 20
angle = 30.0

[stages.s]
kind = "normalize"
input = "x"

[stages.t]
kind = "normalize"
input = "y"

[stages.net]
kind = "finetune"
model = { layers = [4, "relu"] }
train = "s"
method = { kind = "coral", target = "t" }
epochs = 1
batch_size = 5

[stages.score]
kind = "evaluate"
models = ["net"]
on = ["t.test"]
"#;

/// Runs a command on `moons.toml` with this text.
fn said(root: &Path, arguments: &[&str], file: &str) -> String {
    fs::write(root.join("moons.toml"), file).unwrap();
    let output = runner(root, arguments);
    let said = text(&output.stderr) + &text(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn latest(root: &Path) -> PathBuf {
    fs::canonicalize(root.join("results/moons/latest")).unwrap()
}

/// The headline of the newest run in `runner ls`.
fn headline(root: &Path) -> String {
    let list = text(&runner(root, &["ls"]).stdout);
    list.lines().last().unwrap().split("done   ").nth(1).unwrap_or_else(|| panic!("{list}")).into()
}

#[test]
fn ls_shows_the_table_that_the_run_has_in_its_unit_and_says_what_selected_its_trials() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let sweep = r#"
[sweep]
axes = { "stages.net.optimizer.lr" = [0.1, 0.01] }
[sweep.select]
stage = "net"
by = "train.class_loss"
mode = "min"
[[table]]
name = "by-lr"
rows = "model"
columns = "stages.net.optimizer.lr"
trials = "selected"
[[table]]
name = "loss"
rows = "model"
columns = "dataset"
value = "loss"
over = ["stages.net.optimizer.lr"]
"#;
    let file = format!("{MOONS}{sweep}");
    // A plain run has no selected trials, and so only the second table.
    said(root, &["run", "moons.toml"], &file);
    let table: Value =
        serde_json::from_slice(&fs::read(latest(root).join("table.json")).unwrap()).unwrap();
    assert_eq!(table["name"], "loss");
    let loss = table["rows"][0]["cells"][0]["mean"].as_f64().unwrap();
    assert_eq!(headline(root), format!("net: t.test {loss:.4}"));
    let by_labels = "stage = \"score\"\nby = \"accuracy\"\noracle = true";
    let by_loss = "stage = \"net\"\nby = \"train.class_loss\"\nmode = \"min\"";
    said(root, &["sweep", "moons.toml"], &file.replace(by_loss, by_labels));
    let shown = headline(root);
    assert!(shown.starts_with("net: 0.1 ") || shown.starts_with("net: 0.01 "), "{shown}");
    assert!(shown.ends_with(" % (oracle: selected by target labels)"), "{shown}");
}

#[test]
fn results_of_other_names_pairs_or_titles_are_not_those_of_the_file() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    // A twin of `t`, with the same images and so the same artifact.
    let twin = MOONS.replace("[stages.net]", "[stages.u]\nlike = \"t\"\n\n[stages.net]");
    let of_twin = twin.replace("\"t.test\"", "\"u.test\"");
    let titled = of_twin.replace("name = \"moons\"", "name = \"moons\"\ntitle = \"Two of them\"");
    let run = |file: &str| {
        let said = said(root, &["run", "moons.toml"], file);
        let again = runner(root, &["run", "moons.toml"]);
        assert!(text(&again.stderr).contains("nothing to do"), "{}", text(&again.stderr));
        said
    };
    run(&twin);
    let cached = run(&of_twin);
    assert!(!cached.contains("nothing to do"), "{cached}");
    let table = fs::read_to_string(latest(root).join("table.csv")).unwrap();
    assert!(table.contains("net,u.test,") && !table.contains("t.test"), "{table}");
    run(&titled);
    let page = fs::read_to_string(latest(root).join("report.html")).unwrap();
    assert!(page.contains("Two of them"));

    let table = "[table]\ncolumns = [\"stages.s.input\", \"stages.t.input\"]\n";
    let axes = format!(
        "{MOONS}\n[sweep]\naxes = {{ \"stages.s.input\" = [\"x\", \"y\"], \"stages.t.input\" = [\"y\", \"x\"] }}\n\
         zip = [[\"stages.s.input\", \"stages.t.input\"]]\n{table}"
    );
    let pairs = format!(
        "{MOONS}\n[sweep.pairs]\nsource = \"stages.s.input\"\ntarget = \"stages.t.input\"\n\
         of = [\"x\", \"y\"]\n{table}"
    );
    let head = || {
        let scores = fs::read_to_string(latest(root).join("scores.csv")).unwrap();
        scores.lines().next().unwrap().to_owned()
    };
    said(root, &["sweep", "moons.toml"], &axes);
    assert!(!head().contains(",pair,"), "{}", head());
    said(root, &["sweep", "moons.toml"], &pairs);
    assert!(head().contains(",pair,"), "{}", head());
    assert!(said(root, &["sweep", "moons.toml"], &pairs).contains("nothing to do"));
}

#[test]
fn diff_compares_the_files_that_each_trial_read() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let labels = [0, 1, 0, 1, 0, 1, 0, 1];
    let put = |name: &str, shift: f64| {
        let rows = labels.iter().enumerate().map(|(at, label)| {
            let at = f64::from(u32::try_from(at).unwrap());
            format!("{},{},{label}\n", at + shift, f64::from(*label) - shift)
        });
        fs::write(root.join(name), format!("a,b,label\n{}", rows.collect::<String>())).unwrap();
    };
    put("a.csv", 0.0);
    put("b.csv", 0.5);
    let file = r#"
[pipeline]
name = "moons"
[stages.data]
kind = "download"
source = "file:a.csv"
format = "csv"
[stages.net]
kind = "pretrain"
train = "data"
model = { layers = [4, "relu"] }
epochs = 1
batch_size = 4
[stages.score]
kind = "evaluate"
models = ["net"]
on = ["data.train"]
[sweep.axes]
"stages.data.source" = ["file:a.csv", "file:b.csv"]
[table]
columns = "stages.data.source"
"#;
    let runs: Vec<String> = [0.0, 0.25]
        .into_iter()
        .map(|shift| {
            put("a.csv", shift);
            said(root, &["sweep", "moons.toml"], file);
            latest(root).file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    let differs = said(root, &["diff", &runs[0], &runs[1]], file);
    let lines: Vec<&str> = differs.lines().filter(|it| it.starts_with("(files of ")).collect();
    assert_eq!(lines.len(), 1, "{differs}");
    let digest = |run: &str| {
        let record = record(&root.join("results/moons").join(run));
        record["trials"][0][0]["external"].as_str().unwrap().to_owned()
    };
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words[2..], ["data[000])", &digest(&runs[0]), &digest(&runs[1])]);
    // One line says it of all trials that read one thing.
    let one = file.replace(
        "\"stages.data.source\" = [\"file:a.csv\", \"file:b.csv\"]",
        "\"pipeline.seed\" = [0, 1]",
    );
    let one = one.replace("columns = \"stages.data.source\"", "");
    let runs: Vec<String> = [0.0, 0.25]
        .into_iter()
        .map(|shift| {
            put("a.csv", shift);
            said(root, &["sweep", "moons.toml"], &one);
            latest(root).file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    let differs = said(root, &["diff", &runs[0], &runs[1]], &one);
    assert_eq!(differs.matches("(files of ").count(), 1, "{differs}");
    assert!(differs.contains("\n(files of data) "), "{differs}");
}

#[test]
fn a_plain_run_says_that_its_tables_are_of_the_trials_of_a_sweep() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let sweep = "\n[sweep]\naxes = { \"pipeline.seed\" = [0, 1] }\n\n\
                 [sweep.select]\nstage = \"net\"\nby = \"train.class_loss\"\nmode = \"min\"\n\n\
                 [table]\nrows = \"model\"\ntrials = \"selected\"\n";
    said(root, &["run", "moons.toml"], &format!("{MOONS}{sweep}"));
    let shown = runner(root, &["table", "moons"]);
    let why = text(&shown.stderr);
    assert!(!shown.status.success());
    assert!(why.contains("of the trials of its sweep, which `runner sweep` carries out"), "{why}");
    assert!(latest(root).join("scores.csv").exists());
}
