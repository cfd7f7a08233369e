//! What a pipeline file says once: included files, variables, stages that are like others. They give what the file
//! written out gives, and problems are shown where they were written.

use std::fs;
use std::path::Path;

use crate::binary::{csvs, runner, text};
use crate::photos::photos;

/// Two networks, with every key where it counts.
const WRITTEN: &str = r#"[pipeline]
name = "photos"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 12
channels = 3
mean = "auto"
std = "auto"

[stages.net]
kind = "pretrain"
train = "images"
validate = "images.test"
model = { layers = ["relu"], head = [] }
epochs = 1
batch_size = 16
optimizer = { kind = "adam", lr = 0.01, weight_decay = 0.001 }

[stages.fast]
kind = "pretrain"
train = "images"
validate = "images.test"
model = { layers = ["relu"], head = [] }
epochs = 1
batch_size = 8
optimizer = { kind = "adam", lr = 0.02 }

[stages.score]
kind = "evaluate"
models = ["net", "fast"]
on = ["images.test"]
"#;

/// The images of [`WRITTEN`], for several pipelines.
const DATA: &str = r#"[vars]
folder = "photos"
epochs = 30
unused = 1

[stages.photos]
kind = "download"
source = "file:${folder}"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 12
channels = 3
mean = "auto"
std = "auto"
"#;

/// [`WRITTEN`] with as little as possible written twice.
const SHORT: &str = r#"include = ["shared/data.toml"]

[pipeline]
name = "photos"

[vars]
epochs = 1
test = "images.test"

[stages.net]
kind = "pretrain"
train = "images"
validate = "${test}"
model = { layers = ["relu"], head = [] }
epochs = "${epochs}"
batch_size = 16
optimizer = { kind = "adam", lr = 0.01, weight_decay = 0.001 }

[stages.fast]
like = "net"
without = ["optimizer.weight_decay"]
batch_size = 8
optimizer.lr = 0.02

[stages.score]
kind = "evaluate"
models = ["net", "fast"]
on = ["${test}"]
"#;

/// A folder with the images, and these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    write(root.path(), files);
    root
}

fn write(root: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(root.join("shared")).unwrap();
    for (name, text) in files {
        fs::write(root.join(name), text).unwrap();
    }
}

/// What a command that succeeds prints on both streams.
fn done(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said + &text(&output.stdout)
}

fn shown(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, &[&["show"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What is said of a file that is wrong.
fn refused(root: &Path, arguments: &[&str]) -> String {
    let output = runner(root, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn a_file_that_says_things_once_is_shown_and_run_as_the_one_written_out() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT), ("long.toml", WRITTEN)]);
    let root = root.path();
    let short = shown(root, &["short.toml"]);
    assert_eq!(short, shown(root, &["long.toml"]));
    let said = done(root, &["run", "long.toml"]);
    assert!(!said.contains("nothing to do"), "{said}");
    fs::write(root.join("shown.toml"), short).unwrap();
    for file in ["short.toml", "shown.toml"] {
        let said = done(root, &["run", file]);
        assert!(said.contains("nothing to do: all 5 stages are cached"), "{file}: {said}");
    }
}

#[test]
fn a_run_keeps_what_its_included_file_said() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT)]);
    let root = root.path();
    done(root, &["run", "short.toml"]);
    let kept = fs::read_to_string(root.join("results/photos/latest/pipeline.toml")).unwrap();
    assert_eq!(kept, shown(root, &["short.toml"]));
    fs::remove_dir_all(root.join("shared")).unwrap();
    let said = done(root, &["reproduce", "results/photos/latest"]);
    assert!(said.contains("5 of 5 artifacts reproduced"), "{said}");
}

