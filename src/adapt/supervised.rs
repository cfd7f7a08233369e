//! Plain training on labelled images.

use super::Classified;
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::Part;
use crate::train::{Batch, Bench, FitError, Group, Learner, Method, Needs};

/// Mean cross-entropy of the class logits. It has no settings.
#[derive(Debug, Clone, Copy)]
pub struct Supervised;

impl Supervised {
    #[expect(clippy::unnecessary_wraps, reason = "as every method")]
    pub(super) fn read(_: &mut Keys) -> Result<Self, Noted> {
        Ok(Self)
    }
}

impl Method for Supervised {
    fn needs(&self) -> Needs<'_> {
        Needs::SOURCE
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(*self))
    }
}

impl Learner for Supervised {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let classified = Classified::new(&logits, &source.targets)?;
        classified.report_loss(bench);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss, &[Group::MAIN])
    }
}
