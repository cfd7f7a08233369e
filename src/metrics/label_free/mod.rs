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

/// A score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// [`entropy`].
    Entropy,
    /// [`info_max`].
    InfoMax,
    /// [`snd`].
    Snd,
    /// [`bnm`].
    Bnm,
    /// [`class_ami`].
    ClassAmi,
    /// [`dev`].
    Dev,
    /// [`iwv`].
    Iwv,
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
pub struct Source {
    /// Features of images that were trained on, `[N, width]`.
    pub train: Vec<f32>,
    /// Features of images held out, `[M, width]`.
    pub held: Vec<f32>,
    /// Cross-entropy of each of those, in nats.
    pub losses: Vec<f64>,
}

impl Score {
    /// Every score.
    pub const ALL: [Self; 7] =
        [Self::Entropy, Self::InfoMax, Self::Snd, Self::Bnm, Self::ClassAmi, Self::Dev, Self::Iwv];

    /// Their names in files and metrics.
    pub const WORDS: &'static [&'static str] =
        &["entropy", "info_max", "snd", "bnm", "class_ami", "dev", "iwv"];

    /// Its name.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The score called `word`.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|score| score.word() == word)
    }

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

    /// Whether it needs a [`Source`].
    pub fn wants_source(self) -> bool {
        matches!(self, Self::Dev | Self::Iwv)
    }
}

/// The values of `scores` for what a model makes of the target; `source` for those that want it.
///
/// # Panics
/// When a score wants a source and there is none.
pub fn values(scores: &[Score], target: &Outputs, source: Option<&Source>) -> Vec<f64> {
    let (rows, classes) = (&target.probabilities, target.classes);
    // One classifier between the domains serves all scores that weigh by it.
    let weighed = scores.iter().any(|score| score.wants_source()).then(|| {
        let source = source.expect("a source for scores that want one");
        (iwv::weights(&source.train, &target.features, &source.held, target.width), source)
    });
    let value = |score: &Score| match (score, &weighed) {
        (Score::Entropy, _) => entropy::entropy(rows, classes),
        (Score::InfoMax, _) => info_max::info_max(rows, classes),
        (Score::Snd, _) => snd::snd(rows, classes),
        (Score::Bnm, _) => bnm::bnm(rows, classes),
        (Score::ClassAmi, _) => class_ami::class_ami(target),
        (Score::Dev, Some((weights, source))) => dev::dev(weights, &source.losses),
        (Score::Iwv, Some((weights, source))) => iwv::iwv(weights, &source.losses),
        (Score::Dev | Score::Iwv, None) => f64::NAN,
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

    #[test]
    fn every_score_is_found_by_its_name() {
        for (score, word) in Score::ALL.into_iter().zip(Score::WORDS) {
            assert_eq!((score.word(), Score::named(word)), (*word, Some(score)));
        }
        let lower: Vec<&str> =
            Score::ALL.into_iter().filter(|it| !it.higher_is_better()).map(Score::word).collect();
        assert_eq!(lower, ["entropy", "dev", "iwv"]);
    }

    #[test]
    fn wide_features_are_looked_at_for_fewer_images() {
        assert_eq!([1, 800, 25_088, 1 << 30].map(images_for), [2000, 2000, 668, 100]);
    }
}
