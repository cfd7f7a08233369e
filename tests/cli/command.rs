//! Programs of the user's as stages: what they are given, what is taken from them, and how they end.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::binary::{record, runner, spawn, text};
use crate::photos::photos;

const DATA: &str = r#"
[pipeline]
name = "own"

[stages.photos]
kind = "download"
source = "file:photos"
format = "image-folder"

[stages.images]
kind = "normalize"
input = "photos"
resize = 6
channels = 3
mean = "auto"
std = "auto"
"#;

const OWN: &str = r#"
[stages.own]
kind = "command"
command = ["python3", "own.py", "{input.source}", "{input.target}", "{out}", "{params.bias}"]
files = ["own.py", "npy.py"]
params = { bias = 0.0 }
inputs = { source = "images.train", target = "images.test" }
output = { kind = "predictions", of = ["target.test"], scores = "logits" }
"#;

const SCORE: &str = r#"
[stages.score]
kind = "evaluate"
models = ["own"]
on = ["images.test"]
"#;

/// A folder with images, programs and a pipeline with these stages.
fn scene(stages: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    photos(root.path());
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/programs");
    for name in ["own.py", "npy.py"] {
        fs::copy(programs.join(name), root.path().join(name)).unwrap();
    }
    write(root.path(), stages);
    root
}

fn write(root: &Path, stages: &str) {
    fs::write(root.join("own.toml"), format!("{DATA}{stages}")).unwrap();
}

/// A stage that runs Python code with `out`, a path, and `npy` at hand; `lines` are more keys.
fn python(code: &str, lines: &str) -> String {
    format!(
        "[stages.own]\nkind = \"command\"\nfiles = [\"npy.py\"]\n{lines}\n\
         command = [\"python3\", \"-c\", '''\nimport pathlib, sys, npy\n\
         out = pathlib.Path(sys.argv[1])\narguments = sys.argv[2:]\n{code}\n''', \"{{out}}\"]\n"
    )
}

/// The exit code, and what is said.
fn run(root: &Path, arguments: &[&str]) -> (i32, String) {
    let output = runner(root, arguments);
    (output.status.code().unwrap(), text(&output.stderr) + &text(&output.stdout))
}

fn good(root: &Path, arguments: &[&str]) -> String {
    let (code, said) = run(root, arguments);
    assert_eq!(code, 0, "{said}");
    said
}

fn latest(root: &Path, file: &str) -> String {
    fs::read_to_string(root.join("results/own/latest").join(file)).unwrap()
}

fn score(root: &Path, metric: &str) -> f64 {
    let csv = latest(root, "score.csv");
    let row = csv.lines().find(|line| line.contains(&format!(",{metric},"))).unwrap();
    row.rsplit(',').next().unwrap().parse().unwrap()
}

#[test]
fn predictions_of_a_program_are_scored_cached_and_swept_like_those_of_a_model() {
    let root = scene(&format!("{OWN}{SCORE}"));
    let root = root.path();
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("own: bias 0.0, arguments []"), "{said}");
    assert!(said.contains("predictions for 16 of target.test, 2 classes"), "{said}");
    assert!(score(root, "accuracy") == 1.0 && score(root, "count") == 16.0);
    assert!(score(root, "loss") > 0.0 && score(root, "ece") > 0.0);
    assert!(latest(root, "logs/own.log").contains("bias 0.0"));
    assert!(latest(root, "score/mistakes.csv").starts_with("model,dataset,rank"));
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("0 ran, 4 cached"), "{said}");
    good(root, &["verify", "own", "--rerun", "own"]);

    // Everything that it depends on has it run again, and nothing else has.
    let said = good(root, &["run", "own.toml", "--set", "pipeline.seed=1"]);
    assert!(said.contains("0 ran, 4 cached"), "it draws nothing: {said}");
    let said = good(root, &["run", "own.toml", "--set", "stages.own.time_limit=100"]);
    assert!(said.contains("0 ran, 4 cached"), "{said}");
    let said = good(root, &["run", "own.toml", "--set", "stages.own.params.bias=-100"]);
    assert!(said.contains("2 ran, 2 cached"), "{said}");
    assert_eq!(score(root, "accuracy"), 0.5);
    let changed = fs::read_to_string(root.join("own.py")).unwrap() + "# changed\n";
    fs::write(root.join("own.py"), changed).unwrap();
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("1 ran, 3 cached"), "the same predictions are scored once: {said}");
    let said = good(root, &["run", "own.toml", "--set", "stages.own.version=\"2\""]);
    assert!(said.contains("1 ran, 3 cached"), "{said}");

    let sweep = "[sweep]\naxes = { \"stages.own.params.bias\" = [-100, 0.0, 0.5] }\n\
        [table]\nrows = \"stages.own.params.bias\"\nvalue = \"accuracy\"\n";
    write(root, &format!("{OWN}{SCORE}{sweep}"));
    let said = good(root, &["sweep", "own.toml", "--jobs", "2"]);
    let table = latest(root, "table.csv");
    let means: Vec<&str> = table.lines().map(|it| it.split(',').nth(2).unwrap()).collect();
    assert_eq!(means[..3], ["mean", "0.5", "1"], "{table}\n{said}");
}

