//! Labels of a target. Those that would leave the program: a stage that runs a program of the user's hands over what its
//! inputs hold, and which of them are of a target is known to the plan alone. And those that a training validates by, which
//! may be recorded and must decide nothing.

use super::domains::Lineage;
use super::goal::target_scores;
use super::pipeline::PlannedStage;
use crate::config::{Diagnostic, Reference, Word as _};
use crate::metrics::TrainingSplit;
use crate::metrics::label_free::LabelFreeScore;
use crate::stages::Product;

/// Notes where labels of a target would leave the program or decide something, and marks what trainings validate on that is
/// of one.
pub(super) fn check(stages: &mut [PlannedStage], problems: &mut Vec<Diagnostic>) {
    let lineage = Lineage::of_stages(stages);
    note_handed(stages, &lineage, problems);
    let oracles: Vec<Vec<String>> =
        stages.iter().map(|stage| oracles(stage, &lineage, problems)).collect();
    for (stage, oracles) in stages.iter_mut().zip(oracles) {
        stage.oracles = oracles;
    }
}

/// Notes every input that hands a program labels of a target which nobody asked for.
fn note_handed(stages: &[PlannedStage], lineage: &Lineage, problems: &mut Vec<Diagnostic>) {
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

/// The key of scores of a target.
const TARGET_SCORES: &str = "target_scores";

/// The key of the images that these are of.
const SCORED: &str = "target_scores.on";

/// The key of the images that a training adapts to.
const ADAPTED: &str = "method.target";

/// The keys of what a training validates on that is of a target. Notes where such labels would decide something.
fn oracles(stage: &PlannedStage, lineage: &Lineage, problems: &mut Vec<Diagnostic>) -> Vec<String> {
    let is_of_target = |input: &Reference| {
        lineage.hidden_from(&stage.name, &input.stage, split_of(input)).is_some()
    };
    let at = |key: &str| stage.inputs.iter().find(|it| it.key == key);
    // Of a model that learns from labels of the target, an upper bound, everybody knows that it saw them.
    let learns_them = || {
        let labelled = at(TRAIN).filter(|it| lineage.pseudo_labels(&it.stage).is_none());
        labelled.is_some_and(is_of_target)
    };
    // A score that enters no decision of the training is about the domain that it is of.
    let is_scored = |input: &Reference| {
        let is_of =
            |key: &str| lineage.is_of_domain(&stage.name, key, &input.stage, split_of(input));
        is_of(SCORED) || is_of(ADAPTED)
    };
    let sees = |key: &str, input: &Reference| match key {
        TARGET_SCORES => is_scored(input),
        _ => is_of_target(input),
    };
    if let (Some(first), Some(key)) = (at(VALIDATE), goes_by_validation(stage))
        && sees(key, first)
        && !learns_them()
    {
        let message = format!("`{key}` would go by labels of the target domain");
        let label = "images of a domain that is adapted to without labels";
        problems.push(Diagnostic::at(first.span, message, label).help(format!(
            "put labelled images of the source first, which decide, and `{}` behind them, which is recorded",
            first.text()
        )));
    }
    let validated = |it: &&Reference| it.key == VALIDATE || TrainingSplit::is_recorded(&it.key);
    let marked = stage.inputs.iter().filter(validated).filter(|it| is_of_target(it));
    marked.map(|it| it.key.clone()).collect()
}

fn split_of(input: &Reference) -> &str {
    input.split.as_deref().unwrap_or_default()
}

/// A setting by which validation decides something, or enters a score that is said to need no labels of the target.
fn goes_by_validation(stage: &PlannedStage) -> Option<&'static str> {
    let kind = stage.settings.get("schedule").and_then(|it| it.get("kind")?.as_str());
    let has = |key: &&str| stage.settings.contains_key(*key);
    match kind {
        Some("reduce_on_plateau") => Some("schedule"),
        _ => ["early_stopping", "keep_best"].into_iter().find(has).or_else(|| {
            let scored = target_scores(stage).into_iter().filter_map(LabelFreeScore::named);
            scored.filter(|it| it.wants_held_out()).map(|_| TARGET_SCORES).next()
        }),
    }
}
