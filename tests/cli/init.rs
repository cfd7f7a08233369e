//! `runner init` and `runner completions` as a user sees them.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn runner(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("runner").unwrap();
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_starter_passes_the_check_and_is_called_as_its_file() {
    let folder = tempfile::tempdir().unwrap();
    for template in ["adapt", "finetune", "own-images"] {
        let (code, stdout, stderr) = runner(folder.path(), &["init", "--template", template]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let file = format!("{template}.toml");
        assert!(stdout.contains(&format!("wrote {file}\n")), "{stdout}");
        let text = fs::read_to_string(folder.path().join(&file)).unwrap();
        assert!(text.contains(&format!("name  = \"{template}\"\n")), "{text}");
        assert!(text.contains(&format!("runner run {file}")) && !text.contains(" FILE"), "{text}");
        if template == "own-images" {
            let (code, _, stderr) = runner(folder.path(), &["check", &file]);
            assert_eq!(code, 2, "{stderr}");
            assert!(
                stderr.contains("there is no ") && stderr.contains("has 1 problem"),
                "{stderr}"
            );
            let classes = [("a", [200, 30, 20]), ("b", [20; 3])];
            for split in ["photos/train", "photos/test"] {
                crate::photos::folders(folder.path(), split, &classes);
            }
        }
        let (code, _, stderr) = runner(folder.path(), &["check", &file]);
        assert_eq!(code, 0, "{stderr}");
    }
}

#[test]
fn the_sweep_that_a_starter_offers_in_a_comment_is_right() {
    for template in ["adapt", "finetune"] {
        let folder = tempfile::tempdir().unwrap();
        runner(folder.path(), &["init", "x.toml", "--template", template]);
        let file = folder.path().join("x.toml");
        let text = fs::read_to_string(&file).unwrap();
        let whole = text.replace("# [sweep]", "[sweep]").replace("# axes", "axes");
        assert_ne!(whole, text);
        fs::write(&file, whole).unwrap();
        let (code, _, stderr) = runner(folder.path(), &["plan", "--sweep", "x.toml"]);
        assert_eq!(code, 0, "{stderr}");
    }
}

#[test]
fn a_file_that_is_there_is_written_over_only_by_force() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/mine.toml");
    let arguments = ["init", "new/mine.toml", "--template", "finetune"];
    assert_eq!(runner(folder.path(), &arguments).0, 0);
    fs::write(&file, "mine").unwrap();
    let (code, _, stderr) = runner(folder.path(), &arguments);
    assert_eq!(code, 2);
    assert!(stderr.contains("`new/mine.toml` is there already; `--force`"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    let forced = [&arguments[..], &["--force"]].concat();
    assert_eq!(runner(folder.path(), &forced).0, 0);
    assert!(fs::read_to_string(&file).unwrap().contains("name  = \"mine\""));
}

#[test]
fn without_a_terminal_the_template_must_be_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = runner(folder.path(), &["init"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--template own-images"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_smallest_starter_runs() {
    let folder = tempfile::tempdir().unwrap();
    runner(folder.path(), &["init", "--template", "finetune"]);
    let mut arguments = vec!["run", "finetune.toml", "--quiet"];
    // Few images: without optimization every step takes long.
    for less in [
        "stages.old.per_class=20",
        "stages.pretrained.epochs=1",
        "stages.probe.epochs=1",
        "stages.tuned.epochs=1",
        "stages.scratch.epochs=1",
        "stages.score.on=[\"new.valid\"]",
    ] {
        arguments.extend(["--set", less]);
    }
    let (code, stdout, stderr) = runner(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("scratch") && stdout.contains("tuned"), "{stdout}");
}

#[test]
fn the_starter_for_own_images_runs_on_the_layout_that_it_explains() {
    let folder = tempfile::tempdir().unwrap();
    runner(folder.path(), &["init", "--template", "own-images"]);
    for split in ["train", "test"] {
        for (class, gray) in [("cat", 40_u8), ("dog", 200)] {
            let place = folder.path().join("photos").join(split).join(class);
            fs::create_dir_all(&place).unwrap();
            for at in 0..20 {
                let image = image::GrayImage::from_pixel(30, 32, image::Luma([gray + at]));
                image.save(place.join(format!("{at}.png"))).unwrap();
            }
        }
    }
    let arguments = ["run", "own-images.toml", "--quiet", "--set", "stages.net.epochs=1"];
    let (code, stdout, stderr) = runner(folder.path(), &arguments);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("held.test"), "{stdout}");
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, stderr) = runner(folder.path(), &["completions", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("checkpoint-every"), "{shell}");
    }
}
