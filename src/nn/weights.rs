//! Models on disk: `model.json` (its layers, what is frozen) and `weights.safetensors`
//! with the names and shapes of PyTorch's `state_dict`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype as StoredType, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::model::{FrozenBatchNorm, Model};
use super::ops::Backend;
use super::placement::{NamedShape, Placed, SpecError};
use super::spec::{Part, Spec};
use super::torch_file::TorchFileError;

const DESCRIPTION: &str = "model.json";
const WEIGHTS: &str = "weights.safetensors";
/// The files that a model is, its description first.
pub const FILES: [&str; 2] = [DESCRIPTION, WEIGHTS];
const VERSION: u32 = 2;
/// More classes than this are damage: a pipeline file may not ask for more.
const MOST_CLASSES: usize = 1_000_000;

/// `model.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ModelDescription {
    version: u32,
    spec: Spec,
    classes: Vec<String>,
    /// Whether there are weights of the domain classifier, which every spec has.
    domain_classifier: bool,
    frozen: Vec<String>,
    batch_norm: FrozenBatchNorm,
}

impl ModelDescription {
    /// The heads that the model has weights of, in the order of their parameters.
    fn heads(&self) -> Vec<Part> {
        let is_there = |part: &Part| *part != Part::DOMAIN || self.domain_classifier;
        self.spec.heads.keys().filter(|part| is_there(part)).cloned().collect()
    }
}

/// A model could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system's error on a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of PyTorch's cannot be read.
    #[error("{}: {error}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: TorchFileError,
    },
    /// A file is whole, but is not what can be used.
    #[error("{}: {reason}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do.
        help: Vec<String>,
    },
    /// The layers do not fit together.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl WeightsError {
    /// Lines of advice.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::Io { source, .. } => crate::system::shortage(source).into_iter().collect(),
            Self::Torch { path, error } => error.help(path),
            Self::Rejected { help, .. } => help.clone(),
            Self::Malformed { .. } | Self::Spec(_) => Vec::new(),
        }
    }
}

/// A model with the names of its classes.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The network.
    pub model: Model,
    /// The class names, in the order of the logits.
    pub classes: Vec<String>,
}

impl Saved {
    /// Writes the model to `folder`, the same bytes for the same model.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), WeightsError> {
        let model = &self.model;
        let description = ModelDescription {
            version: VERSION,
            spec: model.spec().clone(),
            classes: self.classes.clone(),
            domain_classifier: model.has_head(&Part::DOMAIN),
            frozen: model
                .parameters()
                .iter()
                .filter(|parameter| !parameter.trainable)
                .map(|parameter| parameter.name.clone())
                .collect(),
            batch_norm: model.frozen_batch_norm(),
        };
        let mut text = serde_json::to_string_pretty(&description).expect("a plain value");
        text.push('\n');
        let path = folder.join(DESCRIPTION);
        fs::write(&path, text).map_err(|source| WeightsError::Io { path, source })?;

        let tensors = state_dict(model);
        let views = tensors.iter().map(|(name, stored)| {
            let view = TensorView::new(stored.kind, stored.shape.clone(), &stored.bytes)
                .expect("as many bytes as the shape says");
            (name.as_str(), view)
        });
        let bytes = safetensors::serialize(views, None).expect("valid tensors");
        let path = folder.join(WEIGHTS);
        fs::write(&path, bytes).map_err(|source| WeightsError::Io { path, source })
    }

    /// Reads the model of `folder` onto `device`.
    ///
    /// # Errors
    /// When a file is missing, malformed, or lacks a tensor.
    pub fn open(folder: &Path, ops: &Backend) -> Result<Self, WeightsError> {
        let description = describe(folder)?;
        let path = folder.join(WEIGHTS);
        let bytes =
            fs::read(&path).map_err(|source| WeightsError::Io { path: path.clone(), source })?;
        let malformed = |reason| WeightsError::Malformed { path: path.clone(), reason };
        let heads = description.heads();
        let misplaced = |error: SpecError| {
            let path = folder.join(DESCRIPTION);
            WeightsError::Malformed { path, reason: error.to_string() }
        };
        description.spec.place().map_err(misplaced)?;
        let placement = description.spec.only(&heads).place()?;
        let parameters: Vec<_> = placement.layers.iter().flat_map(Placed::parameters).collect();
        // Before memory is taken: sizes that a damaged description makes up are not in the file.
        check(&parameters, &bytes).map_err(malformed)?;
        let mut model = Model::with_heads(description.spec, &heads, ops, 0)?;
        for parameter in model.parameters_mut() {
            parameter.trainable = !description.frozen.contains(&parameter.name);
        }
        model.set_frozen_batch_norm(description.batch_norm);
        load(&mut model, &bytes).map_err(malformed)?;
        Ok(Self { model, classes: description.classes })
    }
}

