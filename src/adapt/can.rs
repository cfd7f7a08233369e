//! Contrastive adaptation network (Kang, Jiang, Yang and Hauptmann 2019, "Contrastive Adaptation Network
//! for Unsupervised Domain Adaptation").
//!
//! loss = CE(class, source) + lambda sum over layers of (intra - inter)
//!
//! The layers are the features and the class probabilities, and intra - inter is the [contrastive
//! discrepancy](super::contrastive) of the images of a step: how far the images of one class lie apart in
//! both domains, less how far those of different classes do. Target images have the classes of their
//! clusters, which are constants in the loss.
//!
//! Before each epoch the images of both domains pass in evaluation mode, as they are. The target's features
//! fall into [spherical clusters](super::spherical), which begin at the centres of the source's classes and
//! keep the class of where they began. An image keeps its class when it is within `max_distance` of the
//! centre, by (1 - cosine) / 2, and at least `min_images` of the class are. The target images of a step are
//! then of the classes of its source images, as many of each. The batch is filled up with others in their
//! usual order. These take part in batch norm, and in the discrepancy where they have a class of the step,
//! too. A step without a class in common goes down the cross-entropy alone.
//!
//! The paper has a second batch of source images for the cross-entropy, of all classes; here it is that of
//! the discrepancy, whose classes are therefore not chosen among those that were kept. The authors' target
//! batches are not filled up. Their code adds up features that are not divided by their norms, stops when
//! centres hardly move, gives clusters the classes whose centres fit best in the end, and trains until the
//! clusters stay as they are, for at most 50 rounds; here it is the stage's number of epochs.
//!
//! Features that are maps are averaged first, here and in the clusters.
//!
//! The classes of source images are the labels as such: label smoothing and mixup change the cross-entropy
//! alone.

use std::collections::BTreeMap;

use super::contrastive::SharedClasses;
use super::spherical::{Centres, SphericalClusters};
use super::{Classified, Coefficient, as_vectors};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::Part;
use crate::nn::geometry::Chw;
use crate::nn::ops::{Dims, OpError, Tensor};
use crate::train::{
    Batch, Bench, Domains, FitError, Group, Learner, Method, Needs, NetId, Visit, When, WholeSet,
    WholeSetPasses,
};

/// Settings of the contrastive adaptation network.
#[derive(Debug, Clone)]
pub struct Can {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// Weight of the contrastive discrepancy.
    pub lambda: Coefficient,
    /// How far from the centre of its cluster an image may be to keep its class, 0 to 1.
    pub max_distance: f64,
    /// Images that must keep a class for it to count.
    pub min_images: usize,
}

impl Can {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("target", "unlabelled images of the target domain"),
            ("lambda", "weight of the contrastive discrepancy of features and probabilities"),
            (
                "max_distance",
                "how far from the centre of its cluster an image may be to keep its class, half of 1 minus the cosine",
            ),
            ("min_images", "target images that must keep a class for it to count"),
        ]);
        let target = keys.reference("target", Wants::Split("train"));
        let lambda = Coefficient::read(keys, "lambda", Coefficient::Constant { max: 0.3 });
        let max_distance = keys
            .float("max_distance")
            .such_that("a number from 0 to 1", |it| (0.0..=1.0).contains(it))
            .or(0.05);
        let min_images = keys.count("min_images", 1..=usize::MAX).or(3_usize);
        Ok(Self {
            target: target?,
            lambda: lambda?,
            max_distance: max_distance?,
            min_images: min_images?,
        })
    }
}

impl Method for Can {
    fn needs(&self) -> Needs<'_> {
        let when = When::EpochStart;
        Needs {
            whole_set: Some(WholeSetPasses { of: Domain::Target, when }),
            labelled_set: Some(when),
            matches_classes: true,
            ..Needs::adapting(&self.target)
        }
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let maps = bench.model(NetId::MAIN).spec().feature_maps();
        let maps = maps.expect("the layers of a network fit together");
        Ok(Box::new(Contrasting { settings: self, maps, begun: None, classes: Vec::new() }))
    }
}

