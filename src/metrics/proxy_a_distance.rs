//! Proxy A-distance: how well a linear classifier tells two domains apart by their features.

use super::logistic::Logistic;

/// 2 (1 - 2 e), where e is the error, 0 to 1, of logistic regression between the two domains on rows it
/// was not trained on (Ben-David et al. 2007, "Analysis of Representations for Domain Adaptation";
/// Ganin et al. 2016). 2 for domains told apart without error, about 0 for domains that are alike;
/// chance may bring it below 0, at worst to -2.
///
/// Both domains give as many rows of `width` features, those of the longer one at the end being left out;
/// every other row is trained on. The rows must therefore come in an order that has nothing to do with
/// what they are, as those of a random draw do: of rows in the order of their classes, the longer domain
/// would lose whole classes. 0 where no row is left.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub fn proxy_a_distance(source: &[f32], target: &[f32], width: usize) -> f64 {
    let count = source.len().min(target.len()) / width / 2 * 2;
    if count == 0 {
        return 0.0;
    }
    let (mut trained, mut held) = (Vec::new(), Vec::new());
    for rows in [source, target] {
        for (at, row) in rows.chunks_exact(width).take(count).enumerate() {
            if at % 2 == 0 { &mut trained } else { &mut held }.extend_from_slice(row);
        }
    }
    let is_target: Vec<bool> = (0..count).map(|at| at >= count / 2).collect();
    let odds = Logistic::train(&trained, width, &is_target).log_odds(&held);
    let wrong = odds.iter().zip(&is_target).filter(|(odds, target)| (**odds > 0.0) != **target);
    2.0 * (1.0 - 2.0 * wrong.count() as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn rows(seed: u64, shift: f32) -> Vec<f32> {
        let mut stream = random::stream(seed, "rows", 0, 0);
        (0..400 * 3).map(|at| stream.normal() + if at % 3 == 0 { shift } else { 0.0 }).collect()
    }

    #[test]
    fn it_is_2_for_domains_far_apart_and_near_0_for_alike_ones() {
        assert_eq!(proxy_a_distance(&rows(1, 0.0), &rows(2, 20.0), 3), 2.0);
        let alike = proxy_a_distance(&rows(1, 0.0), &rows(2, 0.0), 3);
        assert!(alike.abs() < 0.3, "{alike}");
        let between = proxy_a_distance(&rows(1, 0.0), &rows(2, 2.0), 3);
        // Two unit normals two apart: the best error is 15.9 %.
        assert!((between - 1.365).abs() < 0.2, "{between}");
        assert_eq!(proxy_a_distance(&[1.0], &[2.0], 1), 0.0);
    }
}
