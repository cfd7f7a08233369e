//! Reads the `model = { ... }` of a pipeline file: an architecture of the zoo, or layers that the user
//! lists. Holds no weights.

use serde_json::json;

use super::geometry::Chw;
use super::spec::{Init, Layer, Named, Part, Spec, two_heads};
use super::zoo::{self, Arch, ArchSettings};
use crate::config::diagnostic::{Diagnostic, suggest};
use crate::config::node::{Node, Table, Value};
use crate::config::{Keys, Noted, Word, words, words_of};

/// The key of the layers of a domain classifier, here and in the tables of methods.
pub const DOMAIN_HEAD: &str = "domain_head";

/// A network before its input and classes are known.
#[derive(Debug, Clone)]
pub struct Architecture {
    network: Network,
    /// Layers between features and heads.
    bottleneck: Option<Vec<Layer>>,
    /// Layers of the domain classifier before its last one; `None` for the architecture's own.
    domain_head: Option<Vec<Layer>>,
    /// Whether the file says the layers of the domain classifier, which may be the usual ones.
    pub says_domain_head: bool,
    /// `classes`, where the file says it; else the data set's number counts.
    pub classes: Option<usize>,
}

#[derive(Debug, Clone)]
enum Network {
    Zoo { arch: &'static Arch, small_input: bool, head: Option<Vec<Layer>> },
    Layers { features: Vec<Layer>, head: Vec<Layer> },
}

impl Architecture {
    /// A network of the zoo in its usual form.
    pub fn of(arch: &'static Arch) -> Self {
        let network = Network::Zoo { arch, small_input: false, head: None };
        Self {
            network,
            bottleneck: None,
            domain_head: None,
            says_domain_head: false,
            classes: None,
        }
    }

