//! SHOT (Liang, Hu and Feng 2020, "Do We Really Need to Access the Source Data? Source Hypothesis
//! Transfer for Unsupervised Domain Adaptation"): adapts a trained network without any source image.
//!
//! loss = class_weight CE(class, pseudo labels) + mean_i H(p_i) - H(mean_i p_i)
//!
//! with the class probabilities p of target images and H(p) = -sum_k p_k ln(p_k + 1e-5). The classifier
//! is the source's: no step moves it, and as in the authors' code it is in evaluation mode throughout.
//! The features learn, in training mode. Before each epoch all target images get [pseudo
//! labels](super::pseudo_labels) from a pass in evaluation mode over the images as they are.

use super::Coefficient;
use super::pseudo_labels::PseudoLabels;
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::ops::{OpError, Targets, Tensor};
use crate::nn::Part;
use crate::train::{
    Batch, Bench, FitError, Group, Learner, Method, Mode, Needs, NetId, Visit, When,
    WholeSet, WholeSetPasses,
};

/// What the authors add inside the logarithms of entropies.
const EPS: f32 = 1e-5;

/// The source's hypothesis, which stays as it is.
const KEPT: &[Part] = &[Part::CLASSIFIER];

/// Settings of SHOT.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the cross-entropy with the pseudo labels.
    pub class_weight: Coefficient,
    /// Images that a class must be the likeliest one of for it to be a pseudo label; one at least.
    pub threshold: usize,
}

impl Shot {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("class_weight", "weight of the cross-entropy with the pseudo labels"),
            (
                "threshold",
                "images that a class must be the likeliest one of for it to be a pseudo label; one at least",
            ),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let usual = Coefficient::Constant { max: 0.3 };
        let class_weight = Coefficient::read(keys, "class_weight", usual);
        let threshold = keys.count("threshold", 0..=usize::MAX).or(0_usize);
        Ok(Self { target: target?, class_weight: class_weight?, threshold: threshold? })
    }
}

impl Method for Shot {
    fn needs(&self) -> Needs<'_> {
        Needs {
            keeps: KEPT,
            whole_set: Some(WholeSetPasses { of: Domain::Target, when: When::EpochStart }),
            ..Needs::target_alone(&self.target)
        }
    }

    fn begin<'m>(&'m self, _: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        Ok(Box::new(Adapting { settings: self, labels: Vec::new(), changed: Vec::new() }))
    }
}

/// SHOT in the middle of a training.
struct Adapting<'m> {
    settings: &'m Shot,
    /// The pseudo label of each target image, in data-set order.
    labels: Vec<u32>,
    /// The share of labels that the last labelling changed; empty until there were two.
    changed: Vec<f32>,
}

impl Learner for Adapting<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let weight = bench.knob("class_weight", self.settings.class_weight.over_time());
        for share in self.changed.clone() {
            bench.knob("label_change", move |_| share);
        }
        let target = batch.target();
        let labels: Vec<u32> = target.indices.iter().map(|at| self.labels[*at]).collect();
        let features = bench.learn(&Part::FEATURES, &target.images, Domain::Target)?;
        // The classifier passes gradients on, and is otherwise as at test time.
        let (head, frozen) = (Part::CLASSIFIER, Mode::FROZEN);
        let logits = bench.pass(NetId::MAIN, &head, &features, Domain::Target, frozen)?;
        let class_loss = bench.ops().cross_entropy(&logits, &Targets::plain(&labels))?;
        let [entropy, diversity] = entropies(&logits.softmax()?)?;

        let count = labels.len();
        bench.meter("class_loss", &class_loss, count);
        bench.meter("entropy", &entropy, count);
        bench.meter("diversity", &diversity, count);
        let loss = class_loss.scale(weight)?.add(&entropy)?.sub(&diversity)?;
        bench.descend(&loss, &[Group::part(Part::FEATURES)])
    }

    fn refresh(&mut self, _: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        let least = self.settings.threshold;
        let found = PseudoLabels::of(seen, least).ok_or(FitError::NoClass { least })?;
        let labels = found.second.labels;
        if self.labels.len() == labels.len() {
            let differ = labels.iter().zip(&self.labels).filter(|(new, old)| new != old).count();
            #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
            let share = differ as f32 / labels.len() as f32;
            self.changed = vec![share];
        }
        self.labels = labels;
        Ok(())
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.integers("labels", &mut self.labels);
        visit.numbers("label_change", &mut self.changed);
    }
}

