//! Masked image consistency (Hoyer, Dai, Wang and Van Gool 2023, "MIC: Masked Image Consistency for
//! Context-Enhanced Domain Adaptation"), as its authors have it for the classification of images.
//!
//! A masked view of the target's images has [blocks of them hidden](crate::data::view::hide_blocks), each with
//! probability `ratio`. With the logits z_i that the network gives it, and the class probabilities q_i that
//! a teacher gives the same images before they are masked, the term is
//!
//! lambda mean_i max_k q_ik CE(argmax_k q_ik, z_i)
//!
//! through which no gradient goes into q. The teacher's parameters are those that the training begins with. After
//! step t, from 1, they are an average that keeps the share min(1 - 1 / (t + 1), keep) of the old: at first the mean
//! of what the network was before and after every step, then an exponential moving average. The teacher goes
//! by the statistics of its own batch and has no dropout, as in the authors' code. It is not evaluated.
//!
//! The term belongs to the task of sharpness-aware steps, in which the authors' code leaves the weight max_k q_ik out
//! of the second gradient; here it is in both. Their code also moves the running averages of batch norm by the
//! masked images, which is not done here, because images without a mask are evaluated. The target's own
//! images pass through the whole network as well, so that these averages have them. Their masked view has
//! jittered colours and blur besides, by numbers that are drawn once per training.

use super::fixmatch::likeliest;
use super::joint::{ActiveTerm, ReadTerm, Seen, Term};
use super::{Coefficient, cross_entropy_of_shares};
use crate::config::{Keys, Noted};
use crate::data::view::{Domain, ViewKind, ViewRequest};
use crate::nn::Statistics;
use crate::nn::ops::{Number, OpError, Tensor};
use crate::train::{Batch, Bench, FitError, Mode, NetId};

/// The network whose classes the masked images learn.
const MIC_TEACHER: NetId = NetId::named("mic_teacher");

/// How the teacher looks at images.
const LOOK: Mode = Mode { statistics: Statistics::BatchAlone, ..Mode::EVAL };

/// The name of the masked view.
const MASKED: &str = "masked";

/// Settings of masked image consistency.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mic {
    /// Side of a block in pixels; `None` for four by four blocks in an image.
    pub block: Option<usize>,
    /// Probability that a block is hidden, 0 to below 1.
    pub ratio: f32,
    /// Largest share of the teacher's parameters that a step keeps, 0 to below 1.
    pub keep: f64,
}

impl ReadTerm for Mic {
    const WEIGHT: &'static str =
        "weight of the cross-entropy of masked target images with the classes that a teacher gives them";
    const USUAL: Coefficient = Coefficient::Constant { max: 1.0 };

    fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            (
                "block",
                "side of the blocks that are hidden together, in pixels; a quarter of the image's when left out",
            ),
            ("ratio", "probability that a block is hidden"),
            ("keep", "share of the teacher's parameters that a step keeps; less in the first steps"),
        ]);
        let block = keys.count("block", 1..=16_384).optional();
        let ratio = keys.float("ratio").below_one().or(0.7);
        let keep = keys.float("keep").below_one().or(0.9);
        #[expect(clippy::cast_possible_truncation, reason = "random numbers are compared in f32")]
        let ratio = ratio? as f32;
        Ok(Self { block: block?, ratio, keep: keep? })
    }
}

impl Term for Mic {
    fn looks_at_target_logits(&self) -> bool {
        true
    }

    fn is_of_the_task(&self) -> bool {
        true
    }

    fn views(&self) -> Vec<ViewRequest> {
        let kind = ViewKind::Masked { block: self.block, ratio: self.ratio };
        vec![ViewRequest { domain: Domain::Target, name: MASKED, kind }]
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn ActiveTerm + 'm>, FitError> {
        bench.copy(NetId::MAIN, MIC_TEACHER);
        Ok(Box::new(self))
    }
}

