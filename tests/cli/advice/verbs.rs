//! Advice of the verbs: of sweeps and their tables, of `init`, and about devices.

use std::fs;

use super::mistakes::GOOD;
use super::scene::Scene;
use super::store::{newest, pipeline};

#[test]
fn advice_about_sweeps_helps_when_it_is_followed() {
    let plain = "the pipeline has no `[sweep]` axes; use `runner run`";
    let mut scene = Scene::new(pipeline());
    let words = scene.advised(&["sweep", "p.toml", "--quiet"], plain);
    let verb = words[1].strip_prefix("runner ").unwrap();
    scene.done(&[verb, "p.toml", "--quiet"], plain);

    let swept = "note: this file has a `[sweep]`; `runner sweep` runs its trials";
    let axes = "[sweep]\naxes = { \"pipeline.seed\" = [0, 1] }\n\n[pipeline]";
    scene.edit(("[pipeline]", axes), &[]);
    let words = scene.advised(&["run", "p.toml"], swept);
    let verb = words[1].strip_prefix("runner ").unwrap();
    scene.done(&[verb, "p.toml", "--quiet"], swept);

    let retry = "the same command with `--retry-failed` tries it again";
    let rates = "[sweep]\naxes = { \"stages.net.optimizer.lr\" = [0.1, 1e38] }\n\n[pipeline]";
    let mut scene = Scene::new(pipeline());
    scene.edit(("[pipeline]", rates), &[]);
    scene.edit(("epochs = 1", "epochs = 4"), &[]);
    scene.edit(("[\"flatten\"] }", "[\"flatten\"], head = [8, \"relu\"] }"), &[]);
    let (code, said) = scene.run(&["sweep", "p.toml"]);
    assert_eq!(code, 1, "{said}");
    let option = scene.advised(&["sweep", "p.toml"], retry).remove(0);
    let (_, said) = scene.run(&["sweep", "p.toml", &option]);
    assert!(!said.contains(retry) && said.contains("net[001]: pretrain started"), "{said}");
}

