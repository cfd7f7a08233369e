//! Heads and bottlenecks of a network: what a [`Spec`] has, and how one with others is made of it.
//! Holds no weights.

use super::geometry::Chw;
use super::place::check_logits;
use super::placement::{Placed, SpecError};
use super::spec::{Layer, Named, Part, Spec};

/// What the names of a bottleneck's parameters begin with.
const BOTTLENECK: &str = "bottleneck";

/// A head that a method wants a network to have.
#[derive(Debug, Clone, PartialEq)]
pub struct NewHead {
    /// Which head.
    pub part: Part,
    /// Its layers.
    pub layers: Vec<Named>,
    /// How many values it must end in; `None` where its layers decide that.
    pub logits: Option<usize>,
    /// The key of the method's table that the layers were written at. A head that was written is made
    /// anew, any other goes on from the weights of a head of these layers that is there.
    pub written_at: Option<&'static str>,
}

/// What a training makes new of a network that another stage made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewLayers {
    /// Layers between features and heads, as [`Spec::with_bottleneck`] takes them.
    pub bottleneck: Option<Vec<Layer>>,
    /// Layers of the classifier before its last one, as [`Spec::with_head`] takes them.
    pub head: Option<Vec<Layer>>,
}

impl NewLayers {
    /// Whether the network stays as it is.
    pub fn is_empty(&self) -> bool {
        self.bottleneck.is_none() && self.head.is_none()
    }
}

impl Spec {
    /// The heads that a new model has weights of: all but the domain classifier.
    pub fn initial_heads(&self) -> Vec<Part> {
        self.heads.keys().filter(|part| **part != Part::DOMAIN).cloned().collect()
    }

    /// The network without all other heads than `heads`.
    #[must_use]
    pub fn only(&self, heads: &[Part]) -> Self {
        let mut spec = self.clone();
        spec.heads.retain(|part, _| heads.contains(part));
        spec
    }

    /// The same network with a head of these layers, in the place of one that is called so.
    ///
    /// # Errors
    /// When the layers do not fit, or do not end in as many `logits` where that is given.
    pub fn with_layers_of(
        &self,
        part: &Part,
        layers: Vec<Named>,
        logits: Option<usize>,
    ) -> Result<Self, SpecError> {
        let mut spec = self.clone();
        spec.heads.insert(part.clone(), layers);
        let output = spec.place()?.outputs[part];
        if let Some(logits) = logits {
            check_logits(part, output, logits)?;
        }
        Ok(spec)
    }

    /// Names of the parameters of a part; none where the layers do not fit together.
    pub fn names_of(&self, part: &Part) -> Vec<String> {
        let layers = self.place().map(|placement| placement.layers).unwrap_or_default();
        let layers = layers.iter().filter(|layer| layer.part == *part);
        layers.flat_map(Placed::parameters).map(|slot| slot.name).collect()
    }

    /// `layers` after the features, named as PyTorch's `nn.Sequential` called `prefix` names them. Where
    /// the features end in maps, the means of these come first, as `prefix.pool`.
    pub fn sequential(&self, prefix: &str, layers: &[Layer]) -> Vec<Named> {
        let mut named = Vec::with_capacity(layers.len() + 1);
        if self.ends_in_maps() {
            named.push(Named::new(format!("{prefix}.pool"), Layer::GlobalAvgPool));
        }
        for (at, layer) in layers.iter().enumerate() {
            named.push(Named::new(format!("{prefix}.{at}"), layer.clone()));
        }
        named
    }

    /// The shape of the features where they are maps, of which a head that begins with a vector takes the
    /// means; `None` where they are a vector.
    ///
    /// # Errors
    /// As [`Spec::place`].
    pub fn feature_maps(&self) -> Result<Option<Chw>, SpecError> {
        let shape = self.feature_shape()?;
        Ok(self.ends_in_maps().then_some(shape))
    }

    /// Whether no layer makes a vector of the features.
    fn ends_in_maps(&self) -> bool {
        let keeps_shape = |layer: &Layer| {
            matches!(
                layer,
                Layer::BatchNorm { .. }
                    | Layer::Relu
                    | Layer::Relu6
                    | Layer::Dropout { .. }
                    | Layer::Dropout2d { .. }
            )
        };
        let last = self.features.iter().map(|named| &named.layer).rfind(|it| !keeps_shape(it));
        !matches!(last, Some(Layer::GlobalAvgPool | Layer::Flatten | Layer::Linear { .. }))
    }

    /// The same network with `layers` between features and heads, as the end of the features, named
    /// `bottleneck.0`, `bottleneck.1`, ... They take the place of a bottleneck that was there. Heads keep
    /// their layers, and take what comes out of these.
    #[must_use]
    pub fn with_bottleneck(mut self, layers: &[Layer]) -> Self {
        self.features.retain(|named| !is_below(&named.name, BOTTLENECK));
        let layers = self.sequential(BOTTLENECK, layers);
        self.features.extend(layers);
        self
    }

