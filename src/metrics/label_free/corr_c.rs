//! Class correlation (Tu, Deng, Zheng and Gedeon 2024, "What Does Softmax Probability Tell Us about Classifiers Ranking
//! Across Diverse Test Conditions?"), as a score that selects models (Hu et al. 2023, "Mixed Samples as Probes for
//! Unsupervised Model Selection in Domain Adaptation", call it Corr-C). It is the cosine between P^T P and the identity
//! matrix, times the root of the number of classes.

use super::bnm;

/// Higher is better: Tu et al. take answers that are sure and cover all classes evenly for those of a good model. Its
/// least value, 1, is that of a model that gives all images the same answer.
pub fn higher_is_better() -> bool {
    true
}

/// tr(P^T P) / ||P^T P||_F of the probabilities P `[N, classes]`: from 1, where all rows are alike, to
/// sqrt(min(N, classes)), where answers are sure and every class has as many.
pub fn corr_c(probabilities: &[f64], classes: usize) -> f64 {
    let together = bnm::gram(probabilities, classes);
    let trace: f64 = together.iter().step_by(classes + 1).sum();
    trace / together.iter().map(|it| it * it).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_1_for_equal_answers_and_largest_for_sure_balanced_ones() {
        assert!((corr_c(&[0.2, 0.7, 0.1, 0.2, 0.7, 0.1], 3) - 1.0).abs() < 1e-12);
        assert!((corr_c(&[1.0, 0.0, 0.0, 1.0], 2) - 2.0_f64.sqrt()).abs() < 1e-12);
    }
}