#[test]
fn a_worker_by_the_id_of_a_run_needs_no_included_file() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT)]);
    let root = root.path();
    done(root, &["work", "short.toml"]);
    fs::remove_dir_all(root.join("shared")).unwrap();
    let id = fs::read_dir(root.join(".runner/runs")).unwrap().next().unwrap().unwrap().file_name();
    let store = root.join(".runner").display().to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    done(elsewhere.path(), &["work", id.to_str().unwrap(), "--store", &store]);
    // It has everything that the file calls for.
    write(root, &[("shared/data.toml", DATA)]);
    let said = done(root, &["run", "short.toml"]);
    assert_eq!(cached(&said), 5, "{said}");
}

#[test]
fn set_reaches_variables_and_the_stages_that_have_a_key_from_another() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT)]);
    let root = root.path();
    let lines = |set: &str, key: &str| -> Vec<String> {
        let shown = shown(root, &["short.toml", "--set", set]);
        let found = shown.lines().filter(|line| line.starts_with(key));
        found.map(str::to_owned).collect()
    };
    assert_eq!(lines("vars.epochs=3", "epochs"), ["epochs = 3"; 2]);
    assert_eq!(
        lines("vars.folder='''photos/../photos'''", "source"),
        ["source = \"file:photos/../photos\""]
    );
    assert_eq!(lines("stages.net.epochs=3", "epochs"), ["epochs = 3"; 2]);
    assert_eq!(lines("stages.fast.epochs=3", "epochs"), ["epochs = 1", "epochs = 3"]);
    assert_eq!(
        lines("stages.net.batch_size=4", "batch_size"),
        ["batch_size = 4", "batch_size = 8"]
    );
    let optimizers = lines("stages.fast.optimizer.kind='sgd'", "optimizer");
    // Another kind: nothing of the optimizer of `net` counts.
    assert!(
        optimizers[1].contains("\"sgd\"") && optimizers[1].contains("lr = 0.02"),
        "{optimizers:?}"
    );
}

/// How many stages were found.
fn cached(said: &str) -> usize {
    said.matches(": cached: ").count()
}

/// The trials of [`SHORT`] with this sweep are those of [`WRITTEN`] with that one.
fn same_trials(short: &str, sweep: &str, written: &str) {
    let short = format!("{short}\n{sweep}");
    let written = format!(
        "{}\n{written}",
        WRITTEN.replace(", lr = 0.02", ", lr = 0.01, weight_decay = 0.001")
    );
    let root =
        folder(&[("shared/data.toml", DATA), ("short.toml", &short), ("long.toml", &written)]);
    let root = root.path();
    let said = done(root, &["sweep", "long.toml"]);
    assert!(!said.contains("nothing to do"), "{said}");
    let said = done(root, &["sweep", "short.toml"]);
    assert_eq!(cached(&said), 8, "{said}");
    // What is shown of it is a sweep of the same trials.
    fs::write(root.join("shown.toml"), shown(root, &["short.toml"])).unwrap();
    let said = done(root, &["sweep", "shown.toml"]);
    assert!(said.contains("nothing to do: all 8 stages are cached"), "{said}");
    // So is what the run keeps.
    let run = root.join("results/photos/latest");
    let kept = fs::read_to_string(run.join("pipeline.toml")).unwrap();
    fs::remove_dir_all(root.join("shared")).unwrap();
    fs::write(root.join("kept.toml"), &kept).unwrap();
    let said = done(root, &["sweep", "kept.toml"]);
    assert!(said.contains("nothing to do: all 8 stages are cached"), "{said}");
    assert_eq!(shown(root, &["kept.toml"]), kept);
    let said = done(root, &["reproduce", "results/photos/latest"]);
    assert!(said.contains("10 of 10 artifacts reproduced"), "{said}");
    assert!(csvs(&run).iter().any(|(name, _)| name == "trials.csv"), "{:?}", csvs(&run));
}

const ZIPPED: &str = r#"[sweep]
zip = [["stages.net.optimizer.lr", "stages.fast.optimizer.lr"]]
[sweep.axes]
"stages.net.optimizer.lr" = [0.01, 0.03]
"stages.fast.optimizer.lr" = [0.01, 0.03]
"#;

