//! Every class as often as every other: a pass is as long as one over the images, and has the same
//! number of images of each class in a drawn order. Small classes come round again; large ones go on in
//! the next pass where this one left off.

use std::sync::{Mutex, PoisonError};

use super::class_cycles::ClassCycles;
use super::{DrawnBatch, Draws, ImageSampler, SamplerKind, classes};
use crate::config::{Keys, Noted};
use crate::random;
use crate::train::batch_size::BatchSize;

pub(super) const KIND: SamplerKind =
    SamplerKind { name: "balanced", about: "every class as often as every other", read };

#[derive(Debug)]
struct Balanced;

fn read(_: &mut Keys) -> Result<Box<dyn ImageSampler>, Noted> {
    Ok(Box::new(Balanced))
}

/// The images of each of `classes` classes in a pass.
fn per_class(images: usize, classes: usize) -> usize {
    images.div_ceil(classes.max(1))
}

impl ImageSampler for Balanced {
    fn batches(&self, labels: &[u32], size: BatchSize) -> usize {
        let classes = classes(labels);
        size.batches(classes * per_class(labels.len(), classes))
    }

    fn sees(&self, labels: &[u32]) -> Option<String> {
        Some(format!("source images of {} classes equally often", classes(labels)))
    }

    fn epoch(&self, labels: &[u32], size: BatchSize, drawn: (u64, u64)) -> Box<dyn Draws> {
        let cycles = ClassCycles::new(labels, drawn);
        let per_class = per_class(labels.len(), cycles.len());
        Box::new(BalancedPasses { cycles, drawn, per_class, size, order: Mutex::new(None) })
    }
}

/// The images of an epoch.
struct BalancedPasses {
    cycles: ClassCycles,
    /// Seed and epoch.
    drawn: (u64, u64),
    per_class: usize,
    size: BatchSize,
    /// The pass that was asked for last, and which class has its next image at each place.
    order: Mutex<Option<(usize, Vec<Place>)>>,
}

/// A place in a pass.
#[derive(Clone, Copy)]
struct Place {
    /// The class, among those with images.
    class: usize,
    /// Which of the class's images in this pass.
    at: usize,
}

impl Draws for BalancedPasses {
    fn batch(&self, step: usize) -> DrawnBatch {
        let Self { per_class, size, drawn: (seed, epoch), .. } = *self;
        let length = self.cycles.len() * per_class;
        let batches = size.batches(length);
        let (pass, batch) = (step / batches, step % batches);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match &mut *order {
            Some((drawn, order)) if *drawn == pass => order,
            other => {
                let classes = 0..self.cycles.len();
                let mut places: Vec<Place> = classes
                    .flat_map(|class| (0..per_class).map(move |at| Place { class, at }))
                    .collect();
                random::stream(seed, "balance source", epoch, pass as u64).shuffle(&mut places);
                &mut other.insert((pass, places)).1
            }
        };
        let places = &order[batch * size.images..length.min((batch + 1) * size.images)];
        let images = places.iter().map(|it| self.cycles.image(it.class, pass * per_class + it.at));
        let (indices, passes) = images.unzip();
        DrawnBatch { indices, passes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{labels, of, read};

    #[test]
    fn a_pass_has_as_many_images_of_a_small_class_as_of_a_large_one() {
        let labels = labels(&[20, 3, 0, 7]);
        let sampler = read("sampler = 'balanced'").0.unwrap();
        assert_eq!(sampler.batches(&labels, of(5)), 6, "as many as for 30 images once each");
        let draws = sampler.epoch(&labels, of(5), (0, 0));
        for pass in 0..4 {
            let images = (6 * pass..6 * (pass + 1)).flat_map(|step| draws.batch(step).indices);
            let mut counts = [0; 4];
            images.for_each(|image| counts[labels[image] as usize] += 1);
            assert_eq!(counts, [10, 10, 0, 10], "pass {pass}");
        }
    }

    #[test]
    fn two_passes_see_every_image_of_the_class_that_one_has_no_room_for() {
        let labels = labels(&[20, 3, 0, 7]);
        let draws = read("sampler = 'balanced'").0.unwrap().epoch(&labels, of(5), (0, 0));
        let mut seen: Vec<usize> = (0..12).flat_map(|step| draws.batch(step).indices).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn people_are_told_that_a_pass_is_not_each_image_once() {
        let sampler = read("sampler = 'balanced'").0.unwrap();
        let words = sampler.sees(&labels(&[2, 2])).unwrap();
        assert_eq!(words, "source images of 2 classes equally often");
    }
}
