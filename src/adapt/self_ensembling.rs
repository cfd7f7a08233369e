//! Self-ensembling (French, Mackiewicz and Fisher 2018, "Self-Ensembling for Visual Domain Adaptation").
//!
//! loss = CE(class, source) + consistency mean_i m_i mean_k (p_ik - q_ik)^2
//!        + balance K mean_k BCE(mean_i p_ik, 1/K) mean_i m_i
//!
//! where p are the student's class probabilities of one view of the target images, q the teacher's of
//! another, m_i is 1 where the largest q_i is above the threshold, and K is the number of classes. The
//! mean over i is over the whole batch, so that few confident rows weigh little. The teacher's
//! parameters are an exponential moving average of the student's. It runs in training mode on its own
//! batch, so that its running averages have only ever seen the target, and it is what is evaluated.

use super::{Classified, Coefficient, target_view};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::{Domain, ViewRequest};
use crate::nn::Part;
use crate::nn::ops::{OpError, Tensor};
use crate::train::{
    Batch, BatchNormFamily, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId,
};

/// The network whose parameters follow the student's.
pub const TEACHER: NetId = NetId::named("teacher");

/// What the authors add inside the logarithms of the balance.
const EPS: f32 = 1e-6;

/// Settings of self-ensembling.
#[derive(Debug)]
pub struct SelfEnsembling {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the consistency between student and teacher.
    pub consistency: Coefficient,
    /// Least probability of the teacher's likeliest class for a row to count, 0 to below 1.
    pub threshold: f32,
    /// Weight of the loss that spreads the classes of a batch evenly; 0 for none.
    pub balance: f32,
    /// Share of a teacher's parameter that a step keeps, 0 to below 1.
    pub keep: f32,
    /// What the student sees of the target, and what the teacher.
    pub views: [ViewRequest; 2],
}

impl SelfEnsembling {
    #[expect(clippy::cast_possible_truncation, reason = "losses are 32-bit")]
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("consistency", "weight of the consistency between student and teacher"),
            (
                "threshold",
                "probability that the teacher's likeliest class must exceed for an image to count; 0 for all images",
            ),
            ("balance", "weight of the loss that spreads the classes of a batch evenly"),
            ("keep", "share of the teacher's parameters that a step keeps"),
            (
                "student",
                "random changes to the target images that the student sees; the stage's `augment` when left out",
            ),
            (
                "teacher",
                "random changes to the target images that the teacher sees; the stage's `augment` when left out",
            ),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let consistency =
            Coefficient::read(keys, "consistency", Coefficient::Constant { max: 3.0 });
        let threshold = keys.float("threshold").below_one().or(0.968_377_22);
        let balance = keys.float("balance").at_least(0.0).or(0.0);
        let keep = keys.float("keep").below_one().or(0.99);
        let student = target_view(keys, "student");
        let teacher = target_view(keys, "teacher");
        Ok(Self {
            target: target?,
            consistency: consistency?,
            threshold: threshold? as f32,
            balance: balance? as f32,
            keep: keep? as f32,
            views: [student?, teacher?],
        })
    }
}

impl Method for SelfEnsembling {
    fn needs(&self) -> Needs<'_> {
        Needs {
            target: Some(&self.target),
            batch_norm: &[BatchNormFamily::Separate],
            views: &self.views,
            ..Needs::SOURCE
        }
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        bench.copy(NetId::MAIN, TEACHER);
        Ok(Box::new(Student(self)))
    }
}

/// Self-ensembling in the middle of a training: all that it remembers is the teacher's network.
struct Student<'m>(&'m SelfEnsembling);

impl Learner for Student<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let weight = bench.knob("consistency", self.0.consistency.over_time());
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let classified = Classified::new(&logits, &source.targets)?;
        let [seen_by_student, seen_by_teacher] = &batch.target().views[..] else {
            unreachable!("a view for the student and one for the teacher")
        };
        let student = probabilities(bench, NetId::MAIN, seen_by_student, Mode::LEARN)?;
        let teacher = probabilities(bench, TEACHER, seen_by_teacher, Mode::OBSERVE)?;
        let mask = teacher.row_max()?.above(self.0.threshold)?;
        let consistency = consistency(&student, &teacher, &mask)?;

        let count = student.rows();
        classified.report_loss(bench);
        bench.meter("consistency_loss", &consistency, count);
        let mut loss = classified.loss.add(&consistency.scale(weight)?)?;
        if self.0.balance > 0.0 {
            let balance = balance(&student, &mask)?;
            bench.meter("balance_loss", &balance, count);
            loss = loss.add(&balance.scale(self.0.balance)?)?;
        }
        bench.meter_share("mask_rate", &[&mask.sum()?], count);
        classified.report_accuracy(bench);
        bench.descend(&loss, &[Group::MAIN])?;
        bench.average(TEACHER, NetId::MAIN, self.0.keep)
    }

    fn predictor(&self) -> NetId {
        TEACHER
    }
}

/// The class probabilities `[M, K]` that a network gives images of the target.
fn probabilities(
    bench: &mut Bench,
    network: NetId,
    images: &Tensor,
    mode: Mode,
) -> Result<Tensor, FitError> {
    Ok(bench.class_logits(network, images, Domain::Target, mode)?.softmax()?)
}

/// mean_i m_i mean_k (p_ik - q_ik)^2 of probabilities p, q `[M, K]` and a mask m `[M, 1]`.
fn consistency(student: &Tensor, teacher: &Tensor, mask: &Tensor) -> Result<Tensor, OpError> {
    student.sub(teacher)?.square()?.row_means()?.mul(mask)?.mean()
}