fn without_own_optimizer() -> String {
    SHORT
        .replace("without = [\"optimizer.weight_decay\"]\n", "")
        .replace("optimizer.lr = 0.02\n", "")
}

#[test]
fn a_swept_key_moves_the_stages_that_have_it_from_another() {
    let sweep = "[sweep.axes]\n\"stages.net.optimizer.lr\" = [0.01, 0.03]\n";
    same_trials(&without_own_optimizer(), sweep, ZIPPED);
}

#[test]
fn a_variable_can_be_swept() {
    let short = without_own_optimizer()
        .replace("lr = 0.01", "lr = \"${lr}\"")
        .replace("[vars]\n", "[vars]\nlr = 0.5\n")
        .replace("name = \"photos\"", "name = \"photos\"\ntitle = \"$${a} title for ${epochs}\"");
    same_trials(&short, "[sweep.axes]\n\"vars.lr\" = [0.01, 0.03]\n", ZIPPED);
}

#[test]
fn without_a_table_of_variables_a_dollar_is_a_dollar() {
    let titled = |title: &str, vars: &str| {
        let head = format!("name = \"photos\"\ntitle = '{title}'");
        let file = WRITTEN.replace("name = \"photos\"", &head);
        file.replace(
            "epochs = 1",
            if vars.is_empty() { "epochs = 1" } else { "epochs = \"${epochs}\"" },
        ) + vars
    };
    let vars = "\n[vars]\nepochs = 1\n";
    let (plain, escaped) = (titled("a ${HOME} b", ""), titled("a $${HOME} b", vars));
    let root = folder(&[("plain.toml", &plain), ("vars.toml", &escaped)]);
    let all = [shown(root.path(), &["plain.toml"]), shown(root.path(), &["vars.toml"])];
    assert!(all[0].contains("title = \"a ${HOME} b\"\n"), "{}", all[0]);
    assert_eq!(all[0], all[1]);
}

