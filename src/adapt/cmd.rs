//! Central moment discrepancy (Zellinger, Grubinger, Lughofer, Natschläger and Saminger-Platz 2017,
//! "Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning").
//!
//! loss = CE(class, source) + lambda CMD of the features f, which are first brought into an interval
//! from a to b:
//!
//! CMD = |E f_s - E f_t| / |b - a| + sum_{k = 2 .. K} |C_k(f_s) - C_k(f_t)| / |b - a|^k
//!
//! with the Euclidean norm, means E over a batch and the central moments C_k(f) = E (f - E f)^k of each
//! coordinate. Gradients go through everything, the means in the moments too. The paper's networks have
//! bounded activations in this layer; ours end in a ReLU, whose high moments explode, so that tanh is
//! taken of the features (`squash`), with |b - a| = 2. The authors' code has no factors |b - a|^k, which
//! amounts to an interval of length 1: that of the sigmoid. Without squashing there is no interval
//! and no factor either.
//!
//! The gradient of a norm is not defined at 0, so each one is sqrt(sum of squares + 1e-8): equal batches are
//! 1e-4 / |b - a|^k apart in each moment.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted, words};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Added under the root of a norm. Two domains with the same moments differ in them by rounding, about
/// 1e-7, which must be small beside the root of this: it would become a direction of descent.
const EPS: f32 = 1e-8;

/// Settings of the central moment discrepancy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cmd {
    /// Highest order K of a moment.
    pub moments: usize,
    /// What is made of the features before moments are taken.
    pub squash: Squash,
}

words! {
    /// How features are brought into an interval.
    pub(super) enum Squash {
        /// Hyperbolic tangent: from -1 to 1.
        Tanh = "tanh",
        /// Logistic function: from 0 to 1.
        Sigmoid = "sigmoid",
        /// They stay as they are.
        None = "none",
    }
}

impl Squash {
    fn of(self, x: &Tensor) -> Result<Tensor, OpError> {
        match self {
            Self::Tanh => tanh(x),
            Self::Sigmoid => x.sigmoid(),
            Self::None => Ok(x.clone()),
        }
    }

    /// Length of the interval; 1 where there is none.
    fn length(self) -> f32 {
        match self {
            Self::Tanh => 2.0,
            Self::Sigmoid | Self::None => 1.0,
        }
    }
}

/// The hyperbolic tangent of each value.
pub(super) fn tanh(x: &Tensor) -> Result<Tensor, OpError> {
    x.scale(2.0)?.sigmoid()?.scale(2.0)?.shift(-1.0)
}

impl ReadTerm for Cmd {
    const WEIGHT: &'static str = "weight of the distance between the central moments";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("moments", "highest order of the moments of the features that are compared"),
            ("squash", "how the features are brought into an interval before"),
        ]);
        let moments = keys.count("moments", 1..=10).or(5_usize);
        let squash = keys.choice("squash").or(Squash::Tanh);
        Ok(Self { moments: moments?, squash: squash? })
    }
}

impl Term for Cmd {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Cmd {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let distances = self.distances(&seen.features.source, &seen.features.target)?;
        let (mean, others) = distances.split_first().expect("the mean is the first moment");
        let distance = others.iter().try_fold(mean.clone(), |sum, it| sum.add(it))?;
        bench.meter("cmd_loss", &distance, seen.images());
        Ok(distance.scale(lambda)?)
    }
}

impl Cmd {
    /// How far the moments of each order are apart between features `[N, d]` and `[M, d]`, with their
    /// factors |b - a|^-k.
    fn distances(&self, source: &Tensor, target: &Tensor) -> Result<Vec<Tensor>, OpError> {
        let (source, target) = (self.squash.of(source)?, self.squash.of(target)?);
        let (source_mean, target_mean) = (source.mean_of_rows()?, target.mean_of_rows()?);
        let mut length = self.squash.length();
        let mut distances = vec![norm(&source_mean.sub(&target_mean)?)?.div_by(length)?];
        let (source, target) = (source.sub(&source_mean)?, target.sub(&target_mean)?);
        let (mut of_source, mut of_target) = (source.clone(), target.clone());
        for _ in 2..=self.moments {
            length *= self.squash.length();
            (of_source, of_target) = (of_source.mul(&source)?, of_target.mul(&target)?);
            let apart = of_source.mean_of_rows()?.sub(&of_target.mean_of_rows()?)?;
            distances.push(norm(&apart)?.div_by(length)?);
        }
        Ok(distances)
    }
}

