//! Steps of a method on `dacnn` against those that a script on tests/golden/several_steps.py took in
//! PyTorch: the network, the images and the comparisons. Which method, and in which phases, is the tests'.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use runner::adapt::{self, Coefficient};
use runner::config::node::Value;
use runner::config::source::{Sources, Span};
use runner::config::{Keys, Reference, Wants, document};
use runner::nn::geometry::Chw;
use runner::nn::head::keep_classifier;
use runner::nn::ops::{Backend, Dims, Tensor};
use runner::nn::spec::Layer;
use runner::nn::{EntryLayer, Model, Part, Pass, zoo};
use runner::train::{Adam, Gradient, Method, Optimizer, Reading, WholeSet};
use safetensors::SafeTensors;

use super::{Distance, hashed, norm, sampled, tensor};

/// How far a gradient may be, of its norm. Rounding adds up from descent to descent: the CPU's fast
/// convolutions come to 1.3e-4 in the twelfth.
const OF_GRADIENTS: f64 = 3e-4;

/// Images of a whole set, and how many of them have nothing in common.
const SET: usize = 24;
pub const PATTERNS: usize = 6;

/// Values of an image.
const IMAGE: usize = 3 * 28 * 28;

/// A weight that stays as it is.
pub fn constant(max: f64) -> Coefficient {
    Coefficient::Constant { max }
}

/// The images of a target domain, as a method's settings name them.
pub fn target() -> Reference {
    let source = Sources::default().add("test", "");
    Reference {
        key: "method.target".into(),
        stage: "target".into(),
        split: Some("train".into()),
        wants: Wants::Split("train"),
        span: Span { source, start: 0, end: 0 },
    }
}

/// The method that a pipeline file writes so.
pub fn method(text: &str) -> Box<dyn Method> {
    let text = format!("method = {text}");
    let root = document::parse(Sources::default().add("method.toml", &*text), &text).unwrap();
    let Value::Table(table) = &root.value else { panic!("{text} is no table") };
    let mut keys = Keys::new(table, root.span);
    let method = adapt::read(&mut keys);
    let problems = keys.finish().problems;
    assert!(problems.is_empty(), "{text}: {problems:?}");
    method.unwrap()
}

/// What a network makes of every image, as at test time.
pub fn seen(model: &mut Model, images: &Tensor) -> WholeSet {
    let features = model.features_from(EntryLayer::IMAGES, images, Pass::EVAL).unwrap();
    let logits = model.forward(&Part::CLASSIFIER, &features, Pass::EVAL).unwrap();
    WholeSet {
        width: features.columns(),
        features: features.host(),
        classes: logits.columns(),
        probabilities: logits.softmax().unwrap().host(),
    }
}

/// The labels of `count` source images.
pub fn labels(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap()).map(|i| (7 * i + 3) % 10).collect()
}

/// The value of a reading of a step.
#[track_caller]
pub fn reading(readings: &[Reading], name: &str) -> f32 {
    let found = readings.iter().find(|it| it.name == name);
    found.unwrap_or_else(|| panic!("no reading `{name}`: {readings:?}")).value as f32
}

/// What a script stored.
pub struct Golden {
    bytes: Vec<u8>,
    names: Vec<String>,
    settings: serde_json::Value,
}

impl Golden {
    /// Reads `tests/golden/{name}_step.safetensors`.
    pub fn open(name: &str) -> Self {
        Self::read(Path::new(&format!("tests/golden/{name}_step.safetensors")))
    }