#[test]
fn wrong_uses_are_explained_where_they_are_written() {
    let data = |from: &str, to: &str| (DATA.replacen(from, to, 1), SHORT.to_owned());
    let short = |from: &str, to: &str| {
        assert!(SHORT.contains(from), "{from}");
        (DATA.to_owned(), SHORT.replacen(from, to, 1))
    };
    let cases: Vec<(&str, (String, String))> = vec![
        ("included_value", data("resize = 12", "resize = -1")),
        ("included_not_toml", data("resize = 12", "resize = ")),
        ("included_twice_a_key", data("resize = 12", "resize = 12\nresize = 13")),
        ("included_unknown_key", data("resize = 12", "resize = 12\nsize = 3")),
        ("included_empty", (String::new(), SHORT.to_owned())),
        ("include_missing", short("shared/data.toml", "shared/dta.toml")),
        ("include_folder", short("shared/data.toml", "shared")),
        ("include_itself", short("shared/data.toml", "short.toml")),
        ("include_in_a_cycle", data("[vars]", "include = [\"../short.toml\"]\n[vars]")),
        ("include_no_array", short("[\"shared/data.toml\"]", "\"shared/data.toml\"")),
        ("include_twice_what_differs", short("toml\"]", "toml\", \"other.toml\"]")),
        (
            "include_table_over_a_value",
            short("[stages.net]", "[stages.images]\nmean.a = 1\n[stages.net]"),
        ),
        ("variable_value", short("epochs = 1", "epochs = -1")),
        ("variable_type", short("epochs = 1", "epochs = \"one\"")),
        ("variable_in_a_text", short("test = \"images.test\"", "test = \"imges\"")),
        ("variable_unknown", short("${epochs}", "${epoch}")),
        ("variable_of_a_shell", short("\"${test}\"]", "\"${HOME}\"]")),
        ("variable_without_end", short("\"${test}\"]", "\"${test\"]")),
        ("variable_unused", short("epochs = 1", "epochs = 1\nlr = 0.1")),
        ("variable_of_a_variable", short("test = \"images.test\"", "test = \"${epochs}\"")),
        ("variable_a_table", short("epochs = 1", "epochs = { a = 1 }")),
        (
            "variable_an_array_in_a_text",
            short("test = \"images.test\"", "test = [\"images.test\"]\na = [1]"),
        ),
        (
            "like_value",
            short(
                "[stages.fast]",
                "[stages.fast]\nkind = \"evaluate\"\nmodels = [\"net\"]\non = [\"images.test\"]",
            ),
        ),
        (
            "like_value_of_a_chain",
            short(
                "[stages.score]",
                "[stages.third]\nlike = \"second\"\n[stages.second]\nlike = \"photos\"\nkind = \"normalize\"\n[stages.score]",
            ),
        ),
        ("like_missing", short("like = \"net\"", "like = \"nett\"")),
        ("like_cycle", short("kind = \"pretrain\"", "like = \"fast\"")),
        ("like_itself", short("like = \"net\"", "like = \"fast\"")),
        ("like_no_name", short("like = \"net\"", "like = 3")),
        (
            "like_table_over_a_word",
            short(
                "optimizer = { kind = \"adam\", lr = 0.01, weight_decay = 0.001 }",
                "optimizer = \"adam\"",
            ),
        ),
        ("without_missing", short("optimizer.weight_decay\"]", "optimizer.weight_dcay\"]")),
        ("without_no_table", short("optimizer.weight_decay\"]", "epochs.a\"]")),
        ("without_alone", short("like = \"net\"", "kind = \"pretrain\"")),
        (
            "sweep_of_a_variable_in_a_table",
            short(
                "[stages.net]",
                "[table]\ncaption = \"${epochs}\"\n[sweep.axes]\n\"vars.epochs\" = [1, 2]\n[stages.net]",
            ),
        ),
        (
            "sweep_of_likeness",
            short("[stages.net]", "[sweep.axes]\n\"stages.fast.like\" = [\"net\"]\n[stages.net]"),
        ),
        (
            "sweep_of_no_variable",
            short("[stages.net]", "[sweep.axes]\n\"vars.epoch\" = [1]\n[stages.net]"),
        ),
        (
            "sweep_of_a_wrong_value",
            short("[stages.net]", "[sweep.axes]\n\"vars.epochs\" = [1, -1]\n[stages.net]"),
        ),
    ];
    for (name, (data, short)) in cases {
        let short = match name {
            // The word alone leads to the rest of the table.
            "like_table_over_a_word" => {
                short.replace("without = [\"optimizer.weight_decay\"]\n", "")
            }
            "variable_an_array_in_a_text" => {
                short.replace("name = \"photos\"", "name = \"photos\"\ntitle = \"x ${a}\"")
            }
            _ => short,
        };
        let other = "[stages.images]\nresize = 13\n";
        let root =
            folder(&[("shared/data.toml", &data), ("short.toml", &short), ("other.toml", other)]);
        insta::assert_snapshot!(
            format!("reuse_{name}"),
            refused(root.path(), &["check", "short.toml"])
        );
    }
}

#[test]
fn set_of_what_is_not_there_is_explained() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT)]);
    for (name, set) in [
        ("set_no_variable", "vars.epoch=3"),
        ("set_include", "include=[\"a.toml\"]"),
        ("set_wrong_variable", "vars.epochs=-3"),
    ] {
        let said = refused(root.path(), &["check", "short.toml", "--set", set]);
        insta::assert_snapshot!(format!("reuse_{name}"), said);
    }
}

#[test]
fn halving_does_not_compare_trials_whose_epochs_a_variable_moves() {
    let sweep = "[sweep.axes]\n\"vars.epochs\" = [2, 4]\n[sweep.select]\nstage = \"fast\"\nby = \"validate.accuracy\"\noracle = true\n\
        [sweep.halving]\nmin_epochs = 1\nfactor = 2\n";
    let short = format!("{SHORT}\n{sweep}");
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", &short)]);
    let said = refused(root.path(), &["check", "short.toml"]);
    assert!(
        said.contains("`[sweep.halving]` cannot compare trials of other `stages.fast.epochs`"),
        "{said}"
    );
}