/// In the middle of a training: all that it remembers is the teacher's network.
impl ActiveTerm for &Mic {
    fn loss(&mut self, bench: &mut Bench, seen: &Seen, lambda: Number) -> Result<Tensor, FitError> {
        let (images, masked) = (&seen.batch.target().images, seen.target_view(MASKED));
        let (domain, still) = (Domain::Target, Mode::LEARN.without_averages());
        let taught = bench.class_logits(MIC_TEACHER, images, domain, LOOK)?.softmax()?;
        let logits = bench.class_logits(NetId::MAIN, masked, domain, still)?;
        let loss = consistency(&logits, &taught)?;
        bench.meter("masked_loss", &loss, logits.rows());
        bench.meter("teacher_confidence", &taught.row_max()?.mean()?, logits.rows());
        Ok(loss.scale(lambda)?)
    }

    fn after(&mut self, bench: &mut Bench, _: &Batch) -> Result<(), FitError> {
        let kept = kept(bench.progress().step, self.keep);
        bench.average(MIC_TEACHER, NetId::MAIN, kept)
    }
}

/// What the teacher keeps of itself after a step, counted from 0.
#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
#[expect(clippy::cast_possible_truncation, reason = "parameters are f32")]
fn kept(step: usize, most: f64) -> f32 {
    let of_mean = 1.0 - 1.0 / (step as f64 + 2.0);
    of_mean.min(most) as f32
}