    /// Reads `model = { arch = "resnet18", small_input = true, head = [100, "relu"] }`, `model = "dacnn"` or
    /// `model = { layers = [...], head = [100, "relu"], domain_head = [100, "relu"] }`, the tables with
    /// `bottleneck = [256, "batch_norm", "relu"]` where that is wanted.
    pub fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let own = keys.has_form("model", |node| match &node.value {
            Value::Table(table) => table.entries.contains_key("layers"),
            _ => false,
        });
        if own {
            return keys.nested("model", |keys| {
                keys.about(&[
                    ("classes", "number of classes; that of the data set when left out"),
                    ("layers", "layers that make the features"),
                    ("head", "layers of the classifier before its last one"),
                    (DOMAIN_HEAD, "layers of the domain classifier before its last one"),
                ]);
                let classes = keys.count("classes", 2..=1_000_000).optional();
                let features = layers(keys, "layers", &[]);
                let head = layers(keys, "head", &[]);
                let bottleneck = read_bottleneck(keys);
                let domain_head =
                    layers(keys, DOMAIN_HEAD, &[zoo::linear(100), zoo::batch_norm(), Layer::Relu]);
                let network = Network::Layers { features: features?, head: head? };
                let says_domain_head = keys.peek(DOMAIN_HEAD).is_some();
                let (bottleneck, domain_head) = (bottleneck?, Some(domain_head?));
                Ok(Self { network, bottleneck, domain_head, says_domain_head, classes: classes? })
            });
        }
        keys.kinded("model", "arch", None, |arch: &'static Arch, keys| {
            keys.about(&[
                ("classes", "number of classes; that of the data set when left out"),
                (
                    "small_input",
                    "whether the first layers keep the size of images of about 30 pixels",
                ),
                (
                    DOMAIN_HEAD,
                    "layers of the domain classifier before its last one; the architecture's own when left out",
                ),
            ]);
            let classes = keys.count("classes", 2..=1_000_000).optional();
            let span = keys.span();
            let small_input = keys.boolean("small_input").or(false);
            let head = read_head(keys);
            let bottleneck = read_bottleneck(keys);
            let domain_head = read_layers(keys, DOMAIN_HEAD);
            if small_input == Ok(true) && !arch.small_input {
                let message = format!(
                    "`{}` has no form for `small_input`: it is made for small images",
                    arch.name
                );
                let problem = Diagnostic::at(span, message, "leave `small_input` out");
                return Err(keys.problem(problem));
            }
            let network = Network::Zoo { arch, small_input: small_input?, head: head? };
            let (bottleneck, domain_head) = (bottleneck?, domain_head?);
            let says_domain_head = domain_head.is_some();
            Ok(Self { network, bottleneck, domain_head, says_domain_head, classes: classes? })
        })
    }

    /// The channels of the images that it takes, where it takes no others.
    pub fn channels(&self) -> Option<usize> {
        match &self.network {
            Network::Zoo { arch, .. } => arch.channels,
            Network::Layers { .. } => None,
        }
    }

    /// What of it wants images: its name where it is one of the zoo, or the first layer that slides over pixels.
    /// `None` for a network that may as well take features.
    pub fn wants_images(&self) -> Option<String> {
        match &self.network {
            Network::Zoo { arch, .. } => Some(format!("the network `{}`", arch.name)),
            Network::Layers { features, .. } => {
                let slides = |layer: &&Layer| match layer {
                    Layer::Conv2d { .. }
                    | Layer::MaxPool { .. }
                    | Layer::AvgPool { .. }
                    | Layer::AdaptiveAvgPool { .. }
                    | Layer::GlobalAvgPool
                    | Layer::Dropout2d { .. }
                    | Layer::Residual { .. }
                    | Layer::Parallel { .. } => true,
                    Layer::BatchNorm { .. }
                    | Layer::Relu
                    | Layer::Relu6
                    | Layer::Dropout { .. }
                    | Layer::Flatten
                    | Layer::Takes { .. }
                    | Layer::Linear { .. } => false,
                };
                features.iter().find(slides).map(|layer| format!("the layer `{layer}`"))
            }
        }
    }

    fn with_bottleneck(&self, spec: Spec) -> Spec {
        match &self.bottleneck {
            Some(layers) => spec.with_bottleneck(layers),
            None => spec,
        }
    }

    /// The network for an image shape and a number of classes.
    ///
    /// # Errors
    /// One sentence, when the images do not fit it.
    pub fn build(&self, input: Chw, classes: usize) -> Result<Spec, String> {
        let spec = match &self.network {
            Network::Zoo { arch, small_input, head } => {
                if let Some(channels) = arch.channels
                    && channels != input.channels
                {
                    return Err(format!(
                        "`{}` takes images of {channels} channels, the data have {}",
                        arch.name, input.channels
                    ));
                }
                let layout = ArchSettings { input, classes, small_input: *small_input };
                let spec = self.with_bottleneck((arch.build)(layout));
                match head {
                    Some(head) => spec.with_head(head, input, classes).0,
                    None => spec,
                }
            }
            Network::Layers { features, head } => {
                let mut features = features.clone();
                features.push(Layer::Flatten);
                self.with_bottleneck(Spec {
                    arch: "layers".into(),
                    input,
                    middle_of: None,
                    classes,
                    init: Init::Default,
                    features: numbered(&Part::FEATURES, &features),
                    heads: two_heads(
                        numbered(&Part::CLASSIFIER, &with_logits(head, classes)),
                        numbered(&Part::DOMAIN, &with_logits(&[], 2)),
                    ),
                })
            }
        };
        let spec = match &self.domain_head {
            Some(layers) => spec.with_domain_head(layers),
            None => spec,
        };
        match spec.place() {
            Ok(_) => Ok(spec),
            Err(error) => Err(format!("{input} images do not fit the network: {error}")),
        }
    }
}

/// Reads `bottleneck = [256, "batch_norm", "relu"]`: layers between features and heads.
pub fn read_bottleneck(keys: &mut Keys) -> Result<Option<Vec<Layer>>, Noted> {
    keys.about(&[(
        "bottleneck",
        "layers between the features and the heads, which take in what comes out of them",
    )]);
    let span = keys.peek("bottleneck").map_or(keys.span(), |node| node.span);
    let layers = read_layers(keys, "bottleneck")?;
    if layers.as_ref().is_some_and(Vec::is_empty) {
        let problem = Diagnostic::at(span, "`bottleneck` needs a layer at least", "none here");
        return Err(
            keys.problem(problem.help("leave `bottleneck` out: the heads then take the features"))
        );
    }
    Ok(layers)
}

/// Reads `head = [100, "relu"]`: the layers of a new classifier before its last one, which gives the
/// logits. `[]` is a new last layer alone.
pub fn read_head(keys: &mut Keys) -> Result<Option<Vec<Layer>>, Noted> {
    keys.about(&[(
        "head",
        "layers of a new classifier before its last one; `[]` is a new last layer alone",
    )]);
    read_layers(keys, "head")
}

