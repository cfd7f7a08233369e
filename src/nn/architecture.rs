//! Reads the `model = { ... }` of a pipeline file: an architecture of the zoo, or layers that the user
//! lists. Holds no weights.

use serde_json::json;

use super::geometry::Chw;
use super::spec::{Init, Layer, Named, Part, Spec};
use super::zoo::{self, ArchSettings};
use crate::config::Keys;
use crate::config::diagnostic::{Diagnostic, suggest};
use crate::config::node::Value;

/// A network before its input and classes are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    kind: Blueprint,
    /// `classes`, where the file says it; else the data set's number counts.
    pub classes: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
enum Blueprint {
    Zoo { arch: &'static str, small_input: bool, head: Option<Vec<Layer>> },
    Layers { features: Vec<Layer>, head: Vec<Layer>, domain_head: Vec<Layer> },
}

impl Architecture {
    /// A network of the zoo in its usual form.
    pub fn of(arch: &'static str) -> Self {
        Self { kind: Blueprint::Zoo { arch, small_input: false, head: None }, classes: None }
    }

    /// Reads `model = { arch = "resnet18", small_input = true, head = [100, "relu"] }`, `model = "dacnn"` or
    /// `model = { layers = [...], head = [100, "relu"], domain_head = [100, "relu"] }`.
    pub fn read(keys: &mut Keys) -> Option<Self> {
        let own = keys.has_form("model", |node| match &node.value {
            Value::Table(table) => table.entries.contains_key("layers"),
            _ => false,
        });
        if own {
            return keys.nested("model", |keys| {
                let classes = keys.count("classes", 2..=1_000_000).optional();
                let features = layers(keys, "layers", &[]);
                let head = layers(keys, "head", &[]);
                let domain_head = layers(
                    keys,
                    "domain_head",
                    &[zoo::linear(100), zoo::batch_norm(), Layer::Relu],
                );
                let kind = Blueprint::Layers {
                    features: features?,
                    head: head?,
                    domain_head: domain_head?,
                };
                Some(Self { kind, classes: classes? })
            });
        }
        keys.kinded("model", "arch", zoo::NAMES, None, |arch, keys| {
            let classes = keys.count("classes", 2..=1_000_000).optional();
            let span = keys.span();
            let small_input = keys.boolean("small_input").or(false);
            let head = read_head(keys);
            if small_input == Some(true) && !zoo::find(arch).is_some_and(|arch| arch.small_input) {
                keys.problem(Diagnostic::at(
                    span,
                    format!("`{arch}` has no form for `small_input`: it is made for small images"),
                    "leave `small_input` out",
                ));
                return None;
            }
            let kind = Blueprint::Zoo { arch, small_input: small_input?, head: head? };
            Some(Self { kind, classes: classes? })
        })
    }

