//! Scores of a model on a target domain without labels: one file each. They choose between models, or
//! epochs, where the truth about the target is not known.
//!
//! All draw nothing at random, or from fixed streams, and sum in the order of the rows: the same rows
//! give the same bits. Rows are at most [`images_for`] of a domain, so that memory is bounded.

pub mod atc;
pub mod bnm;
pub mod centroid_distance;
pub mod class_ami;
pub mod class_ss;
pub mod corr_c;
pub mod dev;
pub mod diversity;
pub mod ensv;
pub mod entropy;
pub mod fbnm;
pub mod info_max;
pub mod iwv;
mod k_means;
pub mod mano;
pub mod mcc;
pub mod mixval;
pub mod mmd;
pub mod rankme;
pub mod snd;

use std::cell::LazyCell;

use self::mixval::Mixes;
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
        /// [`diversity`].
        Diversity = "diversity",
        /// [`fbnm`].
        Fbnm = "fbnm",
        /// [`mano`].
        Mano = "mano",
        /// [`corr_c`].
        CorrC = "corr_c",
        /// [`mcc`].
        Mcc = "mcc",
        /// [`rankme`].
        RankMe = "rankme",
        /// [`class_ss`].
        ClassSs = "class_ss",
        /// [`mmd`].
        Mmd = "mmd",
        /// [`centroid_distance`].
        CentroidDistance = "centroid_distance",
        /// [`atc`].
        Atc = "atc",
        /// [`mixval`], of both kinds of pairs.
        MixVal = "mixval",
        /// [`mixval`], of pairs that are taken for the same class.
        MixValIntra = "mixval_intra",
        /// [`mixval`], of pairs that are taken for different classes.
        MixValInter = "mixval_inter",
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

impl Outputs {
    /// The class that each image is taken for: that of the largest probability, the first of equal ones.
    pub fn predicted(&self) -> Vec<u32> {
        self.probabilities.chunks_exact(self.classes).map(largest).collect()
    }
}

/// The class of the largest probability, the first of equal ones.
fn largest(row: &[f64]) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (class, p) in (0..).zip(row) {
        if *p > best.1 {
            best = (class, *p);
        }
    }
    best.0
}

/// What scores that look at the source need of it.
#[derive(Debug, Clone, Default)]
pub struct SourceSample {
    /// Features of images that were trained on, `[N, width]`.
    pub train: Vec<f32>,
    /// The class of each of those.
    pub labels: Vec<u32>,
    /// Images held out from training, for the scores that want them.
    pub held: Option<HeldOut>,
}

/// Images of the source that were not trained on.
#[derive(Debug, Clone, Default)]
pub struct HeldOut {
    /// What the model makes of them.
    pub outputs: Outputs,
    /// The class of each.
    pub labels: Vec<u32>,
}

impl HeldOut {
    /// Cross-entropy of each image, in nats.
    fn losses(&self) -> Vec<f64> {
        let rows = self.outputs.probabilities.chunks_exact(self.outputs.classes);
        rows.zip(&self.labels).map(|(row, label)| -row[*label as usize].ln()).collect()
    }
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
            Self::Diversity => diversity::higher_is_better(),
            Self::Fbnm => fbnm::higher_is_better(),
            Self::Mano => mano::higher_is_better(),
            Self::CorrC => corr_c::higher_is_better(),
            Self::Mcc => mcc::higher_is_better(),
            Self::RankMe => rankme::higher_is_better(),
            Self::ClassSs => class_ss::higher_is_better(),
            Self::Mmd => mmd::higher_is_better(),
            Self::CentroidDistance => centroid_distance::higher_is_better(),
            Self::Atc => atc::higher_is_better(),
            Self::MixVal | Self::MixValIntra | Self::MixValInter => mixval::higher_is_better(),
        }
    }

    /// Whether it needs a [`SourceSample`].
    pub fn wants_source(self) -> bool {
        self.wants_held_out() || matches!(self, Self::Mmd | Self::CentroidDistance)
    }

    /// Whether it needs images of the source that are [`HeldOut`].
    pub fn wants_held_out(self) -> bool {
        matches!(self, Self::Dev | Self::Iwv | Self::Atc)
    }

    /// Whether it needs [`Mixes`], which are one more pass over the images.
    pub fn wants_mixes(self) -> bool {
        matches!(self, Self::MixVal | Self::MixValIntra | Self::MixValInter)
    }
}

/// The values of `scores` for what a model makes of the target; `source` and `mixes` for those that want them.
/// A score that cannot be had is not a number: [`mixval`] without a pair of its kind.
///
/// # Panics
/// When a score wants a source, held-out images or mixes, and there are none.
pub fn values(
    scores: &[LabelFreeScore],
    target: &Outputs,
    source: Option<&SourceSample>,
    mixes: Option<&Mixes>,
) -> Vec<f64> {
    let (rows, classes) = (&target.probabilities, target.classes);
    let (features, width) = (&target.features, target.width);
    let source = || source.expect("a source for scores that want one");
    let held = || source().held.as_ref().expect("held-out images for scores that want them");
    // One classifier between the domains serves all scores that weigh by it.
    let weighed = LazyCell::new(|| {
        let (train, held) = (&source().train, held());
        (iwv::weights(train, features, &held.outputs.features, width), held.losses())
    });
    let mixed = LazyCell::new(|| {
        mixval::agreement(&target.predicted(), mixes.expect("mixes for scores that want them"))
    });
    let value = |score: &LabelFreeScore| match score {
        LabelFreeScore::Entropy => entropy::entropy(rows, classes),
        LabelFreeScore::InfoMax => info_max::info_max(rows, classes),
        LabelFreeScore::Snd => snd::snd(rows, classes),
        LabelFreeScore::Bnm => bnm::bnm(rows, classes),
        LabelFreeScore::ClassAmi => class_ami::class_ami(target),
        LabelFreeScore::Dev => dev::dev(&weighed.0, &weighed.1),
        LabelFreeScore::Iwv => iwv::iwv(&weighed.0, &weighed.1),
        LabelFreeScore::Diversity => diversity::diversity(rows, classes),
        LabelFreeScore::Fbnm => fbnm::fbnm(rows, classes),
        LabelFreeScore::Mano => mano::mano(rows),
        LabelFreeScore::CorrC => corr_c::corr_c(rows, classes),
        LabelFreeScore::Mcc => mcc::mcc(rows, classes),
        LabelFreeScore::RankMe => rankme::rankme(features, width),
        LabelFreeScore::ClassSs => class_ss::class_ss(target),
        LabelFreeScore::Mmd => mmd::mmd(&source().train, features, width),
        LabelFreeScore::CentroidDistance => centroid_distance::centroid_distance(source(), target),
        LabelFreeScore::Atc => atc::atc(target, held()),
        LabelFreeScore::MixVal => mixed.both().unwrap_or(f64::NAN),
        LabelFreeScore::MixValIntra => mixed.intra.unwrap_or(f64::NAN),
        LabelFreeScore::MixValInter => mixed.inter.unwrap_or(f64::NAN),
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
    fn less_is_better_of_entropies_weighed_losses_confusions_and_distances() {
        let lower: Vec<&str> =
            LabelFreeScore::all().filter(|it| !it.higher_is_better()).map(|it| it.word()).collect();
        let expected = ["entropy", "dev", "iwv", "mcc", "mmd", "centroid_distance"];
        assert_eq!(lower, expected);
    }

    #[test]
    fn wide_features_are_looked_at_for_fewer_images() {
        assert_eq!([1, 800, 25_088, 1 << 30].map(images_for), [2000, 2000, 668, 100]);
    }
}
