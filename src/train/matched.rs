//! Target images of the classes of a step's labelled images, as losses want them that compare the same
//! class in two domains (CAN, Kang et al. 2019). The classes are a method's own guess: the labels of the
//! target are out of reach here as everywhere.

use std::collections::BTreeMap;

use super::sampler::DrawnBatch;
use crate::random::{self, Stream};

/// Tells the random changes of an image that was chosen from those of its usual turns in the epoch.
const CHOSEN: u64 = 1 << 31;

/// The images of an epoch.
pub(super) struct MatchedDraws {
    /// The images of each class.
    members: Vec<Vec<usize>>,
    /// Images per step.
    size: usize,
    /// Seed and epoch.
    drawn: (u64, u64),
}

impl MatchedDraws {
    /// Those of target images of these classes, `None` for one whose class is not known, in batches of
    /// `size`. `drawn` is the seed and the epoch.
    pub fn new(classes: &[Option<u32>], size: usize, drawn: (u64, u64)) -> Self {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (image, class) in classes.iter().enumerate() {
            let Some(class) = class else { continue };
            let class = *class as usize;
            if members.len() <= class {
                members.resize(class + 1, Vec::new());
            }
            members[class].push(image);
        }
        Self { members, size, drawn }
    }

    /// The images of step `step`, whose labelled images have these `labels`: of each class as many as
    /// there are labelled images of it, or all where it has fewer; then, as far as the batch has room, those
    /// whose `usual` turn it is. None comes twice. It is a pure function of its arguments, so that a
    /// training may resume anywhere.
    pub fn batch(&self, step: usize, labels: &[u32], usual: DrawnBatch) -> DrawnBatch {
        let (seed, epoch) = self.drawn;
        let mut stream = random::stream(seed, "match target", epoch, step as u64);
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
        let mut indices = Vec::with_capacity(self.size);
        for (class, count) in counts {
            if let Some(members) = self.members.get(class as usize) {
                indices.extend(some_of(members, count, &mut stream));
            }
        }
        let room = self.size.saturating_sub(indices.len());
        let turns = usual.indices.into_iter().zip(usual.passes);
        let turns: Vec<(usize, u64)> =
            turns.filter(|(image, _)| !indices.contains(image)).take(room).collect();
        let mut passes = vec![CHOSEN + step as u64; indices.len()];
        passes.extend(turns.iter().map(|turn| turn.1));
        indices.extend(turns.into_iter().map(|turn| turn.0));
        DrawnBatch { indices, passes }
    }
}

/// `count` of some images, each set of so many equally likely, or all where there are no more.
fn some_of(images: &[usize], count: usize, stream: &mut Stream) -> Vec<usize> {
    let mut images = images.to_vec();
    let count = count.min(images.len());
    for at in 0..count {
        let other = at + stream.below(images.len() - at);
        images.swap(at, other);
    }
    images.truncate(count);
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::batch_size::BatchSize;
    use crate::train::passes::ImagePasses;
    use crate::train::sampler::Draws;

    /// Thirty images: ten of class 1, two of class 3, eighteen of no class that is known.
    fn classes() -> Vec<Option<u32>> {
        let class = |at: usize| match at {
            0..10 => Some(1),
            10..12 => Some(3),
            _ => None,
        };
        (0..30).map(class).collect()
    }

    fn usual(step: usize) -> DrawnBatch {
        ImagePasses::new((5, 2), "shuffle target", (30, BatchSize { images: 8, drop_last: false }))
            .batch(step)
    }

    #[test]
    fn each_class_has_as_many_images_as_in_the_source_and_others_fill_the_batch() {
        let classes = classes();
        let draws = MatchedDraws::new(&classes, 8, (5, 2));
        for step in 0..12 {
            let DrawnBatch { indices, passes } =
                draws.batch(step, &[3, 1, 7, 3, 1, 0, 3, 9], usual(step));
            // Of class 3 there are only two, and of 0, 7 and 9 none at all.
            let [ones, threes] = [1, 3]
                .map(|class| indices[..4].iter().filter(|at| classes[**at] == Some(class)).count());
            assert_eq!((ones, threes), (2, 2), "step {step}: {indices:?}");
            let turns = usual(step);
            assert!(indices[4..].iter().all(|at| turns.indices.contains(at)), "step {step}");
            // The fourth batch of a pass over 30 images has six of them.
            let room = turns.indices.iter().filter(|at| !indices[..4].contains(at)).count();
            assert_eq!(indices.len(), 4 + room.min(4), "step {step}");
            assert!(indices.len() >= 2 && passes.len() == indices.len());
            let mut once = indices.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), indices.len(), "step {step}: no image twice");
        }
    }

    #[test]
    fn every_image_of_a_class_has_its_turn_and_no_appearance_has_the_numbers_of_another() {
        let draws = MatchedDraws::new(&classes(), 8, (5, 2));
        let mut seen = Vec::new();
        for step in 0..100 {
            let drawn = draws.batch(step, &[1, 1], usual(step));
            seen.extend(drawn.indices.into_iter().zip(drawn.passes));
        }
        let mut counts = [0; 10];
        let chosen = seen.iter().filter(|(_, pass)| *pass >= CHOSEN);
        chosen.for_each(|(image, _)| counts[*image] += 1);
        assert_eq!(counts.iter().sum::<usize>(), 200);
        assert!(counts.iter().all(|count| (8..=36).contains(count)), "{counts:?}");
        let appearances = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), appearances);
    }

    #[test]
    fn without_a_class_in_common_a_step_has_its_usual_images() {
        let draws = MatchedDraws::new(&classes(), 8, (5, 2));
        assert_eq!(draws.batch(4, &[0, 2, 8], usual(4)), usual(4));
        let nothing = MatchedDraws::new(&[], 8, (5, 2));
        assert_eq!(nothing.batch(4, &[1, 1], usual(4)), usual(4));
    }

    #[test]
    fn a_step_has_the_same_images_whatever_was_asked_before_and_each_epoch_others() {
        let of = |epoch: u64, step: usize| {
            MatchedDraws::new(&classes(), 4, (5, epoch)).batch(step, &[1, 1, 1, 1], usual(step))
        };
        let draws = MatchedDraws::new(&classes(), 4, (5, 2));
        for step in [7, 0, 3] {
            assert_eq!(draws.batch(step, &[1, 1, 1, 1], usual(step)), of(2, step));
        }
        assert_ne!(of(2, 0).indices, of(2, 1).indices);
        assert_ne!(of(2, 0).indices, of(3, 0).indices);
    }
}
