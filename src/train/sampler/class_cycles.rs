//! The images of each class in an endless row: all of them once in a drawn order, then all of them again
//! in another. No image of a class comes a second time before each of the others has come.

use std::sync::{Mutex, PoisonError};

use crate::random;

/// The rows of an epoch.
pub(super) struct ClassCycles {
    seed: u64,
    epoch: u64,
    classes: Vec<ClassCycle>,
}

/// The row of one class.
struct ClassCycle {
    label: u32,
    images: Vec<usize>,
    /// The time round that was asked for last, and its order.
    order: Mutex<Option<(u64, Vec<usize>)>>,
}

impl ClassCycles {
    /// Those of images with these labels; a class without images has none. `drawn` is the seed and the
    /// epoch.
    pub fn new(labels: &[u32], drawn: (u64, u64)) -> Self {
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for (image, label) in labels.iter().enumerate() {
            let label = *label as usize;
            if classes.len() <= label {
                classes.resize(label + 1, Vec::new());
            }
            classes[label].push(image);
        }
        let with_images = (0..).zip(classes).filter(|(_, images)| !images.is_empty());
        let classes = with_images
            .map(|(label, images)| ClassCycle { label, images, order: Mutex::new(None) })
            .collect();
        Self { seed: drawn.0, epoch: drawn.1, classes }
    }

    /// The number of classes with images.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// The image at place `at` in the row of the class at `class` among those with images, and how often
    /// it came before.
    pub fn image(&self, class: usize, at: usize) -> (usize, u64) {
        let ClassCycle { label, images, order } = &self.classes[class];
        let (round, at) = ((at / images.len()) as u64, at % images.len());
        let mut order = order.lock().unwrap_or_else(PoisonError::into_inner);
        let order = match &mut *order {
            Some((drawn, order)) if *drawn == round => order,
            other => {
                let mut images = images.clone();
                let purpose = format!("sample source class {label}");
                random::stream(self.seed, &purpose, self.epoch, round).shuffle(&mut images);
                &mut other.insert((round, images)).1
            }
        };
        (order[at], round)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_round_has_every_image_of_the_class_once_and_an_order_of_its_own() {
        let labels: Vec<u32> = (0..60).map(|at| if at % 3 == 0 { 4 } else { 1 }).collect();
        let cycles = ClassCycles::new(&labels, (3, 0));
        assert_eq!(cycles.len(), 2);
        let rounds: Vec<Vec<usize>> = (0..3)
            .map(|round| {
                let row = (0..20).map(|at| cycles.image(1, 20 * round + at));
                row.map(|(image, before)| {
                    assert_eq!(before, round as u64);
                    image
                })
                .collect()
            })
            .collect();
        assert!(rounds[0] != rounds[1] && rounds[1] != rounds[2]);
        for mut round in rounds {
            round.sort_unstable();
            assert_eq!(round, (0..60).step_by(3).collect::<Vec<_>>());
        }
    }
}
