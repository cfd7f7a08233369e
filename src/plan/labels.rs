//! Labels of a target. Those that would leave the program: a stage that runs a program of the user's hands over what its
//! inputs hold, and which of them are of a target is known to the plan alone. And those that a training validates by, which
//! may be recorded and must decide nothing.

use super::domains::Lineage;
use super::pipeline::PlannedStage;
use crate::config::{Diagnostic, Reference};
use crate::stages::Product;

/// Notes every input that hands a program labels of a target which nobody asked for.
pub(super) fn check(stages: &[PlannedStage], problems: &mut Vec<Diagnostic>) {
    let lineage = Lineage::of_stages(stages);
    for stage in stages {
        for input in stage.stage.hands_labels_of() {
            let images = stages.iter().find(|it| it.name == input.stage);
            let Some(Product::Dataset(shape)) = images.map(|it| &it.product) else { continue };
            let splits: Vec<&str> = match (&input.split, &shape.splits) {
                (Some(split), _) => vec![split],
                (None, Some(splits)) => splits.keys().map(String::as_str).collect(),
                // Those that someone names, and whole domains are known without their splits.
                (None, None) => {
                    let all = stages.iter().flat_map(|it| &it.inputs);
                    let named = all.filter(|it| it.stage == input.stage);
                    named.filter_map(|it| it.split.as_deref()).chain([""]).collect()
                }
            };
            let hidden =
                splits.iter().find_map(|it| lineage.hidden_from(&stage.name, &input.stage, it));
            let Some(adapts) = hidden else { continue };
            let name = input.key.rsplit('.').next().unwrap_or(&input.key);
            let whose = match adapts == stage.name {
                true => "this stage adapts".to_owned(),
                false => format!("`{adapts}` adapts"),
            };
            let message = format!("the input `{name}` holds labels of images that {whose} to");
            problems.push(
                Diagnostic::at(input.span, message, "the program would see them")
                    .help("call the input `target`, or `target_` and more: its labels are then left out")
                    .help("if it is the labelled source, call it `source`")
                    .help("or say `labels = \"target\"`: every table then says so"),
            );
        }
    }
}

/// The key of the images that a training is validated on first; further ones have `validate.1` and on.
const VALIDATE: &str = "validate";

/// The key of the images that a training learns from.
const TRAIN: &str = "train";

/// Marks what trainings validate on that is of a target, and notes where such labels would decide something.
pub(super) fn mark_oracles(stages: &mut [PlannedStage], problems: &mut Vec<Diagnostic>) {
    let lineage = Lineage::of_stages(stages);
    let is_of_target = |stage: &PlannedStage, input: &Reference| {
        let split = input.split.as_deref().unwrap_or_default();
        lineage.hidden_from(&stage.name, &input.stage, split).is_some()
    };
    let oracles = stages.iter().map(|stage| -> Vec<String> {
        let labelled = stage.inputs.iter().filter(|it| {
            let further = it.key.strip_prefix(VALIDATE);
            it.key == TRAIN || further.is_some_and(|it| it.is_empty() || it.starts_with('.'))
        });
        let marked = labelled.filter(|it| is_of_target(stage, it));
        marked.map(|it| it.key.clone()).collect()
    });
    let oracles: Vec<Vec<String>> = oracles.collect();
    for (stage, oracles) in stages.iter_mut().zip(oracles) {
        let first = stage.inputs.iter().find(|it| it.key == VALIDATE);
        // Of a model that learns from labels of the target, an upper bound, everybody knows that it saw them.
        let learns_them = oracles.iter().any(|it| it == TRAIN);
        if let (Some(first), Some(key)) = (first, goes_by_validation(stage))
            && oracles.iter().any(|it| it == VALIDATE)
            && !learns_them
        {
            let message = format!("`{key}` would go by labels of the target domain");
            let label = "images of a domain that is adapted to without labels";
            problems.push(Diagnostic::at(first.span, message, label).help(format!(
                "put labelled images of the source first, which decide, and `{}` behind them, which is recorded",
                first.text()
            )));
        }
        stage.oracles = oracles.into_iter().filter(|it| it != TRAIN).collect();
    }
}

/// A setting by which validation decides something.
fn goes_by_validation(stage: &PlannedStage) -> Option<&'static str> {
    let kind = stage.settings.get("schedule").and_then(|it| it.get("kind")?.as_str());
    match kind {
        Some("reduce_on_plateau") => Some("schedule"),
        _ => {
            ["early_stopping", "keep_best"].into_iter().find(|it| stage.settings.contains_key(*it))
        }
    }
}
