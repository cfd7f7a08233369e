//! Methods without steps: they see the features of all source and target images once, compute in closed form
//! how the two domains are brought together, and fit a classifier of one linear layer to the source as it then
//! is. What takes target features there is linear as well, so that it becomes a part of the classifier: what is
//! handed on is an ordinary network for target images.
//!
//! The features come from the network as it came in, in evaluation mode. Source labels are read, target labels never.
//! A classifier of several layers gives way to one linear layer; the features stay as they are. Where these are
//! maps that the classifier takes the means of, so do the methods here.
//!
//! Everything happens before the first step. Steps go over images without looking at them.

use super::linear_maps::{AffineMap, FeatureRows, ZScore, count, single};
use super::softmax_regression::{SoftmaxRegression, softmax};
use crate::config::{Keys, Noted, Reference, Wants};
use crate::data::view::Domain;
use crate::nn::heads::NewHead;
use crate::nn::spec::Layer;
use crate::nn::{Part, Spec};
use crate::random::Stream;
use crate::train::{
    Batch, Bench, FitError, Learner, Method, Misfit, Needs, NetId, Visit, When, WholeSet,
    WholeSetPasses,
};

/// Features at most: matrices of as many rows are decomposed, which takes some minutes.
const WIDEST: usize = 2048;

/// The features are the source's.
const KEPT: &[Part] = &[Part::FEATURES];

/// What is reported of every classifier.
const OF_CLASSIFIER: &[&str] = &["class_loss", "accuracy", "target_entropy"];

/// A way to bring two domains together in closed form.
pub trait ClosedForm: std::fmt::Debug + Send + Sync + Sized + 'static {
    /// Reads its settings.
    ///
    /// # Errors
    /// When the file has something else there.
    fn read(keys: &mut Keys) -> Result<Self, Noted>;

    /// What its [`Aligned::readings`] are called.
    fn readings(&self) -> &'static [&'static str];

    /// Brings the domains together. `draws` gives random numbers for a purpose.
    fn align(&self, features: &DomainFeatures, draws: &dyn Fn(&str) -> Stream) -> Aligned;
}

/// The features of both domains, which have the same width and vary.
#[derive(Debug)]
pub struct DomainFeatures {
    /// Of the labelled images.
    pub source: FeatureRows,
    /// The class of each of these.
    pub labels: Vec<u32>,
    /// Of the target's.
    pub target: FeatureRows,
}

/// Two domains that were brought together.
#[derive(Debug)]
pub struct Aligned {
    /// What the classifier is fitted to.
    pub rows: FeatureRows,
    /// The class of each of these rows.
    pub labels: Vec<u32>,
    /// From target features to what the classifier takes in.
    pub target: AffineMap,
    /// What there is to report.
    pub readings: Vec<f64>,
}

/// A method that aligns as `form` does.
#[derive(Debug, Clone)]
pub struct ClosedFormMethod<F> {
    /// Images of the target domain; their labels are never read.
    pub target: Reference,
    /// How the domains are brought together.
    pub form: F,
}

impl<F: ClosedForm> ClosedFormMethod<F> {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[("target", "unlabelled images of the target domain")]);
        let target = keys.reference("target", Wants::Split("train"));
        let form = F::read(keys);
        Ok(Self { target: target?, form: form? })
    }
}

