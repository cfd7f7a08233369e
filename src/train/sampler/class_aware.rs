//! The same number of images of each of a few classes in every step, as losses that compare classes
//! within a batch want it (CAN, Kang et al. 2019; associative domain adaptation, Haeusser et al. 2017).
//!
//! Classes come in rounds: each of them once before any comes again, in drawn orders, and never twice in
//! a step. So do the images of each class.

use std::sync::{Mutex, PoisonError};

use super::class_cycles::ClassCycles;
use super::{DrawnBatch, Draws, ImageSampler, SamplerKind};
use crate::config::{Diagnostic, Keys, Noted};
use crate::random;
use crate::train::batch_size::BatchSize;

pub(super) const KIND: SamplerKind = SamplerKind {
    name: "class_aware",
    about: "the same number of images of each of a few classes in every step",
    read,
};

/// More images per step than this are taken for a mistake.
const MOST_IMAGES: usize = 1_000_000;

#[derive(Debug)]
struct ClassAware {
    /// Classes of a step.
    classes: usize,
    /// Images of each of them.
    images: usize,
}

fn read(keys: &mut Keys) -> Result<Box<dyn ImageSampler>, Noted> {
    keys.about(&[
        ("classes", "different classes in each step"),
        ("images", "images of each of these classes in a step"),
    ]);
    let classes = keys.count("classes", 1..=MOST_IMAGES).required();
    let images = keys.count("images", 1..=MOST_IMAGES).required();
    let (classes, images) = (classes?, images?);
    let together = classes.saturating_mul(images);
    if !(2..=MOST_IMAGES).contains(&together) {
        let message = format!("`sampler` must take 2 to {MOST_IMAGES} images per step");
        let label = format!("`classes` times `images` is {together}");
        return Err(keys.problem(Diagnostic::at(keys.span(), message, label)));
    }
    Ok(Box::new(ClassAware { classes, images }))
}

