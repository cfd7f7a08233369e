//! What a user of `runner check` and `runner show` sees.

use std::path::Path;

use assert_cmd::Command;

/// The wrong files in `tests/bad`, each with a snapshot of what is said about it.
const BAD: &[&str] = &[
    "cycle",
    "duplicate_key",
    "duplicate_table",
    "empty",
    "finetune",
    "finetune_contradictions",
    "fraction_over_one",
    "heads",
    "heads_misfits",
    "image_too_small",
    "invalid_toml",
    "keys_elsewhere",
    "missing_key",
    "negative_lr",
    "no_pipeline",
    "no_stages",
    "not_utf8",
    "reserved_name",
    "scores_contradictions",
    "scores_misfits",
    "several",
    "table_names",
    "tables",
    "unknown_key",
    "unknown_kind",
    "unknown_split",
    "unknown_stage",
    "wrong_channels",
    "wrong_classes",
    "wrong_type",
    "zero_epochs",
];

/// Exit code, standard output, standard error.
fn runner(arguments: &[&str]) -> (i32, String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let output = Command::cargo_bin("runner")
        .expect("the binary is built")
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

#[test]
fn every_bad_file_is_explained_with_exit_code_2_and_without_escape_codes() {
    for name in BAD {
        for verb in ["check", "show"] {
            let (code, stdout, stderr) = runner(&[verb, &format!("{name}.toml")]);
            assert_eq!((code, stdout.as_str()), (2, ""), "{verb} {name}\n{stderr}");
            assert!(!stderr.contains('\x1b'), "{verb} {name} has escape codes\n{stderr}");
            insta::assert_snapshot!(*name, stderr);
        }
    }
}

#[test]
fn a_missing_file_names_the_nearest_one() {
    let (code, stdout, stderr) = runner(&["check", "invalid_tolm.toml"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    insta::assert_snapshot!("missing_file", stderr);
}

#[test]
fn a_folder_is_not_a_file() {
    let (code, _, stderr) = runner(&["check", "."]);
    assert_eq!(code, 2);
    insta::assert_snapshot!("folder", stderr);
}

#[test]
fn an_override_that_is_not_toml_is_explained() {
    let (code, _, stderr) = runner(&["check", "zero_epochs.toml", "--set", "pipeline.device=cpu"]);
    assert_eq!(code, 2);
    insta::assert_snapshot!("set_bare_word", stderr);
}

#[test]
fn help_of_every_verb_has_an_example() {
    for verb in ["run", "sweep", "check", "plan", "show", "table"] {
        let (code, stdout, _) = runner(&[verb, "--help"]);
        assert_eq!(code, 0);
        assert!(stdout.contains(&format!(":\n  runner {verb} ")), "{stdout}");
    }
}