impl<F: ClosedForm> Method for ClosedFormMethod<F> {
    fn needs(&self) -> Needs<'_> {
        Needs {
            target: Some(&self.target),
            keeps: KEPT,
            whole_set: Some(WholeSetPasses { of: Domain::Target, when: When::Begin }),
            labelled_set: Some(When::Begin),
            comes_in: true,
            steps: false,
            ..Needs::SOURCE
        }
    }

    fn heads(&self, spec: &Spec) -> Vec<NewHead> {
        vec![NewHead {
            part: Part::CLASSIFIER,
            layers: spec.linear_classifier(),
            logits: Some(spec.classes),
            written_at: None,
        }]
    }

    fn misfit(&self, spec: &Spec) -> Option<Misfit> {
        let width = inputs_of_classifier(spec)?;
        (width > WIDEST).then(|| Misfit {
            message: format!(
                "the network has {width} features, and this method takes {WIDEST} at most"
            ),
            help: "where the network is trained, give it fewer: \
                   `bottleneck = [256, \"batch_norm\", \"relu\"]` in its `model`"
                .to_owned(),
        })
    }

    fn begin<'m>(&'m self, bench: &mut Bench) -> Result<Box<dyn Learner + 'm>, FitError> {
        let model = bench.model(NetId::MAIN);
        let mut classifier = model.parameters().iter().filter(|it| it.part == Part::CLASSIFIER);
        // What is frozen is in no checkpoint.
        if classifier.any(|it| !it.trainable) {
            return Err(FitError::FrozenClassifier);
        }
        let inputs = inputs_of_classifier(model.spec());
        let inputs = inputs.expect("the classifier has one linear layer");
        Ok(Box::new(Fitting { form: &self.form, inputs, source: None, readings: Vec::new() }))
    }
}

/// What the linear layer of the classifier takes in.
fn inputs_of_classifier(spec: &Spec) -> Option<usize> {
    let placement = spec.place().ok()?;
    let mut own = placement.layers.iter().filter(|it| it.part == Part::CLASSIFIER);
    let linear = own.find(|it| matches!(it.layer, Layer::Linear { .. }))?;
    Some(linear.input.len())
}

/// A method without steps in the middle of a training.
struct Fitting<'m, F> {
    form: &'m F,
    /// Numbers that the classifier takes in.
    inputs: usize,
    /// Features and classes of all labelled images, until the target's are there.
    source: Option<(FeatureRows, Vec<u32>)>,
    /// What it reports in every step.
    readings: Vec<f32>,
}

impl<F: ClosedForm> Learner for Fitting<'_, F> {
    fn step(&mut self, bench: &mut Bench, _: &Batch) -> Result<(), FitError> {
        let names = OF_CLASSIFIER.iter().chain(self.form.readings());
        for (name, value) in names.zip(&self.readings) {
            let value = *value;
            bench.knob(name, move |_| value);
        }
        Ok(())
    }

    fn refresh_labelled(
        &mut self,
        _: &mut Bench,
        seen: &WholeSet,
        labels: &[u32],
    ) -> Result<(), FitError> {
        self.source = Some((self.vectors(seen, "source")?, labels.to_vec()));
        Ok(())
    }

    fn refresh(&mut self, bench: &mut Bench, seen: &WholeSet) -> Result<(), FitError> {
        let target = self.vectors(seen, "target")?;
        let (source, labels) = self.source.take().expect("the labelled images come first");
        let features = DomainFeatures { source, labels, target };
        let aligned = self.form.align(&features, &|purpose| bench.lasting_stream(purpose));
        let found = SoftmaxRegression::train(&aligned.rows, &aligned.labels, seen.classes);
        let head = found.map.after(&aligned.target);

        let parameters = bench.model_mut(NetId::MAIN).parameters_mut().iter_mut();
        for parameter in parameters.filter(|it| it.part == Part::CLASSIFIER) {
            let is_bias = parameter.shape.len() == 1;
            let values = if is_bias { &head.shift } else { &head.matrix.values };
            parameter.value.write(&single(values));
        }
        let entropy = mean_entropy(&head.of_rows(&features.target));
        let told = [found.loss, found.accuracy, entropy];
        self.readings = single(&[&told[..], &aligned.readings[..]].concat());
        Ok(())
    }

    fn state(&mut self, visit: &mut dyn Visit) {
        visit.numbers("readings", &mut self.readings);
    }
}