#[test]
fn every_placeholder_and_the_declared_environment_reach_the_program() {
    let code = "import os\n\
        assert arguments == ['7', '2', 'cpu', '1e-5', 'it is', '3', 'true'], arguments\n\
        pathlib.Path(os.environ['SEED_FILE']).write_text('x')\n\
        assert os.environ['MODE'] == 'fast-7' and os.environ['OMP_NUM_THREADS'] == '2', os.environ\n\
        assert os.environ['PASSED'] == 'through' and 'KEPT' not in os.environ, os.environ\n\
        assert os.listdir(os.environ['TMPDIR']) == [], 'temporary files'\n\
        (out / 'metrics.csv').write_text('split,metric,value\\nall,x,0.5\\n')";
    let lines = "params = { a = 1e-5, b = \"it is\", c = 3, d = true }\nthreads = 2\nseed = 7\n\
        environment = { MODE = \"fast-{seed}\", SEED_FILE = \"{state}/seed\" }\n\
        pass_environment = [\"PASSED\"]\noutput = \"metrics\"";
    let stage = python(code, lines).replace(
        "\"{out}\"]",
        "\"{out}\", \"{seed}\", \"{threads}\", \"{device}\", \"{params.a}\", \"{params.b}\", \
         \"{params.c}\", \"{params.d}\"]",
    );
    let root = scene(&stage);
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("runner"))
        .current_dir(root.path())
        .args(["run", "own.toml"])
        .envs([("PASSED", "through"), ("KEPT", "back")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(latest(root.path(), "own.csv"), "split,metric,value\nall,x,0.5\n");
    // What is passed on is no part of the fingerprint.
    assert!(good(root.path(), &["run", "own.toml"]).contains("0 ran"));
}

#[test]
fn a_line_for_the_shell_takes_each_value_as_one_word() {
    let stage = "[stages.own]\nkind = \"command\"\noutput = \"metrics\"\n\
        command = \"\"\"\n(echo split,metric,value; printf 'all,%s,1\\n' {params.name}) > {out}/metrics.csv\n\"\"\"\n\
        params = { name = \"a'; touch $HOME/x; echo '\" }\n";
    let root = scene(stage);
    good(root.path(), &["run", "own.toml"]);
    assert!(latest(root.path(), "own.csv").contains("all,a'; touch $HOME/x; echo ',1"));
}

/// Weights of one linear layer that takes the mean of red for one class and that of blue for the other.
const WEIGHTS: &str = "weights = [0.0] * (2 * 108)\n\
    for at in range(36):\n    weights[108 + at] = 0.05\n    weights[72 + at] = 0.05\n\
    tensors = {'classifier.0.weight': ([2, 108], weights), 'classifier.0.bias': ([2], [0.0, 0.0])}\n\
    npy.write_tensors(out / 'weights.safetensors', tensors)";

#[test]
fn weights_of_a_program_are_a_model_that_is_scored_exported_and_trained_further() {
    let lines = "inputs = { source = \"images\" }\n\
        output = { kind = \"model\", model = { layers = [\"flatten\"], head = [] } }";
    let tuned = "[stages.tuned]\nkind = \"finetune\"\nmodel = \"own\"\ntrain = \"images\"\nepochs = 1\nbatch_size = 16\n";
    let score = "[stages.score]\nkind = \"evaluate\"\nmodels = [\"own\", \"tuned\"]\non = [\"images.test\"]\n";
    let root = scene(&format!("{}{tuned}{score}", python(WEIGHTS, lines)));
    let root = root.path();
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("layers, 218 parameters"), "{said}");
    assert_eq!(score_of(root, "own"), 1.0);
    good(root, &["export", "results/own/latest", "own", "out"]);
    assert!(root.join("out/weights.safetensors").exists());
    for (from, to, said) in [
        ("[0.0, 0.0]", "[0.0, float('nan')]", "is not finite: 1 of its 2 values"),
        ("[2, 108]", "[108, 2]", "classifier.0.weight is [108, 2], the network's [2, 108]"),
        (
            ", 'classifier.0.bias': ([2], [0.0, 0.0])",
            "",
            "1 missing in the file: classifier.0.bias",
        ),
        (
            "'weights.safetensors'",
            "'weights.pt'",
            "the program wrote `{out}/weights.pt`, which `output` does not declare",
        ),
    ] {
        write(root, &python(&WEIGHTS.replace(from, to), lines));
        fails(root, said);
    }
}