#[test]
fn what_becomes_too_large_is_an_error() {
    let uses = "\"${a}\",".repeat(2_000);
    let large = format!(
        "[pipeline]\nname = \"x\"\ntitle = \"x\"\n[vars]\na = \"{}\"\n[stages.a]\nkind = [{uses}]\n",
        "x".repeat(10_000)
    );
    // Each stage has the keys of all before it.
    let mut chain = "[pipeline]\nname = \"x\"\n[stages.s0]\nkey = 1\n".to_owned();
    for at in 1..3_000 {
        chain += &format!("[stages.s{at}]\nlike = \"s{}\"\nkey{at} = 1\n", at - 1);
    }
    // Every file includes the next one twice.
    let root = folder(&[("large.toml", &large), ("chain.toml", &chain)]);
    for at in 0..12 {
        let next = format!("include = [\"f{0}.toml\", \"f{0}.toml\"]\n", at + 1);
        fs::write(root.path().join(format!("f{at}.toml")), next).unwrap();
    }
    fs::write(root.path().join("f12.toml"), "[pipeline]\nname = \"x\"\n").unwrap();
    for file in ["large.toml", "chain.toml"] {
        let said = refused(root.path(), &["check", file]);
        assert!(said.contains("the pipeline becomes larger than 16 MB"), "{file}: {said}");
        assert!(said.contains("has 1 problem"), "{file}: {said}");
    }
    let said = refused(root.path(), &["check", "f0.toml"]);
    assert!(said.contains("the pipeline includes more than 100 files"), "{said}");
}

#[test]
fn a_table_loses_what_it_has_from_another_only_where_it_says_another_kind() {
    let keys = "validate = \"images.test\"\nschedule = \"cosine\"\naugment = [\"flip\"]\n";
    let base = WRITTEN.replacen("validate = \"images.test\"\n", keys, 1);
    let changed = "include = [\"base.toml\"]\n[pipeline]\nname = \"photos\"\n[stages.net]\n";
    let of_command = "[stages.c]\nkind = \"command\"\ncommand = \"true {out}\"\noutput = \"metrics\"\n\
        environment = { arch = \"a\", OMP = \"1\" }\n[stages.d]\nlike = \"c\"\nenvironment.arch = \"b\"\n";
    let root = folder(&[
        ("base.toml", &base),
        ("other.toml", &format!("{changed}schedule = \"constant\"\n{of_command}")),
        ("kind.toml", &format!("{changed}optimizer = {{ kind = \"sgd\", lr = 0.3 }}\n")),
    ]);
    let root = root.path();
    let long = shown(root, &["base.toml"]);
    let constant = shown(root, &["other.toml"]);
    assert!(
        constant.contains("OMP = \"1\", arch = \"b\"")
            || constant.contains("arch = \"b\", OMP = \"1\""),
        "{constant}"
    );
    let net = |text: &str| {
        let stage = text.split("[stages.net]").nth(1).unwrap();
        stage.split("[stages.").next().unwrap().to_owned()
    };
    let cosine = "{ kind = \"cosine\", min = 0.0, warmup_steps = 0 }";
    assert!(net(&long).contains(cosine), "{long}");
    assert_eq!(
        net(&constant),
        net(&long).replace(cosine, "{ kind = \"constant\", warmup_steps = 0 }")
    );
    let sgd = shown(root, &["kind.toml"]);
    assert!(
        net(&sgd).contains("kind = \"sgd\", lr = 0.3") && !net(&sgd).contains("0.001"),
        "{sgd}"
    );
}

