//! Batch nuclear-norm maximisation (Cui, Wang, Zhuo, Li, Huang and Tian 2020, "Towards Discriminability and
//! Diversity: Batch Nuclear-norm Maximization under Label Insufficient Situations"), and its fast version (Cui,
//! Wang, Zhuo, Li, Huang and Tian 2021, "Fast Batch Nuclear-norm Maximization and Minimization for Robust Domain
//! Adaptation").
//!
//! With the class probabilities P `[B, K]` of B target images, the term is -lambda |P|_* / B, where the nuclear
//! norm |P|_* is the sum of the singular values of P. It is sqrt(B K) at most, when the rows are sure and every
//! class has as many of them. The gradient is that of the nuclear norm itself, U V^T for P = U S V^T, and goes
//! through the probabilities into the classifier and the features. With `fast`, the sum of the min(B, K) largest
//! Euclidean norms of the columns of P takes the place of the nuclear norm.
//!
//! The divisor B is that of pytorch-adapt. The authors divide by min(B, K): for their numbers, `lambda` is
//! B / min(B, K) times theirs.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::spectra::nuclear_norm;
use crate::config::{Keys, Noted};
use crate::nn::ops::{Dims, Number, OpError, Tensor};
use crate::train::{Bench, FitError};

/// What keeps the gradient of the norm of a column of zeros finite.
const EPS: f32 = 1e-10;

/// Settings of batch nuclear-norm maximisation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bnm {
    /// Whether norms of columns stand in for singular values.
    pub fast: bool,
}

impl ReadTerm for Bnm {
    const WEIGHT: &'static str = "weight of the nuclear norm of the target's class probabilities";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "fast",
            "whether norms of the columns of the probabilities stand in for their singular values",
        )]);
        Ok(Self { fast: keys.boolean("fast").or(false)? })
    }
}

impl Term for Bnm {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &Bnm {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let probabilities = seen.target_logits().softmax()?;
        let loss = self.of(&probabilities)?;
        bench.meter("bnm_loss", &loss, probabilities.rows());
        Ok(loss.scale(lambda)?)
    }
}

impl Bnm {
    /// The loss without its weight for probabilities `[B, K]`.
    fn of(self, probabilities: &Tensor) -> Result<Tensor, OpError> {
        let norm = match self.fast {
            true => largest_column_norms(probabilities)?,
            false => nuclear_norm(probabilities)?,
        };
        #[expect(clippy::cast_precision_loss, reason = "batches are far below 2^24 images")]
        let rows = probabilities.rows() as f32;
        norm.scale(-1.0)?.div_by(rows)
    }
}

/// The sum of the min(B, K) largest Euclidean norms of the columns of `p` `[B, K]`. Which ones these are is
/// a constant; of equal ones the first count.
fn largest_column_norms(p: &Tensor) -> Result<Tensor, OpError> {
    let norms = p.square()?.sum_of_rows()?.shift(EPS)?.sqrt()?;
    let (count, classes) = (p.rows(), p.columns());
    if count >= classes {
        return norms.sum();
    }
    let values = norms.host();
    let mut order: Vec<usize> = (0..classes).collect();
    order.sort_by(|one, other| values[*other].total_cmp(&values[*one]));
    let mut kept = vec![0.0; classes];
    order[..count].iter().for_each(|at| kept[*at] = 1.0);
    norms.mul(&norms.constant(kept, Dims::Rows(1, classes))?)?.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::nn::ops::Tape;

    const EXACT: Bnm = Bnm { fast: false };
    const FAST: Bnm = Bnm { fast: true };

    /// Rows that are certain of these classes, of so many.
    fn certain(of: &[usize], classes: usize) -> Tensor {
        let row = |of: usize| (0..classes).map(move |at| f32::from(u8::from(at == of)));
        rows(of.iter().flat_map(|of| row(*of)).collect::<Vec<f32>>(), classes)
    }

    #[test]
    fn balanced_and_certain_rows_reach_the_bound_of_both() {
        // |P|_* = sqrt(B K), divided by B.
        let p = certain(&[0, 1, 2, 2, 1, 0], 3);
        for term in [EXACT, FAST] {
            let found = term.of(&p).unwrap().value();
            assert!((found + 0.5_f64.sqrt()).abs() < 1e-5, "{term:?}: {found}");
            // Certain rows of one class are as sure but less diverse: sqrt(B) / B.
            let collapsed = term.of(&certain(&[1; 6], 3)).unwrap().value();
            assert!((collapsed + 6.0_f64.sqrt().recip()).abs() < 1e-4, "{term:?}: {collapsed}");
        }
    }

    #[test]
    fn the_norm_of_two_by_two_is_that_of_its_closed_form() {
        let p = [0.9_f64, 0.1, 0.3, 0.7];
        let found = EXACT.of(&rows(p.iter().map(|it| *it as f32).collect::<Vec<f32>>(), 2)).unwrap().value();
        // (s1 + s2)^2 = |P|_F^2 + 2 |det P|.
        let squares: f64 = p.iter().map(|it| it * it).sum();
        let norm = (squares + 2.0 * (p[0] * p[3] - p[1] * p[2]).abs()).sqrt();
        assert!((found + norm / 2.0).abs() < 1e-6, "{found} and {norm}");
    }

    #[test]
    fn the_fast_version_takes_as_many_columns_as_there_are_rows() {
        let p = [0.1_f32, 0.5, 0.15, 0.25, 0.2, 0.3, 0.05, 0.45];
        let norm = |at: usize| f64::from(p[at]).hypot(f64::from(p[4 + at]));
        let found = FAST.of(&rows(p.to_vec(), 4)).unwrap().value();
        let expected = -(norm(1) + norm(3)) / 2.0;
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }

    #[test]
    fn gradients_are_finite_where_columns_are_empty_or_all_rows_alike() {
        for term in [EXACT, FAST] {
            for p in [certain(&[1, 1], 3), certain(&[0; 5], 3), rows(vec![0.25; 8], 4)] {
                let tape = Tape::default();
                let p = p.on(&tape);
                let loss = term.of(&p).unwrap();
                let gradient = tape.backward(&loss).unwrap().take(&p).unwrap().host();
                assert!(gradient.iter().all(|it| it.is_finite()), "{term:?}: {gradient:?}");
            }
        }
    }
}