fn score_of(root: &Path, model: &str) -> f64 {
    let csv = latest(root, "score.csv");
    let start = format!("{model},images.test,accuracy,");
    csv.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
}

/// The run fails and says this.
fn fails(root: &Path, expected: &str) -> String {
    let (code, said) = run(root, &["run", "own.toml"]);
    assert_eq!(code, 1, "expected `{expected}`: {said}");
    assert!(said.contains(expected), "expected `{expected}`: {said}");
    said
}

#[test]
fn a_data_set_features_and_predictions_of_programs_go_on_to_other_stages() {
    let code = "source = pathlib.Path(arguments[0])\n\
        for split in ['train', 'test']:\n\
        \x20   (out / split).mkdir()\n\
        \x20   shape, pixels = npy.read(source / split / 'images.npy')\n\
        \x20   npy.write(out / split / 'images.npy', shape, [255 - it for it in pixels], '|u1')\n\
        \x20   shape, labels = npy.read(source / split / 'labels.npy')\n\
        \x20   npy.write(out / split / 'labels.npy', shape, labels, '<i8')";
    let lines = "inputs = { source = \"images\" }\noutput = { kind = \"dataset\", splits = [\"train\", \"test\"] }";
    let turned = python(code, lines)
        .replace("\"{out}\"]", "\"{out}\", \"{input.source}\"]")
        .replace("[stages.own]", "[stages.turned]");
    let code = "means = npy.colours(pathlib.Path(arguments[0]) / 'test')\n\
        npy.write(out / 'source.test.npy', (len(means), 2), [it for pair in means for it in pair])\n\
        (out / 'metrics.csv').write_text('epoch,step,split,metric,value\\n1,1,train,loss,0.25\\n')";
    let lines = "inputs = { source = \"turned\" }\noutput = { kind = \"features\", of = [\"source.test\"], metrics = true }";
    let features = python(code, lines)
        .replace("\"{out}\"]", "\"{out}\", \"{input.source}\"]")
        .replace("[stages.own]", "[stages.features]");
    // The turned images are blue where they were red.
    let code = "shape, numbers = npy.read(pathlib.Path(arguments[0]) / 'source.test.npy')\n\
        assert shape == (16, 2), shape\n\
        with open(out / 'turned.test.csv', 'w') as file:\n\
        \x20   file.write('red,blue\\n')\n\
        \x20   for red, blue in zip(numbers[0::2], numbers[1::2]):\n\
        \x20       file.write('0.9,0.1\\n' if blue > red else '0.25,0.75\\n')";
    let lines = "inputs = { turned = \"turned\", features = \"features\" }\n\
        output = { kind = \"predictions\", of = [\"turned.test\"], scores = \"probabilities\", classes = \"turned\" }";
    let own = python(code, lines).replace("\"{out}\"]", "\"{out}\", \"{input.features}\"]");
    let score = SCORE.replace("images.test", "turned.test");
    let root = scene(&format!("{turned}{features}{own}{score}"));
    let root = root.path();
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("40 train, 16 test images 3x6x6, 2 classes"), "{said}");
    assert!(said.contains("features: 2 of 16 images of source.test"), "{said}");
    assert_eq!(
        latest(root, "features.csv"),
        "epoch,step,split,metric,value\n1,1,train,loss,0.25\n"
    );
    assert_eq!(score_of_turned(root), 1.0);
    // Where the images are others, nothing is scored.
    write(root, &format!("{turned}{features}{own}{SCORE}"));
    let said = fails(root, "own on images: these images are not those of the predictions");
    assert!(said.contains("the predictions are of `turned.test`"), "{said}");
}