/// mean_i max_k q_ik CE(argmax_k q_ik, z_i) of logits z and probabilities q `[M, K]`. Classes that are as likely
/// as each other share a row.
fn consistency(logits: &Tensor, taught: &Tensor) -> Result<Tensor, OpError> {
    cross_entropy_of_shares(logits, &likeliest(taught)?.mul(&taught.row_max()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{read, rows, step};
    use crate::nn::ops::{Tape, Targets};
    use crate::train::{Optimizer, Reading, SourceBatch, TargetBatch, TrainingSettings, tiny};

    #[test]
    fn the_loss_is_the_published_formula() {
        let q = [[0.2_f32, 0.7, 0.1], [0.5, 0.1, 0.4]];
        let z = [[1.0_f32, -2.0, 0.5], [3.0, 0.0, 1.0]];
        let tape = Tape::default();
        let (taught, logits) = (rows(q.concat(), 3), rows(z.concat(), 3).on(&tape));
        let loss = consistency(&logits, &taught).unwrap();
        let cross_entropy = |row: usize, class: usize| {
            let z = z[row].map(f64::from);
            z.iter().map(|it| it.exp()).sum::<f64>().ln() - z[class]
        };
        let expected = (0.7 * cross_entropy(0, 1) + 0.5 * cross_entropy(1, 0)) / 2.0;
        assert!((loss.value() - expected).abs() < 1e-6, "{} and {expected}", loss.value());
        // Of class 1 in the first row: 0.7 (p - 1) / 2.
        let gradient = tape.backward(&loss).unwrap().take(&logits).unwrap().host();
        let p = (-cross_entropy(0, 1)).exp();
        assert!((f64::from(gradient[1]) - 0.35 * (p - 1.0)).abs() < 1e-6, "{gradient:?}");
    }

    #[test]
    fn the_teacher_is_the_mean_of_all_networks_until_it_keeps_as_much_as_it_may() {
        let near = |step, expected: f32| (kept(step, 0.9) - expected).abs() < 1e-7;
        assert!(near(0, 0.5) && near(1, 2.0 / 3.0) && near(7, 8.0 / 9.0));
        assert!(near(8, 0.9) && near(9, 0.9) && near(100_000, 0.9));
        // The numbers 1, 2, 4, 8 one after the other, the first of which it begins as.
        let mut mean = 1.0_f32;
        for (step, newest) in [2.0, 4.0, 8.0].into_iter().enumerate() {
            let kept = kept(step, 0.9);
            mean = kept * mean + (1.0 - kept) * newest;
        }
        assert!((mean - 15.0 / 4.0).abs() < 1e-6, "{mean}");
    }

    /// Four images without a pattern.
    fn images(salt: usize) -> Tensor {
        let number = |at: usize| ((at * 37 + salt * 101) % 251) as f32 / 125.0 - 1.0;
        rows((0..4 * 48).map(number).collect::<Vec<f32>>(), 48)
    }

    /// What `look` sees after three steps on these images of the target and their masked view.
    fn after_steps<T>(
        lr: f64,
        [plain, masked]: [usize; 2],
        look: impl FnOnce(&Bench, &[Reading]) -> T,
    ) -> T {
        let sgd = Optimizer::Sgd { lr, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let settings = TrainingSettings::plain(4, sgd);
        let line = "method = { kind = 'dann', target = 'other.train', plus = ['mic'] }";
        let method = read(line).unwrap();
        let mut model = tiny::model();
        for head in method.heads(&model.spec().clone()) {
            model.add_head(head, 0).unwrap();
        }
        let [view] = method.needs().views else { panic!("one view") };
        assert!(matches!(view.kind, ViewKind::Masked { block: None, .. }), "{view:?}");
        let mut bench = Bench::alone(model, &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        assert_eq!(learner.predictor(), NetId::MAIN);
        // What it begins as is then easily told from what the network is.
        for parameter in bench.model_mut(MIC_TEACHER).parameters_mut() {
            let moved: Vec<f32> = parameter.value.host().iter().map(|it| it + 0.5).collect();
            parameter.value.write(&moved);
        }
        let mut last = Vec::new();
        for step in 0..3 {
            let source = SourceBatch::plain(images(1), Targets::plain(&[0, 1, 1, 0]));
            let views = vec![images(masked)];
            let target = TargetBatch { views, ..TargetBatch::plain(images(plain)) };
            let batch = Batch { source: Some(source), target: Some(target) };
            last = bench.step_alone(&mut *learner, &batch, (step, 3), false).unwrap().0;
        }
        look(&bench, &last)
    }

    #[test]
    fn it_counts_beside_the_terms_of_the_paper_in_sharpness_aware_steps() {
        let found = |plus: &str| {
            let method = "kind = 'cdan', target = 'other.train', sharpness_aware = 0.02";
            step(&format!("method = {{ {method}, plus = ['mcc'{plus}] }}"), |_| {})
        };
        let (readings, gradients) = found(", 'mic'");
        for name in ["masked_loss", "mic_lambda", "confusion_loss", "class_loss"] {
            let of_name = readings.iter().filter(|it| it.name == name);
            assert!(of_name.map(|it| it.value.is_finite()).eq([true]), "{name}: {readings:?}");
        }
        assert_eq!(found(", { kind = 'mic', lambda = 0 }").1, found("").1);
        assert_ne!(gradients, found("").1);
    }

    #[test]
    fn the_teacher_follows_a_network_that_stays_as_it_is() {
        after_steps(0.0, [2, 3], |bench, _| {
            let networks = [NetId::MAIN, MIC_TEACHER].map(|it| bench.model(it).parameters());
            for (own, taught) in networks[0].iter().zip(networks[1]) {
                for (own, taught) in own.value.host().iter().zip(taught.value.host()) {
                    // 1/2, 2/3 and 3/4 of a distance of 0.5.
                    assert!((taught - own - 0.125).abs() < 1e-6, "{taught} of {own}");
                }
            }
        });
    }

    #[test]
    fn the_teacher_sees_plain_images_the_network_masked_ones_and_averages_are_of_plain_ones() {
        let seen = |of_target: [usize; 2]| {
            after_steps(0.01, of_target, |bench, readings| {
                let batches = |network| bench.model(network).stats()[0].batches;
                // Three steps with a pass of the source and one of the target.
                assert_eq!((batches(NetId::MAIN), batches(MIC_TEACHER)), (6, 0));
                let value =
                    |name: &str| readings.iter().find(|it| it.name == name).unwrap().value;
                (value("masked_loss"), value("teacher_confidence"))
            })
        };
        let (loss, confidence) = seen([2, 3]);
        assert!((0.5..=1.0).contains(&confidence), "{confidence}");
        assert_ne!(seen([2, 4]).0, loss);
        assert_ne!(seen([5, 3]).1, confidence);
    }
}