/// The contrastive adaptation network in the middle of a training.
struct Contrasting<'m> {
    settings: &'m Can,
    /// The shape of the features, where they are maps.
    maps: Option<Chw>,
    /// Where clusters begin, from when the source was seen until the target is, right afterwards.
    begun: Option<Centres>,
    /// The class of each target image that has one, in data-set order.
    classes: Vec<Option<u32>>,
}

impl Learner for Contrasting<'_> {
    fn step(&mut self, bench: &mut Bench, batch: &Batch) -> Result<(), FitError> {
        let lambda = bench.knob("lambda", self.settings.lambda.over_time());
        let (share, count) = self.kept();
        bench.knob("kept_images", move |_| share);
        bench.knob("kept_classes", move |_| count);
        let features = bench.both(&Part::FEATURES, &batch.images())?;
        let logits = bench.both(&Part::CLASSIFIER, &features)?;
        let classified = Classified::new(&logits.source, &batch.source().targets)?;
        classified.report_loss(bench);
        let shared = self.shared(batch);
        let vectors = Domains {
            source: as_vectors(&features.source, self.maps)?,
            target: as_vectors(&features.target, self.maps)?,
        };
        let [intra, inter] = discrepancies(&shared, &vectors, &logits)?;
        let discrepancy = intra.sub(&inter)?;
        let images = features.source.rows() + features.target.rows();
        bench.meter("cdd_loss", &discrepancy, images);
        bench.meter("intra_class_discrepancy", &intra, images);
        bench.meter("inter_class_discrepancy", &inter, images);
        classified.report_accuracy(bench);
        bench.descend(&classified.loss.add(&discrepancy.scale(lambda)?)?, &[Group::MAIN])
    }

    fn refresh_labelled(
        &mut self,
        _: &mut Bench,
        seen: &WholeSet,
        labels: &[u32],
    ) -> Result<(), FitError> {
        self.begun = Some(Centres::of(&of_vectors(seen, self.maps), labels));
        Ok(())
    }

    fn refresh(&mut self, _: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        let begun = self.begun.take().expect("the labelled images are seen right before");
        let Can { max_distance, min_images, .. } = *self.settings;
        let clusters = SphericalClusters::of(&of_vectors(seen, self.maps), &begun);
        self.classes = kept(&clusters, max_distance, min_images);
        Ok(())
    }

    fn target_classes(&self) -> &[Option<u32>] {
        &self.classes
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        // No network has as many classes.
        const NONE: u32 = u32::MAX;
        let mut classes: Vec<u32> = self.classes.iter().map(|it| it.unwrap_or(NONE)).collect();
        visit.integers("cluster_classes", &mut classes);
        self.classes = classes.into_iter().map(|it| (it != NONE).then_some(it)).collect();
    }
}

impl Contrasting<'_> {
    /// The share of target images that have a class, and how many classes they have.
    #[expect(clippy::cast_precision_loss, reason = "numbers for people to read")]
    fn kept(&self) -> (f32, f32) {
        let mut classes: Vec<u32> = self.classes.iter().flatten().copied().collect();
        let share = classes.len() as f32 / self.classes.len().max(1) as f32;
        classes.sort_unstable();
        classes.dedup();
        (share, classes.len() as f32)
    }

    /// The images of a step by the classes that both domains have.
    fn shared(&self, batch: &Batch) -> SharedClasses {
        let class = |place: &usize| self.classes.get(*place).copied().flatten();
        let of_target: Vec<Option<u32>> = batch.target().indices.iter().map(class).collect();
        SharedClasses::of(&batch.source().targets.labels, &of_target)
    }
}

/// The discrepancies within classes and between them, added up over features and class probabilities; 0
/// where the domains have no class in common.
fn discrepancies(
    shared: &SharedClasses,
    features: &Domains,
    logits: &Domains,
) -> Result<[Tensor; 2], OpError> {
    if shared.count() == 0 {
        let nothing = || logits.source.constant(vec![0.0], Dims::Scalar);
        return Ok([nothing()?, nothing()?]);
    }
    let of_features = shared.discrepancies(&features.source, &features.target)?;
    let answers = (logits.source.softmax()?, logits.target.softmax()?);
    let of_answers = shared.discrepancies(&answers.0, &answers.1)?;
    let [intra, inter] = [0, 1].map(|at| of_features[at].add(&of_answers[at]));
    Ok([intra?, inter?])
}

