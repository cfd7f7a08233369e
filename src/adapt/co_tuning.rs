//! Co-Tuning (You, Kou, Long and Wang 2020, "Co-Tuning for Transfer Learning"): the classifier that a network was
//! pretrained with learns on beside the new one, so that what it knows is not lost.
//!
//! loss = CE(class, y) + lambda mean_i CE(z_i, r_{y_i})
//!
//! r_k = mean over the training images of class k of softmax(z / T)
//!
//! with the logits z of the classifier that came in. The relation r of the new classes to the old ones is computed
//! once, before the first step, from a pass over the training images as they are, in evaluation mode, and is a
//! constant afterwards. Everything learns in one descent, the old classifier too.
//!
//! r is what the paper calls the direct approach, which is also TLLib's. Its other one fits a logistic regression
//! from the old classes to the new ones, calibrates it on held-out images and turns it round by Bayes' rule. The
//! temperature T calibrates the old classifier: the authors multiply the logits of torchvision's ResNet-50 by 0.884,
//! which is T = 1.131. Where images are mixed, so are their rows of r; smoothing is of the new classes alone.

use super::{Classified, Coefficient, cross_entropy_of_shares};
use crate::config::{Keys, Noted};
use crate::data::view::Domain;
use crate::nn::ops::{Dims, Targets};
use crate::nn::{Part, Spec};
use crate::train::{
    Batch, Bench, FitError, Group, Learner, Method, Misfit, Mode, Needs, NetId, Visit, When,
    WholeSet,
};

/// The classifier that came in.
const SOURCE_CLASSIFIER: &Part = &Part::named("source_classifier");

/// Images at a time in the pass for the relation; it changes no number.
const ROWS: usize = 256;

/// Settings of Co-Tuning.
#[derive(Debug, Clone, Copy)]
pub struct CoTuning {
    /// Weight of the loss of the classifier that came in.
    pub lambda: Coefficient,
    /// Temperature T that its logits are divided by for the relation.
    pub temperature: f64,
}

impl CoTuning {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("lambda", "weight of the loss of the classifier that came in"),
            (
                "temperature",
                "what the logits of the classifier that came in are divided by for the relation of the new classes to its own",
            ),
        ]);
        let lambda = Coefficient::read(keys, "lambda", Coefficient::Constant { max: 2.3 });
        let temperature = keys.float("temperature").positive().or(1.0);
        Ok(Self { lambda: lambda?, temperature: temperature? })
    }
}

impl Method for CoTuning {
    fn needs(&self) -> Needs<'_> {
        Needs {
            labelled_set: Some(When::Begin),
            keeps_classifier_as: Some(SOURCE_CLASSIFIER),
            comes_in: true,
            ..Needs::SOURCE
        }
    }

    fn misfit(&self, spec: &Spec) -> Option<Misfit> {
        spec.part(SOURCE_CLASSIFIER).is_empty().then(|| Misfit {
            message: "this method goes on with the classifier that comes in beside a new one, \
                      and there is no new one"
                .to_owned(),
            help: "add `head = []`: a new classifier, beside which the old one is kept".to_owned(),
        })
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Relating { settings: self, relation: Vec::new() }))
    }
}

/// Co-Tuning in the middle of a training.
struct Relating<'m> {
    settings: &'m CoTuning,
    /// The probabilities of the old classes given each new one, `[new, old]`.
    relation: Vec<f32>,
}

