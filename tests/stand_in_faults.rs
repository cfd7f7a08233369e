//! The stand-in for a GPU finds faults of kernels: a kernel with each of them runs there.

mod stand_in;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The stand-in with the faulty kernels, and the program that runs them. Nothing where there is no compiler.
fn built() -> Option<[PathBuf; 2]> {
    stand_in::folder()?;
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, faults) =
        (project.join("target/stand_in_faults"), project.join("tests/stand_in/faults"));
    let library = Command::new("bash")
        .arg(project.join("tests/stand_in/build.sh"))
        .args([&folder, &faults])
        .output()
        .expect("bash runs");
    assert!(library.status.success(), "{}", String::from_utf8_lossy(&library.stderr));
    let program = folder.join("run");
    let compiled = Command::new("g++")
        .args(["-std=c++17", "-o"])
        .arg(&program)
        .arg(faults.join("run.cpp"))
        .arg("-ldl")
        .output()
        .expect("g++ runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some([program, folder.join("libcuda.so.1")])
}

#[test]
fn the_stand_in_finds_each_planted_fault() {
    let Some([program, library]) = built() else { return };
    let run = |kernel: &str, order: &str, copies: &str| -> Output {
        let mut command = Command::new(&program);
        command.arg(&library).arg(kernel);
        command.env("SHIM_ORDER", order).env("SHIM_COPIES", copies).output().expect("it runs")
    };
    // Everything that a kernel gave in some order of its threads, with early and with late copies.
    let outcomes = |kernel: &str| -> BTreeSet<String> {
        let orders = ["0", "1", "2", "3"].into_iter();
        let runs = orders.flat_map(|order| ["early", "late"].map(|copies| (order, copies)));
        let outputs = runs.map(|(order, copies)| run(kernel, order, copies));
        let said = outputs.map(|output| {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{kernel}: {said}");
            String::from_utf8(output.stdout).unwrap()
        });
        said.collect()
    };
    let sound = outcomes("sound");
    assert_eq!(sound.len(), 1, "{sound:?}");
    assert!(!sound.first().unwrap().contains("nan"), "{sound:?}");
    for kernel in [
        "without_a_barrier",
        "without_a_second_barrier",
        "copies_that_nobody_waits_for",
        "copies_of_which_too_few_are_waited_for",
    ] {
        assert!(outcomes(kernel).len() > 1, "{kernel}: {:?}", outcomes(kernel));
    }
    let unwritten = outcomes("reads_shared_memory_that_nobody_wrote");
    assert!(unwritten.iter().all(|it| it.contains("nan")), "{unwritten:?}");
    for (kernel, why) in [
        ("reads_beyond_the_end", "invalid access"),
        ("writes_beyond_the_end", "invalid access"),
        ("writes_beyond_shared_memory", "invalid access"),
        ("copies_to_a_place_between", "not a multiple"),
        ("barriers_in_two_branches", "waits for its block"),
        ("multiplies_with_half_a_warp", "a product without all 32 lanes"),
        ("ends_while_it_multiplies", "ends while it multiplies"),
        ("multiplies_twice_at_once", "while it multiplies"),
    ] {
        let output = run(kernel, "0", "early");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{kernel} ended well");
        assert!(said.contains(kernel) && said.contains(why), "{kernel}: {said}");
    }
}
