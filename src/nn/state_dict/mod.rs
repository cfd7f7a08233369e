//! Weights from anywhere, put into a network by the names of PyTorch's `state_dict`.
//!
//! A [`StateDict`] is a file whose tensors are known by name and shape; [`Taken`] says which of them are
//! meant, [`compare`] what of a network they hold, and [`load`] reads what fits.

use std::collections::HashSet;

use indexmap::IndexSet;

use super::freeze::{PatternError, matching};
use super::model::Model;
use super::spec::{Layer, Spec};
use super::torch_file::Numbers;
use super::weights::WeightsError;
use crate::nn::placement::{NamedShape, SpecError};

mod advice;
mod file;
mod names;

pub use advice::{LoadSettings, advice};
pub use file::{StateDict, read};
pub use names::{NameError, Taken};

/// The tensors of a network, without its domain classifier.
#[derive(Debug, Clone)]
pub struct WantedTensors {
    parameters: Vec<NamedShape>,
    /// Running means and variances.
    statistics: Vec<NamedShape>,
}

impl WantedTensors {
    /// Those of the network of `spec`.
    ///
    /// # Errors
    /// When its layers do not fit together.
    pub fn of(spec: &Spec) -> Result<Self, SpecError> {
        let (mut parameters, mut statistics) = (Vec::new(), Vec::new());
        for placed in spec.only(&spec.initial_heads()).place()?.layers {
            parameters.extend(placed.parameters());
            if matches!(placed.layer, Layer::BatchNorm { .. }) {
                for word in ["running_mean", "running_var"] {
                    let name = format!("{}.{word}", placed.name);
                    statistics.push(NamedShape { name, shape: vec![placed.input.channels] });
                }
            }
        }
        Ok(Self { parameters, statistics })
    }

    fn slots(&self) -> impl Iterator<Item = &NamedShape> {
        self.parameters.iter().chain(&self.statistics)
    }

    /// Every name.
    pub fn names(&self) -> Vec<&str> {
        self.slots().map(|slot| slot.name.as_str()).collect()
    }
}

/// What becomes of each name when weights are put into a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadPlan {
    /// Names whose values are taken.
    pub loaded: Vec<String>,
    /// Names of the network that are left alone on purpose.
    pub skipped: Vec<String>,
    /// Names of the network that the file lacks.
    pub missing: Vec<String>,
    /// Names of the file that the network lacks.
    pub extra: Vec<String>,
    /// Names with the file's and the network's shape, where they differ.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Names whose values cannot be read, with the reason.
    pub unreadable: Vec<(String, String)>,
    /// Numbers among the network's parameters that are taken, and all of them.
    pub parameters: (usize, usize),
}

impl LoadPlan {
    /// Whether file and network have the same names and shapes, but for what was skipped.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
            && self.extra.is_empty()
            && self.misshaped.is_empty()
            && self.unreadable.is_empty()
    }

    /// What share of the network's parameters is taken: "99.9 %".
    pub fn share(&self) -> String {
        let (loaded, all) = self.parameters;
        // Rounded down: only what is whole is 100 %.
        match loaded * 1000 / all.max(1) {
            1000 => "100 %".to_owned(),
            0 if loaded > 0 => "below 0.1 %".to_owned(),
            tenths => format!("{}.{} %", tenths / 10, tenths % 10),
        }
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
        let reasons = |(name, reason): &(String, String)| format!("{name}: {reason}");
        let reasons: Vec<String> = self.unreadable.iter().map(reasons).collect();
        if !reasons.is_empty() {
            lines.push(format!("{} that cannot be read: {}", reasons.len(), few(&reasons)));
        }
        lines
    }
}

