//! Advice about what runs leave behind: artifacts, results, and the places where they are kept.

use std::fs;
use std::path::{Path, PathBuf};

use super::mistakes::GOOD;
use super::scene::Scene;
use crate::binary::files;

/// Digits, a network and its score, small enough to train in a moment.
pub(super) fn pipeline() -> String {
    let few = GOOD.replace("holdout = 0.1", "per_class = 4\nholdout = 0.25");
    few.replace("images.test", "images.held")
        .replace("channels = 3\nmean = [0.5, 0.5, 0.5]", "mean = 0.5")
}

pub(super) const RUN: &[&str] = &["run", "p.toml", "--quiet"];

const EXPORT: &[&str] = &["export", "good", "net", "out"];

/// A folder in which that pipeline has run.
pub(super) fn done() -> Scene {
    let scene = Scene::new(pipeline());
    let (code, said) = scene.run(RUN);
    assert_eq!(code, 0, "{said}");
    scene
}

/// The folder of the newest run.
pub(super) fn newest(scene: &Scene) -> PathBuf {
    fs::canonicalize(scene.root().join("results/good/latest")).unwrap()
}

/// The file of weights in the store.
fn weights(scene: &Scene) -> PathBuf {
    let all = files(&scene.root().join(".runner/artifacts"));
    all.into_iter().find(|it| it.ends_with("weights.safetensors")).unwrap()
}

fn flip_last_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn advice_about_artifacts_helps_when_it_is_followed() {
    let gone = "its artifact is no longer in the store; run the pipeline again";
    let scene = done();
    fs::remove_dir_all(weights(&scene).parent().unwrap()).unwrap();
    scene.advised(EXPORT, gone);
    scene.done(RUN, gone);
    scene.done(EXPORT, gone);

    for (verb, advice) in [
        (
            EXPORT,
            "its artifact is damaged ({reason}); remove the folder `{}` and run the pipeline again",
        ),
        (&["verify"], "is damaged: {reason}; remove the folder `{}` and run the pipeline again"),
    ] {
        let scene = done();
        flip_last_bit(&weights(&scene));
        let (code, said) = scene.run(verb);
        assert_ne!(code, 0, "{said}");
        // The reason has a file's name in backticks.
        let folder = scene.advised(verb, advice).pop().unwrap();
        fs::remove_dir_all(scene.root().join(folder)).unwrap();
        scene.done(RUN, advice);
        scene.done(verb, advice);
    }

    let newer = "update this runner, or give another store with `--store DIR`";
    let scene = done();
    let manifest = weights(&scene).with_file_name("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("\"version\": 1"), "{text}");
    fs::write(&manifest, text.replace("\"version\": 1", "\"version\": 999")).unwrap();
    let option = scene.advised(RUN, newer).remove(0).replace("DIR", "another");
    let (option, folder) = option.split_once(' ').unwrap();
    scene.done(&[RUN, &[option, folder]].concat(), newer);
}

#[test]
fn advice_about_folders_that_cannot_be_used_helps_when_it_is_followed() {
    let file = "move the file away, or give a folder with `{option}`";
    for option in ["--store", "--results"] {
        let scene = Scene::new(pipeline());
        fs::write(scene.root().join("taken"), "mine").unwrap();
        let arguments = [RUN, &[option, "taken"]].concat();
        let words = scene.advised(&arguments, file).remove(0).replace("DIR", "free");
        let (named, folder) = words.split_once(' ').unwrap();
        assert_eq!(named, option);
        scene.done(&[RUN, &[named, folder]].concat(), file);
        fs::rename(scene.root().join("taken"), scene.root().join("away")).unwrap();
        scene.done(&arguments, file);
    }
}

#[test]
fn advice_about_a_place_that_an_option_names_helps_when_it_is_followed() {
    let scene = done();
    fs::write(scene.root().join("taken"), "mine").unwrap();
    let file = "move the file away, or give a folder with `{option}`";
    let missing = "make that folder, or give another one with `{option}`";
    for (verb, wrong, advice, right) in [
        ("report", ["--output", "taken/page.html"], file, "page.html"),
        ("report", ["--output", "nowhere/page.html"], missing, "page.html"),
        ("plot", ["--out", "taken"], file, "free"),
    ] {
        let option = scene.advised(&[&[verb, "good"][..], &wrong].concat(), advice).remove(0);
        let (option, word) = option.split_once(' ').unwrap();
        assert!(option == wrong[0] && ["FILE", "DIR"].contains(&word), "{option} {word}");
        scene.done(&[verb, "good", option, right], advice);
        assert!(scene.root().join(right).exists());
    }
    fs::create_dir(scene.root().join("nowhere")).unwrap();
    scene.done(&["report", "good", "--output", "nowhere/page.html"], missing);
}

