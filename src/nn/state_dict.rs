//! Weights from anywhere, put into a network by the names of PyTorch's `state_dict`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use dfdx::prelude::{HasShape as _, Shape as _};
use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensors};

use super::freeze::matching;
use super::model::Model;
use super::ops::Ops;
use super::torch_file::{self, Tensor, Values, from_half};
use super::weights::{WeightsError, from_little_endian};

/// What became of each name when weights were put into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fit {
    /// Names whose values were taken.
    pub loaded: Vec<String>,
    /// Names of the network that were left alone on purpose.
    pub skipped: Vec<String>,
    /// Names of the network that the file lacks.
    pub missing: Vec<String>,
    /// Names of the file that the network lacks.
    pub extra: Vec<String>,
    /// Names with the file's and the network's shape, where they differ.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Fit {
    /// Whether file and network have the same names and shapes, but for what was skipped.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.misshaped.is_empty()
    }

    /// Every difference, a line each.
    pub fn differences(&self) -> Vec<String> {
        const MOST: usize = 6;
        let few = |names: &[String]| {
            let mut text = names.iter().take(MOST).cloned().collect::<Vec<_>>().join(", ");
            if names.len() > MOST {
                text.push_str(&format!(" and {} more", names.len() - MOST));
            }
            text
        };
        let mut lines = Vec::new();
        if !self.missing.is_empty() {
            lines.push(format!(
                "{} missing in the file: {}",
                self.missing.len(),
                few(&self.missing)
            ));
        }
        if !self.extra.is_empty() {
            lines.push(format!("{} that no layer has: {}", self.extra.len(), few(&self.extra)));
        }
        let shapes = |(name, theirs, ours): &(String, Vec<usize>, Vec<usize>)| {
            format!("{name} is {theirs:?}, the network's {ours:?}")
        };
        let shapes: Vec<String> = self.misshaped.iter().map(shapes).collect();
        if !shapes.is_empty() {
            lines.push(format!("{} of another shape: {}", shapes.len(), few(&shapes)));
        }
        lines
    }
}

/// The tensors of a file by their names: safetensors, or what `torch.save` writes.
///
/// # Errors
/// When the file cannot be read, is damaged, or wants code to be run.
pub fn read(path: &Path) -> Result<IndexMap<String, Tensor>, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.to_owned(), reason };
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut start = [0; 9];
    let file = fs::File::open(path).map_err(io)?;
    let begins = std::io::Read::read(&mut &file, &mut start).map_err(io)?;
    if begins == start.len() && start[8] == b'{' {
        return safetensors(&fs::read(path).map_err(io)?).map_err(malformed);
    }
    torch_file::read(path).map_err(|error| malformed(error.to_string()))
}

fn safetensors(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut names = tensors.names();
    names.sort_unstable();
    let mut found = IndexMap::new();
    for name in names {
        let view = tensors.tensor(name).map_err(|error| error.to_string())?;
        let data = view.data();
        let values = match view.dtype() {
            Dtype::F32 => Values::Float(from_little_endian(data)),
            #[expect(clippy::cast_possible_truncation, reason = "weights are kept in f32")]
            Dtype::F64 => Values::Float(
                data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            ),
            Dtype::F16 => Values::Float(
                data.as_chunks().0.iter().map(|b| from_half(u16::from_le_bytes(*b))).collect(),
            ),
            Dtype::BF16 => Values::Float(
                data.as_chunks()
                    .0
                    .iter()
                    .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16))
                    .collect(),
            ),
            Dtype::I64 => {
                Values::Integer(data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            other => return Err(format!("tensor `{name}` is {other:?}, which weights are not")),
        };
        found.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), values });
    }
    Ok(found)
}

/// Puts `tensors` into `model` where names and shapes agree; names that a pattern of `skip` matches
/// are left alone on both sides.
///
/// # Errors
/// When a pattern of `skip` is not a glob, or matches no name of the network.
pub fn load<D: Ops>(
    model: &mut Model<D>,
    tensors: &IndexMap<String, Tensor>,
    skip: &[String],
) -> Result<Fit, super::freeze::PatternError> {
    let names: Vec<String> = names(model);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut skipped = vec![false; all.len()];
    for pattern in skip {
        let matched = matching(pattern, &all)?;
        skipped.iter_mut().zip(matched).for_each(|(skipped, matched)| *skipped |= matched);
    }
    let skipped: HashMap<&str, bool> = all.iter().copied().zip(skipped).collect();
    let mut loader = Loader { tensors, skipped: &skipped, fit: Fit::default() };
    for parameter in model.parameters_mut() {
        let shape = parameter.shape.clone();
        if let Some(values) = loader.take(&parameter.name, &shape) {
            parameter.value.copy_from(&values);
        }
    }
    for stats in model.stats_mut() {
        let shape = [stats.mean.shape().num_elements()];
        for (word, tensor) in [("running_mean", &mut stats.mean), ("running_var", &mut stats.var)] {
            if let Some(values) = loader.take(&format!("{}.{word}", stats.layer), &shape) {
                tensor.copy_from(&values);
            }
        }
        // Files of before PyTorch 0.4.1 do not have it, and nothing depends on it.
        let seen = tensors.get(&format!("{}.num_batches_tracked", stats.layer));
        if let Some(Tensor { values: Values::Integer(seen), .. }) = seen {
            stats.batches = seen.first().copied().unwrap_or_default();
        }
    }
    let mut fit = loader.fit;
    let is_counter = |name: &str| name.ends_with(".num_batches_tracked");
    let is_skipped = |name: &str| skip.iter().any(|it| matching(it, &[name]).is_ok());
    fit.extra = tensors
        .keys()
        .filter(|name| !skipped.contains_key(name.as_str()))
        .filter(|name| !is_counter(name) && !is_skipped(name))
        .cloned()
        .collect();
    Ok(fit)
}

