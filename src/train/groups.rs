//! Parameters that learn differently from the rest: rates and decays by name, rates by layer, decay toward
//! the initial weights, and thawing during training.
//!
//! Names are matched by glob patterns. A parameter that two patterns of one table match is an error:
//! tables have no order by which one could win.

use super::layer_decay;
use super::optimizer::{Optimizer, ParameterGroup};
use super::rates::Rate;
use crate::config::diagnostic::Diagnostic;
use crate::config::node::{Node, Value};
use crate::config::{Keys, Noted};
use crate::nn::freeze::{PatternError, matching};
use crate::nn::{Model, Part};

/// Every way in which single parameters differ from the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Groups {
    /// `optimizer.groups`: patterns with their settings.
    pub groups: Vec<(String, ParameterGroup)>,
    /// `lr_scale`: patterns with a factor on the learning rate.
    pub lr_scale: Vec<(String, f64)>,
    /// `layer_decay`: the factor on the learning rate from a layer to the one before it, above 0 to 1.
    pub layer_decay: Option<f64>,
    /// `l2_sp`.
    pub l2_sp: Option<L2Sp>,
    /// `optimizers`: parts of the network that another optimizer moves.
    pub optimizers: Vec<(String, Optimizer)>,
    /// `thaw_at`: what learns from the start of an epoch on.
    pub thaw_at: Vec<(usize, Vec<String>)>,
}

/// Weight decay toward the weights that training began with (Li et al. 2018, "Explicit inductive
/// bias for transfer learning with convolutional networks"): alpha / 2 |w - w0|^2 over the parameters
/// of the model that came in, beta / 2 |w|^2 over new ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct L2Sp {
    /// Strength for parameters that came in.
    pub alpha: f64,
    /// Strength for new parameters.
    pub beta: f64,
}

/// Something that a table of patterns says about parameters that are not there or there twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A pattern that does not match.
    #[error("{0}")]
    Pattern(PatternError),
    /// A parameter that two patterns of one table match.
    #[error("`{name}` is matched by `{one}` and by `{other}`: nothing says which of them counts")]
    Twice {
        /// The parameter.
        name: String,
        /// A pattern.
        one: String,
        /// Another.
        other: String,
    },
}

impl L2Sp {
    fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        keys.optional_nested("l2_sp", |keys| {
            keys.about(&[
                ("alpha", "strength for parameters that came in"),
                ("beta", "weight decay of new parameters"),
            ]);
            let alpha = keys.float("alpha").at_least(0.0).required();
            let beta = keys.float("beta").at_least(0.0).or(0.01);
            Ok(Self { alpha: alpha?, beta: beta? })
        })
    }
}

impl Groups {
    /// Reads `lr_scale` and `optimizers`, and `layer_decay`, `l2_sp` and `thaw_at` where a model comes
    /// in.
    pub fn read(
        keys: &mut Keys,
        groups: Vec<(String, ParameterGroup)>,
        comes_in: bool,
    ) -> Result<Self, Noted> {
        let lr_scale = keys.words("lr_scale", |keys, word, node| {
            let factor = match node.value {
                Value::Float(factor) => factor,
                #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
                Value::Integer(factor) => factor as f64,
                _ => f64::NAN,
            };
            if !(factor.is_finite() && factor >= 0.0) {
                return Err(keys.problem(Diagnostic::at(
                    node.span,
                    format!("`lr_scale.\"{word}\"` must be a number of at least 0"),
                    format!("found {}", node.shown()),
                )));
            }
            keys.record(word, factor);
            Ok(factor)
        });
        let optimizers = keys.words("optimizers", Optimizer::read_of_part);
        if !comes_in {
            let (lr_scale, optimizers) = (lr_scale?, optimizers?);
            return Ok(Self { groups, lr_scale, optimizers, ..Self::default() });
        }
        let layer_decay = keys.float("layer_decay").fraction().optional();
        let l2_sp = L2Sp::read(keys);
        let thaw_at = keys.words("thaw_at", thaw);
        let mut thaw_at: Vec<(usize, Vec<String>)> =
            thaw_at?.into_iter().map(|(_, thaw)| thaw).collect();
        thaw_at.sort();
        let (lr_scale, l2_sp, optimizers) = (lr_scale?, l2_sp?, optimizers?);
        Ok(Self { groups, lr_scale, layer_decay: layer_decay?, l2_sp, optimizers, thaw_at })
    }

    /// The first of `optimizers` that is for no part called by one of these names.
    pub fn unknown_part(&self, parts: &[&str]) -> Option<&str> {
        let named = self.optimizers.iter().map(|(part, _)| part.as_str());
        named.into_iter().find(|part| !parts.contains(part))
    }