impl ImageSampler for ClassAware {
    fn batch_size(&self) -> Option<usize> {
        Some(self.classes * self.images)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    /// As many as there are whole batches in the number of images, but at least one: images of small
    /// classes come again.
    fn batches(&self, labels: &[u32], _: BatchSize) -> usize {
        if labels.is_empty() { 0 } else { (labels.len() / (self.classes * self.images)).max(1) }
    }

    fn sees(&self, labels: &[u32]) -> Option<String> {
        let (Self { classes, images }, all) = (self, super::classes(labels));
        let plural = if *images == 1 { "" } else { "s" };
        Some(format!(
            "{images} source image{plural} of each of {classes} of {all} classes in a step"
        ))
    }

    fn epoch(&self, labels: &[u32], _: BatchSize, drawn: (u64, u64)) -> Box<dyn Draws> {
        let Self { classes, images } = *self;
        let cycles = ClassCycles::new(labels, drawn);
        assert!(cycles.len() >= classes, "images of at least as many classes as a step has");
        let common = divisor(cycles.len(), classes);
        Box::new(ClassBatches {
            drawn,
            classes,
            images,
            rounds: classes / common,
            steps: cycles.len() / common,
            cycles,
            block: Mutex::new(None),
        })
    }
}

/// The images of an epoch. Rounds of the classes, put end to end and cut into steps, come out even after a
/// few of both: such a block is drawn as a whole, and the first step of each begins a round.
struct ClassBatches {
    cycles: ClassCycles,
    /// Seed and epoch.
    drawn: (u64, u64),
    classes: usize,
    images: usize,
    /// Rounds of a block.
    rounds: usize,
    /// Steps of a block.
    steps: usize,
    /// The block that was asked for last, and the classes of its steps.
    block: Mutex<Option<(usize, Vec<Turn>)>>,
}

/// A class in a step.
#[derive(Clone, Copy)]
struct Turn {
    /// The class, among those with images.
    class: usize,
    /// The round of the block.
    round: usize,
}

impl ClassBatches {
    /// The classes of a block's steps, one step after the other.
    fn draw(&self, block: usize) -> Vec<Turn> {
        let (seed, epoch) = self.drawn;
        let mut stream = random::stream(seed, "classes source", epoch, block as u64);
        let mut turns: Vec<Turn> = Vec::with_capacity(self.rounds * self.cycles.len());
        for round in 0..self.rounds {
            let mut classes: Vec<usize> = (0..self.cycles.len()).collect();
            stream.shuffle(&mut classes);
            // A step that the round before began takes none of its classes again.
            let begun = &turns[turns.len() - turns.len() % self.classes..];
            let (later, sooner): (Vec<usize>, Vec<usize>) =
                classes.iter().partition(|class| begun.iter().any(|turn| turn.class == **class));
            turns.extend(sooner.into_iter().chain(later).map(|class| Turn { class, round }));
        }
        turns
    }
}

impl Draws for ClassBatches {
    fn batch(&self, step: usize) -> DrawnBatch {
        let (block, at) = (step / self.steps, step % self.steps);
        let mut drawn = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = match &mut *drawn {
            Some((drawn, turns)) if *drawn == block => turns,
            other => &mut other.insert((block, self.draw(block))).1,
        };
        let turns = &turns[at * self.classes..(at + 1) * self.classes];
        let images = turns.iter().flat_map(|turn| {
            let first = (block * self.rounds + turn.round) * self.images;
            (first..first + self.images).map(|at| self.cycles.image(turn.class, at))
        });
        let (indices, passes) = images.unzip();
        DrawnBatch { indices, passes }
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{labels, of, read};
    use super::*;

    fn sampler(classes: usize, images: usize) -> Box<dyn ImageSampler> {
        let line =
            format!("sampler = {{ kind = 'class_aware', classes = {classes}, images = {images} }}");
        read(&line).0.unwrap()
    }

    #[test]
    fn each_step_has_so_many_classes_and_so_many_images_of_each() {
        let labels = labels(&[9, 1, 4, 0, 6, 5]);
        for (classes, images) in [(1, 2), (2, 3), (3, 2), (4, 1), (5, 4)] {
            let draws = sampler(classes, images).epoch(&labels, of(classes * images), (5, 0));
            for step in 0..30 {
                let batch = draws.batch(step);
                let mut counts = [0; 6];
                batch.indices.iter().for_each(|image| counts[labels[*image] as usize] += 1);
                let some: Vec<usize> = counts.into_iter().filter(|count| *count > 0).collect();
                assert_eq!(some, vec![images; classes], "{classes} x {images}, step {step}");
            }
        }
    }

    #[test]
    fn classes_and_their_images_come_equally_often() {
        // Five classes in steps of three: a block is three rounds and five steps.
        let labels = labels(&[4, 4, 4, 4, 4]);
        let draws = sampler(3, 2).epoch(&labels, of(6), (1, 0));
        let mut counts = [0; 20];
        // Twenty steps have 12 rounds of two images each: every image six times.
        for step in 0..20 {
            draws.batch(step).indices.iter().for_each(|image| counts[*image] += 1);
        }
        assert_eq!(counts, [6; 20]);
    }

    #[test]
    fn it_says_how_large_a_batch_is_and_how_many_classes_must_have_images() {
        let sampler = sampler(3, 4);
        assert_eq!((sampler.batch_size(), sampler.classes()), (Some(12), 3));
        assert_eq!(sampler.batches(&labels(&[10, 10, 10]), of(12)), 2);
        assert_eq!(
            sampler.batches(&labels(&[1, 1, 1]), of(12)),
            1,
            "images come again within the step"
        );
        assert!(sampler.check(&labels(&[5, 0, 5, 5])).is_ok());
        let error = sampler.check(&labels(&[5, 0, 5])).unwrap_err();
        let words = "the sampler takes 3 classes per step, but only 2 have images to train on";
        assert_eq!(error.to_string(), words);
        let words = "4 source images of each of 3 of 5 classes in a step";
        assert_eq!(sampler.sees(&labels(&[1; 5])).unwrap(), words);
    }

    #[test]
    fn a_step_of_one_image_is_refused() {
        let (_, _, problems) = read("sampler = { kind = 'class_aware', classes = 1, images = 1 }");
        assert_eq!(problems, ["`sampler` must take 2 to 1000000 images per step"]);
        let (_, _, problems) = read("sampler = 'class_aware'");
        assert_eq!(problems, ["missing key `sampler.classes`", "missing key `sampler.images`"]);
    }
}
