//! Moves the mean features of the target toward those of the source: a maximum mean discrepancy with
//! a linear kernel (Tzeng et al. 2014, "Deep Domain Confusion").
//!
//! loss = CE(class, source) + lambda |mean f(source) - mean f(target)|^2 over a batch of each domain.

use dfdx::prelude::*;

use super::{Classified, Coefficient, Domains, Losses, Reading, Step, value};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::nn::Part;
use crate::nn::ops::{Batch, Ops, Scalar};

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

    pub(super) fn losses<D: Ops>(&self, step: Step<D>) -> Result<Losses<D>, D::Err> {
        let lambda = self.lambda.at(&step.progress);
        // One domain per pass, so that batch norm never sees a mixture.
        let Domains { model, entry, source, source_pass, targets, target, target_pass } =
            step.domains();

        let features = model.features_from(entry, source.leaky_traced(), source_pass)?;
        let for_distance = features.with_empty_tape();
        let logits = model.forward(&Part::CLASSIFIER, features, source_pass)?;
        let classified = Classified::new(logits, &targets)?;

        let of_target = model.features_from(entry, target.leaky_traced(), target_pass)?;
        let both = classified.count + of_target.shape().0;
        let distance = distance(for_distance, of_target)?;

        let readings = vec![
            classified.loss_reading(),
            Reading { name: "mean_distance", value: value(&distance), weight: both },
            classified.accuracy_reading(),
            Reading { name: "lambda", value: f64::from(lambda), weight: 0 },
        ];
        let total = classified.loss.try_add(distance.try_mul(lambda)?)?;
        Ok(Losses { total, readings })
    }
}

/// |mean of the rows of `source` - mean of the rows of `target`|^2, of `[N, d]` and `[M, d]`.
fn distance<D: Ops, T: Tape<f32, D> + Merge<T>>(
    source: Batch<D, T>,
    target: Batch<D, T>,
) -> Result<Scalar<D, T>, D::Err> {
    let target = target.try_mean::<(usize,), Axis<0>>()?;
    source.try_mean::<(usize,), Axis<0>>()?.try_sub(target)?.try_square()?.try_sum::<(), _>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::model::host;

    #[test]
    fn the_distance_is_that_of_the_means() {
        let device = Cpu::default();
        let source = device.tensor_from_vec(vec![0.0, 0.0, 2.0, 4.0], (2, 2));
        let target = device.tensor_from_vec(vec![4.0, 4.0], (1, 2));
        // The means are (1, 2) and (4, 4).
        assert_eq!(host(&distance(source.clone(), target).unwrap())[0], 9.0 + 4.0);
        assert_eq!(host(&distance(source.clone(), source).unwrap())[0], 0.0);
    }

    #[test]
    fn the_lines_that_register_it_fit() {
        let _: fn(&mut Keys) -> Result<MeanDistance, Noted> = MeanDistance::read;
        let _: fn(&MeanDistance) -> &Reference = |method| &method.target;
        let _: fn(&MeanDistance, Step<Cpu>) -> _ = MeanDistance::losses::<Cpu>;
    }
}
