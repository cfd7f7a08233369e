//! Compares what stages ask of data sets and models with what these are, as soon as that is known: those that the
//! store has, or that are known at a glance at their files, before anything runs, and those that a run builds before
//! anything trains.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use petgraph::graph::NodeIndex;

use super::Error;
use crate::config::Report;
use crate::exec::Holdings;
use crate::plan::foresight::Foresight;
use crate::plan::graph::Plan;
use crate::stages::Product;

/// What was found of the data sets of a plan so far.
pub(super) struct Comparison {
    compared: Mutex<Compared>,
}

struct Compared {
    foresight: Foresight,
    /// What artifacts say of themselves, or the files that they are built from, each read once.
    found: HashMap<NodeIndex, Product>,
    /// What does not fit.
    report: Option<Report>,
}

impl Comparison {
    /// That of `plan` with what the store has of it.
    ///
    /// # Errors
    /// When a stage does not fit, or its files cannot be what it reads.
    pub fn new(plan: &Plan, holdings: &Holdings) -> Result<Self, Error> {
        let mut found = HashMap::new();
        let foresight = Foresight::new(plan, |task| {
            let product = match holdings.get(task) {
                Some(holding) => Product::built(&holding.artifact.path),
                None => plan.graph[task].stage.glance()?,
            };
            found.extend(product.clone().map(|it| (task, it)));
            Ok(product)
        });
        match foresight.report(plan) {
            Some(report) => Err(Box::new(report).into()),
            None => Ok(Self { compared: Mutex::new(Compared { foresight, found, report: None }) }),
        }
    }

    /// What is known of what `task` builds.
    pub fn product(&self, task: NodeIndex) -> Option<Product> {
        self.compared().foresight.product(task).cloned()
    }

    fn compared(&self) -> MutexGuard<'_, Compared> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data sets that trainings wait for, to be compared before.
    pub fn holds(&self, plan: &Plan, holdings: &Holdings) -> BTreeMap<NodeIndex, Vec<NodeIndex>> {
        self.compared().foresight.holds(plan, |task| holdings.get(task).is_some())
    }

    /// Whether everything fits now that the artifact of `task` is in `folder`.
    pub fn goes_on(&self, plan: &Plan, task: NodeIndex, folder: &Path) -> bool {
        let mut compared = self.compared();
        let Compared { foresight, found, report } = &mut *compared;
        if report.is_none()
            && foresight.is_open(task)
            && let Some(product) = Product::built(folder)
        {
            found.insert(task, product);
            *foresight = Foresight::new(plan, |task| Ok(found.get(&task).cloned()));
            *report = foresight.report(plan);
        }
        report.is_none()
    }

    /// What does not fit, if something was found meanwhile.
    pub fn into_report(self) -> Option<Report> {
        self.compared.into_inner().unwrap_or_else(PoisonError::into_inner).report
    }
}
