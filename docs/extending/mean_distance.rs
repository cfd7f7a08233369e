//! Moves the mean features of the target toward those of the source: a maximum mean discrepancy with
//! a linear kernel (Tzeng et al. 2014, "Deep Domain Confusion").
//!
//! loss = CE(class, source) + lambda |mean f(source) - mean f(target)|^2 over a batch of each domain.

use super::{Classified, Coefficient};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::Part;
use crate::nn::ops::{OpError, Tensor};
use crate::train::{Batch, BatchNormFamily, Bench, FitError, Group, Learner, Method, Needs};

/// Settings of the method.
#[derive(Debug, Clone)]
pub struct MeanDistance {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the distance.
    pub lambda: Coefficient,
}

impl MeanDistance {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the distance between the mean features"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::GANIN);
        Ok(Self { target: target?, lambda: lambda? })
    }
}

impl Method for MeanDistance {
    fn needs(&self) -> Needs<'_> {
        let batch_norm = BatchNormFamily::ALL;
        Needs { target: Some(&self.target), batch_norm, ..Needs::SOURCE }
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Nearing(self)))
    }
}

/// The method in the middle of a training: it remembers nothing.
struct Nearing<'m>(&'m MeanDistance);

impl Learner for Nearing<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", |progress| self.0.lambda.at(progress));
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let logits = bench.source_of(&Part::CLASSIFIER, &features)?;
        let classified = Classified::new(&logits, &batch.source().targets)?;
        let distance = distance(&features.source, &features.target)?;

        classified.report_loss(bench);
        bench.meter("mean_distance", &distance, classified.count + features.target.rows());
        classified.report_accuracy(bench);
        let loss = classified.loss.add(&distance.scale(lambda)?)?;
        bench.descend(&loss, &[Group::MAIN])
    }
}

/// |mean of the rows of `source` - mean of the rows of `target`|^2, of `[N, d]` and `[M, d]`.
fn distance(source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
    source.mean_of_rows()?.sub(&target.mean_of_rows()?)?.square()?.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::ops::{CpuOps, Dims};

    #[test]
    fn the_distance_is_that_of_the_means() {
        let rows = |values: Vec<f32>| {
            let dims = Dims::Rows(values.len() / 2, 2);
            CpuOps::shared().tensor(values, dims).unwrap()
        };
        let (source, target) = (rows(vec![0.0, 0.0, 2.0, 4.0]), rows(vec![4.0, 4.0]));
        // The means are (1, 2) and (4, 4).
        assert_eq!(distance(&source, &target).unwrap().value(), 9.0 + 4.0);
        assert_eq!(distance(&source, &source).unwrap().value(), 0.0);
    }

    #[test]
    fn the_line_that_registers_it_fits() {
        let _: fn(&mut Keys) -> Result<MeanDistance, Noted> = MeanDistance::read;
        let _: fn(&MeanDistance) -> &dyn Method = |method| method;
    }
}