/// K mean_k BCE(mean_i p_ik, 1/K) mean_i m_i of probabilities p `[M, K]` and a mask m `[M, 1]`, with
/// BCE(p, t) = -t ln(p + eps) - (1 - t) ln(1 - p + eps).
fn balance(student: &Tensor, mask: &Tensor) -> Result<Tensor, OpError> {
    #[expect(clippy::cast_precision_loss, reason = "classes are far below 2^24")]
    let classes = student.columns() as f32;
    let even = 1.0 / classes;
    let mean = student.mean_of_rows()?;
    let hit = mean.shift(EPS)?.log()?.scale(-even)?;
    let missed = mean.scale(-1.0)?.shift(1.0 + EPS)?.log()?.scale(even - 1.0)?;
    hit.add(&missed)?.mean()?.scale(classes)?.mul(&mask.mean()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::adapt::Supervised;
    use crate::config::testing::read_lines;
    use crate::data::view::ViewKind;
    use crate::nn::ops::Targets;
    use crate::train::{Gradient, Optimizer, SourceBatch, TargetBatch, TrainingSettings, tiny};

    /// What a line of TOML gives, and what is wrong.
    fn read(settings: &str) -> (Option<SelfEnsembling>, Vec<String>) {
        let text = format!("target = 'other'\n{settings}");
        let (method, gathered) = read_lines(&text, SelfEnsembling::read);
        (method.ok(), gathered.messages())
    }

    /// Four images without a pattern.
    fn images(salt: u32) -> Tensor {
        let number = |at: u32| ((at * 37 + salt * 101) % 251) as f32 / 125.0 - 1.0;
        rows((0..4 * 48).map(number).collect::<Vec<f32>>(), 48)
    }

    fn batch<'a>(labels: &'a [u32], indices: &'a [usize]) -> Batch<'a> {
        let (targets, indices) = (Targets::plain(labels), indices.into());
        let source = SourceBatch { images: images(1), targets, indices, views: Vec::new() };
        let views = vec![images(3), images(4)];
        let target = TargetBatch { images: images(2), indices, views };
        Batch { source: Some(source), target: Some(target) }
    }

    fn gradients_of_a_step(method: &dyn Method) -> Vec<Gradient> {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        let batch = batch(&[0, 1, 1, 0], &[0, 1, 2, 3]);
        bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap().1
    }

    #[test]
    fn the_teacher_of_a_constant_student_nears_it_as_the_closed_form_says() {
        let sgd = Optimizer::Sgd { lr: 0.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let settings = TrainingSettings::plain(4, sgd);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let method = read("keep = 0.9").0.unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        for parameter in bench.model_mut(TEACHER).parameters_mut() {
            let moved: Vec<f32> = parameter.value.host().iter().map(|it| it + 0.5).collect();
            parameter.value.write(&moved);
        }
        let batch = batch(&[0, 1, 1, 0], &[0, 1, 2, 3]);
        for step in 0..7 {
            bench.step_alone(&mut *learner, &batch, (step, 7), false).unwrap();
        }
        let away = 0.5 * 0.9_f32.powi(7);
        let networks = [NetId::MAIN, TEACHER].map(|network| bench.model(network).parameters());
        for (student, teacher) in networks[0].iter().zip(networks[1]) {
            for (student, teacher) in student.value.host().iter().zip(teacher.value.host()) {
                assert!((teacher - student - away).abs() < 1e-6, "{teacher} of {student}");
            }
        }
    }

    #[test]
    fn a_target_of_which_the_teacher_is_never_sure_changes_no_gradient() {
        let unsure = read("threshold = 0.9999\nbalance = 0.5").0.unwrap();
        let (source_alone, with_target) =
            (gradients_of_a_step(&Supervised), gradients_of_a_step(&unsure));
        assert_eq!(with_target, source_alone);
        let all = read("threshold = 0").0.unwrap();
        assert_ne!(gradients_of_a_step(&all), source_alone);
    }

    #[test]
    fn the_losses_are_the_published_formulas() {
        let (student, teacher) =
            (rows(vec![0.5, 0.5, 0.9, 0.1], 2), rows(vec![0.7, 0.3, 0.2, 0.8], 2));
        let mask = teacher.row_max().unwrap().above(0.75).unwrap();
        assert_eq!(mask.host(), [0.0, 1.0]);
        // The mean over both rows of what the second gives.
        let found = consistency(&student, &teacher, &mask).unwrap().value();
        assert!((found - 0.49 / 2.0).abs() < 1e-6, "{found}");
        // The mean prediction is (0.7, 0.3), and one of two classes should be 0.5.
        let bce = |p: f64| -0.5 * (p + 1e-6).ln() - 0.5 * (1.0 - p + 1e-6).ln();
        let expected = 2.0 * f64::midpoint(bce(0.7), bce(0.3)) * 0.5;
        let found = balance(&student, &mask).unwrap().value();
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }

    #[test]
    fn views_are_the_stage_s_own_changes_unless_the_method_names_others() {
        let (method, problems) = read("student = ['flip']");
        assert!(problems.is_empty(), "{problems:?}");
        let [student, teacher] = method.unwrap().views;
        assert!(matches!((student.kind, student.name), (ViewKind::Own(_), "student")));
        assert!(matches!((teacher.kind, teacher.name), (ViewKind::Augmented, "teacher")));
        let (_, problems) = read("teacher = ['flip', 'mixup']");
        assert_eq!(problems, ["`mixup` mixes labelled images, and these are seen without labels"]);
    }
}