impl Learner for Relating<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.settings.lambda.over_time());
        let source = batch.source();
        let features = bench.learn(&Part::FEATURES, &source.images, Domain::Source)?;
        let logits = bench.learn(&Part::CLASSIFIER, &features, Domain::Source)?;
        let classified = Classified::new(&logits, &source.targets)?;
        let old = bench.learn(SOURCE_CLASSIFIER, &features, Domain::Source)?;
        let shares = related(&source.targets, &self.relation, [logits.columns(), old.columns()]);
        let shares = old.constant(shares, Dims::Rows(old.rows(), old.columns()))?;
        let loss = cross_entropy_of_shares(&old, &shares)?;

        classified.report_loss(bench);
        bench.meter("source_classifier_loss", &loss, classified.count);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&loss.scale(lambda)?)?, &[Group::MAIN])
    }

    fn refresh_labelled(
        &mut self,
        bench: &mut Bench,
        seen: &WholeSet,
        labels: &[u32],
    ) -> Result<(), FitError> {
        #[expect(clippy::cast_possible_truncation, reason = "activations are f32")]
        let temperature = self.settings.temperature as f32;
        let mut probabilities = Vec::new();
        for rows in seen.features.chunks(ROWS * seen.width) {
            let dims = Dims::Rows(rows.len() / seen.width, seen.width);
            let features = bench.ops().tensor(rows.to_vec(), dims)?;
            let (part, mode) = (SOURCE_CLASSIFIER, Mode::EVAL);
            let logits = bench.pass(NetId::MAIN, part, &features, Domain::Source, mode)?;
            probabilities.extend(logits.div_by(temperature)?.softmax()?.host());
        }
        self.relation = relation(&probabilities, labels, seen.classes);
        Ok(())
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.numbers("relation", &mut self.relation);
    }
}

/// The mean of the rows of `probabilities` `[N, old]` of each of so many new `classes`; zeros for a class without
/// images, of which no step has any.
#[expect(clippy::cast_possible_truncation, reason = "shares of a loss are f32")]
fn relation(probabilities: &[f32], labels: &[u32], classes: usize) -> Vec<f32> {
    let old = probabilities.len() / labels.len().max(1);
    let (mut sums, mut counts) = (vec![0.0_f64; classes * old], vec![0.0_f64; classes]);
    for (row, label) in probabilities.chunks_exact(old.max(1)).zip(labels) {
        let class = *label as usize;
        counts[class] += 1.0;
        let sums = &mut sums[class * old..(class + 1) * old];
        sums.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p));
    }
    let mean = |(at, sum): (usize, f64)| (sum / counts[at / old.max(1)].max(1.0)) as f32;
    sums.into_iter().enumerate().map(mean).collect()
}