/// The set with the means of feature maps in their place, where features are `maps`.
fn of_vectors(seen: &WholeSet, maps: Option<Chw>) -> WholeSet {
    let area = maps.map_or(1, |maps| maps.height * maps.width);
    #[expect(clippy::cast_possible_truncation, reason = "features are f32")]
    #[expect(clippy::cast_precision_loss, reason = "maps are far below 2^53 numbers")]
    let mean = |map: &[f32]| (map.iter().map(|x| f64::from(*x)).sum::<f64>() / area as f64) as f32;
    WholeSet {
        features: seen.features.chunks_exact(area).map(mean).collect(),
        width: seen.width / area,
        probabilities: seen.probabilities.clone(),
        classes: seen.classes,
    }
}

/// The class of each row that is within `max_distance` of the centre of its cluster, where at least
/// `min_images` rows of the class are.
fn kept(clusters: &SphericalClusters, max_distance: f64, min_images: usize) -> Vec<Option<u32>> {
    let rows = clusters.labels.iter().zip(&clusters.distances);
    let near: Vec<Option<u32>> =
        rows.map(|(label, distance)| (*distance <= max_distance).then_some(*label)).collect();
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    near.iter().flatten().for_each(|label| *counts.entry(*label).or_default() += 1);
    near.into_iter().map(|label| label.filter(|label| counts[label] >= min_images)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::tests::{rows, step};
    use crate::config::testing::read_lines;
    use crate::nn::ops::Targets;
    use crate::train::{Gradient, Reading, SourceBatch, TargetBatch, tiny};

    const LINE: &str = "method = { kind = 'can', target = 'other.train' }";

    fn can(more: &str) -> Can {
        read_lines(&format!("target = 'other'\n{more}"), Can::read).0.unwrap()
    }

    #[test]
    fn rows_near_their_centre_keep_their_class_where_there_are_enough_of_them() {
        let clusters = SphericalClusters {
            labels: vec![0, 1, 0, 2, 1, 1, 0],
            distances: vec![0.01, 0.05, 0.2, 0.0, 0.02, 0.06, 0.05],
        };
        let of = |max_distance, min_images| kept(&clusters, max_distance, min_images);
        assert_eq!(of(0.05, 2), [Some(0), Some(1), None, None, Some(1), None, Some(0)]);
        assert_eq!(of(0.05, 3), [None; 7]);
        assert_eq!(of(1.0, 3), [Some(0), Some(1), Some(0), None, Some(1), Some(1), Some(0)]);
        let nowhere = SphericalClusters { labels: vec![0], distances: vec![f64::INFINITY] };
        assert_eq!(kept(&nowhere, 1.0, 1), [None]);
    }

    #[test]
    fn maps_count_by_their_means() {
        let seen = WholeSet {
            features: vec![1.0, 3.0, 0.0, 4.0, 5.0, 5.0, 8.0, 0.0],
            width: 4,
            probabilities: vec![0.5; 4],
            classes: 2,
        };
        assert_eq!(of_vectors(&seen, None), seen);
        let means = of_vectors(&seen, Some(Chw { channels: 2, height: 1, width: 2 }));
        assert_eq!((means.features, means.width), (vec![2.0, 2.0, 5.0, 4.0], 2));
    }

    /// A step on a few images of each domain when those of the target have these features.
    fn step_with(method: &Can, features: &[f32]) -> (Vec<Reading>, Vec<Gradient>) {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = method.begin(&mut bench).unwrap();
        let seen = |features: &[f32]| WholeSet {
            features: features.to_vec(),
            width: 2,
            probabilities: vec![0.5; features.len()],
            classes: 2,
        };
        learner.refresh_labelled(&mut bench, &seen(&[1.0, 0.0, 0.0, 1.0]), &[0, 1]).unwrap();
        learner.refresh(&mut bench, &seen(features)).unwrap();
        let values = |count: usize, salt: usize| {
            let values = (0..count * 48).map(|at| ((at * 37 + salt) % 101) as f32 / 50.0 - 1.0);
            rows(values.collect::<Vec<f32>>(), 48)
        };
        let source = SourceBatch::plain(values(4, 0), Targets::plain(&[0, 1, 0, 1]));
        let indices = [0, 1, 2];
        let target = TargetBatch { indices: (&indices).into(), ..TargetBatch::plain(values(3, 53)) };
        let batch = Batch { source: Some(source), target: Some(target) };
        bench.step_alone(&mut *learner, &batch, (0, 1), true).unwrap()
    }

    fn reading(readings: &[Reading], name: &str) -> f64 {
        readings.iter().find(|it| it.name == name).unwrap_or_else(|| panic!("{name}")).value
    }

    #[test]
    fn a_step_without_a_class_in_common_is_one_of_the_source_alone() {
        let alone = step("method = 'supervised'", |_| {}).1;
        assert_eq!(step(LINE, |_| {}).1, alone, "nothing is known of the target");
        // Three images in two clusters are too few for either.
        let (readings, descents) = step_with(&can(""), &[0.1, 1.0, 1.0, 0.05, 0.05, 1.0]);
        assert_eq!(descents, alone);
        for name in ["cdd_loss", "kept_images", "kept_classes"] {
            assert!(reading(&readings, name) == 0.0, "{name}: {readings:?}");
        }
    }

    #[test]
    fn classes_in_common_pull_by_their_weight_and_are_told() {
        // Two target images of class 1, and one of class 0, of which there are too few.
        let features = [0.1, 1.0, 1.0, 0.05, 0.05, 1.0];
        let of = |settings: &str| step_with(&can(settings), &features);
        let (readings, with) = of("min_images = 2");
        assert!((reading(&readings, "kept_images") - 2.0 / 3.0).abs() < 1e-6, "{readings:?}");
        assert!(reading(&readings, "kept_classes") == 1.0, "{readings:?}");
        let parts = ["cdd_loss", "intra_class_discrepancy", "inter_class_discrepancy"];
        let [loss, intra, inter] = parts.map(|name| reading(&readings, name));
        assert!(loss > 0.0 && (loss - (intra - inter)).abs() < 1e-5, "{readings:?}");
        assert!(inter == 0.0, "one class has no others: {readings:?}");
        let alone = step("method = 'supervised'", |_| {}).1;
        assert_eq!(of("min_images = 2\nlambda = 0").1, alone);
        assert_ne!(with, alone);
        // The same with both classes.
        let (readings, _) = of("min_images = 1");
        assert!(reading(&readings, "inter_class_discrepancy") > 0.0, "{readings:?}");
    }

    /// Keeps what a learner remembers, or gives it back.
    #[derive(Default)]
    struct Memory(Vec<u32>, bool);

    impl Visit for Memory {
        fn numbers(&mut self, name: &str, _: &mut Vec<f32>) {
            panic!("{name}");
        }

        fn integers(&mut self, _: &str, values: &mut Vec<u32>) {
            match self.1 {
                true => values.clone_from(&self.0),
                false => self.0.clone_from(values),
            }
        }
    }

    #[test]
    fn a_learner_that_is_restored_has_the_classes_of_the_one_that_was_saved() {
        let (method, plain) = (can(""), tiny::settings(1));
        let mut bench = Bench::alone(tiny::model(), &plain).unwrap();
        let classes = vec![Some(1), None, Some(0), None];
        let settings = &method;
        let mut saved =
            Contrasting { settings, maps: None, begun: None, classes: classes.clone() };
        let mut memory = Memory::default();
        saved.state(&mut memory);
        assert_eq!(saved.target_classes(), classes, "saving changes nothing");
        let mut restored = method.begin(&mut bench).unwrap();
        memory.1 = true;
        restored.state(&mut memory);
        assert_eq!(restored.target_classes(), classes);
    }
}
