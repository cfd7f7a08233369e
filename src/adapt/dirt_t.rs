//! DIRT-T (Shu, Bui, Narui and Ermon 2018, "A DIRT-T Approach to Unsupervised Domain Adaptation"):
//! decision-boundary iterative refinement training with a teacher. It takes a network that comes from
//! [VADA](super::vada), or from another method, and refines it with target images alone.
//!
//! With the class logits z of target images x, their probabilities p, the probabilities q that a teacher gives
//! the same images, and [virtual adversarial training](super::vat), a step goes down
//!
//!   lambda CE(q, p) + entropy H(p) + vat VAT(x),
//!
//! moving features and classifier, where CE(q, p) is the mean over the images of -sum_k q_k ln p_k. No gradient
//! goes through q, and gradients go through both factors of H.
//!
//! Each step then moves the parameters of the average as VADA does, which is evaluated, kept and handed on. The
//! teacher is the average as it was `refresh` steps ago or less: a copy is taken before the first step and
//! every `refresh` steps from there, with the running averages that batch norm has by then. It looks at
//! images in evaluation mode. The network that learns is in training mode.

use super::{Coefficient, cross_entropy_of_shares};
use super::vada::{AVERAGE, follow, read_keep};
use super::vat::{PIXELS, Vat, entropy, smoothness};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::Part;
use crate::train::{
    Batch, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId,
};

/// The snapshot whose probabilities are the labels.
const REFINED_TEACHER: NetId = NetId::named("teacher");

/// Settings of DIRT-T.
#[derive(Debug, Clone)]
pub struct DirtT {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the teacher's labels: the beta of the paper.
    pub lambda: Coefficient,
    /// Weight of the entropy of the classes.
    pub entropy: Coefficient,
    /// Weight of virtual adversarial training.
    pub vat_weight: Coefficient,
    /// How virtual adversarial images are made.
    vat: Vat,
    /// Steps after which the teacher is taken anew.
    pub refresh: usize,
    /// Share of an averaged parameter that a step keeps, 0 to below 1.
    pub keep: f32,
}

impl DirtT {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the cross-entropy with the teacher's probabilities"),
            ("entropy", "weight of the entropy of the class probabilities"),
            ("vat", "weight of virtual adversarial training"),
            ("refresh", "steps after which the averaged network becomes the teacher again"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let mut weight = |key| Coefficient::read(keys, key, Coefficient::Constant { max: 0.01 });
        let (lambda, entropy, vat_weight) = (weight("lambda"), weight("entropy"), weight("vat"));
        let vat = Vat::read(keys);
        let refresh = keys.count("refresh", 1..=usize::MAX).or(5000_usize);
        let keep = read_keep(keys);
        Ok(Self {
            target: target?,
            lambda: lambda?,
            entropy: entropy?,
            vat_weight: vat_weight?,
            vat: vat?,
            refresh: refresh?,
            keep: keep?,
        })
    }
}

impl Method for DirtT {
    fn needs(&self) -> Needs<'_> {
        Needs { views: PIXELS, ..Needs::target_alone(&self.target) }
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, AVERAGE);
        bench.copy(NetId::MAIN, REFINED_TEACHER);
        Ok(Box::new(Refining(self)))
    }
}

/// DIRT-T in the middle of a training: besides the networks it remembers nothing.
struct Refining<'m>(&'m DirtT);