    /// Every problem that these tables have with parameters of such names, each with the dotted key
    /// it hangs on.
    pub fn problems(&self, names: &[&str]) -> Vec<(String, GroupError)> {
        let mut problems = Vec::new();
        let tables = [
            ("optimizer.groups", self.groups.iter().map(|it| &it.0).collect::<Vec<_>>()),
            ("lr_scale", self.lr_scale.iter().map(|it| &it.0).collect()),
        ];
        for (key, patterns) in tables {
            if let Err(error) = which(&patterns, names) {
                problems.push((key.to_owned(), error));
            }
        }
        for (epoch, patterns) in &self.thaw_at {
            for pattern in patterns {
                if let Err(error) = matching(pattern, names) {
                    problems.push((format!("thaw_at.{epoch}"), GroupError::Pattern(error)));
                }
            }
        }
        problems
    }

    /// How each parameter of `model` learns; those named in `new` did not come in with it.
    ///
    /// # Errors
    /// As [`Groups::problems`] says.
    pub fn rates(
        &self,
        optimizer: &Optimizer,
        model: &Model,
        new: &[String],
    ) -> Result<Vec<Rate>, GroupError> {
        let names: Vec<&str> = model.parameters().iter().map(|it| it.name.as_str()).collect();
        let patterns: Vec<&String> = self.groups.iter().map(|it| &it.0).collect();
        let groups = which(&patterns, &names)?;
        let patterns: Vec<&String> = self.lr_scale.iter().map(|it| &it.0).collect();
        let scales = which(&patterns, &names)?;
        let by_layer = self.layer_decay.map(|decay| layer_decay::factors(decay, model, new));
        let rate = |(at, parameter): (usize, &crate::nn::model::Parameter)| {
            let group = groups[at].map(|at| self.groups[at].1);
            let of_layer = by_layer.as_ref().map_or(1.0, |factors| factors[at]);
            let scale = of_layer * scales[at].map_or(1.0, |at| self.lr_scale[at].1);
            let named = self.optimizers.iter().find(|(part, _)| parameter.part.name() == part);
            let optimizer = named.map_or(*optimizer, |(_, own)| *own);
            let lr = group.and_then(|group| group.lr).unwrap_or(optimizer.lr());
            let own = group.and_then(|group| group.weight_decay);
            let (mut weight_decay, mut toward) = (own.unwrap_or(optimizer.weight_decay()), None);
            if let Some(l2_sp) = &self.l2_sp {
                if new.contains(&parameter.name) {
                    weight_decay = own.unwrap_or(l2_sp.beta);
                } else {
                    weight_decay = l2_sp.alpha;
                    toward = Some(parameter.value.clone());
                }
            }
            Rate { optimizer, lr: scale * lr, weight_decay, toward }
        };
        Ok(model.parameters().iter().enumerate().map(rate).collect())
    }

    /// What `layer_decay` makes of the rates of `model`, for people; `None` without it.
    pub(super) fn shown_by_layer(&self, model: &Model, new: &[String]) -> Option<String> {
        let shown = layer_decay::shown(self.layer_decay?, model, new);
        Some(format!("learning rates by layer: {shown}"))
    }

    /// The names of `names` that learn in epoch `epoch` (from 1) because it thawed them.
    pub fn thawed(&self, epoch: usize, names: &[&str]) -> Result<Vec<bool>, GroupError> {
        let mut thawed = vec![false; names.len()];
        let begun = self.thaw_at.iter().filter(|(from, _)| *from <= epoch);
        for pattern in begun.flat_map(|(_, patterns)| patterns) {
            let matched = matching(pattern, names).map_err(GroupError::Pattern)?;
            thawed.iter_mut().zip(matched).for_each(|(thawed, matched)| *thawed |= matched);
        }
        Ok(thawed)
    }
}