    /// Reads a file of a script.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let settings = &header.metadata().as_ref().unwrap()["settings"];
        let settings = serde_json::from_str(settings).unwrap();
        let names = header.tensors().into_keys().collect();
        Self { bytes, names, settings }
    }

    /// The settings of the script.
    pub fn settings(&self) -> &serde_json::Value {
        &self.settings
    }

    /// The method that it followed, which it wrote as a pipeline file does.
    pub fn method(&self) -> Box<dyn Method> {
        method(self.settings["method"].as_str().expect("a method among the settings"))
    }

    /// A number among them.
    #[track_caller]
    pub fn number(&self, name: &str) -> f64 {
        self.settings[name].as_f64().unwrap_or_else(|| panic!("no number `{name}`"))
    }

    /// A whole number among them.
    #[track_caller]
    pub fn count(&self, name: &str) -> usize {
        let count = self.settings[name].as_u64().unwrap_or_else(|| panic!("no count `{name}`"));
        usize::try_from(count).unwrap()
    }

    /// The Adam of the script, with its `lr` and `eps`.
    pub fn adam(&self, betas: [f64; 2], weight_decay: f64) -> Optimizer {
        let (lr, eps) = (self.number("lr"), self.number("eps"));
        Optimizer::Adam(Adam { lr, betas, eps, weight_decay })
    }

    /// A tensor, or every k-th value of it.
    #[track_caller]
    pub fn tensor(&self, name: &str) -> Vec<f32> {
        tensor(&self.bytes, name)
    }

    /// Names of the tensors whose names begin with `prefix`, without it.
    pub fn names_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// The sum and the sum of squares of a tensor of which not every value is there.
    fn sums(&self, name: &str) -> Option<[f64; 2]> {
        let tensors = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = tensors.tensor(&format!("sums {name}")).ok()?;
        let number =
            |at: usize| f64::from_le_bytes(data.data()[8 * at..8 * (at + 1)].try_into().unwrap());
        Some([number(0), number(1)])
    }

    /// The network of the script, without dropout: weights by the hash, with the heads of `method`, and
    /// the running averages that the training begins with where the script stored some.
    pub fn model(&self, ops: &Backend, method: &dyn Method) -> Model {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let mut spec = (zoo::find("dacnn").unwrap().build)(zoo::ArchSettings::new(input, 10));
        for named in &mut spec.features {
            if let Layer::Dropout2d { p } = &mut named.layer {
                *p = 0.0;
            }
        }
        let mut model = Model::new(spec, ops, 0).unwrap();
        for head in method.heads(&model.spec().clone()) {
            model.add_head(head, 0).unwrap();
        }
        if let Some(part) = method.needs().keeps_classifier_as {
            let old = model.clone();
            keep_classifier(&mut model, &old, part).unwrap();
        }
        let sharpness = self.number("sharpness") as f32;
        for (at, parameter) in model.parameters_mut().iter_mut().enumerate() {
            let fan: usize = parameter.shape.iter().skip(1).product();
            let bound = match parameter.shape.len() {
                1 => 0.25,
                _ => (1.0 / (fan as f64).sqrt()) as f32,
            };
            let mut values = hashed(at + 1, parameter.value.len(), bound);
            if parameter.name.contains(".bn") && parameter.name.ends_with("weight") {
                values.iter_mut().for_each(|value| *value += 1.0);
            }
            if parameter.name.ends_with(".fc3.weight") {
                values.iter_mut().for_each(|value| *value *= sharpness);
            }
            parameter.value.write(&values);
        }
        let stored: Vec<&str> = self.names_after("start/buffer ").collect();
        for stats in model.stats_mut() {
            for (word, tensor) in
                [("running_mean", &mut stats.mean), ("running_var", &mut stats.var)]
            {
                let name = format!("{}.{word}", stats.layer);
                if stored.contains(&&*name) {
                    tensor.write(&self.tensor(&format!("start/buffer {name}")));
                }
            }
        }
        model
    }

    /// `count` images without a pattern, uniform in [-bound, bound): those of the script's salt plus
    /// `salt`.
    pub fn images(&self, ops: &Backend, salt: usize, count: usize, bound: f64) -> Tensor {
        let values = hashed(self.count("salt") + salt, count * IMAGE, bound as f32);
        ops.tensor(values, Dims::Rows(count, IMAGE)).unwrap()
    }

    /// The images of both domains in a step: those of the script's salt plus `salt`, and of the next one.
    pub fn both(&self, ops: &Backend, salt: usize) -> [Tensor; 2] {
        let of = |salt: usize, domain: &str| {
            let bound = self.number(&format!("{domain}_bound"));
            self.images(ops, salt, self.count(&format!("{domain}_rows")), bound)
        };
        [of(salt, "source"), of(salt + 1, "target")]
    }

    /// [`SET`] images for a whole set, each one of a few patterns with something of its own.
    pub fn set(&self, ops: &Backend, salt: usize) -> Tensor {
        let patterns = self.images(ops, salt, PATTERNS, 1.0).host();
        let own = self.images(ops, salt + 1, SET, 0.5).host();
        let values = own.iter().zip(patterns.iter().cycle()).map(|(own, pattern)| pattern + own);
        ops.tensor(values.collect(), Dims::Rows(SET, IMAGE)).unwrap()
    }

    /// A comparison with this of a training that begins with `model`.
    pub fn compare(&self, model: &Model) -> Comparison<'_> {
        let begun = model.parameters().iter();
        let begun = begun.map(|it| (it.name.clone(), it.value.host())).collect();
        Comparison { golden: self, begun, distances: Vec::new() }
    }
}

/// How far a training of ours is from a script's, step by step.
pub struct Comparison<'g> {
    golden: &'g Golden,
    /// The parameters that it began with.
    begun: HashMap<String, Vec<f32>>,
    distances: Vec<Distance>,
}