/// What of the network `wanted` is among the tensors of `file` that are `taken`; names that a pattern of
/// `skip` matches are left alone on both sides.
///
/// # Errors
/// When a pattern of `skip` is not a glob, or matches no name of the network.
pub fn compare(
    wanted: &WantedTensors,
    file: &StateDict,
    taken: &Taken,
    skip: &[String],
) -> Result<LoadPlan, PatternError> {
    let all = wanted.names();
    let mut left: HashSet<&str> = HashSet::new();
    for pattern in skip {
        let matched = matching(pattern, &all)?;
        left.extend(all.iter().zip(matched).filter(|(_, matched)| *matched).map(|(name, _)| *name));
    }
    let mut fit = LoadPlan::default();
    let mut look = |NamedShape { name, shape }: &NamedShape| {
        if left.contains(name.as_str()) {
            fit.skipped.push(name.clone());
            return false;
        }
        match taken.names.get(name).and_then(|name| file.shape(name)) {
            None => fit.missing.push(name.clone()),
            Some(Err(reason)) => fit.unreadable.push((name.clone(), reason)),
            Some(Ok(theirs)) if theirs != shape => {
                fit.misshaped.push((name.clone(), theirs.to_vec(), shape.clone()));
            }
            Some(Ok(_)) => {
                fit.loaded.push(name.clone());
                return true;
            }
        }
        false
    };
    let mut parameters = (0, 0);
    for slot in &wanted.parameters {
        let len = slot.shape.iter().product::<usize>();
        parameters.1 += len;
        if look(slot) {
            parameters.0 += len;
        }
    }
    for slot in &wanted.statistics {
        look(slot);
    }
    let known: HashSet<&str> = all.into_iter().collect();
    // Files of before PyTorch 0.4.1 do not have it, and nothing depends on it.
    let is_counter = |name: &str| name.ends_with(".num_batches_tracked");
    let is_skipped = |name: &str| skip.iter().any(|it| matching(it, &[name]).is_ok());
    fit.extra = taken
        .names
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .filter(|name| !is_counter(name) && !is_skipped(name))
        .cloned()
        .collect();
    fit.parameters = parameters;
    Ok(fit)
}

/// Reads what `fit` found to be there into `model`.
///
/// # Errors
/// When a tensor is damaged, or holds a number that is infinite or none.
pub fn load(
    model: &mut Model,
    file: &StateDict,
    taken: &Taken,
    fit: &LoadPlan,
) -> Result<(), WeightsError> {
    let loaded: IndexSet<&str> = fit.loaded.iter().map(String::as_str).collect();
    let floats = |name: &str| -> Result<Option<Vec<f32>>, WeightsError> {
        let theirs = taken.names.get(name).filter(|_| loaded.contains(name));
        theirs.map(|theirs| finite(file, theirs)).transpose()
    };
    for parameter in model.parameters_mut() {
        if let Some(values) = floats(&parameter.name)? {
            parameter.value.write(&values);
        }
    }
    for stats in model.stats_mut() {
        for (word, tensor) in [("running_mean", &mut stats.mean), ("running_var", &mut stats.var)] {
            if let Some(values) = floats(&format!("{}.{word}", stats.layer))? {
                tensor.write(&values);
            }
        }
        let seen = taken.names.get(&format!("{}.num_batches_tracked", stats.layer));
        if let Some(Numbers::Integer(seen)) = seen
            .filter(|name| matches!(file.shape(name), Some(Ok([] | [1]))))
            .map(|name| file.tensor(name))
            .transpose()?
            .map(|tensor| tensor.values)
        {
            stats.batches = seen.first().copied().unwrap_or_default();
        }
    }
    Ok(())
}

/// The values of the tensor `name` of a file, none of which is infinite or no number.
fn finite(file: &StateDict, name: &str) -> Result<Vec<f32>, WeightsError> {
    let values = match file.tensor(name)?.values {
        Numbers::Float(values) => values,
        #[expect(clippy::cast_precision_loss, reason = "weights are small numbers")]
        Numbers::Integer(values) => values.iter().map(|it| *it as f32).collect(),
    };
    let broken = values.iter().filter(|value| !value.is_finite()).count();
    if broken == 0 {
        return Ok(values);
    }
    Err(WeightsError::Rejected {
        path: file.path().to_owned(),
        reason: format!(
            "tensor `{name}` is not finite: {broken} of its {} values are infinite or not a number",
            values.len()
        ),
        help: vec![
            "the training that wrote it diverged, or the file is damaged: take an earlier \
             checkpoint, or another file"
                .into(),
        ],
    })
}

#[cfg(test)]
mod tests;