/// What the description of a model says, without its weights.
#[derive(Debug, Clone)]
pub struct ModelOutline {
    /// The network.
    pub spec: Spec,
    /// The class names, in the order of the logits; numbers where the model has no names.
    pub classes: Vec<String>,
    /// The heads that it has weights of, in the order of their parameters.
    pub heads: Vec<Part>,
    /// Names of the parameters that do not learn.
    pub frozen: Vec<String>,
}

impl ModelOutline {
    /// Of the model in `folder`, as its description has it. Nothing else is looked at.
    ///
    /// # Errors
    /// When the description is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, WeightsError> {
        let description = describe(folder)?;
        let heads = description.heads();
        let ModelDescription { spec, classes, frozen, .. } = description;
        Ok(Self { spec, classes, heads, frozen })
    }
}

/// The description of a model. One without as many names as it has classes gets numbers for names.
fn describe(folder: &Path) -> Result<ModelDescription, WeightsError> {
    let path = folder.join(DESCRIPTION);
    let text = fs::read_to_string(&path)
        .map_err(|source| WeightsError::Io { path: path.clone(), source })?;
    let malformed = |reason: String| WeightsError::Malformed { path: path.clone(), reason };
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let version = value["version"].as_u64().unwrap_or_default();
    if version != u64::from(VERSION) {
        return Err(malformed(format!(
            "format version {version}, this runner reads {VERSION}: run the stage again"
        )));
    }
    let mut description: ModelDescription =
        serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    let classes = description.spec.classes;
    if classes > MOST_CLASSES {
        return Err(malformed(format!("{classes} classes, more than {MOST_CLASSES}")));
    }
    if description.classes.len() != classes {
        description.classes = (0..classes).map(|class| class.to_string()).collect();
    }
    Ok(description)
}

/// Numbers as safetensors holds them.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The numbers that [`little_endian`] wrote.
pub(crate) fn from_little_endian(bytes: &[u8]) -> Vec<f32> {
    let four = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    bytes.chunks_exact(4).map(four).collect()
}

struct StateTensor {
    kind: StoredType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Every parameter and buffer as PyTorch's `state_dict` holds them.
fn state_dict(model: &Model) -> Vec<(String, StateTensor)> {
    let floats = |values: Vec<f32>, shape: Vec<usize>| StateTensor {
        kind: StoredType::F32,
        shape,
        bytes: little_endian(&values),
    };
    let mut tensors: Vec<(String, StateTensor)> = model
        .parameters()
        .iter()
        .map(|p| (p.name.clone(), floats(p.value.host(), p.shape.clone())))
        .collect();
    for stats in model.stats() {
        for (word, tensor) in [("running_mean", &stats.mean), ("running_var", &stats.var)] {
            let values = tensor.host();
            let shape = vec![values.len()];
            tensors.push((format!("{}.{word}", stats.layer), floats(values, shape)));
        }
        let batches = StateTensor {
            kind: StoredType::I64,
            shape: Vec::new(),
            bytes: stats.batches.to_le_bytes().to_vec(),
        };
        tensors.push((format!("{}.num_batches_tracked", stats.layer), batches));
    }
    tensors
}

/// Whether each of `parameters` is among the tensors of `bytes`.
fn check(parameters: &[NamedShape], bytes: &[u8]) -> Result<(), String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    for NamedShape { name, shape } in parameters {
        let view = tensors.tensor(name).map_err(|_| format!("no tensor `{name}`"))?;
        if view.shape() != shape {
            return Err(format!("tensor `{name}` is {:?}, expected {shape:?}", view.shape()));
        }
    }
    Ok(())
}