    /// The network for an image shape and a number of classes.
    ///
    /// # Errors
    /// One sentence, when the images do not fit it.
    pub fn build(&self, input: Chw, classes: usize) -> Result<Spec, String> {
        let spec = match &self.kind {
            Blueprint::Zoo { arch: name, small_input, head } => {
                let arch = zoo::find(name).expect("the name was checked when it was read");
                if let Some(channels) = arch.channels
                    && channels != input.channels
                {
                    return Err(format!(
                        "`{name}` takes images of {channels} channels, the data have {}",
                        input.channels
                    ));
                }
                let layout = ArchSettings { input, classes, small_input: *small_input };
                let spec = (arch.build)(layout);
                match head {
                    Some(head) => spec.with_head(head, input, classes).0,
                    None => spec,
                }
            }
            Blueprint::Layers { features, head, domain_head } => {
                let mut features = features.clone();
                features.push(Layer::Flatten);
                Spec {
                    arch: "layers".into(),
                    input,
                    classes,
                    init: Init::Default,
                    features: numbered(Part::Features, &features),
                    classifier: numbered(Part::Classifier, &with_logits(head, classes)),
                    domain_classifier: numbered(
                        Part::DomainClassifier,
                        &with_logits(domain_head, 2),
                    ),
                }
            }
        };
        match spec.place() {
            Ok(_) => Ok(spec),
            Err(error) => Err(format!("{input} images do not fit the network: {error}")),
        }
    }
}

/// Reads `head = [100, "relu"]`: the layers of a new classifier before its last one, which gives the
/// logits. `[]` is a new last layer alone.
pub fn read_head(keys: &mut Keys) -> Option<Option<Vec<Layer>>> {
    if !keys.has("head") {
        keys.node("head");
        return Some(None);
    }
    layers(keys, "head", &[]).map(Some)
}

fn with_logits(layers: &[Layer], logits: usize) -> Vec<Layer> {
    let mut layers = layers.to_vec();
    layers.push(zoo::linear(logits));
    layers
}

/// Names as PyTorch's `nn.Sequential` gives them: `features.0`, `features.1`, ...
fn numbered(part: Part, layers: &[Layer]) -> Vec<Named> {
    let name = |at: usize| format!("{}.{at}", part.name());
    layers.iter().enumerate().map(|(at, layer)| Named::new(name(at), layer.clone())).collect()
}

const KINDS: &[&str] = &[
    "conv2d",
    "linear",
    "batch_norm",
    "relu",
    "relu6",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "dropout",
    "dropout2d",
    "flatten",
];

/// Reads an array of layers: a number is a linear layer, a word a layer with default settings, a
/// table `{ kind = ..., ... }` a layer with its own.
fn layers(keys: &mut Keys, key: &'static str, default: &[Layer]) -> Option<Vec<Layer>> {
    if keys.is_describing() {
        let outputs = json!({ "type": "integer", "minimum": 1, "description": "a linear layer" });
        keys.may_be_items(key, "kind", KINDS, Some(outputs), settings);
        return Some(default.to_vec());
    }
    let Some(node) = keys.node(key) else {
        let written: Vec<toml::Value> = default.iter().map(written).collect();
        keys.record(key, written);
        return Some(default.to_vec());
    };
    let Value::Array(items) = &node.value else {
        keys.problem(Diagnostic::at(
            node.span,
            format!("`{key}` must be an array of layers"),
            format!("found {}", node.value.type_name()),
        ));
        return None;
    };
    let mut read = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let layer = match &item.value {
            Value::Integer(outputs) if *outputs > 0 => {
                usize::try_from(*outputs).ok().map(zoo::linear)
            }
            Value::String(word) if KINDS.contains(&word.as_str()) => {
                let table = crate::config::node::Table::default();
                keys.descend(&format!("{key}.{at}"), &table, item.span, |keys| settings(word, keys))
            }
            Value::String(word) => {
                let mut problem =
                    Diagnostic::at(item.span, format!("`{word}` is not a layer"), "unknown layer");
                problem.help.extend(suggest(word, KINDS.iter().copied()));
                keys.problem(problem);
                None
            }
            Value::Table(table) => keys.descend(&format!("{key}.{at}"), table, item.span, |keys| {
                let kind = keys.choice("kind", KINDS).required();
                if kind.is_none() {
                    keys.leave_open();
                }
                settings(kind?, keys)
            }),
            other => {
                keys.problem(Diagnostic::at(
                    item.span,
                    "a layer must be a number of outputs, a word or a table",
                    format!("found {}", other.type_name()),
                ));
                None
            }
        };
        keys.take(&format!("{key}.{at}"));
        read.push(layer);
    }
    let read: Vec<Layer> = read.into_iter().collect::<Option<_>>()?;
    keys.record(key, read.iter().map(written).collect::<Vec<_>>());
    Some(read)
}

