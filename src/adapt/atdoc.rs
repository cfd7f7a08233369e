//! ATDOC with neighbourhood aggregation (Liang, Hu and Feng 2021, "Domain Adaptation with Auxiliary Target
//! Domain-Oriented Classifier").
//!
//! A bank holds, for every image of the target domain, its features divided by their norm and its sharpened
//! answer q_ik = p_ik^2 / mean_j p_jk^2, where p are class probabilities and j runs over the images that were
//! written together. For each target image of a batch, the K images of the bank whose features have the largest
//! cosine with its own vote, without itself: their mean answer says the class y_i by its largest value w_i. The term
//! is
//!
//! lambda sum_i w_i CE(y_i, z_i) / sum_i w_i
//!
//! of the target logits z. Classes and weights are constants; the gradient goes through the logits into the
//! classifier and the features. After the step the same images pass again in evaluation mode, and replace what the
//! bank had of them.
//!
//! The bank begins with a pass over the whole target domain in evaluation mode. The authors' code begins with
//! random features and even answers. It also has the sum over j in place of the mean, which for batches of
//! one size is the same loss, as a common factor of all weights has no effect. The mean gives the answers of
//! the first pass and of short batches the same say as those of others. The weight of the paper rises in a
//! straight line over the training, to 0.2 in the authors' runs of this version.
//!
//! A step looks at the whole bank: B n d products for a batch of B and n images of d features. For 64 of 10,000
//! images with 256 features that is little beside the network. For 64 of 60,000 images with the 1250 features of
//! `dacnn`, it is as many products as `dacnn` itself takes for 64 images of each domain, forward and backward, and
//! the bank has 300 MB, in every checkpoint too.

use super::Coefficient;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::Part;
use crate::nn::ops::{Dims, Number, OpError, Tensor, argmax};
use crate::train::{Batch, Bench, FitError, Mode, NetId, Visit, When, WholeSet, WholeSetPasses};

/// Images of the bank that a batch is compared with at a time; it changes no number.
const ROWS: usize = 4096;

/// The least norm that features are divided by.
const LEAST_NORM: f64 = 1e-12;

/// Settings of ATDOC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atdoc {
    /// How many images vote: the K of the paper.
    pub neighbours: usize,
}

impl ReadTerm for Atdoc {
    const WEIGHT: &'static str =
        "weight of the cross-entropy of target images with the classes that their neighbours have";
    const USUAL: Coefficient = Coefficient::Linear { over: 1.0, max: 0.2 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("neighbours", "how many of the nearest target images say an image's class")]);
        Ok(Self { neighbours: keys.count("neighbours", 1..=1000).or(5_usize)? })
    }
}

impl Term for Atdoc {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn whole_set(&self) -> Option<WholeSetPasses> {
        Some(WholeSetPasses { of: Domain::Target, when: When::Begin })
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        Ok(Box::new(Remembering { settings: self, bank: Bank::default() }))
    }
}

/// ATDOC in the middle of a training. Before it has seen the whole set, its loss is 0.
struct Remembering<'m> {
    settings: &'m Atdoc,
    bank: Bank,
}

impl ActiveTerm for Remembering<'_> {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let logits = seen.target_logits();
        let loss = if self.bank.is_empty() {
            logits.constant(vec![0.0], Dims::Scalar)?
        } else {
            let (places, count) = (&*seen.batch.target().indices, self.settings.neighbours);
            let near = self.bank.nearest(&seen.features.target, places, count)?;
            weighted_cross_entropy(logits, &self.bank.votes(&near, logits.columns()))?
        };
        bench.meter("neighbour_loss", &loss, logits.rows());
        Ok(loss.scale(lambda)?)
    }

    fn after(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let target = batch.target();
        if self.bank.is_empty() || target.indices.is_empty() {
            return Ok(());
        }
        let (network, domain, eval) = (NetId::MAIN, Domain::Target, Mode::EVAL);
        let features = bench.pass(network, &Part::FEATURES, &target.images, domain, eval)?;
        let logits = bench.pass(network, &Part::CLASSIFIER, &features, domain, eval)?;
        let (width, classes) = (features.columns(), logits.columns());
        let newest = Bank::of((&features.host(), width), (&logits.softmax()?.host(), classes));
        self.bank.replace(&target.indices, &newest, (width, classes));
        Ok(())
    }

    fn refresh(&mut self, _: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        self.bank = Bank::of((&seen.features, seen.width), (&seen.probabilities, seen.classes));
        Ok(())
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.numbers("atdoc_features", &mut self.bank.features);
        visit.numbers("atdoc_answers", &mut self.bank.answers);
    }
}