/// Reads an array of layers that may be left out.
pub fn read_layers(keys: &mut Keys, key: &'static str) -> Result<Option<Vec<Layer>>, Noted> {
    if !keys.has(key) {
        keys.node(key);
        return Ok(None);
    }
    layers(keys, key, &[]).map(Some)
}

fn with_logits(layers: &[Layer], logits: usize) -> Vec<Layer> {
    let mut layers = layers.to_vec();
    layers.push(zoo::linear(logits));
    layers
}

/// Names as PyTorch's `nn.Sequential` gives them: `features.0`, `features.1`, ...
fn numbered(part: &Part, layers: &[Layer]) -> Vec<Named> {
    let name = |at: usize| format!("{}.{at}", part.name());
    layers.iter().enumerate().map(|(at, layer)| Named::new(name(at), layer.clone())).collect()
}

words! {
    /// The word for a layer, before its settings are read.
    enum LayerKind {
        /// A convolution over an image.
        Conv2d = "conv2d",
        /// A linear map of numbers.
        Linear = "linear",
        /// Batch normalisation.
        BatchNorm = "batch_norm",
        /// max(x, 0).
        Relu = "relu",
        /// max(x, 0), at most 6.
        Relu6 = "relu6",
        /// The largest value of each window.
        MaxPool = "max_pool",
        /// The mean of each window.
        AvgPool = "avg_pool",
        /// The mean of each channel.
        GlobalAvgPool = "global_avg_pool",
        /// Single values become 0 at random while training.
        Dropout = "dropout",
        /// Whole channels become 0 at random while training.
        Dropout2d = "dropout2d",
        /// An image as a list of numbers.
        Flatten = "flatten",
    }
}

/// Reads an array of layers: a number is a linear layer, a word a layer with default settings, a
/// table `{ kind = ..., ... }` a layer with its own.
fn layers(keys: &mut Keys, key: &'static str, default: &[Layer]) -> Result<Vec<Layer>, Noted> {
    if keys.is_describing() {
        let outputs = json!({ "type": "integer", "minimum": 1, "description": "a linear layer" });
        keys.may_be_items(key, "kind", Some(outputs), settings);
        return Ok(default.to_vec());
    }
    let Some(node) = keys.node(key) else {
        let written: Vec<toml::Value> = default.iter().map(written).collect();
        keys.record(key, written);
        return Ok(default.to_vec());
    };
    let Value::Array(items) = &node.value else {
        return Err(keys.problem(Diagnostic::at(
            node.span,
            format!("`{key}` must be an array of layers"),
            format!("found {}", node.value.type_name()),
        )));
    };
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let key = format!("{key}.{at}");
        read.push(layer(keys, &key, item));
        keys.take(&key);
    }
    let read: Vec<Layer> = read.into_iter().collect::<Result<_, _>>()?;
    keys.record(key, read.iter().map(written).collect::<Vec<_>>());
    Ok(read)
}

/// Reads one item of such an array.
fn layer(keys: &mut Keys, key: &str, item: &Node) -> Result<Layer, Noted> {
    match &item.value {
        Value::Integer(outputs @ 1..) => {
            Ok(zoo::linear(usize::try_from(*outputs).unwrap_or(usize::MAX)))
        }
        Value::String(word) => match LayerKind::named(word) {
            Some(kind) => {
                keys.descend(key, &Table::default(), item.span, |keys| settings(kind, keys))
            }
            None => {
                let message = format!("`{word}` is not a layer");
                let mut problem = Diagnostic::at(item.span, message, "unknown layer");
                problem.help.extend(suggest(word, words_of::<LayerKind>()));
                Err(keys.problem(problem))
            }
        },
        Value::Table(table) => keys.descend(key, table, item.span, |keys| {
            let kind = keys.choice("kind").required();
            if kind.is_err() {
                keys.leave_open();
            }
            settings(kind?, keys)
        }),
        other => Err(keys.problem(Diagnostic::at(
            item.span,
            "a layer must be a number of outputs, a word or a table",
            format!("found {}", other.type_name()),
        ))),
    }
}

