//! Higher-order moment matching (Chen, Fu, Chen, Jin, Cheng, Jin and Hua 2020, "HoMM: Higher-order Moment
//! Matching for Unsupervised Domain Adaptation").
//!
//! loss = CE(class, source) + lambda |T(f_s) - T(f_t)|^2 / d^p, where f = tanh(features) with d coordinates
//! and T(f) is the tensor of order p of its moments over a batch: the mean of the outer product of a row
//! with itself, p times. That is the mean squared difference over all d^p entries. The tensors are never
//! built: the inner product of the outer products of a and of b is (a b)^p, so that
//!
//! |T(x) - T(y)|^2 = mean_{i, i'} (x_i x_i')^p + mean_{j, j'} (y_j y_j')^p - 2 mean_{i, j} (x_i y_j)^p,
//!
//! which is exact for any order and any number of rows. The authors' code builds the whole tensor for
//! order 3, groups of coordinates for order 4 or draws 300,000 entries at random; the last two estimate
//! this loss. Gradients go through everything.
//!
//! The paper's equations have moments around 0. The authors' code subtracts from each batch its mean first,
//! and its weight of 10,000 for order 3 (their script for digits) is that of central moments, which are far
//! smaller; so `centred` is true unless told otherwise. Central moments do not see the means: of order 1
//! they are 0. The paper's kernel form and its clustering of target images are not here.

use super::Coefficient;
use super::cmd::tanh;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// Settings of higher-order moment matching.
#[derive(Debug, Clone, Copy)]
pub(super) struct Homm {
    /// Order p of the moments.
    pub order: usize,
    /// Whether the moments are those around each batch's mean.
    pub centred: bool,
}

impl ReadTerm for Homm {
    const WEIGHT: &'static str = "weight of the squared difference of the moments";
    const USUAL: Coefficient = Coefficient::Constant { max: 1e4 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("order", "order of the moments of the features that are compared"),
            ("centred", "whether the moments are those around the mean of each batch"),
        ]);
        let order = keys.count("order", 1..=6).or(3_usize);
        let centred = keys.boolean("centred").or(true);
        Ok(Self { order: order?, centred: centred? })
    }
}

impl Term for Homm {
    fn looks_at_target_logits(&self) -> bool {
        false
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Homm {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let distance = self.distance(&seen.features.source, &seen.features.target)?;
        bench.meter("homm_loss", &distance, seen.images());
        Ok(distance.scale(lambda)?)
    }
}

impl Homm {
    /// The mean squared difference of the moments of features `[N, d]` and `[M, d]`.
    fn distance(&self, source: &Tensor, target: &Tensor) -> Result<Tensor, OpError> {
        let (source, target) = (self.activations(source)?, self.activations(target)?);
        let within = self.product(&source, &source)?.add(&self.product(&target, &target)?)?;
        within.sub(&self.product(&source, &target)?.scale(2.0)?)
    }

    /// What the moments are of.
    fn activations(&self, features: &Tensor) -> Result<Tensor, OpError> {
        let x = tanh(features)?;
        if self.centred { x.sub(&x.mean_of_rows()?) } else { Ok(x) }
    }

    /// The inner product of the moments of `x` and `y` over d^p.
    fn product(&self, x: &Tensor, y: &Tensor) -> Result<Tensor, OpError> {
        #[expect(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
        let width = x.columns() as f32;
        let products = x.matmul(&y.transposed()?)?.div_by(width)?;
        let mut powers = products.clone();
        for _ in 1..self.order {
            powers = powers.mul(&products)?;
        }
        powers.row_means()?.mean()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::kernels::tests::{batch, rows_of};

    /// The activations in double precision.
    fn activations(x: &Tensor, centred: bool) -> Vec<Vec<f64>> {
        let mut rows = rows_of(x);
        rows.iter_mut().flatten().for_each(|it| *it = it.tanh());
        let count = rows.len() as f64;
        for at in 0..x.columns() {
            let mean = rows.iter().map(|row| row[at]).sum::<f64>() / count;
            rows.iter_mut().for_each(|row| row[at] -= if centred { mean } else { 0.0 });
        }
        rows
    }

    /// Every entry of the tensor of moments.
    fn moments(rows: &[Vec<f64>], order: u32) -> Vec<f64> {
        let width = rows[0].len();
        let entry = |place: usize| {
            let digit = |of: u32| place / width.pow(of) % width;
            let product = |row: &Vec<f64>| (0..order).map(|of| row[digit(of)]).product::<f64>();
            rows.iter().map(product).sum::<f64>() / rows.len() as f64
        };
        (0..width.pow(order)).map(entry).collect()
    }

    #[test]
    fn the_distance_is_that_of_the_whole_tensors() {
        let (source, target) = (batch(1, (5, 3)), batch(2, (4, 3)).scale(2.0).unwrap());
        for (order, centred) in
            [(1, false), (2, false), (3, false), (2, true), (3, true), (4, true)]
        {
            let homm = Homm { order, centred };
            let found = homm.distance(&source, &target).unwrap().value();
            let of = |x: &Tensor| moments(&activations(x, centred), u32::try_from(order).unwrap());
            let (one, other) = (of(&source), of(&target));
            let squares: f64 =
                one.iter().zip(&other).map(|(one, other)| (one - other).powi(2)).sum();
            let expected = squares / one.len() as f64;
            assert!(expected > 1e-4, "{homm:?}: {expected}");
            assert!((found - expected).abs() < 3e-7, "{homm:?}: {found} and {expected}");
        }
    }

    #[test]
    fn order_one_matches_the_means_and_central_moments_do_not_see_them() {
        let (source, target) = (batch(3, (5, 4)), batch(4, (6, 4)));
        let first = Homm { order: 1, centred: false };
        let means = |x: &Tensor| moments(&activations(x, false), 1);
        let apart = means(&source).into_iter().zip(means(&target)).map(|(one, other)| one - other);
        let expected = apart.map(|it| it * it).sum::<f64>() / 4.0;
        let found = first.distance(&source, &target).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
        let central = Homm { centred: true, ..first };
        let found = central.distance(&source, &target).unwrap().value();
        assert!(found.abs() < 1e-7 && expected > 1e-3, "{found} and {expected}");
    }

    #[test]
    fn equal_batches_in_another_order_are_alike() {
        let x = batch(5, (6, 4));
        let turned = x.gather_rows(vec![3, 4, 5, 0, 1, 2]).unwrap();
        for centred in [false, true] {
            let homm = Homm { order: 3, centred };
            let found = homm.distance(&x, &turned).unwrap().value();
            assert!(found.abs() < 1e-6, "{found}");
            let other = homm.distance(&x, &x.scale(2.0).unwrap()).unwrap().value();
            assert!(other > 1e-5, "{other}");
        }
    }
}