/// What was made of images when they were last looked at, in data-set order.
#[derive(Debug, Default)]
struct Bank {
    /// Features of norm 1, `[n, d]`.
    features: Vec<f32>,
    /// Sharpened answers, `[n, K]`.
    answers: Vec<f32>,
}

impl Bank {
    /// What a pass made of images: features `[n, d]` and class probabilities `[n, K]`.
    fn of((features, width): (&[f32], usize), (probabilities, classes): (&[f32], usize)) -> Self {
        Self { features: unit_rows(features, width), answers: sharpened(probabilities, classes) }
    }

    fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// For each row of `features` `[B, d]` the `count` images with the largest cosine, or all where there are
    /// not as many, without the row's own place. Of images as near, the first ones count. A row without a
    /// place may have any.
    fn nearest(
        &self,
        features: &Tensor,
        places: &[usize],
        count: usize,
    ) -> Result<Vec<Vec<usize>>, OpError> {
        // The norms of these rows are the same for all images of the bank.
        let (rows, width, queries) = (features.rows(), features.columns(), features.detached());
        let mut best: Vec<Vec<(f32, usize)>> = vec![Vec::with_capacity(count + 1); rows];
        for (chunk, bank) in self.features.chunks(ROWS * width).enumerate() {
            let images = bank.len() / width;
            let bank = queries.constant(bank.to_vec(), Dims::Rows(images, width))?;
            let cosines = queries.ops().linear(&bank, &queries, None, rows)?.host();
            for (at, cosines) in cosines.chunks_exact(rows).enumerate() {
                let place = chunk * ROWS + at;
                for (row, (cosine, best)) in cosines.iter().zip(&mut best).enumerate() {
                    let is_nearer = best.last().is_none_or(|last| *cosine > last.0);
                    if places.get(row) != Some(&place) && (best.len() < count || is_nearer) {
                        let after = best.partition_point(|it| it.0 >= *cosine);
                        best.insert(after, (*cosine, place));
                        best.truncate(count);
                    }
                }
            }
        }
        Ok(best.into_iter().map(|row| row.into_iter().map(|it| it.1).collect()).collect())
    }

    /// The class that these images vote for in each row, and the vote.
    fn votes(&self, near: &[Vec<usize>], classes: usize) -> Vec<(usize, f32)> {
        let vote = |images: &Vec<usize>| {
            let mut sums = vec![0.0_f32; classes];
            for image in images {
                let answer = &self.answers[image * classes..][..classes];
                sums.iter_mut().zip(answer).for_each(|(sum, answer)| *sum += answer);
            }
            #[expect(clippy::cast_precision_loss, reason = "neighbours are 1000 at most")]
            let count = images.len().max(1) as f32;
            let class = argmax(&sums);
            (class, sums[class] / count)
        };
        near.iter().map(vote).collect()
    }

    /// Puts what was made of the images of some places where it was before.
    fn replace(&mut self, places: &[usize], newest: &Self, (width, classes): (usize, usize)) {
        for (row, place) in places.iter().enumerate() {
            let own = |of: usize| row * of..(row + 1) * of;
            let there = |of: usize| place * of..(place + 1) * of;
            self.features[there(width)].copy_from_slice(&newest.features[own(width)]);
            self.answers[there(classes)].copy_from_slice(&newest.answers[own(classes)]);
        }
    }
}

/// Rows `[n, d]` divided by their Euclidean norms; a row of zeros stays one.
fn unit_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let unit = |row: &[f32]| {
        let norm = row.iter().map(|it| f64::from(*it).powi(2)).sum::<f64>().sqrt();
        let by = norm.max(LEAST_NORM).recip();
        #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
        let row: Vec<f32> = row.iter().map(|it| (f64::from(*it) * by) as f32).collect();
        row
    };
    rows.chunks_exact(width).flat_map(unit).collect()
}

/// p_ik^2 / mean_j p_jk^2 of probabilities `[n, K]`; 0 for a class that is impossible in every row.
fn sharpened(p: &[f32], classes: usize) -> Vec<f32> {
    let mut means = vec![0.0_f64; classes];
    for row in p.chunks_exact(classes) {
        means.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p).powi(2));
    }
    #[expect(clippy::cast_precision_loss, reason = "image counts are far below 2^53")]
    let count = (p.len() / classes) as f64;
    means.iter_mut().for_each(|sum| *sum /= count);
    #[expect(clippy::cast_possible_truncation, reason = "answers are f32")]
    let sharp = |(p, mean): (&f32, &f64)| {
        if *mean > 0.0 { (f64::from(*p).powi(2) / mean) as f32 } else { 0.0 }
    };
    p.chunks_exact(classes).flat_map(|row| row.iter().zip(&means).map(sharp)).collect()
}