#[test]
fn a_variable_that_is_set_or_swept_must_be_used_and_is_no_seed() {
    let root = folder(&[("shared/data.toml", DATA), ("short.toml", SHORT)]);
    let root = root.path();
    let said = refused(root, &["check", "short.toml", "--set", "vars.unused=3"]);
    assert!(said.contains("nothing uses the variable `unused`"), "{said}");
    let sweep = |axis: &str| {
        let swept = SHORT.replace("name = \"photos\"", "name = \"photos\"\nseed = \"${seed}\"");
        let swept = swept.replace("[vars]", "[vars]\nseed = 1");
        format!("{swept}\n[sweep.axes]\n{axis} = [1, 2]\n")
    };
    fs::write(root.join("unused.toml"), sweep("\"vars.unused\"")).unwrap();
    let said = refused(root, &["sweep", "unused.toml"]);
    assert!(said.contains("nothing uses the variable `unused`"), "{said}");
    fs::write(root.join("lost.toml"), sweep("\"vars.epochs\"")).unwrap();
    let said = refused(root, &["sweep", "lost.toml", "--set", "stages.net.epochs=3"]);
    assert!(said.contains("nothing uses the variable `epochs`"), "{said}");
    done(root, &["check", "lost.toml"]);
    fs::write(root.join("seed.toml"), sweep("\"vars.seed\"")).unwrap();
    let said = refused(root, &["check", "seed.toml"]);
    assert!(said.contains("the swept variable `seed` is the seed"), "{said}");
    fs::write(root.join("seed.toml"), sweep("\"pipeline.seed\"")).unwrap();
    done(root, &["check", "seed.toml"]);
}

#[test]
fn text_with_dollars_comes_back_from_what_is_shown_of_a_sweep() {
    let with = |title: &str, vars: &str, values: &str| {
        let head = format!("name = \"photos\"\ntitle = \"{title}\"");
        let file = SHORT.replace("name = \"photos\"", &head);
        let file = file.replace("[vars]", &format!("[vars]\n{vars}"));
        format!("{file}\n[sweep.axes]\n\"vars.open\" = {values}\n")
    };
    let root = folder(&[("shared/data.toml", DATA)]);
    let root = root.path();
    for (title, vars, values) in [
        ("${open}", "open = \"a\"", "[\"$${HOME}\", \"$${PATH}\"]"),
        ("${a}${b} ${open}", "a = \"$\"\nb = \"{HOME}\"\nopen = 1", "[1, 2]"),
    ] {
        fs::write(root.join("file.toml"), with(title, vars, values)).unwrap();
        let once = shown(root, &["file.toml"]);
        fs::write(root.join("shown.toml"), &once).unwrap();
        assert_eq!(shown(root, &["shown.toml"]), once);
        let plans = ["file.toml", "shown.toml"].map(|file| done(root, &["plan", "--sweep", file]));
        assert_eq!(plans[0], plans[1]);
    }
    fs::write(root.join("file.toml"), with("${a}${open}", "a = \"$\"\nopen = 1", "[1, 2]"))
        .unwrap();
    let said = refused(root, &["check", "file.toml"]);
    assert!(said.contains("the text before the swept `${open}` ends in `$`"), "{said}");
    let apart = with("${a} ${open}", "a = \"$\"\nopen = 1", "[1, 2]");
    fs::write(root.join("file.toml"), apart).unwrap();
    done(root, &["check", "file.toml"]);
}

#[test]
fn the_name_is_missed_where_it_must_stand_and_a_pipe_includes_from_where_it_is_read() {
    let root = folder(&[
        ("shared/data.toml", WRITTEN),
        ("none.toml", "include = [\"shared/data.toml\"]\n"),
    ]);
    let root = root.path();
    let said = refused(root, &["check", "none.toml"]);
    assert!(
        said.contains("missing key `pipeline.name`") && said.contains("none.toml:1:12"),
        "{said}"
    );
    let file = "include = [\"shared/data.toml\"]\n[pipeline]\nname = \"piped\"\n";
    fs::write(root.join("piped.toml"), file).unwrap();
    let output = std::process::Command::new("bash")
        .args(["-c", "\"$0\" check <(cat piped.toml)"])
        .arg(assert_cmd::cargo::cargo_bin("runner"))
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}
