//! Labels of a target that would leave the program: a stage that runs a program of the user's hands over what its inputs
//! hold, and which of them are of a target is known to the plan alone.

use super::domains::Lineage;
use super::pipeline::PlannedStage;
use crate::config::Diagnostic;
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