fn settings(kind: LayerKind, keys: &mut Keys) -> Result<Layer, Noted> {
    Ok(match kind {
        LayerKind::Conv2d => {
            keys.about(&[
                ("filters", "number of output channels"),
                ("kernel", "height and width of the window"),
                ("stride", "step between windows"),
                ("padding", "zeros around the image"),
                ("groups", "groups of channels that do not see each other"),
                ("bias", "whether a bias is added"),
            ]);
            let filters = keys.count("filters", 1..=65_536).required();
            let kernel = keys.count("kernel", 1..=255).required();
            let stride = keys.count("stride", 1..=255).or(1_usize);
            let padding = keys.count("padding", 0..=255).or(0_usize);
            let groups = keys.count("groups", 1..=65_536).or(1_usize);
            let bias = keys.boolean("bias").or(true);
            Layer::Conv2d {
                filters: filters?,
                kernel: square(kernel?),
                stride: square(stride?),
                padding: square(padding?),
                groups: groups?,
                bias: bias?,
            }
        }
        LayerKind::Linear => {
            keys.about(&[("outputs", "number of outputs"), ("bias", "whether a bias is added")]);
            let outputs = keys.count("outputs", 1..=1_000_000).required();
            let bias = keys.boolean("bias").or(true);
            Layer::Linear { outputs: outputs?, bias: bias? }
        }
        LayerKind::MaxPool | LayerKind::AvgPool => {
            let is_max = kind == LayerKind::MaxPool;
            keys.about(&[
                ("kernel", "height and width of the window"),
                ("stride", "step between windows; as `kernel` when left out"),
                ("padding", "border around the image"),
                ("ceil", "whether a window that is cut off at the edge counts"),
            ]);
            let kernel = keys.count("kernel", 1..=255).or(2_usize);
            let stride = keys.count("stride", 1..=255).or(kernel.unwrap_or(2_usize));
            let padding = keys.count("padding", 0..=127).or(0_usize);
            let ceil = if is_max { keys.boolean("ceil").or(false) } else { Ok(false) };
            let (kernel, stride, padding) = (square(kernel?), square(stride?), square(padding?));
            if is_max {
                Layer::MaxPool { kernel, stride, padding, ceil: ceil? }
            } else {
                Layer::AvgPool { kernel, stride, padding }
            }
        }
        LayerKind::Dropout => Layer::Dropout { p: dropped(keys)? },
        LayerKind::Dropout2d => Layer::Dropout2d { p: dropped(keys)? },
        LayerKind::BatchNorm => zoo::batch_norm(),
        LayerKind::Relu => Layer::Relu,
        LayerKind::Relu6 => Layer::Relu6,
        LayerKind::GlobalAvgPool => Layer::GlobalAvgPool,
        LayerKind::Flatten => Layer::Flatten,
    })
}

/// The share that a dropout layer drops.
#[expect(clippy::cast_possible_truncation, reason = "a probability")]
fn dropped(keys: &mut Keys) -> Result<f32, Noted> {
    keys.about(&[("p", "probability of dropping a value or, for `dropout2d`, a channel")]);
    keys.float("p").below_one().or(0.5).map(|p| p as f32)
}

fn square(side: usize) -> (usize, usize) {
    (side, side)
}

/// A layer as a pipeline file has it.
fn written(layer: &Layer) -> toml::Value {
    let table = |kind: LayerKind, settings: &[(&str, toml::Value)]| {
        let mut table = toml::Table::new();
        table.insert("kind".into(), kind.word().into());
        table.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        toml::Value::Table(table)
    };
    let count = |number: usize| toml::Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let pool = |kind, kernel: usize, stride: usize, padding: usize| {
        let window =
            [("kernel", count(kernel)), ("stride", count(stride)), ("padding", count(padding))];
        table(kind, &window)
    };
    match layer {
        Layer::Conv2d { filters, kernel, stride, padding, groups, bias } => table(
            LayerKind::Conv2d,
            &[
                ("filters", count(*filters)),
                ("kernel", count(kernel.0)),
                ("stride", count(stride.0)),
                ("padding", count(padding.0)),
                ("groups", count(*groups)),
                ("bias", (*bias).into()),
            ],
        ),
        Layer::Linear { outputs, bias: true } => count(*outputs),
        Layer::Linear { outputs, bias } => {
            table(LayerKind::Linear, &[("outputs", count(*outputs)), ("bias", (*bias).into())])
        }
        Layer::MaxPool { kernel, stride, padding, ceil } => {
            let mut written = pool(LayerKind::MaxPool, kernel.0, stride.0, padding.0);
            if let toml::Value::Table(table) = &mut written {
                table.insert("ceil".into(), (*ceil).into());
            }
            written
        }
        Layer::AvgPool { kernel, stride, padding } => {
            pool(LayerKind::AvgPool, kernel.0, stride.0, padding.0)
        }
        Layer::Dropout { p } => table(LayerKind::Dropout, &[("p", decimal(*p))]),
        Layer::Dropout2d { p } => table(LayerKind::Dropout2d, &[("p", decimal(*p))]),
        Layer::BatchNorm { .. } => LayerKind::BatchNorm.word().into(),
        Layer::Relu => LayerKind::Relu.word().into(),
        Layer::Relu6 => LayerKind::Relu6.word().into(),
        Layer::GlobalAvgPool => LayerKind::GlobalAvgPool.word().into(),
        Layer::Flatten => LayerKind::Flatten.word().into(),
        Layer::AdaptiveAvgPool { .. }
        | Layer::Takes { .. }
        | Layer::Residual { .. }
        | Layer::Parallel { .. } => unreachable!("a file has no key for it"),
    }
}