fn settings(kind: &str, keys: &mut Keys) -> Option<Layer> {
    Some(match kind {
        "conv2d" => {
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
        "linear" => {
            let outputs = keys.count("outputs", 1..=1_000_000).required();
            let bias = keys.boolean("bias").or(true);
            Layer::Linear { outputs: outputs?, bias: bias? }
        }
        "max_pool" | "avg_pool" => {
            let kernel = keys.count("kernel", 1..=255).or(2_usize);
            let stride = keys.count("stride", 1..=255).or(kernel.unwrap_or(2));
            let padding = keys.count("padding", 0..=127).or(0_usize);
            let ceil =
                if kind == "max_pool" { keys.boolean("ceil").or(false) } else { Some(false) };
            let (kernel, stride, padding) = (square(kernel?), square(stride?), square(padding?));
            if kind == "max_pool" {
                Layer::MaxPool { kernel, stride, padding, ceil: ceil? }
            } else {
                Layer::AvgPool { kernel, stride, padding }
            }
        }
        "dropout" | "dropout2d" => {
            let p = keys.float("p").below_one().or(0.5)?;
            #[expect(clippy::cast_possible_truncation, reason = "a probability")]
            let p = p as f32;
            if kind == "dropout" { Layer::Dropout { p } } else { Layer::Dropout2d { p } }
        }
        "batch_norm" => zoo::batch_norm(),
        "relu" => Layer::Relu,
        "relu6" => Layer::Relu6,
        "global_avg_pool" => Layer::GlobalAvgPool,
        _ => Layer::Flatten,
    })
}

fn square(side: usize) -> (usize, usize) {
    (side, side)
}

/// A layer as a pipeline file has it.
fn written(layer: &Layer) -> toml::Value {
    let table = |kind: &str, settings: &[(&str, toml::Value)]| {
        let mut table = toml::Table::new();
        table.insert("kind".into(), kind.into());
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
            "conv2d",
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
            table("linear", &[("outputs", count(*outputs)), ("bias", (*bias).into())])
        }
        Layer::MaxPool { kernel, stride, padding, ceil } => {
            let mut written = pool("max_pool", kernel.0, stride.0, padding.0);
            if let toml::Value::Table(table) = &mut written {
                table.insert("ceil".into(), (*ceil).into());
            }
            written
        }
        Layer::AvgPool { kernel, stride, padding } => {
            pool("avg_pool", kernel.0, stride.0, padding.0)
        }
        Layer::Dropout { p } => table("dropout", &[("p", decimal(*p))]),
        Layer::Dropout2d { p } => table("dropout2d", &[("p", decimal(*p))]),
        Layer::BatchNorm { .. } => "batch_norm".into(),
        Layer::Relu => "relu".into(),
        Layer::Relu6 => "relu6".into(),
        Layer::GlobalAvgPool => "global_avg_pool".into(),
        Layer::Flatten => "flatten".into(),
        Layer::AdaptiveAvgPool { .. } | Layer::Residual { .. } | Layer::Parallel { .. } => {
            unreachable!("a file has no key for it")
        }
    }
}

/// The decimal a person would have written for a 32-bit number.
fn decimal(value: f32) -> toml::Value {
    value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(value)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: Chw = Chw { channels: 1, height: 28, width: 28 };

    #[test]
    fn own_layers_get_a_flatten_and_the_last_linear_layers() {
        let own = Architecture {
            kind: Blueprint::Layers {
                features: vec![Layer::Relu],
                head: vec![zoo::linear(32), Layer::Relu],
                domain_head: Vec::new(),
            },
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
        assert_eq!(spec.classifier[2].layer, zoo::linear(7));
    }

    #[test]
    fn images_that_do_not_fit_are_refused_with_the_reason() {
        let dacnn = Architecture {
            kind: Blueprint::Zoo { arch: "dacnn", small_input: false, head: None },
            classes: None,
        };
        let error = dacnn.build(DIGITS, 10).unwrap_err();
        assert_eq!(error, "`dacnn` takes images of 3 channels, the data have 1");
        let small = Chw { channels: 3, height: 4, width: 4 };
        let error = dacnn.build(small, 10).unwrap_err();
        assert!(
            error.starts_with("3x4x4 images do not fit the network: layer `features.conv2`"),
            "{error}"
        );
    }
}
