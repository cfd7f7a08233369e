//! Scores of a model on a target domain without labels: one file each. They choose between models, or
//! epochs, where the truth about the target is not known.
//!
//! All draw nothing at random, or from fixed streams, and sum in the order of the rows: the same rows
//! give the same bits. Rows are at most [`images_for`] of a domain, so that memory is bounded.

pub mod bnm;
pub mod class_ami;
pub mod dev;
pub mod entropy;
pub mod info_max;
pub mod iwv;
mod k_means;
pub mod snd;

use crate::config::words;

words! {
    /// A score, with its name in files and metrics.
    pub enum LabelFreeScore {
        /// [`entropy`].
        Entropy = "entropy",
        /// [`info_max`].
        InfoMax = "info_max",
        /// [`snd`].
        Snd = "snd",
        /// [`bnm`].
        Bnm = "bnm",
        /// [`class_ami`].
        ClassAmi = "class_ami",
        /// [`dev`].
        Dev = "dev",
        /// [`iwv`].
        Iwv = "iwv",
    }
}

/// What a model makes of images.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Class probabilities `[N, classes]`.
    pub probabilities: Vec<f64>,
    /// Number of classes.
    pub classes: usize,
    /// What the classifier takes in, `[N, width]`.
    pub features: Vec<f32>,
    /// Numbers a row of features.
    pub width: usize,
}

/// What the importance-weighted scores need of the source.
#[derive(Debug, Clone, Default)]
pub struct SourceSample {
    /// Features of images that were trained on, `[N, width]`.
    pub train: Vec<f32>,
    /// Features of images held out, `[M, width]`.
    pub held: Vec<f32>,
    /// Cross-entropy of each of those, in nats.
    pub losses: Vec<f64>,
}

impl LabelFreeScore {
    /// Whether models are better the higher it is.
    pub fn higher_is_better(self) -> bool {
        match self {
            Self::Entropy => entropy::higher_is_better(),
            Self::InfoMax => info_max::higher_is_better(),
            Self::Snd => snd::higher_is_better(),
            Self::Bnm => bnm::higher_is_better(),
            Self::ClassAmi => class_ami::higher_is_better(),
            Self::Dev => dev::higher_is_better(),
            Self::Iwv => iwv::higher_is_better(),
        }
    }

    /// Whether it needs a [`SourceSample`].
    pub fn wants_source(self) -> bool {
        matches!(self, Self::Dev | Self::Iwv)
    }
}

/// The values of `scores` for what a model makes of the target; `source` for those that want it.
///
/// # Panics
/// When a score wants a source and there is none.
pub fn values(
    scores: &[LabelFreeScore],
    target: &Outputs,
    source: Option<&SourceSample>,
) -> Vec<f64> {
    let (rows, classes) = (&target.probabilities, target.classes);
    // One classifier between the domains serves all scores that weigh by it.
    let weighed = scores.iter().any(|score| score.wants_source()).then(|| {
        let source = source.expect("a source for scores that want one");
        (iwv::weights(&source.train, &target.features, &source.held, target.width), source)
    });
    let value = |score: &LabelFreeScore| match (score, &weighed) {
        (LabelFreeScore::Entropy, _) => entropy::entropy(rows, classes),
        (LabelFreeScore::InfoMax, _) => info_max::info_max(rows, classes),
        (LabelFreeScore::Snd, _) => snd::snd(rows, classes),
        (LabelFreeScore::Bnm, _) => bnm::bnm(rows, classes),
        (LabelFreeScore::ClassAmi, _) => class_ami::class_ami(target),
        (LabelFreeScore::Dev, Some((weights, source))) => dev::dev(weights, &source.losses),
        (LabelFreeScore::Iwv, Some((weights, source))) => iwv::iwv(weights, &source.losses),
        (LabelFreeScore::Dev | LabelFreeScore::Iwv, None) => f64::NAN,
    };
    scores.iter().map(value).collect()
}

/// Images of a domain at most.
const IMAGES: usize = 2000;

/// Numbers of a domain's features at most: 64 MB.
const NUMBERS: usize = 1 << 24;

/// How many images of a domain are looked at where features have `width` numbers: 2,000, or fewer
/// (at least 100) where together they would be more than 2^24 numbers.
pub fn images_for(width: usize) -> usize {
    (NUMBERS / width.max(1)).clamp(100, IMAGES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Word;

    #[test]
    fn less_is_better_of_entropies_and_weighed_losses() {
        let lower: Vec<&str> =
            LabelFreeScore::all().filter(|it| !it.higher_is_better()).map(|it| it.word()).collect();
        assert_eq!(lower, ["entropy", "dev", "iwv"]);
    }

    #[test]
    fn wide_features_are_looked_at_for_fewer_images() {
        assert_eq!([1, 800, 25_088, 1 << 30].map(images_for), [2000, 2000, 668, 100]);
    }
}