fn score_of_turned(root: &Path) -> f64 {
    let csv = latest(root, "score.csv");
    let start = "own,turned.test,accuracy,";
    csv.lines().find_map(|line| line.strip_prefix(start)).unwrap().parse().unwrap()
}

#[test]
fn what_a_program_makes_is_read_strictly() {
    let lines = "inputs = { target = \"images.test\" }\n\
        output = { kind = \"predictions\", of = [\"target.test\"], scores = \"probabilities\" }";
    let root = scene("");
    let root = root.path();
    let npy = "npy.write(out / 'target.test.npy', (16, 2), [0.5] * 32)";
    let csv = "(out / 'target.test.csv').write_text('blue,red\\n' + '0.5,0.5\\n' * 16)";
    for (code, said) in [
        (
            "pass",
            "ended well, but did not write `{out}/target.test.npy` or `{out}/target.test.csv`",
        ),
        (&*npy.replace("16, 2", "32, 1"), "its shape is [32, 1], expected [16, 2]"),
        (
            &*npy.replace("(16, 2), [0.5] * 32", "(15, 2), [0.5] * 30"),
            "its shape is [15, 2], expected [16, 2]",
        ),
        (&*npy.replace("[0.5] * 32", "[0.5] * 31 + [float('nan')]"), "image 15 has the score NaN"),
        (
            &*npy.replace("[0.5] * 32", "[0.5] * 31 + [0.4]"),
            "the probabilities of image 15 add up to 0.9",
        ),
        (
            &*npy.replace("[0.5] * 32", "[1] * 32, '<i8'"),
            "its numbers are int64, expected float16, float32 or float64",
        ),
        (
            "(out / 'target.test.npy').write_text('x')",
            "`{out}/target.test.npy`: not a file of NumPy",
        ),
        (
            &*format!("{npy}\n{csv}"),
            "wrote both `{out}/target.test.npy` and `{out}/target.test.csv`",
        ),
        (
            &*format!("{npy}\n(out / 'notes.txt').write_text('')"),
            "wrote `{out}/notes.txt`, which `output` does not declare",
        ),
        (
            &*csv.replace("blue,red", "blue,green"),
            "its header is blue, green, expected the classes blue, red",
        ),
        (&*csv.replace("* 16", "* 17"), "it has 17 rows, expected 16"),
        (
            &*csv.replace("'0.5,0.5\\n' * 16", "'0.5,half\\n' * 16"),
            "row 0, column `red`: `half` is not a number",
        ),
    ] {
        write(root, &python(code, lines));
        fails(root, said);
    }
    assert!(!root.join("results/own/latest/own.csv").exists());
    let lines = "output = \"metrics\"";
    let csv = "(out / 'metrics.csv').write_text('split,metric,value\\n{row}\\n')";
    for (row, said) in [
        ("all,x,inf", "`x` is inf, which is no finite number"),
        ("all,x", "found record with 2 fields"),
        ("", "it has no rows"),
    ] {
        write(root, &python(&csv.replace("{row}", row), lines));
        fails(root, said);
    }
    write(root, &python(&csv.replace("split,", "part,").replace("{row}", "all,x,1"), lines));
    fails(root, "its columns must be `epoch,step,split,metric,value` or `split,metric,value`");
    let lines =
        "inputs = { source = \"images\" }\noutput = { kind = \"dataset\", splits = [\"a\"] }";
    let code = "(out / 'a').mkdir()\n\
        npy.write(out / 'a/images.npy', (2, 1, 1, 3), [0] * 6, '|u1')\n\
        npy.write(out / 'a/labels.npy', (2,), [0, 1], '<i8')";
    for (from, to, said) in [
        ("[0, 1]", "[0, 2]", "image 1 has the label 2, of 2 classes"),
        ("(2,), [0, 1]", "(1,), [0]", "it is int64 [1], expected int64 [2]"),
        ("(2, 1, 1, 3)", "(2, 1, 3)", "images must"),
        ("(2, 1, 1, 3), [0] * 6", "(2, 1, 1, 2), [0] * 4", "expected uint8 [N, H, W, 1 or 3]"),
        ("a/labels", "a/classes", "`{out}/a/classes.npy`, which `output` does not declare"),
    ] {
        if said == "images must" {
            // Three sides are gray images.
            write(root, &python(&code.replace(from, to), lines));
            good(root, &["run", "own.toml"]);
            continue;
        }
        write(root, &python(&code.replace(from, to), lines));
        fails(root, said);
    }
}