/// The decimal a person would have written for a 32-bit number.
fn decimal(value: f32) -> toml::Value {
    value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;

    const DIGITS: Chw = Chw { channels: 1, height: 28, width: 28 };

    #[test]
    fn own_layers_get_a_flatten_and_the_last_linear_layers() {
        let own = Architecture {
            network: Network::Layers {
                features: vec![Layer::Relu],
                head: vec![zoo::linear(32), Layer::Relu],
            },
            bottleneck: None,
            domain_head: Some(Vec::new()),
            says_domain_head: true,
            classes: None,
        };
        let spec = own.build(DIGITS, 7).unwrap();
        let names: Vec<String> =
            spec.place().unwrap().layers.into_iter().map(|placed| placed.name).collect();
        assert_eq!(
            names,
            [
                "features.0",
                "features.1",
                "classifier.0",
                "classifier.1",
                "classifier.2",
                "domain_classifier.0"
            ]
        );
        assert_eq!(spec.part(&Part::CLASSIFIER)[2].layer, zoo::linear(7));
    }

    #[test]
    fn images_that_do_not_fit_are_refused_with_the_reason() {
        let dacnn = Architecture::of(zoo::find("dacnn").unwrap());
        let error = dacnn.build(DIGITS, 10).unwrap_err();
        assert_eq!(error, "`dacnn` takes images of 3 channels, the data have 1");
        let small = Chw { channels: 3, height: 4, width: 4 };
        let error = dacnn.build(small, 10).unwrap_err();
        assert!(
            error.starts_with("3x4x4 images do not fit the network: layer `features.conv2`"),
            "{error}"
        );
    }
    /// What a line of TOML reads as, with the settings that count.
    fn read(line: &str) -> (Architecture, toml::Table) {
        let (architecture, gathered) = read_lines(line, Architecture::read);
        let architecture = architecture.expect("a good setting");
        assert!(gathered.problems.is_empty(), "{:?}", gathered.problems);
        (architecture, gathered.resolved)
    }

    #[test]
    fn a_bottleneck_and_a_domain_head_record_nothing_when_they_are_left_out() {
        let recorded = |line: &str| {
            let model = read(line).1.remove("model").unwrap();
            model.as_table().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(recorded("model = 'dacnn'"), ["arch", "small_input"]);
        let own = ["layers", "head", "domain_head"];
        assert_eq!(recorded("model = { layers = ['relu'] }"), own);
        let written = "model = { arch = 'dacnn', bottleneck = [9], domain_head = [] }";
        let all = ["arch", "small_input", "bottleneck", "domain_head"];
        assert_eq!(recorded(written), all);
    }

    #[test]
    fn layers_that_are_written_are_those_of_the_network() {
        let input = Chw { channels: 3, height: 28, width: 28 };
        for model in ["arch = 'dacnn'", "layers = ['relu'], head = [5]"] {
            let line = format!(
                "model = {{ {model}, bottleneck = [9, 'batch_norm', 'relu'], domain_head = [4] }}"
            );
            let spec = read(&line).0.build(input, 7).unwrap();
            assert_eq!(spec.feature_len(), Ok(9));
            let names = |part: Part| -> Vec<String> {
                spec.part(&part).iter().map(|it| it.name.clone()).collect()
            };
            assert_eq!(names(Part::DOMAIN), ["domain_classifier.0", "domain_classifier.1"]);
            let features = names(Part::FEATURES);
            let last = ["bottleneck.0", "bottleneck.1", "bottleneck.2"];
            assert_eq!(features[features.len() - 3..], last);
        }
    }
}