/// Names of a model's parameters and running statistics.
fn names<D: Ops>(model: &Model<D>) -> Vec<String> {
    let mut names: Vec<String> = model.parameters().iter().map(|it| it.name.clone()).collect();
    for stats in model.stats() {
        names.push(format!("{}.running_mean", stats.layer));
        names.push(format!("{}.running_var", stats.layer));
    }
    names
}

struct Loader<'a> {
    tensors: &'a IndexMap<String, Tensor>,
    skipped: &'a HashMap<&'a str, bool>,
    fit: Fit,
}

impl Loader<'_> {
    /// The values of a name, unless they are not to be had.
    fn take(&mut self, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
        if self.skipped.get(name).copied().unwrap_or_default() {
            self.fit.skipped.push(name.to_owned());
            return None;
        }
        let Some(tensor) = self.tensors.get(name) else {
            self.fit.missing.push(name.to_owned());
            return None;
        };
        if tensor.shape != shape {
            self.fit.misshaped.push((name.to_owned(), tensor.shape.clone(), shape.to_vec()));
            return None;
        }
        self.fit.loaded.push(name.to_owned());
        Some(match &tensor.values {
            Values::Float(values) => values.clone(),
            #[expect(clippy::cast_precision_loss, reason = "weights are small numbers")]
            Values::Integer(values) => values.iter().map(|it| *it as f32).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use dfdx::prelude::Cpu;

    use super::*;
    use crate::nn::model::host;
    use crate::nn::ops::Chw;
    use crate::nn::zoo::{self, Layout};

    fn model(classes: usize, seed: u64) -> Model<Cpu> {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let spec = (zoo::find("dacnn").unwrap().build)(Layout::new(input, classes));
        Model::new(spec, &Cpu::default(), seed).unwrap()
    }

    fn tensors(model: &Model<Cpu>) -> IndexMap<String, Tensor> {
        let of = |shape: &[usize], values| Tensor { shape: shape.to_vec(), values };
        let mut tensors: IndexMap<String, Tensor> = model
            .parameters()
            .iter()
            .map(|it| (it.name.clone(), of(&it.shape, Values::Float(host(&it.value)))))
            .collect();
        for stats in model.stats() {
            let mean = host(&stats.mean);
            let shape = [mean.len()];
            tensors.insert(
                format!("{}.running_mean", stats.layer),
                of(&shape, Values::Float(vec![0.5; mean.len()])),
            );
            tensors.insert(
                format!("{}.running_var", stats.layer),
                of(&shape, Values::Float(vec![2.0; mean.len()])),
            );
        }
        tensors
    }

    #[test]
    fn weights_of_the_same_network_are_taken_whole() {
        let (from, mut to) = (model(10, 1), model(10, 2));
        let fit = load(&mut to, &tensors(&from), &[]).unwrap();
        assert!(fit.is_whole() && fit.differences().is_empty());
        for (from, to) in from.parameters().iter().zip(to.parameters()) {
            assert_eq!(host(&from.value), host(&to.value), "{}", from.name);
        }
        assert!(to.stats().iter().all(|it| host(&it.mean)[0] == 0.5 && host(&it.var)[0] == 2.0));
    }

    #[test]
    fn what_differs_is_listed_and_what_is_skipped_stays() {
        let (from, mut to) = (model(10, 1), model(4, 2));
        let mut file = tensors(&from);
        file.insert("aux.weight".into(), file["features.bn1.weight"].clone());
        file.shift_remove("features.conv2.bias");
        let fit = load(&mut to, &file, &[]).unwrap();
        assert_eq!(
            fit.differences(),
            [
                "1 missing in the file: features.conv2.bias",
                "1 that no layer has: aux.weight",
                "2 of another shape: classifier.fc3.weight is [10, 100], the network's [4, 100], \
                 classifier.fc3.bias is [10], the network's [4]",
            ]
        );
        let mut to = model(4, 2);
        let before = host(&to.parameters().last().unwrap().value);
        let skip = ["classifier.fc3.*".to_owned()];
        let fit = load(&mut to, &tensors(&from), &skip).unwrap();
        assert!(fit.is_whole());
        assert_eq!(fit.skipped, ["classifier.fc3.weight", "classifier.fc3.bias"]);
        assert_eq!(host(&to.parameters().last().unwrap().value), before);
        assert!(load(&mut to, &tensors(&from), &["fc9.*".to_owned()]).is_err());
    }
}
