//! Scores of open sets: how well known classes are told apart, and how well images of none of them are
//! noticed (Saito et al. 2018, "Open Set Domain Adaptation by Backpropagation"; the mean of both: Bucci et
//! al. 2020, "On the Effectiveness of Image Rotation for Open Set Domain Adaptation").

use super::confusion::Confusion;
use super::share;

/// Shares of images that are taken for what they are, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenSet {
    /// OS*: the mean over the known classes that have images; `None` where none has.
    pub os_star: Option<f64>,
    /// UNK: that of images of no known class; `None` without such images.
    pub unk: Option<f64>,
}

impl OpenSet {
    /// Those of a confusion matrix whose class `unknown` holds the images of no known class.
    ///
    /// # Examples
    ///
    /// ```
    /// use runner::metrics::confusion::Confusion;
    /// use runner::metrics::open_set::OpenSet;
    ///
    /// let mut confusion = Confusion::new(3);
    /// for (label, answer) in [(0, 0), (1, 0), (2, 2), (2, 1)] {
    ///     confusion.add(label, answer);
    /// }
    /// let scores = OpenSet::of(&confusion, 2);
    /// assert_eq!((scores.os_star, scores.unk, scores.hos()), (Some(0.5), Some(0.5), Some(0.5)));
    /// ```
    #[expect(clippy::cast_precision_loss, reason = "classes are far below 2^53")]
    pub fn of(confusion: &Confusion, unknown: u32) -> Self {
        let with_images = confusion.by_class().filter(|(_, [images, ..])| *images > 0);
        let (mut known, mut unk) = (Vec::new(), None);
        for (class, [images, _, right]) in with_images {
            match class == unknown {
                true => unk = Some(share(right, images)),
                false => known.push(share(right, images)),
            }
        }
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        Self { os_star: (!known.is_empty()).then_some(mean), unk }
    }

    /// HOS: the harmonic mean 2 OS* UNK / (OS* + UNK), which is 0 where either is; `None` where there are not
    /// both.
    pub fn hos(&self) -> Option<f64> {
        let (known, unknown) = (self.os_star?, self.unk?);
        Some(if known + unknown > 0.0 { 2.0 * known * unknown / (known + unknown) } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answers: &[(u32, u32)]) -> OpenSet {
        let mut confusion = Confusion::new(4);
        answers.iter().for_each(|(label, answer)| confusion.add(*label, *answer));
        OpenSet::of(&confusion, 3)
    }

    #[test]
    fn known_classes_count_alike_however_many_images_they_have() {
        // Class 0: 3 of 4, class 1: 0 of 1, class 2 has none; unknown: 1 of 3.
        let answers = [(0, 0), (0, 0), (0, 3), (0, 0), (1, 2), (3, 0), (3, 3), (3, 2)];
        let scores = of(&answers);
        assert!((scores.os_star.unwrap() - 0.375).abs() < 1e-15);
        assert!((scores.unk.unwrap() - 1.0 / 3.0).abs() < 1e-15);
        let harmonic = 2.0 / (1.0 / 0.375 + 3.0);
        assert!((scores.hos().unwrap() - harmonic).abs() < 1e-15);
    }

    #[test]
    fn a_network_that_knows_everything_or_nothing_has_no_harmonic_mean() {
        assert_eq!(of(&[(0, 0), (1, 1), (3, 0)]).hos(), Some(0.0));
        assert_eq!(of(&[(0, 3), (3, 3)]).hos(), Some(0.0));
        assert_eq!(of(&[(0, 3), (3, 0)]).hos(), Some(0.0));
    }

    #[test]
    fn what_has_no_images_has_no_score() {
        let known = of(&[(0, 0), (1, 3)]);
        assert_eq!((known.os_star, known.unk, known.hos()), (Some(0.5), None, None));
        let unknown = of(&[(3, 3)]);
        assert_eq!((unknown.os_star, unknown.unk, unknown.hos()), (None, Some(1.0), None));
    }
}
