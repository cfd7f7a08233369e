//! Ensemble validation: of several candidates, the best is the one that agrees most with the mean of all of them
//! (Hu, Luo, Liang and Foo 2024, "Towards Reliable Model Selection for Unsupervised Domain Adaptation: An Empirical
//! Study and A Certified Baseline").
//!
//! It is a number of a model among others: with other candidates it is another one, and bad candidates mislead it.

use super::largest;
use crate::metrics::share;

/// The sum of the class probabilities that several models give to the same images.
#[derive(Debug, Clone)]
pub struct Ensemble {
    /// `[N, classes]`.
    sums: Vec<f64>,
    classes: usize,
}

impl Ensemble {
    /// Of no model yet.
    pub fn new(images: usize, classes: usize) -> Self {
        Self { sums: vec![0.0; images * classes], classes }
    }

    /// Adds the probabilities, `[n, classes]`, that a model gives to the images from `first` on.
    pub fn add(&mut self, first: usize, probabilities: impl IntoIterator<Item = f64>) {
        let sums = &mut self.sums[first * self.classes..];
        sums.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p);
    }

    /// Whether every model gave numbers. What is not one would decide for all of them.
    pub fn is_finite(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_finite())
    }

    /// The class of the largest mean probability of each image, the first of equal ones.
    pub fn predicted(&self) -> Vec<u32> {
        self.sums.chunks_exact(self.classes).map(largest).collect()
    }
}

/// The share of images that a model takes for what the [`Ensemble`] takes them for, 0 to 1; higher is better.
pub fn ensv(ensemble: &[u32], answers: &[u32]) -> f64 {
    let alike = ensemble.iter().zip(answers).filter(|(a, b)| a == b).count();
    share(alike, ensemble.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_probabilities_decides_and_no_majority() {
        // Two models are a little for class 0 of the first image, one is sure of class 1.
        let models = [[0.6, 0.4, 0.1, 0.9], [0.6, 0.4, 0.2, 0.8], [0.0, 1.0, 0.4, 0.6]];
        let mut ensemble = Ensemble::new(2, 2);
        for model in models {
            // In two batches.
            ensemble.add(0, model[..2].iter().copied());
            ensemble.add(1, model[2..].iter().copied());
        }
        assert_eq!(ensemble.predicted(), [1, 1]);
        assert_eq!(ensv(&ensemble.predicted(), &[0, 1]), 0.5);
        assert_eq!(ensv(&ensemble.predicted(), &[1, 1]), 1.0);
    }

    #[test]
    fn a_model_alone_agrees_with_itself() {
        let mut ensemble = Ensemble::new(3, 2);
        ensemble.add(0, [0.9, 0.1, 0.5, 0.5, 0.2, 0.8]);
        assert_eq!(ensemble.predicted(), [0, 0, 1]);
        assert_eq!(ensv(&ensemble.predicted(), &[0, 0, 1]), 1.0);
        assert!(ensemble.is_finite());
        ensemble.add(1, [f64::NAN, 0.5]);
        assert!(!ensemble.is_finite());
    }
}