/// `3 = ["layer4.*"]`.
fn thaw(keys: &mut Keys, word: &str, node: &Node) -> Result<(usize, Vec<String>), Noted> {
    let epoch = word.parse::<usize>().ok().filter(|epoch| *epoch >= 1);
    let patterns: Option<Vec<String>> = match &node.value {
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .map(|item| match &item.value {
                Value::String(text) => Some(text.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    let (Some(epoch), Some(patterns)) = (epoch, patterns) else {
        return Err(keys.problem(
            Diagnostic::at(
                node.span,
                "`thaw_at` must be a table of epochs (from 1) with arrays of patterns",
                format!("found {word} = {}", node.shown()),
            )
            .help("for example `thaw_at = { 3 = [\"layer4.*\"] }`"),
        ));
    };
    keys.record(word, node.to_toml());
    Ok((epoch, patterns))
}

/// Which of `patterns` matches each name.
fn which(patterns: &[&String], names: &[&str]) -> Result<Vec<Option<usize>>, GroupError> {
    let mut found: Vec<Option<usize>> = vec![None; names.len()];
    for (at, pattern) in patterns.iter().enumerate() {
        let matched = matching(pattern, names).map_err(GroupError::Pattern)?;
        for (name, (found, matched)) in names.iter().zip(found.iter_mut().zip(matched)) {
            if !matched {
                continue;
            }
            if let Some(one) = *found {
                return Err(GroupError::Twice {
                    name: (*name).to_owned(),
                    one: patterns[one].clone(),
                    other: (*pattern).clone(),
                });
            }
            *found = Some(at);
        }
    }
    Ok(found)
}

/// Numbers of values that learn at some time, and of all, where no step moves the parts `kept`.
pub fn counts(model: &Model, groups: &Groups, kept: &[Part]) -> (usize, usize) {
    let names: Vec<&str> = model.parameters().iter().map(|it| it.name.as_str()).collect();
    let thawed = groups.thawed(usize::MAX, &names).unwrap_or_else(|_| vec![false; names.len()]);
    let len = |parameter: &crate::nn::model::Parameter| parameter.value.len();
    let all = model.parameters().iter().map(len).sum();
    let learns = model.parameters().iter().zip(thawed);
    let learns = learns.filter(|(parameter, thawed)| parameter.trainable || *thawed);
    let learns = learns.filter(|(parameter, _)| !kept.contains(&parameter.part));
    (learns.map(|(parameter, _)| len(parameter)).sum(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["layer4.0.conv1.weight", "layer4.0.bn1.bias", "fc.bias"];

    #[test]
    fn a_parameter_belongs_to_one_pattern() {
        let (layer4, fc) = ("layer4.*".to_owned(), "fc.*".to_owned());
        assert_eq!(which(&[&fc, &layer4], &NAMES), Ok(vec![Some(1), Some(1), Some(0)]));
        let bias = "*.bias".to_owned();
        let error = which(&[&layer4, &bias], &NAMES).unwrap_err().to_string();
        assert_eq!(
            error,
            "`layer4.0.bn1.bias` is matched by `layer4.*` and by `*.bias`: nothing says which of \
             them counts"
        );
    }

    #[test]
    fn rates_come_from_the_group_the_scale_and_whether_a_parameter_is_new() {
        let input = crate::nn::geometry::Chw { channels: 1, height: 28, width: 28 };
        let spec = (crate::nn::zoo::find("lenet").unwrap().build)(
            crate::nn::zoo::ArchSettings::new(input, 10),
        );
        let model = Model::new(spec, &crate::nn::ops::CpuOps::shared(), 0).unwrap();
        let optimizer =
            Optimizer::Sgd { lr: 0.5, momentum: 0.0, nesterov: false, weight_decay: 0.25 };
        let group = ParameterGroup { lr: Some(0.125), weight_decay: None };
        let mut groups = Groups {
            groups: vec![("features.conv1.*".into(), group)],
            lr_scale: vec![("features.*".into(), 0.5)],
            ..Groups::default()
        };
        let new = ["classifier.fc3.weight".to_owned()];
        let of = |groups: &Groups, name: &str| {
            let rates = groups.rates(&optimizer, &model, &new).unwrap();
            let at = model.parameters().iter().position(|it| it.name == name).unwrap();
            (rates[at].lr, rates[at].weight_decay, rates[at].toward.is_some())
        };
        assert_eq!(of(&groups, "features.conv1.bias"), (0.0625, 0.25, false));
        assert_eq!(of(&groups, "features.conv2.bias"), (0.25, 0.25, false));
        assert_eq!(of(&groups, "classifier.fc3.weight"), (0.5, 0.25, false));
        groups.l2_sp = Some(L2Sp { alpha: 2.0, beta: 0.75 });
        assert_eq!(of(&groups, "features.conv2.bias"), (0.25, 2.0, true));
        assert_eq!(of(&groups, "classifier.fc3.weight"), (0.5, 0.75, false));
        // The factor of the layer comes on top of what a group or a scale says.
        groups.layer_decay = Some(0.5);
        assert_eq!(of(&groups, "features.conv1.bias"), (0.015625, 2.0, true));
        assert_eq!(of(&groups, "features.conv2.bias"), (0.125, 2.0, true));
        assert_eq!(of(&groups, "classifier.fc3.weight"), (0.5, 0.75, false));
    }

    #[test]
    fn what_is_thawed_stays_so() {
        let groups = Groups {
            thaw_at: vec![(2, vec!["fc.*".into()]), (4, vec!["*.bias".into()])],
            ..Groups::default()
        };
        let at = |epoch| groups.thawed(epoch, &NAMES).unwrap();
        assert_eq!(at(1), [false, false, false]);
        assert_eq!(at(3), [false, false, true]);
        assert_eq!(at(9), [false, true, true]);
    }
}