impl Learner for Refining<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let settings = self.0;
        let lambda = bench.knob("lambda", settings.lambda.over_time());
        let entropy_weight = bench.knob("entropy", settings.entropy.over_time());
        let vat_weight = bench.knob("vat", settings.vat_weight.over_time());
        if bench.progress().step.is_multiple_of(settings.refresh) {
            bench.copy(AVERAGE, REFINED_TEACHER);
        }
        let (images, domain) = (&batch.target().images, Domain::Target);
        let look = Mode::OBSERVE.without_averages();
        let p = bench.class_logits(NetId::MAIN, images, domain, look)?.softmax()?;
        let adversary = settings.vat.adversary(bench, images, &p, domain)?;

        let q = bench.class_logits(REFINED_TEACHER, images, domain, Mode::EVAL)?.softmax()?;
        let logits = bench.class_logits(NetId::MAIN, images, domain, Mode::LEARN)?;
        let taught = cross_entropy_of_shares(&logits, &q)?;
        let unsure = entropy(&logits)?;
        let smooth = smoothness(bench, &adversary, &p, domain)?;
        let count = logits.rows();
        bench.meter("teacher_loss", &taught, count);
        bench.meter("target_entropy_loss", &unsure, count);
        bench.meter("target_vat_loss", &smooth, count);
        let loss = taught.scale(lambda)?.add(&unsure.scale(entropy_weight)?)?;
        let loss = loss.add(&smooth.scale(vat_weight)?)?;
        bench.descend(&loss, &[Group::part(Part::FEATURES), Group::part(Part::CLASSIFIER)])?;
        follow(bench, settings.keep)
    }

    fn predictor(&self) -> NetId {
        AVERAGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::read;
    use crate::nn::Model;
    use crate::nn::ops::{CpuOps, Dims, Tensor};
    use crate::train::{TargetBatch, tiny};

    fn images(salt: usize) -> Tensor {
        let values = (0..4 * 48).map(|at| ((at * 37 + salt) % 101) as f32 / 50.0 - 1.0);
        CpuOps::shared().tensor(values.collect(), Dims::Rows(4, 48)).unwrap()
    }

    fn values(model: &Model) -> Vec<Vec<f32>> {
        let parameters = model.parameters().iter().map(|it| it.value.host());
        let averages = model.stats().iter().flat_map(|it| [it.mean.host(), it.var.host()]);
        parameters.chain(averages).collect()
    }

    /// Takes some steps, and says what the average, the teacher and what learns are after each.
    fn after_steps(settings: &str, steps: usize) -> Vec<[Vec<Vec<f32>>; 3]> {
        let kind = "kind = 'dirt_t', target = 'other.train', radius = 0.5";
        let method = read(&format!("method = {{ {kind}, {settings} }}")).unwrap();
        let training = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &training).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        assert_eq!(learner.predictor(), AVERAGE);
        let mut after = Vec::new();
        for step in 0..steps {
            let target = Some(TargetBatch::plain(images(step)));
            let batch = Batch { source: None, target };
            bench.step_alone(&mut *learner, &batch, (step, steps), false).unwrap();
            let networks = [AVERAGE, REFINED_TEACHER, NetId::MAIN];
            after.push(networks.map(|network| values(bench.model(network))));
        }
        after
    }

    #[test]
    fn the_teacher_becomes_the_average_every_so_many_steps_and_stays_in_between() {
        let after = after_steps("refresh = 2, lambda = 1.0, keep = 0.5", 5);
        let [averages, teachers] = [0, 1].map(|at| after.iter().map(move |it| &it[at]));
        let (averages, teachers): (Vec<_>, Vec<_>) = (averages.collect(), teachers.collect());
        assert_eq!(*teachers[0], values(&tiny::model()));
        assert_eq!(teachers[1], teachers[0]);
        assert_eq!((teachers[2], teachers[3]), (averages[1], averages[1]));
        assert_eq!(teachers[4], averages[3]);
        assert_ne!(averages[1], teachers[0]);
    }

    #[test]
    fn without_weights_nothing_but_the_running_averages_moves_and_each_weight_counts() {
        let none = "lambda = 0, entropy = 0, vat = 0";
        let still = after_steps(none, 1).remove(0);
        let begun = values(&tiny::model());
        let parameters = tiny::model().parameters().len();
        assert_eq!(still[2][..parameters], begun[..parameters]);
        for network in [&still[0], &still[2]] {
            assert_ne!(network[parameters..], begun[parameters..]);
        }
        for key in ["lambda", "entropy", "vat"] {
            let with = none.replace(&format!("{key} = 0"), &format!("{key} = 1"));
            let moved = after_steps(&with, 1).remove(0);
            assert_ne!(moved[2][..parameters], begun[..parameters], "{key}");
        }
    }
}