    /// The same network with a domain classifier of `layers` and a linear layer of two outputs.
    #[must_use]
    pub fn with_domain_head(mut self, layers: &[Layer]) -> Self {
        let layers = self.domain_head(layers);
        self.heads.insert(Part::DOMAIN, layers);
        self
    }

    /// The layers of the network's domain classifier for features, also where a method made it
    /// [take in](taking) something else.
    pub fn domain_classifier(&self) -> Vec<Named> {
        let layers = self.part(&Part::DOMAIN);
        let [Named { layer: Layer::Takes { .. }, .. }, rest @ ..] = layers else {
            return layers.to_vec();
        };
        let pool = Named::new(format!("{}.pool", Part::DOMAIN.name()), Layer::GlobalAvgPool);
        let pool = self.ends_in_maps().then_some(pool);
        pool.into_iter().chain(rest.iter().cloned()).collect()
    }

    /// A domain classifier of `layers` and a linear layer of two outputs for this network.
    pub fn domain_head(&self, layers: &[Layer]) -> Vec<Named> {
        let mut layers = layers.to_vec();
        layers.push(Layer::Linear { outputs: 2, bias: true });
        self.sequential(Part::DOMAIN.name(), &layers)
    }

    /// What the names of the classifier's layers begin with.
    pub(super) fn classifier_name(&self) -> String {
        let first = self.part(&Part::CLASSIFIER).first();
        let first = first.map_or("classifier", |first| first.name.as_str());
        first.split('.').next().unwrap_or(first).to_owned()
    }

    /// A classifier of one linear layer for the features: the network's own where it is one, dropout and changes
    /// of shape aside.
    pub fn linear_classifier(&self) -> Vec<Named> {
        let own = self.part(&Part::CLASSIFIER);
        let computes = |named: &&Named| {
            !matches!(
                named.layer,
                Layer::Dropout { .. }
                    | Layer::Dropout2d { .. }
                    | Layer::Flatten
                    | Layer::GlobalAvgPool
            )
        };
        let computing: Vec<&Named> = own.iter().filter(computes).collect();
        if let [Named { layer: Layer::Linear { bias: true, .. }, .. }] = &computing[..] {
            return own.to_vec();
        }
        let linear = Layer::Linear { outputs: self.classes, bias: true };
        self.sequential(&self.classifier_name(), &[linear])
    }

    /// The layers of the classifier again, under names that begin with that of `part`:
    /// `classifier2.fc1` for `classifier.fc1`, `classifier2.fc` for `fc`. Weights are drawn by name, so
    /// the second classifier begins with others than the first.
    pub fn second_classifier(&self, part: &Part) -> Vec<Named> {
        renamed(self.part(&Part::CLASSIFIER), &Part::CLASSIFIER, part)
    }

    /// The same network with the classifier of `old` again, as the head `part`.
    ///
    /// # Errors
    /// When its weights do not fit the features of this network.
    pub fn with_classifier_of(&self, old: &Self, part: &Part) -> Result<Self, SpecError> {
        let shapes = |spec: &Self, part: &Part| -> Result<Vec<Vec<usize>>, SpecError> {
            let layers = spec.place()?.layers;
            let of_part = layers.iter().filter(|layer| layer.part == *part);
            Ok(of_part.flat_map(Placed::parameters).map(|slot| slot.shape).collect())
        };
        let spec = self.with_layers_of(part, old.second_classifier(part), None)?;
        if shapes(&spec, part)? == shapes(old, &Part::CLASSIFIER)? {
            return Ok(spec);
        }
        let reason = "takes in features of another shape".to_owned();
        Err(SpecError { layer: part.name().to_owned(), reason })
    }

    /// The same network for images of shape `input` and `classes` classes, with what `new` names made
    /// new, and the beginnings of the names of what needs fresh weights. A bottleneck changes what the
    /// heads take in: then all of them are made new, the classifier of its old layers where `new` names
    /// none.
    #[must_use]
    pub fn renewed(self, new: &NewLayers, input: Chw, classes: usize) -> (Self, Vec<String>) {
        let head = new.head.as_deref().unwrap_or_default();
        let Some(bottleneck) = &new.bottleneck else {
            let (spec, name) = self.with_head(head, input, classes);
            return (spec, vec![name]);
        };
        let (spec, _) = self.with_bottleneck(bottleneck).with_head(head, input, classes);
        let heads = spec.heads.values().flatten().map(|named| format!("{}.", named.name));
        let fresh = heads.chain([format!("{BOTTLENECK}.")]).collect();
        (spec, fresh)
    }
}

