//! Which labelled images a step takes: one file per sampler, registered in `SAMPLERS`.
//!
//! A sampler sees labels, and therefore only the source's: those of the target are out of its reach.
//! Everything is drawn from counter-based streams, so that the images of a step do not depend on the
//! steps before it.

use std::fmt::Debug;

use super::batch_size::BatchSize;
use super::contract::FitError;
use crate::config::{Keys, Noted, Word};

mod balanced;
mod class_aware;
mod class_cycles;
mod shuffled;

pub use shuffled::Shuffled;

/// A way to choose labelled images.
pub trait ImageSampler: Send + Sync + Debug {
    /// The images of a step, where the sampler leaves no choice.
    fn batch_size(&self) -> Option<usize> {
        None
    }

    /// How many classes must have images.
    fn classes(&self) -> usize {
        1
    }

    /// The steps of a pass over images with these labels, in batches of `size`; 0 where there are too
    /// few for one step.
    fn batches(&self, labels: &[u32], size: BatchSize) -> usize;

    /// What a pass sees of images with these labels, for people; `None` where it is each image once.
    fn sees(&self, labels: &[u32]) -> Option<String>;

    /// The images of an epoch in batches of `size`, drawn for `drawn`, the seed and the epoch.
    fn epoch(&self, labels: &[u32], size: BatchSize, drawn: (u64, u64)) -> Box<dyn Draws>;
}

impl dyn ImageSampler {
    /// Whether images with these labels are of as many classes as it wants.
    ///
    /// # Errors
    /// When they are not.
    pub(super) fn check(&self, labels: &[u32]) -> Result<(), FitError> {
        let (wanted, found) = (self.classes(), classes(labels));
        if found < wanted && !labels.is_empty() {
            return Err(FitError::TooFewClasses { wanted, found });
        }
        Ok(())
    }
}

/// The images of an epoch.
pub trait Draws: Send + Sync {
    /// Those of step `step`, from 0: a pure function of it, so that a training may resume anywhere.
    fn batch(&self, step: usize) -> DrawnBatch;
}

/// The images of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawnBatch {
    /// Their places in the data set.
    pub indices: Vec<usize>,
    /// How often in this epoch each of them came before. With its index that tells apart every
    /// appearance, which random changes are drawn for.
    pub passes: Vec<u64>,
}

/// A sampler's name, what it does in one line, and how its settings are read.
struct SamplerKind {
    name: &'static str,
    about: &'static str,
    read: fn(&mut Keys) -> Result<Box<dyn ImageSampler>, Noted>,
}

/// Every sampler. A new one is a file in this folder and a line here.
const SAMPLERS: &[SamplerKind] = &[shuffled::KIND, balanced::KIND, class_aware::KIND];

impl Word for &'static SamplerKind {
    fn all() -> impl Iterator<Item = Self> {
        SAMPLERS.iter()
    }

    fn word(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> Option<&'static str> {
        Some(self.about)
    }
}

/// Reads `sampler = "balanced"` or `{ kind = "class_aware", ... }`; shuffled images where it is left out.
///
/// # Errors
/// When the file has another value there; `keys` then knows the problem and its place.
pub fn read(keys: &mut Keys) -> Result<Box<dyn ImageSampler>, Noted> {
    if !keys.is_describing() && !keys.has("sampler") {
        keys.node("sampler");
        return Ok(Box::new(Shuffled));
    }
    let mut is_usual = false;
    let sampler = keys.kinded("sampler", "kind", Some(&shuffled::KIND), |kind, keys| {
        is_usual = kind.name == shuffled::KIND.name;
        (kind.read)(keys)
    });
    // The usual sampler trains the same network whether or not somebody writes its name.
    if is_usual {
        keys.take("sampler");
    }
    sampler
}

/// The number of classes that labels are of.
fn classes(labels: &[u32]) -> usize {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    classes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;

    /// What a line of TOML gives, how it is recorded, and what is wrong.
    pub(super) fn read(line: &str) -> (Option<Box<dyn ImageSampler>>, String, Vec<String>) {
        let (sampler, gathered) = read_lines(line, super::read);
        (sampler.ok(), gathered.resolved.to_string(), gathered.messages())
    }

    /// Batches of so many images, and what is left over.
    pub(super) fn of(images: usize) -> BatchSize {
        BatchSize { images, drop_last: false }
    }

    /// Labels of `counts[c]` images of class c, one class after the other.
    pub(super) fn labels(counts: &[usize]) -> Vec<u32> {
        let of_class = |(class, count): (u32, &usize)| std::iter::repeat_n(class, *count);
        (0..).zip(counts).flat_map(of_class).collect()
    }

    #[test]
    fn the_usual_sampler_is_not_recorded_however_it_is_written() {
        for line in ["", "sampler = 'shuffled'", "sampler = { kind = 'shuffled' }"] {
            let (sampler, record, problems) = read(line);
            assert!(sampler.is_some() && problems.is_empty(), "{line}: {problems:?}");
            assert_eq!(record, "", "{line}");
        }
        assert_eq!(read("sampler = 'balanced'").1, "[sampler]\nkind = \"balanced\"\n");
        assert_eq!(read("sampler = 'even'").2, ["`even` is not a value of `sampler.kind`"]);
    }

    #[test]
    fn every_sampler_gives_a_step_the_same_images_whatever_was_asked_before() {
        let labels = labels(&[5, 2, 9]);
        let lines = [
            "",
            "sampler = 'balanced'",
            "sampler = { kind = 'class_aware', classes = 2, images = 3 }",
        ];
        for line in lines {
            let sampler = read(line).0.unwrap();
            let size = sampler.batch_size().unwrap_or(4);
            let forth = sampler.epoch(&labels, of(size), (7, 1));
            let forth: Vec<DrawnBatch> = (0..20).map(|step| forth.batch(step)).collect();
            let back = sampler.epoch(&labels, of(size), (7, 1));
            let mut back: Vec<DrawnBatch> = (0..20).rev().map(|step| back.batch(step)).collect();
            back.reverse();
            assert_eq!(forth, back, "{line}");
            let other = sampler.epoch(&labels, of(size), (7, 2));
            assert_ne!(forth[0], other.batch(0), "{line}: epochs have orders of their own");
            let mut seen: Vec<(usize, u64)> = (forth.iter())
                .flat_map(|it| it.indices.iter().copied().zip(it.passes.iter().copied()))
                .collect();
            let appearances = seen.len();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), appearances, "{line}: no appearance has the numbers of another");
        }
    }
}