#[test]
fn a_program_that_fails_is_told_with_its_end_and_its_last_words_and_is_tried_again() {
    let root = scene(&python(
        "print('on its way')\nprint('it broke', file=sys.stderr)\nsys.exit(3)",
        "output = \"metrics\"",
    ));
    let root = root.path();
    let said =
        fails(root, "`python3` ended with the exit code 3; its last lines on standard error:");
    assert!(said.contains("  it broke\n"), "{said}");
    assert!(said.contains("1 failed"), "{said}");
    let log = latest(root, "logs/own.log");
    assert!(log.contains("on its way") && log.contains("exit code 3"), "{log}");
    write(
        root,
        &python("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "output = \"metrics\""),
    );
    fails(root, "`python3` was killed by signal 9");
    // What it keeps is there when it begins again.
    let code = "state = pathlib.Path(arguments[0]) / 'seen'\n\
        if not state.exists():\n    state.write_text('x')\n    import time\n    time.sleep(1000)\n\
        (out / 'metrics.csv').write_text('split,metric,value\\nall,x,1\\n')";
    let stage = python(code, "output = \"metrics\"\ntime_limit = 0.5");
    write(root, &stage.replace("\"{out}\"]", "\"{out}\", \"{state}\"]"));
    let said = fails(root, "`python3` was stopped after 0.5 seconds, its `time_limit`");
    assert!(said.contains("raise `time_limit`"), "{said}");
    good(root, &["run", "own.toml", "--set", "stages.own.time_limit=100"]);
}

/// A program that says its number and goes on until it is asked to stop; begun again, it is done at once.
const ENDLESS: &str = "import os, signal, time\n\
    state = pathlib.Path(arguments[0]) / 'tidied'\n\
    def stop(*_):\n    print('tidying up')\n    state.write_text('x')\n    sys.exit(0)\n\
    signal.signal(signal.SIGTERM, stop)\n\
    if not state.exists():\n    os.write(1, b'number %d here\\n' % os.getpid())\n    time.sleep(1000)\n\
    (out / 'metrics.csv').write_text('split,metric,value\\nall,x,1\\n')";

fn endless() -> String {
    python(ENDLESS, "output = \"metrics\"").replace("\"{out}\"]", "\"{out}\", \"{state}\"]")
}