/// mean_i H(p_i) and H(mean_i p_i) of class probabilities p `[N, K]`.
pub(super) fn entropies(probabilities: &Tensor) -> Result<[Tensor; 2], OpError> {
    let entropy = probabilities.row_entropies(EPS)?.mean()?;
    let diversity = probabilities.mean_of_rows()?.row_entropies(EPS)?.sum()?;
    Ok([entropy, diversity])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::rows;
    use crate::config::testing::read_lines;
    use crate::nn::ops::Tape;
    use crate::train::{Reading, TargetBatch, tiny};

    fn shot() -> Shot {
        read_lines("target = 'other'", Shot::read).0.unwrap()
    }

    /// The gradient of the loss without pseudo labels with respect to logits of four classes.
    fn gradient(logits: Vec<f32>) -> Vec<f32> {
        let tape = Tape::default();
        let logits = rows(logits, 4).on(&tape);
        let [entropy, diversity] = entropies(&logits.softmax().unwrap()).unwrap();
        let loss = entropy.sub(&diversity).unwrap();
        tape.backward(&loss).unwrap().take(&logits).unwrap().host()
    }

    #[test]
    fn rows_without_a_likeliest_class_pull_nowhere_by_themselves() {
        let uniform = gradient(vec![0.3; 12]);
        assert!(uniform.iter().all(|value| value.abs() < 1e-9), "{uniform:?}");
        let leaning = gradient(vec![0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.6]);
        assert!(leaning.iter().any(|value| value.abs() > 1e-3), "{leaning:?}");
    }

    #[test]
    fn entropies_are_those_of_the_rows_and_of_their_mean() {
        let [entropy, diversity] = entropies(&rows(vec![1.0, 0.0, 0.0, 1.0], 2)).unwrap();
        assert!(entropy.value().abs() < 2e-5, "{}", entropy.value());
        assert!((diversity.value() - std::f64::consts::LN_2).abs() < 3e-5, "{}", diversity.value());
    }

    /// What six images look like to a network, `turned` or not.
    fn seen(turned: bool) -> WholeSet {
        let (one, other) = if turned { (0.1, 0.9) } else { (0.9, 0.1) };
        let probabilities = [[one, other], [0.9, 0.1], [0.1, 0.9]].concat().repeat(2);
        let features = [[one, 0.0], [0.9, 0.0], [0.0, 0.9]].concat().repeat(2);
        WholeSet { features, width: 2, probabilities, classes: 2 }
    }

    #[test]
    fn the_share_of_labels_that_changed_is_told_from_the_second_labelling_on() {
        let (shot, settings) = (shot(), tiny::settings(1));
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = shot.begin(&mut bench).unwrap();
        let indices: Vec<usize> = (0..6).collect();
        let images = rows((0..6_u8).flat_map(|at| vec![f32::from(at); 48]).collect::<Vec<f32>>(), 48);
        let target = Some(TargetBatch { images, indices: (&indices).into(), views: Vec::new() });
        let batch = Batch { source: None, target };
        let mut told = Vec::new();
        for turned in [false, false, true] {
            learner.refresh(&mut bench, &seen(turned)).unwrap();
            let readings = bench.step_alone(&mut *learner, &batch, (0, 1), false).unwrap().0;
            let of = |it: &Reading| (it.name == "label_change").then_some(it.value);
            told.push(readings.iter().find_map(of));
        }
        assert_eq!(told[..2], [None, Some(0.0)]);
        assert!(told[2].unwrap() > 0.0, "{told:?}");
    }

    #[test]
    fn no_class_with_enough_images_is_an_error() {
        let (shot, settings) = (Shot { threshold: 5, ..shot() }, tiny::settings(1));
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = shot.begin(&mut bench).unwrap();
        let error = learner.refresh(&mut bench, &seen(false)).unwrap_err().to_string();
        assert!(error.contains("likeliest one of 5 target images"), "{error}");
    }
}