/// The row of `relation` of each image, `[N, old]`, mixed as the images are.
fn related(targets: &Targets, relation: &[f32], [new, old]: [usize; 2]) -> Vec<f32> {
    assert_eq!(relation.len(), new * old, "the relation is computed before the first step");
    let shares = Targets { smoothing: 0.0, ..*targets }.shares(new);
    let mut rows = vec![0.0; targets.labels.len() * old];
    for (row, shares) in rows.chunks_exact_mut(old).zip(shares.chunks_exact(new)) {
        let counts = shares.iter().zip(relation.chunks_exact(old)).filter(|(it, _)| **it > 0.0);
        for (share, of_class) in counts {
            row.iter_mut().zip(of_class).for_each(|(sum, p)| *sum += share * p);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::head::keep_classifier;
    use crate::nn::ops::Tensor;
    use crate::train::{Gradient, Reading, SourceBatch, TrainingSettings, tiny};

    #[test]
    fn the_relation_is_the_mean_probability_of_the_old_classes_for_each_new_one() {
        let probabilities = [0.5, 0.25, 0.25, 0.0, 1.0, 0.0, 0.25, 0.25, 0.5];
        let found = relation(&probabilities, &[2, 0, 2], 4);
        let expected = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.375, 0.25, 0.375, 0.0, 0.0, 0.0];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mixed_image_is_related_to_what_both_are_and_smoothing_changes_nothing() {
        let relation = [0.75, 0.25, 0.0, 0.0, 0.5, 0.5];
        let others: &[u32] = &[1, 1];
        let targets = Targets { mixed: Some((others, 0.25)), smoothing: 0.3, ..Targets::plain(&[0, 1]) };
        let found = related(&targets, &relation, [2, 3]);
        assert_eq!(found, [0.5625, 0.3125, 0.125, 0.0, 0.5, 0.5]);
    }

    #[test]
    fn a_network_without_the_old_classifier_is_a_misfit() {
        let method = read_lines("", CoTuning::read).0.unwrap();
        let mut model = tiny::model();
        let misfit = method.misfit(model.spec()).unwrap();
        assert!(misfit.help.contains("`head = []`"), "{misfit:?}");
        let old = model.clone();
        keep_classifier(&mut model, &old, SOURCE_CLASSIFIER).unwrap();
        assert_eq!(method.misfit(model.spec()), None);
    }

    /// Four images without a pattern.
    fn images() -> Tensor {
        let number = |at: usize| ((at * 37) % 101) as f32 / 50.0 - 1.0;
        rows((0..4 * 48).map(number).collect::<Vec<f32>>(), 48)
    }

    /// The readings and the gradients of a step of the tiny network after the whole set of `seen` features.
    fn after(seen: &WholeSet, labels: &[u32], line: &str) -> (Vec<Reading>, Gradient) {
        let method = read_lines(line, CoTuning::read).0.unwrap();
        let settings: TrainingSettings = tiny::settings(1);
        let mut model = tiny::model();
        let old = model.clone();
        keep_classifier(&mut model, &old, SOURCE_CLASSIFIER).unwrap();
        let mut bench = Bench::alone(model, &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        learner.refresh_labelled(&mut bench, seen, labels).unwrap();
        let source = SourceBatch::plain(images(), Targets::plain(&[0, 1, 0, 1]));
        let batch = Batch { source: Some(source), target: None };
        let (readings, mut descents) =
            bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap();
        (readings, descents.remove(0))
    }

    #[test]
    fn the_old_classifier_learns_what_it_says_of_the_classes_at_its_temperature() {
        // Features of zeros: the old classifier says its biases of every image.
        let seen =
            WholeSet { features: vec![0.0; 16], width: 8, probabilities: vec![0.5; 4], classes: 2 };
        let bias = tiny::model().parameters().last().unwrap().value.host();
        let of = |temperature: f64| {
            let line = format!("temperature = {temperature}");
            let (readings, _) = after(&seen, &[0, 1], &line);
            let loss = readings.iter().find(|it| it.name == "source_classifier_loss").unwrap();
            loss.value
        };
        // The logits of the step's images, from the losses for both classes alone.
        let z: Vec<f64> = bias.iter().map(|it| f64::from(*it)).collect();
        let p = |temperature: f64| 1.0 / (1.0 + ((z[1] - z[0]) / temperature).exp());
        // CE is linear in the shares of the classes: two temperatures give the slope of a third.
        let [(one, at_one), (two, at_two), (three, at_three)] =
            [0.5, 1.0, 4.0].map(|temperature| (p(temperature), of(temperature)));
        let slope = (at_two - at_one) / (two - one);
        let expected = at_one + slope * (three - one);
        assert!((at_three - expected).abs() < 1e-4, "{at_three} and {expected}");
        assert!((at_two - at_one).abs() > 1e-5, "{at_two} and {at_one}");
    }

    #[test]
    fn without_weight_the_rest_learns_as_from_the_cross_entropy() {
        let seen =
            WholeSet { features: vec![0.5; 16], width: 8, probabilities: vec![0.5; 4], classes: 2 };
        let (_, found) = after(&seen, &[0, 1], "lambda = 0");
        let alone = step("method = 'supervised'", |_| {}).1.remove(0);
        for (name, expected) in &alone {
            let found = found.iter().find(|it| it.0 == *name);
            assert_eq!(found.map(|it| &it.1), Some(expected), "{name}");
        }
        let (_, weighted) = after(&seen, &[0, 1], "lambda = 2.3");
        let learns = |name: &str| weighted.iter().any(|it| it.0.starts_with(name));
        assert!(learns("source_classifier.") && learns("classifier.") && learns("features."));
        assert_ne!(weighted, found);
    }
}