/// Puts something in the place of a file: a folder, a pipe that nobody writes to, a file without end.
#[cfg(unix)]
fn no_file(path: &Path, kind: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(path);
    match kind {
        "folder" => fs::create_dir(path).unwrap(),
        "pipe" => {
            let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
            assert!(made.success());
        }
        _ => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_in_a_store_stops_no_command_or_is_moved_away_as_the_advice_says() {
    let moved = "move it away, as a file belongs there, or give another folder with `{option}`";
    for kind in ["folder", "pipe", "endless"] {
        let scene = done();
        let store = scene.root().join(".runner");
        // Nobody that lives, and nothing to keep but what cannot be known.
        no_file(&store.join("users/somebody"), kind);
        no_file(&store.join("results/somewhere"), kind);
        for verb in [RUN, &["status"], &["verify"], &["gc"]] {
            scene.done(verb, moved);
        }
        no_file(&store.join("version"), kind);
        let option = scene.advised(RUN, moved).remove(0).replace("DIR", "another");
        let (option, folder) = option.split_once(' ').unwrap();
        scene.done(&[RUN, &[option, folder]].concat(), moved);
        fs::rename(store.join("version"), scene.root().join("away")).unwrap();
        scene.done(RUN, moved);
    }
}

#[test]
fn advice_about_results_helps_when_it_is_followed() {
    let anew = "run the pipeline again: results that are damaged are written anew";
    let scene = done();
    fs::write(newest(&scene).join("run.json"), "{").unwrap();
    scene.advised(EXPORT, anew);
    scene.done(RUN, anew);
    scene.done(EXPORT, anew);

    let shown = "what is shown here may be wrong: run the pipeline again";
    let scene = done();
    let scores = newest(&scene).join("score.csv");
    let text = fs::read_to_string(&scores).unwrap();
    fs::write(&scores, text.replace(",accuracy,0", ",accuracy,0.1")).unwrap();
    for verb in [&["table", "good"][..], &["report", "good"], &["plot", "good"]] {
        scene.advised(verb, shown);
    }
    scene.done(RUN, shown);
    for verb in [&["table", "good"][..], &["report", "good"], &["plot", "good"]] {
        scene.done(verb, shown);
    }

    // An older runner took the key by another name.
    let correct = "{name}: this runner does not take the pipeline that runner {then} ran: {what}; correct the file as \
         `runner check` says and run it again";
    let mut scene = done();
    let record = newest(&scene).join("run.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("batch_size", "batch_sise")).unwrap();
    let reproduce = &["reproduce", "good"];
    let command = scene.advised(reproduce, correct).pop().unwrap();
    assert_eq!(command, "runner check");
    scene.edit(("epochs = 1", "epochs = 1\nbatch_sise = 8"), &[]);
    let key = scene.advised(&["check", "p.toml"], "did you mean `{name}`?");
    scene.edit(("batch_sise", &key[0]), &[]);
    scene.done(RUN, correct);
    scene.done(reproduce, correct);
}

#[test]
fn advice_about_runs_that_are_not_there_helps_when_it_is_followed() {
    let lists = "no run, or more than one, is called `{}` in `{results}`; `runner ls` lists them";
    let scene = done();
    let words = scene.advised(&["table", "god"], lists);
    let listing = scene.done(&["ls"], lists);
    assert_eq!(words[2], "runner ls");
    let name = listing.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap();
    scene.done(&["table", name], lists);

    let stage = "the run has no stage `{}`; {help}";
    let nearest = scene.advised(&["export", "good", "nett", "out"], stage).pop().unwrap();
    scene.done(&["export", "good", &nearest, "out"], stage);
    let nearest = scene
        .advised(&["verify", "good", "--rerun", "nett"], "the run has no stage `{name}`; {help}");
    scene.done(&["verify", "good", "--rerun", nearest.last().unwrap()], "the run has no stage");
    let shown = "there is no stage `{name}`; {help}";
    let nearest = scene.advised(&["show", "p.toml", "--model", "nett"], shown).pop().unwrap();
    scene.done(&["show", "p.toml", "--model", &nearest], shown);
    let explained = "there is no stage `{}`; {help}";
    let nearest = scene.advised(&["explain", "p.toml", "nett"], explained).pop().unwrap();
    scene.done(&["explain", "p.toml", &nearest], explained);
}

#[test]
fn advice_of_a_collection_helps_when_it_is_followed() {
    let say = "{} things, {size}; nothing was removed: say `--yes`";
    let scene = done();
    let words = scene.advised(&["gc", "--keep-last", "0", "--now"], say);
    scene.done(&["gc", "--keep-last", "0", "--now", &words[0]], say);
    scene.done(&["gc", "--keep-last", "0", "--now"], say);

    let remove = "the record of the run in `{}` cannot be read ({reason}); remove that folder when \
                 the run is not wanted";
    let scene = done();
    fs::write(newest(&scene).join("run.json"), "{").unwrap();
    scene.run(RUN);
    let folder = scene.advised(&["gc"], remove).remove(0);
    fs::remove_dir_all(folder).unwrap();
    scene.done(&["gc"], remove);
    scene.done(&["verify"], remove);
}
