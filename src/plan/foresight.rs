//! What does not fit by what the store knows already: data sets of the user's own tell their classes,
//! sizes and splits only once they were built, and a mismatch should come up before hours of training.

use std::collections::HashMap;
use std::path::PathBuf;

use petgraph::graph::NodeIndex;

use super::fingerprint::{Content, Fingerprint};
use super::graph::Plan;
use super::pipeline::PlannedStage;
use super::pipeline_file::report;
use crate::config::{Diagnostic, Report};
use crate::stages::{DatasetShape, Described, Problem, Product};

/// Everything that is wrong with `plan` by the data sets that `find` has, each by its fingerprint.
/// Reads nothing but their descriptions, and those only where the pipeline alone does not say it.
pub fn foresee(
    plan: &Plan,
    find: impl Fn(&Fingerprint) -> Option<(Content, PathBuf)>,
) -> Option<Report> {
    let mut contents: HashMap<NodeIndex, Content> = HashMap::new();
    let mut products: HashMap<NodeIndex, Foreseen> = HashMap::new();
    let mut problems: Vec<(usize, Diagnostic)> = Vec::new();
    for task in &plan.order {
        let trial = plan.graph[*task].trials.first().copied().unwrap_or_default();
        let name = plan.graph[*task].name.as_str();
        let planned = plan.trials[trial].pipeline.stages.iter().find(|stage| stage.name == name);
        let Some(planned) = planned else { continue };
        let told = plan.graph[*task]
            .inputs
            .iter()
            .any(|input| products.get(&input.task).is_some_and(|foreseen| foreseen.told));
        let mut foreseen = Foreseen { product: planned.product.clone(), told: false };
        if told {
            match planned.stage.describe(&described(plan, *task, &products)) {
                Ok(product) => foreseen = Foreseen { product, told },
                Err(found) => {
                    let of_stage = found.into_iter().map(|it| (trial, diagnostic(it, planned)));
                    problems.extend(of_stage);
                }
            }
        }
        if let Product::Dataset(shape) = &foreseen.product {
            let whole = is_whole(shape);
            let fingerprint = plan.fingerprint(*task, |input| contents.get(&input).copied());
            if let Some((content, folder)) = fingerprint.and_then(|it| find(&it)) {
                contents.insert(*task, content);
                if let Some(product) = (!whole).then(|| Product::built(&folder)).flatten() {
                    foreseen = Foreseen { product, told: true };
                }
            }
        }
        products.insert(*task, foreseen);
    }
    let (trial, _) = problems.first()?;
    let pipeline = &plan.trials[*trial].pipeline;
    // Places are of a file with the values of a trial put in: those of one trial are shown.
    let of_trial = problems.iter().filter(|(of, _)| of == trial).map(|(_, it)| it.clone());
    Some(report(&pipeline.path, pipeline.sources.clone(), of_trial.collect()))
}

/// What is known of what a task makes.
struct Foreseen {
    product: Product,
    /// Whether the store told more than the pipeline.
    told: bool,
}

/// Whether the pipeline alone says everything that others ask of a data set.
fn is_whole(shape: &DatasetShape) -> bool {
    let DatasetShape { splits, channels, size, classes: _, names, empty: _ } = shape;
    splits.is_some() && channels.is_some() && size.is_some() && names.is_some()
}

fn described(plan: &Plan, task: NodeIndex, products: &HashMap<NodeIndex, Foreseen>) -> Described {
    let mut described = Described::default();
    for input in &plan.graph[task].inputs {
        if let Some(foreseen) = products.get(&input.task) {
            let product = (foreseen.product.clone(), input.split.clone());
            described.inputs.insert(input.key.clone(), product);
        }
    }
    described
}

fn diagnostic(problem: Problem, planned: &PlannedStage) -> Diagnostic {
    let input = planned.inputs.iter().find(|input| input.key == problem.key);
    let place = input.map_or(planned.span, |input| input.span);
    let label = format!("in stage `{}`, by what the store has", planned.name);
    let mut diagnostic = Diagnostic::at(place, problem.message, label);
    diagnostic.help.extend(problem.help);
    diagnostic
}