/// Layers of the head `from` under names that begin with that of the head `to`.
pub fn renamed(layers: &[Named], from: &Part, to: &Part) -> Vec<Named> {
    let before = format!("{}.", from.name());
    let again = |Named { name, layer }: &Named| {
        let word = name.strip_prefix(&before).unwrap_or(name);
        Named::new(format!("{}.{word}", to.name()), layer.clone())
    };
    layers.iter().map(again).collect()
}

/// The head `part` of these layers as one that takes in so many `values` in place of the features. What it
/// took in before goes, as do the means of maps that it began with.
pub fn taking(part: &Part, layers: &[Named], values: usize) -> Vec<Named> {
    let rest = match layers {
        [Named { layer: Layer::Takes { .. } | Layer::GlobalAvgPool, .. }, rest @ ..] => rest,
        _ => layers,
    };
    let first = Named::new(format!("{}.takes", part.name()), Layer::Takes { values });
    std::iter::once(first).chain(rest.iter().cloned()).collect()
}

/// Whether a layer called `name` is within what is called `whole`.
fn is_below(name: &str, whole: &str) -> bool {
    name.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::zoo::{self, ArchSettings};

    const INPUT: Chw = Chw { channels: 3, height: 32, width: 32 };

    fn spec(arch: &str) -> Spec {
        let layout = ArchSettings { small_input: true, ..ArchSettings::new(INPUT, 7) };
        (zoo::find(arch).unwrap().build)(layout)
    }

    /// Names and shapes of a network's parameters, those of the domain classifier too.
    fn parameters(spec: &Spec) -> Vec<(String, Vec<usize>)> {
        let layers = spec.place().unwrap().layers;
        layers
            .iter()
            .flat_map(crate::nn::placement::Placed::parameters)
            .map(|it| (it.name, it.shape))
            .collect()
    }

    fn shape(spec: &Spec, name: &str) -> Vec<usize> {
        let found = parameters(spec).into_iter().find(|it| it.0 == name);
        found.unwrap_or_else(|| panic!("no `{name}`")).1
    }

    const LAYERS: [Layer; 3] = [
        Layer::Linear { outputs: 64, bias: true },
        Layer::BatchNorm { eps: 1e-5, momentum: 0.1 },
        Layer::Relu,
    ];

    #[test]
    fn a_bottleneck_of_any_architecture_is_what_the_heads_take_in() {
        for arch in zoo::ZOO.iter().filter(|arch| arch.channels != Some(1)) {
            let spec = spec(arch.name).with_bottleneck(&LAYERS);
            assert_eq!(spec.feature_len(), Ok(64), "{}", arch.name);
            assert_eq!(shape(&spec, "bottleneck.1.weight"), [64], "{}", arch.name);
            // Heads on top of a vector need no means of maps.
            let (spec, _) = spec.with_head(&[Layer::Relu], INPUT, 7);
            assert!(!spec.part(&Part::CLASSIFIER)[0].name.ends_with(".pool"), "{}", arch.name);
            spec.place().unwrap();
        }
        let resnet = spec("resnet18").with_bottleneck(&LAYERS);
        assert_eq!(shape(&resnet, "bottleneck.0.weight"), [64, 512]);
        assert_eq!(shape(&resnet, "fc.weight"), [7, 64]);
        assert_eq!(shape(&resnet, "domain_classifier.fc1.weight"), [1024, 64]);
        // SqueezeNet's features are maps.
        let squeezenet = spec("squeezenet1_1").with_bottleneck(&LAYERS);
        assert_eq!(shape(&squeezenet, "bottleneck.0.weight"), [64, 512]);
        assert!(squeezenet.features.iter().any(|it| it.name == "bottleneck.pool"));
    }

    #[test]
    fn a_bottleneck_takes_the_place_of_one_that_was_there() {
        let once = spec("squeezenet1_1").with_bottleneck(&LAYERS);
        let wide = [Layer::Linear { outputs: 128, bias: true }];
        let twice = once.with_bottleneck(&wide);
        assert_eq!(twice, spec("squeezenet1_1").with_bottleneck(&wide));
    }

    #[test]
    fn a_bottleneck_makes_every_head_new_and_a_head_alone_only_itself() {
        let fresh = |bottleneck: bool, head: Option<&[Layer]>| {
            let bottleneck = bottleneck.then(|| LAYERS.to_vec());
            let new = NewLayers { bottleneck, head: head.map(<[Layer]>::to_vec) };
            let (spec, fresh) = spec("dacnn").renewed(&new, INPUT, 4);
            let names = parameters(&spec).into_iter().map(|it| it.0);
            let kept = names.filter(|it| !fresh.iter().any(|prefix| it.starts_with(prefix)));
            (kept.collect::<Vec<_>>(), shape(&spec, "classifier.fc3.weight"))
        };
        let (kept, last) = fresh(true, None);
        assert!(kept.iter().all(|it| it.starts_with("features.")) && kept.len() == 8, "{kept:?}");
        assert_eq!(last, [4, 100]);
        let (kept, _) = fresh(false, Some(&[]));
        assert!(kept.iter().any(|it| it == "classifier.fc1.weight"), "{kept:?}");
        assert!(kept.iter().any(|it| it == "domain_classifier.fc1.weight"), "{kept:?}");
    }

    #[test]
    fn a_second_classifier_has_the_first_one_s_layers_under_names_of_its_own() {
        let names = |arch| -> Vec<String> {
            let layers = spec(arch).second_classifier(&Part::CLASSIFIER2);
            layers.into_iter().map(|it| it.name).collect()
        };
        assert_eq!(names("dacnn")[..2], ["classifier2.fc1", "classifier2.bn1"]);
        assert_eq!(names("resnet18"), ["classifier2.fc"]);
        let mut spec = spec("dacnn");
        let second = spec.second_classifier(&Part::CLASSIFIER2);
        spec.heads.insert(Part::CLASSIFIER2, second);
        assert_eq!(shape(&spec, "classifier2.fc3.weight"), shape(&spec, "classifier.fc3.weight"));
    }

    #[test]
    fn a_linear_classifier_is_the_network_s_own_or_takes_its_place() {
        for (arch, names) in [
            ("resnet18", &["fc"][..]),
            // A dropout before the linear layer is nothing at test time.
            ("mobilenet_v2", &["classifier.0", "classifier.1"][..]),
            ("dacnn", &["classifier.0"][..]),
            ("squeezenet1_1", &["classifier.pool", "classifier.0"][..]),
        ] {
            let mut spec = spec(arch);
            let own = spec.part(&Part::CLASSIFIER).to_vec();
            let layers = spec.linear_classifier();
            let found: Vec<&str> = layers.iter().map(|it| it.name.as_str()).collect();
            assert_eq!(found, names, "{arch}");
            assert_eq!(layers == own, matches!(arch, "resnet18" | "mobilenet_v2"), "{arch}");
            spec.heads.insert(Part::CLASSIFIER, layers);
            assert_eq!(spec.place().unwrap().outputs[&Part::CLASSIFIER].len(), 7, "{arch}");
            assert_eq!(spec.linear_classifier(), spec.part(&Part::CLASSIFIER), "{arch}");
        }
    }

    #[test]
    fn a_domain_classifier_of_own_layers_begins_with_the_means_of_maps() {
        let names = |arch| -> Vec<String> {
            let spec = spec(arch).with_domain_head(&LAYERS);
            spec.place().unwrap();
            spec.part(&Part::DOMAIN).iter().map(|it| it.name.clone()).collect()
        };
        let numbered: Vec<String> = (0..4).map(|at| format!("domain_classifier.{at}")).collect();
        assert_eq!(names("dacnn"), numbered);
        assert_eq!(names("squeezenet1_1")[0], "domain_classifier.pool");
        assert_eq!(names("squeezenet1_1")[1..], numbered);
    }

    #[test]
    fn a_domain_classifier_can_take_in_other_values_and_the_features_again() {
        for (arch, maps) in [("dacnn", false), ("resnet18", false), ("squeezenet1_1", true)] {
            let mut spec = spec(arch);
            let before = spec.part(&Part::DOMAIN).to_vec();
            let names = |spec: &Spec| {
                let all = parameters(spec).into_iter();
                all.filter(|it| it.0.starts_with("domain_classifier.")).collect::<Vec<_>>()
            };
            let own = names(&spec);
            assert_eq!(spec.domain_classifier(), before, "{arch}");
            for values in [77, 99] {
                let layers = taking(&Part::DOMAIN, spec.part(&Part::DOMAIN), values);
                spec.heads.insert(Part::DOMAIN, layers);
                let width = shape(&spec, "domain_classifier.fc1.weight")[1];
                assert_eq!(width, values, "{arch}");
                // It stays so where the model is kept.
                let kept = serde_json::to_string(&spec).unwrap();
                assert_eq!(serde_json::from_str::<Spec>(&kept).unwrap(), spec);
            }
            let layers = spec.domain_classifier();
            assert_eq!(layers[0].layer == Layer::GlobalAvgPool, maps, "{arch}");
            spec.heads.insert(Part::DOMAIN, layers);
            assert_eq!(names(&spec), own, "{arch}");
            assert_eq!(spec.feature_maps().unwrap().is_some(), maps, "{arch}");
        }
    }
}