/// Turns the record of the newest run into one of a runner that kept the pipeline as text alone, with
/// `to` in place of `from` in that text.
fn make_older(scene: &Scene, from: &str, to: &str) {
    let path = newest(scene).join("run.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let text = record["provenance"]["text"].as_str().unwrap();
    // Axes come after stages.
    let (before, after) = text.rsplit_once(from).expect(text);
    record["provenance"]["text"] = format!("{before}{to}{after}").into();
    record["id"] = "of other stages".into();
    record.as_object_mut().unwrap().remove("tables");
    fs::write(&path, serde_json::to_string_pretty(&record).unwrap() + "\n").unwrap();
}

#[test]
fn advice_about_runs_of_older_runners_helps_when_it_is_followed() {
    let within = "The labels of trials cannot be trusted: the values of the axis `{outer}` set `{inner}`, which was \
         swept too, and only one of the two counted. Leave it out of the values of `{outer}`, or sweep only \
         one of them, and run `runner sweep {file}` again.";
    let twice = "The labels of trials cannot be trusted: `{outer}` was swept twice, and only one of the two \
             values counted. Keep one of the two axes and run `runner sweep {file}` again.";
    let unknown = "The record of this run does not say what its stages read, and this runner does not take the \
             pipeline that runner {} ran ({}): what has no score is not shown as missing, and no stage is \
             shown to wait for another. Correct the file as `runner check` says and run it again.";
    let axes = "[sweep.axes]\n\"stages.net.optimizer\" = [{ kind = \"sgd\", momentum = 0.9 }]\n\
        \"stages.net.optimizer.lr\" = [0.1, 0.2]\n\n[table]\nrows = \"stages.net.optimizer.lr\"\n\n[pipeline]";
    for (advice, from, to) in [
        (within, "momentum = 0.9", "lr = 0.3"),
        (
            twice,
            "\"stages.net.optimizer.lr\" = [0.1",
            "\"stages.net.optimizer.'lr'\" = [0.1, 0.2], \"stages.net.optimizer.lr\" = [0.1",
        ),
        (unknown, "proxy_a_distance", "proxy_a_distanse"),
    ] {
        let mut scene = Scene::new(pipeline());
        scene.edit(("[pipeline]", axes), &[]);
        let (code, said) = scene.run(&["sweep", "p.toml", "--quiet"]);
        assert_eq!(code, 0, "{said}");
        make_older(&scene, from, to);
        let command = scene.advised(&["table", "good"], advice).pop().unwrap();
        // The file has been corrected.
        let again = if advice == unknown { "runner sweep p.toml" } else { command.as_str() };
        let words: Vec<&str> = again.split(' ').skip(1).chain(["--quiet"]).collect();
        scene.done(&words, advice);
        scene.done(&["table", "good"], advice);
    }
}

#[test]
fn advice_about_a_table_helps_when_it_is_followed() {
    let axis = "name the axis in `[table]`: `rows`, `columns` or `over`, or hold it with `only`";
    let sweep = "[sweep]\naxes = { \"stages.net.optimizer.lr\" = [0.1, 0.2] }\n\n[pipeline]";
    for line in [
        "rows = \"stages.net.optimizer.lr\"",
        "over = \"stages.net.optimizer.lr\"",
        "only = { \"stages.net.optimizer.lr\" = 0.1 }",
    ] {
        let mut scene = Scene::new(pipeline());
        scene.edit(("[pipeline]", sweep), &[]);
        let (code, said) = scene.run(&["sweep", "p.toml", "--quiet"]);
        assert_eq!(code, 0, "{said}");
        let (_, said) = scene.run(&["table", "good"]);
        assert!(super::scene::found(&said, axis).is_some(), "{said}");
        scene.edit(("[sweep]", &format!("[table]\n{line}\n\n[sweep]")), &[]);
        scene.done(&["sweep", "p.toml", "--quiet"], axis);
    }
    // Where nobody asked for a table.
    let say = "note: no table: {error}; `[table]` can say what to show";
    let mut scene = Scene::new(pipeline());
    scene.edit(("[pipeline]", sweep), &[]);
    let (_, said) = scene.run(&["sweep", "p.toml", "--quiet"]);
    if super::scene::found(&said, say).is_some() {
        let rows = "[table]\nrows = \"stages.net.optimizer.lr\"\n\n[sweep]";
        scene.edit(("[sweep]", rows), &[]);
        scene.done(&["sweep", "p.toml", "--quiet"], say);
    }
}

#[test]
fn advice_of_init_helps_when_it_is_followed() {
    let scene = Scene::new(GOOD);
    let which = "`--template adapt`, `--template finetune` or `--template own-images`";
    let said = scene.advised(&["init", "new.toml"], which);
    assert_eq!(said.len(), 3, "{said:?}");
    for words in said {
        let (option, template) = words.split_once(' ').unwrap();
        let file = format!("{template}.toml");
        scene.done(&["init", &file, option, template], which);
        let there = "`{}` is there already; `--force` writes over it";
        let force = scene.advised(&["init", &file, option, template], there).pop().unwrap();
        scene.done(&["init", &file, option, template, &force], there);
    }
}

#[test]
fn the_command_that_init_says_comes_next_is_one_for_a_shell() {
    let scene = Scene::new(GOOD);
    for file in ["my new.toml", "it's.toml", "plain.toml"] {
        let said = scene.run(&["init", file, "--template", "adapt"]).1;
        let next = said.split("runner run ").nth(1).unwrap().trim();
        let text = fs::read_to_string(scene.root().join(file)).unwrap();
        assert!(text.contains(&format!("runner run {next}")), "{text}");
        let command = format!("{} check {next}", assert_cmd::cargo::cargo_bin("runner").display());
        let mut shell = std::process::Command::new("sh");
        let status = shell.current_dir(scene.root()).args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
}

#[test]
fn advice_about_devices_helps_when_it_is_followed() {
    let wrong = "`{0}` is not a device; expected \"cpu\", \"auto\", \"cuda:0\", \"dfdx\" or \"dfdx-cuda:0\"";
    for device in ["cpu", "auto", "dfdx"] {
        let mut scene = Scene::new(GOOD);
        scene.edit(("name = \"good\"", "name = \"good\"\ndevice = \"gpu\""), &[]);
        assert!(wrong.contains(&format!("\"{device}\"")));
        scene.follow(&["check", "p.toml"], wrong, &[("\"gpu\"", &format!("\"{device}\""))]);
    }
    let device = ("name = \"good\"", "name = \"good\"\ndevice = \"cuda:77\"");
    let advice = "`{device}` cannot be opened: {reason}; `runner devices` lists what there is, and `device = \"cpu\"` needs no GPU";
    let mut scene = Scene::new(GOOD);
    scene.edit(device, &[]);
    scene.follow(&["check", "p.toml"], advice, &[("device = \"cuda:77\"", "device = \"cpu\"")]);
    let rounded = "name = \"good\"\ndevice = \"cpu\"\nprecision = \"float32\"";
    for (from, to) in [("precision = \"float32\"", ""), ("device = \"cpu\"", "device = \"auto\"")] {
        let mut scene = Scene::new(GOOD);
        scene.edit(("name = \"good\"", rounded), &[]);
        let advice = "leave it out, or `device = \"auto\"`";
        scene.follow(&["check", "p.toml"], advice, &[(from, to)]);
    }
    for device in ["cpu", "auto"] {
        let mut scene = Scene::new(GOOD);
        let halved = format!("name = \"good\"\ndevice = \"{device}\"\nprecision = \"bf16\"");
        scene.edit(("name = \"good\"", &halved), &[]);
        let advice = "leave it out; `runner devices` says what there is";
        scene.follow(&["check", "p.toml"], advice, &[("precision = \"bf16\"", "")]);
    }
}
