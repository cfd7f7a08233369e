//! Information maximisation (Krause, Perona and Gomes 2010, "Discriminative Clustering by Regularized
//! Information Maximization"; Shi and Sha 2012, "Information-Theoretical Learning of Discriminative Clusters for
//! Unsupervised Domain Adaptation"), on the target's images.
//!
//! With the class probabilities p_i of the target images of a batch and H(p) = -sum_k p_k ln(p_k + 1e-5), the
//! term is lambda (mean_i H(p_i) - H(mean_i p_i)): what SHOT adds to its pseudo labels. Each answer is to be
//! sure and all of them together are to be diverse, which keeps the answers from becoming one class. The gradient
//! goes through both entropies, into the classifier and the features. H(mean_i p_i) is that of a batch, which
//! should have several times as many images as there are classes.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::shot::entropies;
use crate::config::{Keys, Noted};
use crate::nn::ops::{Number, Tensor};
use crate::train::{Bench, FitError};

/// Settings of information maximisation: none but its weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct InfoMax;

impl ReadTerm for InfoMax {
    const WEIGHT: &'static str =
        "weight of the mean entropy of the target's answers less the entropy of their mean";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(_: &mut Keys) -> Result<Self, Noted> {
        Ok(Self)
    }
}

impl Term for InfoMax {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(self))
    }
}

impl ActiveTerm for &InfoMax {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = seen.target_logits();
        let [entropy, diversity] = entropies(&logits.softmax()?)?;
        let loss = entropy.sub(&diversity)?;
        bench.meter("info_max_loss", &loss, logits.rows());
        bench.meter("target_diversity", &diversity, logits.rows());
        Ok(loss.scale(lambda)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::step;
    use crate::nn::ops::{CpuOps, Dims};

    /// The loss without its weight for probabilities of so many classes.
    fn loss(probabilities: Vec<f32>, classes: usize) -> f64 {
        let dims = Dims::Rows(probabilities.len() / classes, classes);
        let p = CpuOps::shared().tensor(probabilities, dims).unwrap();
        let [entropy, diversity] = entropies(&p).unwrap();
        entropy.sub(&diversity).unwrap().value()
    }

    #[test]
    fn sure_and_diverse_answers_have_the_least_loss_and_equal_ones_have_none() {
        let one_hot = |classes: [usize; 6]| {
            classes.into_iter().flat_map(|it| (0..3).map(move |at| f32::from(u8::from(at == it))))
        };
        let diverse = loss(one_hot([0, 1, 2, 2, 1, 0]).collect(), 3);
        assert!((diverse + 3.0_f64.ln()).abs() < 1e-4, "{diverse}");
        // Entropy minimisation alone cannot tell these from the ones above.
        let collapsed = loss(one_hot([1; 6]).collect(), 3);
        assert!(collapsed.abs() < 1e-4, "{collapsed}");
        let even = loss(vec![1.0 / 3.0; 18], 3);
        assert!(even.abs() < 1e-6, "{even}");
    }

    #[test]
    fn it_is_the_negative_mutual_information_of_image_and_class() {
        let p = [[0.2_f32, 0.8], [0.6, 0.4], [0.9, 0.1]];
        // sum_ik p_ik / N ln(p_ik / mean_k), the other way to write it.
        let mean = |class: usize| p.iter().map(|row| f64::from(row[class])).sum::<f64>() / 3.0;
        let mut information = 0.0;
        for row in &p {
            for (class, value) in row.iter().enumerate() {
                let value = f64::from(*value);
                information += value / 3.0 * (value / mean(class)).ln();
            }
        }
        let found = loss(p.concat(), 2);
        assert!((found + information).abs() < 3e-5, "{found} and {information}");
    }

    #[test]
    fn a_step_reports_the_loss_and_the_diversity() {
        let (readings, _) = step("method = { kind = 'info_max', target = 'other.train' }", |_| {});
        let of = |name: &str| readings.iter().find(|it| it.name == name).unwrap().value;
        assert!(of("info_max_loss") <= 1e-6, "{readings:?}");
        assert!((0.0..=std::f64::consts::LN_2).contains(&of("target_diversity")), "{readings:?}");
    }
}