fn load(model: &mut Model, bytes: &[u8]) -> Result<(), String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut found: HashMap<String, TensorView> = tensors.tensors().into_iter().collect();
    let mut take = |name: &str, shape: &[usize]| -> Result<Vec<f32>, String> {
        let view = found.remove(name).ok_or_else(|| format!("no tensor `{name}`"))?;
        if view.dtype() != StoredType::F32 || view.shape() != shape {
            return Err(format!(
                "tensor `{name}` is {:?} {:?}, expected F32 {shape:?}",
                view.dtype(),
                view.shape()
            ));
        }
        Ok(from_little_endian(view.data()))
    };
    for parameter in model.parameters_mut() {
        let values = take(&parameter.name, &parameter.shape)?;
        parameter.value.write(&values);
    }
    for stats in model.stats_mut() {
        let channels = stats.mean.len();
        stats.mean.write(&take(&format!("{}.running_mean", stats.layer), &[channels])?);
        stats.var.write(&take(&format!("{}.running_var", stats.layer), &[channels])?);
    }
    for stats in model.stats_mut() {
        let name = format!("{}.num_batches_tracked", stats.layer);
        let view = found.remove(&name).ok_or_else(|| format!("no tensor `{name}`"))?;
        let eight: [u8; 8] =
            view.data().try_into().map_err(|_| format!("tensor `{name}` is not one I64"))?;
        stats.batches = i64::from_le_bytes(eight);
    }
    match found.keys().min() {
        Some(extra) => Err(format!("tensor `{extra}` belongs to no layer")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::spec::Named;

    /// A description with a size that is made up is an error before memory is taken.
    #[test]
    fn a_description_with_absurd_sizes_is_an_error_and_takes_no_memory() {
        let spec: Spec = serde_json::from_str(include_str!("../../fuzz/spec.json")).unwrap();
        let model = Model::new(spec, &crate::nn::ops::CpuOps::shared(), 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Saved { model, classes: Vec::new() }.save(folder.path()).unwrap();
        let path = folder.path().join(DESCRIPTION);
        let text = fs::read_to_string(&path).unwrap();
        let sizes = [65_537, 16_777_216, 4_294_967_295, 1 << 40, i64::MAX];
        for key in ["/spec/input/channels", "/spec/features/0/filters"] {
            for size in sizes {
                let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
                *changed.pointer_mut(key).unwrap() = size.into();
                fs::write(&path, changed.to_string()).unwrap();
                let error = Saved::open(folder.path(), &crate::nn::ops::CpuOps::shared())
                    .unwrap_err()
                    .to_string();
                let said = ["expected [", "too large", "any machine"];
                assert!(said.iter().any(|it| error.contains(it)), "{key} {size}: {error}");
            }
        }
        fs::write(&path, text).unwrap();
        assert!(Saved::open(folder.path(), &crate::nn::ops::CpuOps::shared()).is_ok());
    }
    /// The files of a model of a description that is changed by `change`.
    fn saved(change: impl FnOnce(&mut Model)) -> tempfile::TempDir {
        let spec: Spec = serde_json::from_str(include_str!("../../fuzz/spec.json")).unwrap();
        let mut model = Model::new(spec, &crate::nn::ops::CpuOps::shared(), 3).unwrap();
        change(&mut model);
        let folder = tempfile::tempdir().unwrap();
        Saved { model, classes: vec!["a".into(), "b".into()] }.save(folder.path()).unwrap();
        folder
    }

    fn attach(model: &mut Model, part: &Part, layers: Vec<Named>) {
        model.attach_head(part, layers, Some(2), 3).unwrap();
    }

    #[test]
    fn a_description_from_before_there_were_other_heads_is_written_again_byte_for_byte() {
        for (old, domain) in [
            (include_str!("../../tests/older_models/plain.json"), false),
            (include_str!("../../tests/older_models/adversarial.json"), true),
        ] {
            let folder = saved(|model| {
                let layers = model.spec().part(&Part::DOMAIN).to_vec();
                if domain {
                    attach(model, &Part::DOMAIN, layers);
                }
            });
            let path = folder.path().join(DESCRIPTION);
            fs::write(&path, old).unwrap();
            let opened = Saved::open(folder.path(), &crate::nn::ops::CpuOps::shared()).unwrap();
            assert_eq!(opened.model.has_head(&Part::DOMAIN), domain);
            assert_eq!(opened.model.parameters().last().unwrap().trainable, !domain);
            opened.save(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), old);
        }
    }

    #[test]
    fn a_model_with_a_third_head_is_the_same_when_it_is_opened_again() {
        for domain in [false, true] {
            let mut third = Vec::new();
            let folder = saved(|model| {
                third = model.spec().second_classifier(&Part::CLASSIFIER2);
                attach(model, &Part::CLASSIFIER2, third.clone());
                let layers = model.spec().part(&Part::DOMAIN).to_vec();
                if domain {
                    attach(model, &Part::DOMAIN, layers);
                }
            });
            let files =
                || [DESCRIPTION, WEIGHTS].map(|it| fs::read(folder.path().join(it)).unwrap());
            let before = files();
            let opened = Saved::open(folder.path(), &crate::nn::ops::CpuOps::shared()).unwrap();
            assert_eq!(opened.model.spec().part(&Part::CLASSIFIER2), third);
            let names: Vec<&str> = opened.model.parameters().iter().map(|it| &*it.name).collect();
            assert!(names.ends_with(&["classifier2.0.weight", "classifier2.0.bias"]), "{names:?}");
            assert_eq!(names.contains(&"domain_classifier.0.weight"), domain);
            let outline = ModelOutline::read(folder.path()).unwrap();
            assert_eq!(outline.heads, opened.model.heads());
            opened.save(folder.path()).unwrap();
            assert_eq!(files(), before);
        }
    }
}