impl Comparison<'_> {
    /// Compares numbers that are stored whole.
    #[track_caller]
    pub fn values(&mut self, name: &str, ours: &[f32]) {
        self.measure(name, ours, (1e-4, 0.0));
    }

    /// Compares a loss that is small beside the numbers it is made of, as the entropy of sure rows and
    /// squares of small differences are: rounding of these is more of it.
    #[track_caller]
    pub fn small(&mut self, name: &str, ours: f32) {
        self.measure(name, &[ours], (5e-4, 0.0));
    }

    /// Compares numbers with some that follow from stored ones.
    #[track_caller]
    pub fn near(&mut self, name: &str, ours: &[f32], golden: &[f32]) {
        self.distances.push(Distance::of(name, ours, golden, (1e-4, 0.0)));
    }

    /// Compares the gradients of a descent, which must be those of the same parameters.
    #[track_caller]
    pub fn gradients(&mut self, at: &str, ours: &Gradient) {
        let prefix = format!("{at}/gradient ");
        let mut names: Vec<&str> = self.golden.names_after(&prefix).collect();
        let mut own: Vec<&str> = ours.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        own.sort_unstable();
        assert!(!names.is_empty(), "no gradients of {at}");
        assert_eq!(own, names, "{at}");
        // A bias before batch norm has no gradient but rounding noise: measured by the whole.
        let whole = norm(ours.iter().flat_map(|(_, values)| values.iter().copied()));
        for (name, values) in ours {
            self.measure(&format!("{prefix}{name}"), values, (OF_GRADIENTS, 1e-6 * whole));
        }
    }

    /// Compares every parameter and running average of some parts of `model`, and how far the
    /// parameters moved since the beginning.
    #[track_caller]
    pub fn state(&mut self, at: &str, model: &Model, parts: &[Part]) {
        for parameter in model.parameters().iter().filter(|it| parts.contains(&it.part)) {
            let (name, ours) = (&parameter.name, parameter.value.host());
            let stored = format!("{at}/parameter {name}");
            self.measure(&stored, &ours, (1e-4, 0.0));
            if !is_before_norm(name) {
                self.moved(&stored, &ours, name);
            }
        }
        for stats in model.stats() {
            let in_parts = parts.iter().any(|part| {
                stats.layer.strip_prefix(part.name()).is_some_and(|it| it.starts_with('.'))
            });
            if !in_parts {
                continue;
            }
            for (word, tensor) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
                let name = format!("{at}/buffer {}.{word}", stats.layer);
                self.measure(&name, &tensor.host(), (1e-4, 0.0));
            }
        }
    }

    /// Fails where a distance is too large, or nothing was compared.
    #[track_caller]
    pub fn assert_within(&self) {
        assert!(!self.distances.is_empty());
        let off: Vec<&Distance> = self.distances.iter().filter(|it| !it.is_within()).collect();
        let told: Vec<String> = off.iter().map(ToString::to_string).collect();
        assert!(off.is_empty(), "{} of {}:\n{}", off.len(), self.distances.len(), told.join("\n"));
    }

    /// Compares a whole tensor with the values that are stored of it, and its sum and norm with theirs.
    #[track_caller]
    fn measure(&mut self, name: &str, ours: &[f32], (bound, floor): (f64, f64)) {
        let golden = self.golden.tensor(name);
        let sums = self.golden.sums(name);
        let values = match sums {
            Some(_) => sampled(ours, self.golden.count("most")),
            None => ours.to_vec(),
        };
        self.distances.push(Distance::of(name, &values, &golden, (bound, floor)));
        let Some([sum, squares]) = sums else { return };
        let ours_sum: f64 = ours.iter().map(|it| f64::from(*it)).sum();
        let (scale, ours_norm) = (squares.sqrt(), norm(ours.iter().copied()));
        let limit = bound * scale + floor;
        // The sum of differences is at most the root of their number times their norm.
        let off = (ours_sum - sum).abs() / (ours.len() as f64).sqrt();
        self.distances.push(Distance { name: format!("sum of {name}"), off, scale, limit });
        let off = (ours_norm - scale).abs();
        self.distances.push(Distance { name: format!("norm of {name}"), off, scale, limit });
    }

    /// Compares how far a parameter moved: a step is far smaller than what it moves.
    #[track_caller]
    fn moved(&mut self, stored: &str, ours: &[f32], name: &str) {
        let golden = self.golden.tensor(stored);
        let most = self.golden.count("most");
        let (ours, begun) = match ours.len() > most {
            true => (sampled(ours, most), sampled(&self.begun[name], most)),
            false => (ours.to_vec(), self.begun[name].clone()),
        };
        let move_of = |now: &[f32]| -> Vec<f32> {
            now.iter().zip(&begun).map(|(now, begun)| now - begun).collect()
        };
        let floor = 5e-7 * norm(golden.iter().copied());
        let moved = format!("move of {stored}");
        self.distances.push(Distance::of(
            &moved,
            &move_of(&ours),
            &move_of(&golden),
            (2e-3, floor),
        ));
    }
}

/// Whether a parameter is a bias that batch norm takes off again: its steps are those of rounding noise.
fn is_before_norm(name: &str) -> bool {
    let ends = [".conv1.bias", ".conv2.bias", ".fc1.bias", ".fc2.bias"];
    ends.iter().any(|end| name.ends_with(end)) && name != "domain_classifier.fc2.bias"
}
