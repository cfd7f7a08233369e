//! Numbers that depend on a program of the user's which saw labels of the target: what was built from what it made, and what
//! is said beside such numbers. Reads records, and computes nothing.

use std::collections::BTreeSet;

use super::record::StageRecord;
use crate::stages::PROGRAMS;

/// What is said of a number.
pub const NOTE: &str = "a program that saw labels of the target is behind it";

/// Whether the program of a stage was given labels of the target.
fn sees_labels(stage: &StageRecord) -> bool {
    stage.kind == PROGRAMS && stage.settings["labels"] == "target"
}

/// The stages of a trial whose programs were given labels of the target, and all stages that read what these built,
/// or what those built.
pub fn dependents(stages: &[StageRecord]) -> BTreeSet<String> {
    let own = stages.iter().filter(|stage| sees_labels(stage));
    let mut found: BTreeSet<String> = own.map(|stage| stage.name.clone()).collect();
    loop {
        let before = found.len();
        for stage in stages {
            if stage.inputs.iter().any(|input| found.contains(&input.stage)) {
                found.insert(stage.name.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// What a page says of a run, if the program of a stage was given labels of the target.
pub fn warning(trials: &[Vec<StageRecord>]) -> Option<String> {
    let stages = trials.iter().flatten().filter(|stage| sees_labels(stage));
    let names: BTreeSet<String> = stages.map(|stage| format!("`{}`", stage.name)).collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<String> = names.into_iter().collect();
    Some(format!(
        "Programs of these stages saw labels of the target, which an unsupervised method does not have: {}. Numbers \
         that depend on them are marked.",
        names.join(", ")
    ))
}