/// Reads what is said until the program said its number.
fn number(lines: &mut impl BufRead) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "it ended before the program said its number"
        );
        if let Some((_, rest)) = line.split_once("number ")
            && let Some((number, _)) = rest.split_once(" here")
        {
            return number.to_owned();
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Waits until there is no process of this number.
fn gone(number: &str) {
    let since = Instant::now();
    loop {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        // One that nobody waited for yet is over, too.
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "process {number} goes on: {stat}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_user_who_asks_to_stop_has_the_program_tidy_up_and_the_next_run_resumes_it() {
    let root = scene(&endless());
    let mut child = spawn(root.path(), &["run", "own.toml"], Stdio::null(), Stdio::piped());
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let number = number(&mut lines);
    signal(&child, "-INT");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut lines, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("own: tidying up") && said.contains("own: interrupted"), "{said}");
    gone(&number);
    assert_eq!(fs::read_dir(root.path().join(".runner/staging")).unwrap().count(), 0);
    let states = record(&root.path().join("results/own/latest"));
    assert_eq!(states["trials"][0][2]["state"], "interrupted");
    good(root.path(), &["run", "own.toml"]);
}

#[cfg(target_os = "linux")]
#[test]
fn no_program_outlives_a_runner_that_is_killed() {
    for name in ["-KILL", "second"] {
        // It does not listen, and has a child that does not, either.
        let code = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
            os.fork()\n\
            os.write(1, b'number %d here\\n' % os.getpid())\ntime.sleep(1000)";
        let root = scene(&python(code, "output = \"metrics\""));
        let mut child = spawn(root.path(), &["run", "own.toml"], Stdio::null(), Stdio::piped());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let numbers = [number(&mut lines), number(&mut lines)];
        if name == "-KILL" {
            signal(&child, name);
        } else {
            signal(&child, "-INT");
            let mut said = String::new();
            while !said.contains("press Ctrl-C again") {
                assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
            }
            signal(&child, "-INT");
        }
        child.wait().unwrap();
        numbers.iter().for_each(|it| gone(it));
    }
}

#[test]
fn labels_of_the_target_are_handed_over_only_when_it_is_said_and_then_every_number_says_so() {
    let code = "seen = sorted(str(it.relative_to(arguments[0])) for it in pathlib.Path(arguments[0]).rglob('labels.npy'))\n\
        print('sees', seen)\n\
        npy.write(out / 'target.test.npy', (16, 2), [0.0, 1.0] * 16)";
    let lines = "inputs = { source = \"images.train\", target = \"images.test\" }\n\
        output = { kind = \"predictions\", of = [\"target.test\"], scores = \"logits\" }";
    let stage = python(code, lines).replace("\"{out}\"]", "\"{out}\", \"{input}\"]");
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = { layers = [\"max_pool\"], head = [] }\n\
        epochs = 1\nbatch_size = 16\n";
    let score = SCORE.replace("[\"own\"]", "[\"own\", \"net\"]");
    let root = scene(&format!("{stage}{net}{score}"));
    let root = root.path();
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("sees ['source/train/labels.npy']"), "{said}");
    let note = "a program that saw labels of the target is behind it";
    for file in ["table.csv", "table.md", "table.tex", "table.html", "table.json", "report.html"] {
        let text = latest(root, file);
        assert!(!text.contains("labels of the target") && !text.contains('‡'), "{file}: {text}");
    }
    let said = good(root, &["run", "own.toml", "--set", "stages.own.labels=\"target\""]);
    assert!(said.contains("sees ['source/train/labels.npy', 'target/test/labels.npy']"), "{said}");
    assert!(said.contains("50.0‡"), "{said}");
    assert!(said.contains("‡ A program that saw labels of the target is behind it"), "{said}");
    let csv = latest(root, "table.csv");
    let rows: Vec<&str> = csv.lines().collect();
    assert!(rows[1].starts_with("own,") && rows[1].ends_with(note), "{csv}");
    assert!(
        rows[2].starts_with("net,") && rows[2].ends_with(','),
        "it depends on no such program: {csv}"
    );
    assert!(latest(root, "table.md").contains("50.0‡"));
    assert!(latest(root, "table.tex").contains(r"50.0$^{\ddagger}$"));
    assert!(latest(root, "table.tex").contains(r"$\ddagger$ A program"));
    assert!(latest(root, "table.html").contains("50.0‡"));
    assert!(latest(root, "table.json").contains("\"target_labels\": 1"));
    assert!(latest(root, "report.html").contains("saw labels of the target"));
    good(root, &["verify", "own"]);
    // Also where no table shows them: in the list of runs, and on a page whose table cannot be made.
    let table = "[table]\nheadline = \"own\"\n";
    write(root, &format!("{stage}labels = \"target\"\n{net}{score}{table}"));
    good(root, &["run", "own.toml"]);
    let list = good(root, &["ls"]);
    let line = list.lines().last().unwrap();
    assert!(line.ends_with(&format!("own: images.test 50.0 %‡ (‡: {note})")), "{list}");
    assert!(!list.lines().nth(1).unwrap().contains('‡'), "no number of that run: {list}");
    let epochs = "[sweep.axes]\n\"stages.net.epochs\" = [1, 2]\n";
    write(root, &format!("{stage}labels = \"target\"\n{net}{score}{epochs}"));
    good(root, &["sweep", "own.toml"]);
    let page = latest(root, "report.html");
    assert!(page.contains("All scores instead") && page.contains("50.0‡"), "{page}");
    assert!(page.contains(&format!("‡: {note}.")), "{page}");
}

#[test]
fn labels_that_would_reach_a_program_under_another_name_are_found_before_anything_runs() {
    // `all` is what the target is from.
    let own = OWN
        .replace("target = \"images.test\"", "target = \"images.test\", all = \"images\"")
        .replace("\"{params.bias}\"", "\"{params.bias}\", \"{input.all}\"");
    let root = scene(&format!("{own}{SCORE}"));
    let root = root.path();
    let check = |stages: &str| {
        write(root, stages);
        run(root, &["check", "own.toml"])
    };
    let (code, said) = check(&format!("{own}{SCORE}"));
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("the input `all` holds labels of images that this stage adapts to"),
        "{said}"
    );
    assert!(said.contains("own.toml:"), "{said}");
    assert_eq!(check(&own.replace("all", "target_all")).0, 0);
    assert_eq!(check(&format!("{own}labels = \"target\"\n")).0, 0);
    // Another stage adapts to it.
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = { layers = [\"max_pool\"], head = [] }\n\
        epochs = 1\n[stages.adapted]\nkind = \"finetune\"\nmodel = \"net\"\ntrain = \"images\"\nepochs = 1\n\
        method = { kind = \"dann\", target = \"images.test\" }\n";
    let own = OWN.replace("target = \"images.test\"", "extra = \"images.test\"");
    let own = own.replace("{input.target}", "{input.extra}").replace("target.test", "extra.test");
    let (code, said) = check(&format!("{own}{net}"));
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("the input `extra` holds labels of images that `adapted` adapts to"),
        "{said}"
    );
    assert_eq!(check(&own).0, 0, "nobody adapts to it");
    // Scores are made with labels.
    let own = OWN.replace("params = {", "after = []\nparams = {");
    let of_scores = "[stages.late]\nkind = \"command\"\ncommand = \"cp {input.scores}/metrics.csv {out}\"\n\
        inputs = { scores = \"score\" }\noutput = \"metrics\"\n";
    let (code, said) = check(&format!("{own}{SCORE}{of_scores}"));
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("the input `scores` holds scores, which are made with the labels"),
        "{said}"
    );
    assert_eq!(check(&format!("{own}{SCORE}{of_scores}labels = \"target\"\n")).0, 0);
}

#[test]
fn a_program_whose_bits_differ_is_told_by_its_name() {
    let code = "import time\n(out / 'metrics.csv').write_text(f'split,metric,value\\nall,x,{time.time_ns()}\\n')";
    let root = scene(&python(code, "output = \"metrics\""));
    good(root.path(), &["run", "own.toml"]);
    let (code, said) = run(root.path(), &["verify", "own", "--rerun", "own"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("stage `own` made again has other bytes: metrics.csv"), "{said}");
    assert!(said.contains("its program does not give the same bytes every time"), "{said}");
}

#[test]
fn mistakes_are_found_before_anything_runs_each_at_its_place() {
    let root = scene("");
    let root = root.path();
    // What is put in place of what, what is said, and the text that it is said at.
    for (from, to, said, at) in [
        ("{params.bias}", "{params.bais}", "there is no parameter `bais`", "\"{params.bais}\""),
        (
            "{params.bias}",
            "{parms.bias}",
            "`{parms.bias}` is not a placeholder",
            "\"{parms.bias}\"",
        ),
        ("{input.source}", "{input.sources}", "there is no input `sources`", "\"{input.sources}\""),
        (
            "\"{out}\", ",
            "",
            "the program does not know where to write what it makes",
            "[\"python3\"",
        ),
        ("bias = 0.0", "bias = 0.0, lr = 1", "`params.lr` is used nowhere", "1 }"),
        ("bias = 0.0", "bias = [0.0]", "`params.bias` must be a text, a number", "[0.0]"),
        (
            "images.test\" }",
            "images.test\", more = \"photos\" }",
            "the input `more` is used nowhere",
            "\"photos\" }",
        ),
        (
            "of = [\"target.test\"]",
            "of = [\"targt.test\"]",
            "there is no input `targt`",
            "\"targt.test\"",
        ),
        (
            "of = [\"target.test\"]",
            "of = [\"target.train\"]",
            "has no split `train`",
            "\"target.train\"",
        ),
        (
            "[\"python3\", ",
            "[\"pythn-of-nobody\", ",
            "there is no program `pythn-of-nobody`",
            "\"pythn-of-nobody\"",
        ),
        (
            "[\"python3\", ",
            "[\"./own.sh\", ",
            "the program `./own.sh` is not among `files`",
            "\"./own.sh\"",
        ),
        ("\"npy.py\"]", "\"nympy.py\"]", "there is no `./nympy.py`", "\"nympy.py\""),
        (
            "\"npy.py\"]",
            "\"../npy.py\"]",
            "`../npy.py` is not below the folder of the pipeline file",
            "\"../npy.py\"",
        ),
        (
            "scores = \"logits\"",
            "scores = \"logit\"",
            "`logit` is not a value of `output.scores`",
            "\"logit\"",
        ),
        (
            "target",
            "goal",
            "labels = \"target\"` is set, but no input is called `target`",
            "\"target\"",
        ),
    ] {
        let mut own = OWN.replace(from, to);
        if from == "target" {
            own += "labels = \"target\"\n";
        }
        assert_ne!(own, OWN, "{from}");
        write(root, &own);
        let (code, found) = run(root, &["check", "own.toml"]);
        assert_eq!(code, 2, "{said}: {found}");
        assert!(found.contains(said), "{said}: {found}");
        let file = fs::read_to_string(root.join("own.toml")).unwrap();
        let before = &file[..file.find(at).unwrap()];
        let column = before.len() - before.rfind('\n').unwrap();
        let place = format!("own.toml:{}:{column}", before.lines().count());
        assert!(found.contains(&place), "{said} at {place}: {found}");
    }
}

#[test]
fn predictions_have_no_features_and_no_other_images() {
    let score = format!("{SCORE}mixval = true\nfeatures = \"flatten\"\n");
    let root = scene(&format!("{OWN}{score}"));
    let root = root.path();
    let (code, said) = run(root, &["check", "own.toml"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("`mixval` needs a network, and `models` has only predictions"), "{said}");
    assert!(said.contains("`features` needs a network"), "{said}");
    write(root, &format!("{OWN}{}", SCORE.replace("images.test", "images.train")));
    let (code, said) = run(root, &["check", "own.toml"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("model `own`: it predicts `images.test`, not `images.train`"), "{said}");
    // Beside a network, what needs one is left out for the predictions, and says so.
    let net = "[stages.net]\nkind = \"pretrain\"\ntrain = \"images\"\nmodel = { layers = [\"max_pool\"], head = [] }\n\
        epochs = 1\nbatch_size = 16\n";
    let score = SCORE.replace("[\"own\"]", "[\"own\", \"net\"]");
    write(
        root,
        &format!(
            "{OWN}{net}{score}mixval = true\nensv = true\nembedding = {{ methods = [\"pca\"] }}\n"
        ),
    );
    let said = good(root, &["run", "own.toml"]);
    assert!(said.contains("own on images: no mixval: nobody predicted mixes of images"), "{said}");
    assert!(said.contains("own: no embedding or distance: predictions have no features"), "{said}");
    let csv = latest(root, "score.csv");
    assert!(
        csv.contains("own,images.test,ensv,") && csv.contains("net,images.test,mixval,"),
        "{csv}"
    );
    assert!(!csv.contains("own,images.test,mixval,"), "{csv}");
}