impl<F> Fitting<'_, F> {
    /// What the linear layer of the classifier takes in of each image.
    fn vectors(&self, seen: &WholeSet, domain: &'static str) -> Result<FeatureRows, FitError> {
        let area = seen.width / self.inputs;
        let values = if area == 1 {
            seen.features.clone()
        } else {
            let mean = |map: &[f32]| map.iter().map(|x| f64::from(*x)).sum::<f64>() / count(area);
            single(&seen.features.chunks_exact(area).map(mean).collect::<Vec<f64>>())
        };
        let is_finite = values.iter().all(|x| x.is_finite());
        let rows = FeatureRows { values, width: self.inputs };
        let varies = is_finite && ZScore::of(&[&rows]).scale.iter().any(|scale| *scale > 0.0);
        if varies { Ok(rows) } else { Err(FitError::NoFeatures { domain }) }
    }
}

/// The mean entropy of the class probabilities of logits.
fn mean_entropy(logits: &FeatureRows) -> f64 {
    let entropy = |row: &[f32]| {
        let logits: Vec<f64> = row.iter().map(|z| f64::from(*z)).collect();
        let mut p = logits.clone();
        let all = softmax(&mut p);
        all - p.iter().zip(&logits).map(|(p, z)| p * z).sum::<f64>()
    };
    logits.rows().map(entropy).sum::<f64>() / count(logits.images())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::adapt::linear_maps::Matrix;
    use crate::adapt::linear_maps::tests::cloud;
    use crate::config::testing::read_lines;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims};
    use crate::nn::zoo::{self, ArchSettings};
    use crate::random;
    use crate::train::{Reading, tiny};

    /// Settings of a way, as lines of TOML.
    pub fn form<F: ClosedForm>(lines: &str) -> F {
        read_lines(lines, F::read).0.unwrap()
    }

    /// What is wrong with such lines.
    pub fn problems<F: ClosedForm>(lines: &str) -> Vec<String> {
        read_lines(lines, |keys| F::read(keys).is_ok()).1.messages()
    }

    /// Two domains that are brought together.
    pub fn aligned(form: &impl ClosedForm, source: FeatureRows, target: FeatureRows) -> Aligned {
        let labels = (0..source.images()).map(|at| [0, 1][at % 2]).collect();
        let features = DomainFeatures { source, labels, target };
        form.align(&features, &|purpose| random::stream(0, purpose, 0, 0))
    }

    /// Leaves both domains as they are, but for z-scores of both together and a shift of the target's.
    #[derive(Debug)]
    struct Shift;

    impl ClosedForm for Shift {
        fn read(_: &mut Keys) -> Result<Self, Noted> {
            Ok(Self)
        }

        fn readings(&self) -> &'static [&'static str] {
            &["answer"]
        }

        fn align(&self, features: &DomainFeatures, _: &dyn Fn(&str) -> Stream) -> Aligned {
            let score = ZScore::of(&[&features.source, &features.target]);
            let identity = Matrix::identity(features.source.width);
            let mut map = AffineMap::of_scores(&score, identity);
            let rows = map.of_rows(&features.source);
            map.shift.iter_mut().for_each(|it| *it -= 2.0);
            Aligned { rows, labels: features.labels.clone(), target: map, readings: vec![42.0] }
        }
    }

    fn seen(rows: &FeatureRows) -> WholeSet {
        let probabilities = vec![0.5; 2 * rows.images()];
        WholeSet { features: rows.values.clone(), width: rows.width, probabilities, classes: 2 }
    }

    /// What the tiny network makes of features of eight numbers.
    fn logits(bench: &mut Bench, rows: &FeatureRows) -> Vec<f32> {
        let dims = Dims::Rows(rows.images(), rows.width);
        let x = CpuOps::shared().tensor(rows.values.clone(), dims).unwrap();
        let pass = crate::nn::Pass::EVAL;
        bench.model_mut(NetId::MAIN).forward(&Part::CLASSIFIER, &x, pass).unwrap().host()
    }

    #[test]
    fn the_classifier_says_of_target_features_what_the_regression_says_of_aligned_ones() {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = Fitting { form: &Shift, inputs: 8, source: None, readings: Vec::new() };
        let (source, target) = (cloud(0, 30, 8, 0.5), cloud(1, 20, 8, 1.0));
        let labels: Vec<u32> = (0..30).map(|at| [0, 1, 1][at % 3]).collect();
        let before = logits(&mut bench, &target);
        learner.refresh_labelled(&mut bench, &seen(&source), &labels).unwrap();
        learner.refresh(&mut bench, &seen(&target)).unwrap();
        let found = logits(&mut bench, &target);
        assert_ne!(found, before);

        let features = DomainFeatures { source, labels, target };
        let aligned = Shift.align(&features, &|purpose| random::stream(0, purpose, 0, 0));
        let regression = SoftmaxRegression::train(&aligned.rows, &aligned.labels, 2).map;
        let expected = regression.of_rows(&aligned.target.of_rows(&features.target));
        for (found, expected) in found.iter().zip(&expected.values) {
            assert!((found - expected).abs() < 1e-4, "{found} and {expected}");
        }
        let batch = Batch { source: None, target: None };
        let readings = bench.step_alone(&mut learner, &batch, (0, 1), false).unwrap().0;
        let names: Vec<&str> = readings.iter().map(|it: &Reading| it.name).collect();
        assert_eq!(names[..4], ["class_loss", "accuracy", "target_entropy", "answer"]);
        assert_eq!(readings[3].value, 42.0);
    }

    #[test]
    fn features_that_do_not_vary_are_an_error() {
        let settings = tiny::settings(1);
        let mut bench = Bench::alone(tiny::model(), &settings).unwrap();
        let mut learner = Fitting { form: &Shift, inputs: 8, source: None, readings: Vec::new() };
        for value in [0.25, f32::NAN] {
            let rows = FeatureRows { values: vec![value; 24], width: 8 };
            let error = learner.refresh_labelled(&mut bench, &seen(&rows), &[0, 1, 0]).unwrap_err();
            assert!(error.to_string().contains("features of the source images"), "{error}");
        }
    }

    #[test]
    fn a_frozen_classifier_is_an_error() {
        let method = read_lines("target = 'other'", ClosedFormMethod::<Shift>::read).0.unwrap();
        let settings = tiny::settings(1);
        let begun = |frozen: &Part| {
            let mut model = tiny::model();
            let parameters = model.parameters_mut().iter_mut();
            let frozen = parameters.filter(|it| it.part == *frozen);
            frozen.for_each(|it| it.trainable = false);
            let mut bench = Bench::alone(model, &settings).unwrap();
            method.begin(&mut bench).err()
        };
        assert!(begun(&Part::FEATURES).is_none());
        assert!(matches!(begun(&Part::CLASSIFIER), Some(FitError::FrozenClassifier)));
    }

    #[test]
    fn maps_that_a_classifier_takes_the_means_of_are_means_here_too() {
        let learner = Fitting { form: &Shift, inputs: 2, source: None, readings: Vec::new() };
        let maps = FeatureRows { values: vec![1.0, 3.0, 0.0, 4.0, 5.0, 5.0, 8.0, 0.0], width: 4 };
        let rows = learner.vectors(&seen(&maps), "source").unwrap();
        assert_eq!(rows, FeatureRows { values: vec![2.0, 2.0, 5.0, 4.0], width: 2 });
    }

    #[test]
    fn a_network_of_too_many_features_does_not_fit() {
        let method = read_lines("target = 'other'", ClosedFormMethod::<Shift>::read).0.unwrap();
        let spec = |side: usize| {
            let input = Chw { channels: 1, height: side, width: side };
            let mut spec = (zoo::find("lenet").unwrap().build)(ArchSettings::new(input, 10));
            for head in method.heads(&spec) {
                spec.heads.insert(head.part, head.layers);
            }
            spec
        };
        assert_eq!(method.misfit(&spec(28)), None);
        let told = method.misfit(&spec(64)).unwrap();
        assert!(told.message.contains("8112 features"), "{told:?}");
    }

    #[test]
    fn entropy_is_that_of_the_definition() {
        let logits = FeatureRows { values: vec![0.3, 0.3, 2.0, -1e4], width: 2 };
        let found = mean_entropy(&logits);
        assert!((found - std::f64::consts::LN_2 / 2.0).abs() < 1e-12, "{found}");
    }
}
