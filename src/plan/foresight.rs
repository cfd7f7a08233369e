//! Whether stages fit the data sets that they are to read, as far as that is known before they run. The
//! classes, sizes and splits of a user's own data are known only once they were built, or at a glance at their
//! files, and a mismatch should come up before hours of training. Is told what there is; reads nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::graph::Plan;
use super::link::missing_split;
use super::pipeline::{Pipeline, PlannedStage};
use super::pipeline_file::report;
use crate::config::{Diagnostic, Report};
use crate::stages::{DatasetShape, Described, Problem, Product};

/// What is known of everything that a plan builds.
pub struct Foresight {
    /// By task.
    products: Vec<Foreseen>,
    /// What does not fit, with the trial that it is of.
    problems: Vec<(usize, Diagnostic)>,
}

/// What is known of what a task builds.
struct Foreseen {
    product: Product,
    /// Whether a data set that was built told more than the pipeline.
    told: bool,
}

impl Foresight {
    /// What is known of `plan` when `found` says what data sets and models there are. It is asked only for those
    /// which the pipeline and what was found before them leave open, and may say that one cannot be built.
    pub fn new(
        plan: &Plan,
        mut found: impl FnMut(NodeIndex) -> Result<Option<Product>, Diagnostic>,
    ) -> Self {
        let unknown = || Foreseen { product: Product::Scores, told: false };
        let mut products: Vec<Foreseen> = plan.graph.node_indices().map(|_| unknown()).collect();
        let mut problems = Vec::new();
        for task in &plan.order {
            let Some((trial, planned)) = stage_of(plan, *task) else { continue };
            let inputs = &plan.graph[*task].inputs;
            let told = inputs.iter().any(|input| products[input.task.index()].told);
            let mut foreseen = Foreseen { product: planned.product.clone(), told: false };
            if told {
                let splits = missing_splits(plan, *task, (planned, &products));
                problems.extend(splits.map(|it| (trial, it)));
                match planned.stage.describe(&described(plan, *task, &products)) {
                    Ok(product) => foreseen = Foreseen { product, told },
                    Err(found) => {
                        let pipeline = &plan.trials[trial].pipeline;
                        let found = found.into_iter();
                        problems.extend(found.map(|it| (trial, diagnostic(it, planned, pipeline))));
                    }
                }
            }
            if is_open(&foreseen.product) {
                match found(*task) {
                    Ok(Some(product)) => foreseen = Foreseen { product, told: true },
                    Ok(None) => {}
                    Err(problem) => problems.push((trial, problem)),
                }
            }
            products[task.index()] = foreseen;
        }
        Self { products, problems }
    }

    /// Everything that does not fit; `None` where nothing is wrong.
    pub fn report(&self, plan: &Plan) -> Option<Report> {
        let (trial, _) = self.problems.first()?;
        let pipeline = &plan.trials[*trial].pipeline;
        // Places are of a file with the values of a trial put in: those of one trial are shown.
        let of_trial = self.problems.iter().filter(|(of, _)| of == trial);
        let of_trial = of_trial.map(|(_, it)| it.clone().as_written(&pipeline.sources)).collect();
        Some(report(&pipeline.path, pipeline.sources.clone(), of_trial))
    }

    /// What is known of what `task` builds.
    pub fn product(&self, task: NodeIndex) -> Option<&Product> {
        self.products.get(task.index()).map(|it| &it.product)
    }

    /// Whether `task` builds a data set or a model of which not everything is known yet that others ask.
    pub fn is_open(&self, task: NodeIndex) -> bool {
        self.products.get(task.index()).is_some_and(|it| is_open(&it.product))
    }

    /// For every training that is still to run, the data sets and models of its trials that have to be there first,
    /// so that everything is compared before hours are spent. `is_there` tells what was built already. A
    /// data set that comes after a training itself is not waited for.
    pub fn holds(
        &self,
        plan: &Plan,
        is_there: impl Fn(NodeIndex) -> bool,
    ) -> BTreeMap<NodeIndex, Vec<NodeIndex>> {
        let mut open: Vec<NodeIndex> =
            plan.order.iter().copied().filter(|it| self.is_open(*it) && !is_there(*it)).collect();
        if open.is_empty() {
            return BTreeMap::new();
        }
        let trainings = plan.order.iter().copied().filter(|task| self.is_training(plan, *task));
        let trainings: Vec<NodeIndex> = trainings.collect();
        let later = plan.with_descendants(&trainings);
        open.retain(|task| !later.contains(task));
        let mut by_trial: Vec<Vec<NodeIndex>> = vec![Vec::new(); plan.trials.len()];
        for task in open {
            for trial in &plan.graph[task].trials {
                by_trial[*trial].push(task);
            }
        }
        let waits = |training: NodeIndex| {
            let trials = plan.graph[training].trials.iter();
            let first: BTreeSet<NodeIndex> =
                trials.flat_map(|trial| by_trial[*trial].iter().copied()).collect();
            (!first.is_empty()).then(|| (training, first.into_iter().collect()))
        };
        trainings.into_iter().filter(|task| !is_there(*task)).filter_map(waits).collect()
    }

    /// Whether `task` makes a model of a data set.
    fn is_training(&self, plan: &Plan, task: NodeIndex) -> bool {
        let product = |task: NodeIndex| &self.products[task.index()].product;
        let mut inputs = plan.graph[task].inputs.iter();
        matches!(product(task), Product::Model(_))
            && inputs.any(|input| matches!(product(input.task), Product::Dataset(_)))
    }
}

/// The stage of a task in the first trial that has it, and the number of that trial.
fn stage_of(plan: &Plan, task: NodeIndex) -> Option<(usize, &PlannedStage)> {
    let trial = plan.graph[task].trials.first().copied()?;
    Some((trial, plan.planned(task)?))
}

/// Whether something that others ask of a data set or a model is not known.
fn is_open(product: &Product) -> bool {
    match product {
        Product::Dataset(shape) => {
            let DatasetShape { splits, channels, size, features: _, classes: _, names, empty: _ } =
                shape;
            splits.is_none() || channels.is_none() || size.is_none() || names.is_none()
        }
        Product::Model(shape) => shape.spec.is_none(),
        Product::Predictions(_)
        | Product::Features
        | Product::Metrics
        | Product::Scores
        | Product::Pictures => false,
    }
}

/// The splits that a stage names and that its data sets do not have, where a data set that was found told so: the
/// others were compared when the file was read.
fn missing_splits<'a>(
    plan: &'a Plan,
    task: NodeIndex,
    (planned, products): (&'a PlannedStage, &'a [Foreseen]),
) -> impl Iterator<Item = Diagnostic> + 'a {
    let inputs = plan.graph[task].inputs.iter();
    inputs.filter_map(move |input| {
        let Foreseen { product: Product::Dataset(shape), told: true } =
            &products[input.task.index()]
        else {
            return None;
        };
        let reference = planned.inputs.iter().find(|it| it.key == input.key)?;
        missing_split(reference, shape)
    })
}

fn described(plan: &Plan, task: NodeIndex, products: &[Foreseen]) -> Described {
    let mut described = Described::default();
    for input in &plan.graph[task].inputs {
        let product = products[input.task.index()].product.clone();
        described.inputs.insert(input.key.clone(), (product, input.split.clone()));
    }
    described
}

fn diagnostic(problem: Problem, planned: &PlannedStage, pipeline: &Pipeline) -> Diagnostic {
    let place = pipeline.place(&planned.name, &problem.key);
    problem.placed(place, format!("in stage `{}`, by the data that are there", planned.name))
}