/// The Euclidean norm of all values.
fn norm(x: &Tensor) -> Result<Tensor, OpError> {
    x.square()?.sum()?.shift(EPS)?.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::kernels::tests::{batch, rows_of};
    use crate::config::Word as _;
    use crate::nn::ops::{CpuOps, Dims, Tape};

    /// The values of the distances.
    fn values(cmd: Cmd, source: &Tensor, target: &Tensor) -> Vec<f64> {
        cmd.distances(source, target).unwrap().iter().map(Tensor::value).collect()
    }

    /// The mean of each coordinate's powers, around its mean where `central`.
    fn moment(rows: &[Vec<f64>], order: i32) -> Vec<f64> {
        let count = rows.len() as f64;
        let mean = |at: usize| rows.iter().map(|row| row[at]).sum::<f64>() / count;
        let central = |at: usize| {
            rows.iter().map(|row| (row[at] - mean(at)).powi(order)).sum::<f64>() / count
        };
        let width = rows[0].len();
        if order == 1 { (0..width).map(mean).collect() } else { (0..width).map(central).collect() }
    }

    #[test]
    fn the_distances_are_the_published_formula() {
        let (source, target) = (batch(1, (6, 3)), batch(2, (5, 3)).scale(1.5).unwrap());
        for squash in Squash::all() {
            let squashed = |x: &Tensor| {
                let of = |it: &f64| match squash {
                    Squash::Tanh => it.tanh(),
                    Squash::Sigmoid => 1.0 / (1.0 + (-it).exp()),
                    Squash::None => *it,
                };
                let rows = rows_of(x);
                rows.iter().map(|row| row.iter().map(of).collect()).collect::<Vec<Vec<f64>>>()
            };
            let (source_rows, target_rows) = (squashed(&source), squashed(&target));
            let found = values(Cmd { moments: 5, squash }, &source, &target);
            assert_eq!(found.len(), 5);
            let length = if squash == Squash::Tanh { 2.0_f64 } else { 1.0 };
            for (order, found) in (1..).zip(found) {
                let pairs =
                    moment(&source_rows, order).into_iter().zip(moment(&target_rows, order));
                let squares: f64 = pairs.map(|(one, other)| (one - other).powi(2)).sum();
                let expected = (squares + f64::from(EPS)).sqrt() / length.powi(order);
                let near = (found - expected).abs() < 1e-6;
                assert!(near, "{squash:?}, order {order}: {found} and {expected}");
            }
        }
    }

    #[test]
    fn mirrored_batches_differ_in_the_odd_moments_alone() {
        let values_of =
            |values: [f32; 8]| CpuOps::shared().tensor(values.to_vec(), Dims::Rows(4, 2)).unwrap();
        // Both have the mean (1, 2).
        let source = values_of([0.0, 1.5, 0.0, 1.5, 0.5, 2.0, 3.5, 3.0]);
        let target = values_of([2.0, 2.5, 2.0, 2.5, 1.5, 2.0, -1.5, 1.0]);
        let found = values(Cmd { moments: 6, squash: Squash::None }, &source, &target);
        for (order, found) in (1..).zip(found) {
            let differs = order > 1 && order % 2 == 1;
            assert_eq!(found > 0.1, differs, "order {order}: {found}");
            assert!(differs || found < 2e-4, "order {order}: {found}");
        }
    }

    #[test]
    fn equal_batches_have_a_small_distance_and_no_gradient() {
        let tape = Tape::default();
        let x = batch(3, (4, 3)).on(&tape);
        let cmd = Cmd { moments: 5, squash: Squash::Tanh };
        let distances = cmd.distances(&x, &x.detached()).unwrap();
        let sum = distances[1..].iter().fold(distances[0].clone(), |sum, it| sum.add(it).unwrap());
        assert!(sum.value() < 1e-4, "{}", sum.value());
        let gradient = tape.backward(&sum).unwrap().take(&x).unwrap().host();
        assert!(gradient.iter().all(|it| it.abs() < 1e-3), "{gradient:?}");
    }
}