/// The mean over rows of logits `[M, K]` of the cross-entropy with a class, by weight; 0 where nothing weighs.
fn weighted_cross_entropy(logits: &Tensor, votes: &[(usize, f32)]) -> Result<Tensor, OpError> {
    let classes = logits.columns();
    let whole: f32 = votes.iter().map(|vote| vote.1).sum();
    let mut shares = vec![0.0; logits.rows() * classes];
    for (row, (class, weight)) in votes.iter().enumerate() {
        if whole > 0.0 {
            shares[row * classes + class] = weight / whole;
        }
    }
    let shares = logits.constant(shares, Dims::Rows(logits.rows(), classes))?;
    logits.log_softmax()?.mul(&shares)?.sum()?.scale(-1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{read, rows};
    use crate::nn::ops::Targets;
    use crate::train::{Learner, Reading, SourceBatch, TargetBatch, tiny};

    /// Five images of two features and two classes.
    fn bank() -> Bank {
        let features = [5.0, 0.0, 3.0, 0.3, 0.0, 0.1, -1.0, 1.0, 0.2, 2.0];
        let probabilities = [0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.6, 0.4, 0.1, 0.9];
        Bank::of((&features, 2), (&probabilities, 2))
    }

    #[test]
    fn neighbours_are_the_nearest_by_cosine_without_the_image_itself() {
        let bank = bank();
        // As image 2, but longer: the nearest is itself, then 4, 3, 1 and 0.
        let query = rows([0.0, 9.0], 2);
        assert_eq!(bank.nearest(&query, &[2], 2).unwrap(), [[4, 3]]);
        assert_eq!(bank.nearest(&query, &[0], 2).unwrap(), [[2, 4]]);
        assert_eq!(bank.nearest(&query, &[], 1).unwrap(), [[2]]);
        // Where there are not as many, all of them.
        assert_eq!(bank.nearest(&query, &[2], 9).unwrap(), [[4, 3, 1, 0]]);
        // Images as near come in their order.
        let alike = Bank::of((&[1.0; 8], 2), (&[0.5; 8], 2));
        let two = rows([1.0, 2.0, 2.0, 1.0], 2);
        assert_eq!(alike.nearest(&two, &[0, 2], 2).unwrap(), [[1, 2], [0, 1]]);
    }

    #[test]
    fn a_bank_of_many_chunks_is_searched_as_a_whole() {
        let images = 2 * ROWS + 3;
        let angle = |at: usize| (at * 7919 % images) as f32 / images as f32;
        let features: Vec<f32> =
            (0..images).flat_map(|at| [angle(at).cos(), angle(at).sin()]).collect();
        let bank = Bank::of((&features, 2), (&vec![0.5; 2 * images], 2));
        // The image at the angle 0 is the first; the next ones are those of the smallest angles.
        let mut order: Vec<usize> = (1..images).collect();
        order.sort_by(|a, b| angle(*a).total_cmp(&angle(*b)));
        let found = bank.nearest(&rows([1.0, -1.0], 2), &[0], 3).unwrap();
        assert_eq!(found, [order[..3].to_vec()]);
        assert!(order[..3].iter().any(|at| *at >= ROWS), "{order:?}");
    }

    #[test]
    fn the_loss_is_the_published_formula() {
        let bank = bank();
        let near = [vec![0, 1], vec![4, 2], vec![3]];
        let p = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.1, 0.9_f64]];
        let q = |image: usize, class: usize| {
            p[image][class].powi(2) / p.iter().map(|row| row[class].powi(2)).sum::<f64>()
        };
        // The first two rows are of class 0 and 1. The third is of class 0, as 0.36 / 1.91 > 0.16 / 1.51.
        let votes = [(0, (q(0, 0) + q(1, 0)) / 2.0), (1, (q(4, 1) + q(2, 1)) / 2.0), (0, q(3, 0))];
        let logits = [[0.3_f32, -0.6], [1.2, 0.4], [0.0, 0.9]];
        let cross_entropy = |row: usize, class: usize| {
            let exp = |at: usize| f64::from(logits[row][at]).exp();
            -(exp(class) / (exp(0) + exp(1))).ln()
        };
        let whole: f64 = votes.iter().map(|vote| vote.1).sum();
        let losses =
            votes.iter().enumerate().map(|(row, vote)| vote.1 * cross_entropy(row, vote.0));
        let expected = losses.sum::<f64>() / whole;
        let found = bank.votes(&near, 2);
        assert_eq!(found.iter().map(|vote| vote.0).collect::<Vec<_>>(), [0, 1, 0]);
        let found = weighted_cross_entropy(&rows(logits.concat(), 2), &found).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found} and {expected}");
    }

    #[test]
    fn impossible_classes_and_features_of_zeros_are_finite() {
        let bank = Bank::of((&[0.0; 6], 2), (&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2));
        assert_eq!(bank.answers, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(bank.features, [0.0; 6]);
        // Without neighbours there are no votes, and no loss.
        let loss =
            weighted_cross_entropy(&rows([1.0, 2.0], 2), &bank.votes(&[vec![]], 2)).unwrap();
        assert_eq!(loss.value(), 0.0);
    }

    /// What a learner remembers.
    #[derive(Default)]
    struct Remembered(Vec<Vec<f32>>);

    impl Visit for Remembered {
        fn numbers(&mut self, _: &str, values: &mut Vec<f32>) {
            self.0.push(values.clone());
        }

        fn integers(&mut self, _: &str, _: &mut Vec<u32>) {}
    }

    fn remembered(learner: &mut dyn Learner) -> Vec<Vec<f32>> {
        let mut remembered = Remembered::default();
        learner.state(&mut remembered);
        remembered.0
    }

    #[test]
    fn a_step_replaces_what_the_bank_has_of_its_images_and_of_no_others() {
        let line = "method = { kind = 'atdoc', target = 'other.train', lambda = 1.0 }";
        let (method, settings) = (read(line).unwrap(), tiny::settings(1));
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        let images = |count: usize| {
            let value = |at: usize| ((at * 37 + count) % 101) as f32 / 50.0 - 1.0;
            rows((0..count * 48).map(value).collect::<Vec<f32>>(), 48)
        };
        let (labels, places) = ([0, 1, 0, 1], [4, 1, 6]);
        let step = |learner: &mut dyn Learner, bench: &mut Bench| {
            let source = SourceBatch::plain(images(4), Targets::plain(&labels));
            let target = TargetBatch { indices: (&places).into(), ..TargetBatch::plain(images(3)) };
            let batch = Batch { source: Some(source), target: Some(target) };
            let (readings, _) = bench.step_alone(learner, &batch, (0, 1), false).unwrap();
            let of = |it: &Reading| (it.name == "neighbour_loss").then_some(it.value);
            readings.iter().find_map(of).unwrap()
        };
        // Nothing was seen yet: there is no loss, and nothing to remember.
        assert_eq!(step(&mut *learner, &mut bench), 0.0);
        assert!(remembered(&mut *learner).iter().all(Vec::is_empty));

        let width = {
            let x = images(2);
            let (part, eval) = (Part::FEATURES, Mode::EVAL);
            bench.pass(NetId::MAIN, &part, &x, Domain::Target, eval).unwrap().columns()
        };
        let features = (0..8 * width).map(|at| (at * 29 % 17) as f32 + 1.0).collect();
        let probabilities = [0.8, 0.2, 0.3, 0.7].repeat(4);
        let seen = WholeSet { features, width, probabilities, classes: 2 };
        learner.refresh(&mut bench, &seen).unwrap();
        let before = remembered(&mut *learner);
        assert!(step(&mut *learner, &mut bench) > 0.0);
        let after = remembered(&mut *learner);
        for (of, (before, after)) in [width, 2].into_iter().zip(before.iter().zip(&after)) {
            for (image, (before, after)) in before.chunks(of).zip(after.chunks(of)).enumerate() {
                assert_eq!(before != after, places.contains(&image), "image {image}");
            }
        }
        // What is there now is what the network makes of the images in evaluation mode.
        let x = images(3);
        let features =
            bench.pass(NetId::MAIN, &Part::FEATURES, &x, Domain::Target, Mode::EVAL).unwrap();
        let unit = unit_rows(&features.host(), width);
        for (row, place) in places.iter().enumerate() {
            assert_eq!(after[0][place * width..][..width], unit[row * width..][..width]);
        }
    }
}
