//! Adaptive batch normalisation (Li, Wang, Shi, Hou and Liu 2018, "Adaptive Batch Normalization for practical
//! domain adaptation"): the running averages of a trained network become statistics of the target. No
//! parameter learns.
//!
//! A step is one pass of target images, in which batch norm goes by the batch's own moments. After n steps
//! each running mean is the mean over the n batches of their means, and each running variance that of their
//! unbiased variances, as in PyTorch with `momentum=None`. All batches count alike, a short last one too, and the
//! variance between their means is in neither. What the averages were before is forgotten. As a pass does not
//! go by running averages, they are the same whatever came in, and an epoch on the same batches adds nothing. The
//! authors' online algorithm weighs images instead of batches.
//!
//! Dropout is off, as at test time. Frozen batch norm layers keep their averages, unless the `freeze` stage
//! says `batch_norm = "train"`.

use super::entropy::mean_entropy;
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::Statistics;
use crate::train::{Batch, Bench, FitError, Learner, Method, Mode, Needs, NetId};

/// A pass as at test time, but for the statistics.
const MODE: Mode = Mode { statistics: Statistics::Cumulative, ..Mode::EVAL };

/// Settings of adaptive batch normalisation.
#[derive(Debug, Clone)]
pub struct AdaBn {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
}

impl AdaBn {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("target", "unlabelled images of the target domain")]);
        Ok(Self { target: keys.reference("target", Wants::Split("train"))? })
    }
}

impl Method for AdaBn {
    fn needs(&self) -> Needs<'_> {
        Needs::target_alone(&self.target)
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let stats = bench.model_mut(NetId::MAIN).stats_mut();
        if stats.is_empty() {
            return Err(FitError::NoBatchNorm);
        }
        // The first batch is the first that counts.
        stats.iter_mut().for_each(|it| it.batches = 0);
        Ok(Box::new(Averaging))
    }
}

/// Adaptive batch normalisation in the middle of a training: what it remembers is in the network.
struct Averaging;

impl Learner for Averaging {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let images = &batch.target().images;
        let logits = bench.class_logits(NetId::MAIN, images, Domain::Target, MODE)?;
        bench.meter("target_entropy", &mean_entropy(&logits)?, logits.rows());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;
    use crate::nn::Model;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims};
    use crate::nn::zoo::{self, ArchSettings};
    use crate::train::{TargetBatch, tiny};

    fn adabn() -> AdaBn {
        read_lines("target = 'other'", AdaBn::read).0.unwrap()
    }

    /// So many 3x4x4 images without a pattern.
    fn images(salt: usize, count: usize) -> Vec<f32> {
        (0..count * 48).map(|at| ((at * 37 + salt * 59) % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Runs batches through the tiny network after `change`, and gives what the method leaves.
    fn after(batches: &[Vec<f32>], change: impl Fn(&mut Model)) -> Model {
        let mut model = tiny::model();
        change(&mut model);
        let (method, settings) = (adabn(), tiny::settings(1));
        let mut bench = Bench::alone(model, &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        for (step, values) in batches.iter().enumerate() {
            let dims = Dims::Rows(values.len() / 48, 48);
            let images = CpuOps::shared().tensor(values.clone(), dims).unwrap();
            let batch = Batch { source: None, target: Some(TargetBatch::plain(images)) };
            let at = (step, batches.len());
            bench.step_alone(&mut *learner, &batch, at, false).unwrap();
        }
        bench.model(learner.predictor()).clone()
    }

    /// Running means and variances of the one batch norm layer.
    fn averages(model: &Model) -> Vec<f32> {
        let [stats] = model.stats() else { panic!("one layer") };
        [stats.mean.host(), stats.var.host()].concat()
    }

    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
        }
    }

    /// Mean and unbiased variance of what the convolution makes of images, channel by channel.
    fn moments(model: &Model, images: &[f32]) -> Vec<f32> {
        let [weight, bias] = [0, 1].map(|at| model.parameters()[at].value.host());
        let mut both = [Vec::new(), Vec::new()];
        for (filter, bias) in bias.iter().enumerate() {
            let mut values = Vec::new();
            for image in images.chunks(48) {
                for (y, x) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let inside = (0..27).map(|at| {
                        let (channel, dy, dx) = (at / 9, at / 3 % 3, at % 3);
                        let pixel = image[16 * channel + 4 * (y + dy) + x + dx];
                        f64::from(pixel) * f64::from(weight[27 * filter + at])
                    });
                    values.push(inside.sum::<f64>() + f64::from(*bias));
                }
            }
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let squares = values.iter().map(|it| (it - mean).powi(2)).sum::<f64>();
            both[0].push(mean as f32);
            both[1].push((squares / (count - 1.0)) as f32);
        }
        both.concat()
    }

    #[test]
    fn averages_are_means_over_the_batches_of_their_own_moments_and_nothing_else_moves() {
        // The last batch is short, and counts as much.
        let batches = [images(0, 4), images(1, 4), images(2, 2)];
        let model = after(&batches, |_| {});
        let of_batches = batches.each_ref().map(|batch| moments(&model, batch));
        assert_ne!(of_batches[0], of_batches[1]);
        let expected: Vec<f32> = (0..of_batches[0].len())
            .map(|at| of_batches.iter().map(|it| it[at]).sum::<f32>() / 3.0)
            .collect();
        assert_near(&averages(&model), &expected);
        assert_eq!(model.stats()[0].batches, 3);
        let before = tiny::model();
        for (before, after) in before.parameters().iter().zip(model.parameters()) {
            assert_eq!(before.value.host(), after.value.host(), "{}", before.name);
        }
    }

    #[test]
    fn the_set_that_the_averages_are_of_gives_them_back_and_so_does_a_second_pass() {
        let batches = [images(3, 4), images(4, 4)];
        let source = after(&batches, |_| {});
        let again = after(&batches, |model| {
            for (to, from) in model.stats_mut().iter_mut().zip(source.stats()) {
                to.mean.write(&from.mean.host());
                to.var.write(&from.var.host());
                to.batches = 1000;
            }
        });
        assert_near(&averages(&again), &averages(&source));
        let twice = after(&[&batches[..], &batches[..]].concat(), |_| {});
        assert_near(&averages(&twice), &averages(&source));
        // Another set gives others, and other logits.
        let bright: Vec<f32> = images(5, 4).iter().map(|it| 2.0 * it + 1.0).collect();
        let other = after(&[bright], |_| {});
        assert_ne!(averages(&other), averages(&source));
        let x = CpuOps::shared().tensor(images(6, 2), Dims::Rows(2, 48)).unwrap();
        let [one, two] = [source, other].map(|mut model| model.logits(&x).unwrap().host());
        assert_ne!(one, two);
    }

    #[test]
    fn a_network_without_batch_norm_is_an_error() {
        let input = Chw { channels: 1, height: 28, width: 28 };
        let spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
        let model = Model::new(spec, &CpuOps::shared(), 0).unwrap();
        let (method, settings) = (adabn(), tiny::settings(1));
        let mut bench = Bench::alone(model, &settings).unwrap();
        let Err(error) = method.begin(&mut bench) else { panic!("there is nothing to adapt") };
        assert!(error.to_string().contains("batch norm"), "{error}");
    }
}
