//! Which heads of its network a [`Model`] has weights of, and how it gets others. Runs nothing.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::{FrozenBatchNorm, Model, Owner, Parameter, RunningStats};
use crate::nn::fuse::units;
use crate::nn::heads::NewHead;
use crate::nn::limits;
use crate::nn::ops::Backend;
use crate::nn::placement::{Placement, SpecError};
use crate::nn::spec::{Named, Part, Spec};

impl Model {
    /// A network with `heads` of those of `spec`, with fresh weights as [`Model::new`] draws them.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn with_heads(
        spec: Spec,
        heads: &[Part],
        ops: &Backend,
        seed: u64,
    ) -> Result<Self, SpecError> {
        spec.place()?;
        let placement = spec.only(heads).place()?;
        limits::check_memory(&placement.layers)?;
        let mut model = Self {
            layers: Vec::new(),
            chains: IndexMap::new(),
            parameters: Vec::new(),
            stats: Vec::new(),
            frozen_batch_norm: FrozenBatchNorm::default(),
            precise: false,
            ops: std::rc::Rc::clone(ops),
            spec,
        };
        model.lay_out(placement, HashMap::new(), seed)?;
        Ok(model)
    }

    /// The heads that it has weights of, in the order of their parameters.
    pub fn heads(&self) -> Vec<Part> {
        self.chains.keys().filter(|part| **part != Part::FEATURES).cloned().collect()
    }

    /// Whether it has weights of a head.
    pub fn has_head(&self, part: &Part) -> bool {
        *part != Part::FEATURES && self.chains.contains_key(part)
    }

    /// Gives the model a head of these layers, freshly drawn with `seed` as [`Model::new`] draws, unless
    /// it has just that one; a head of that name and other layers is replaced. It must end in as many
    /// `logits` where that is given. The names of the parameters that are new.
    ///
    /// # Errors
    /// When the layers do not fit, or not into the memory; the model is left as it was.
    pub fn attach_head(
        &mut self,
        part: &Part,
        layers: Vec<Named>,
        logits: Option<usize>,
        seed: u64,
    ) -> Result<Vec<String>, SpecError> {
        if self.has_head(part) && self.spec.part(part) == layers {
            return Ok(Vec::new());
        }
        self.replace_head(part, layers, logits, seed)
    }

    /// As [`Model::attach_head`], also where the model has just that head: its weights are drawn anew.
    ///
    /// # Errors
    /// As [`Model::attach_head`].
    pub fn replace_head(
        &mut self,
        part: &Part,
        layers: Vec<Named>,
        logits: Option<usize>,
        seed: u64,
    ) -> Result<Vec<String>, SpecError> {
        let spec = self.spec.with_layers_of(part, layers, logits)?;
        let mut heads = self.heads();
        heads.push(part.clone());
        let placement = spec.only(&heads).place()?;
        limits::check_memory(&placement.layers)?;
        self.spec = spec;
        let kept = self.take_tensors(part);
        self.lay_out(placement, kept, seed)?;
        Ok(self.spec.names_of(part))
    }

    /// Gives the model a head that a method wants. The names of the parameters that are new.
    ///
    /// # Errors
    /// As [`Model::attach_head`].
    pub fn add_head(&mut self, head: NewHead, seed: u64) -> Result<Vec<String>, SpecError> {
        let NewHead { part, layers, logits, written_at } = head;
        match written_at {
            Some(_) => self.replace_head(&part, layers, logits, seed),
            None => self.attach_head(&part, layers, logits, seed),
        }
    }

    /// Takes out every layer that has tensors, by name, but for those of `part`.
    fn take_tensors(&mut self, part: &Part) -> HashMap<String, Kept> {
        let mut parameters: Vec<_> = self.parameters.drain(..).map(Some).collect();
        let mut stats: Vec<_> = self.stats.drain(..).map(Some).collect();
        let mut kept = HashMap::new();
        for owner in self.layers.drain(..).filter(|owner| owner.placed.part != *part) {
            let mut take = |at: Option<usize>| at.and_then(|at| parameters[at].take());
            let (weight, bias) = (take(owner.weight), take(owner.bias));
            let stats = owner.stats.and_then(|at| stats[at].take());
            if weight.is_some() {
                kept.insert(owner.placed.name.clone(), Kept { owner, weight, bias, stats });
            }
        }
        kept
    }

    /// Makes the layers of `placement` the model's, each with the tensors that are `kept` for it, or
    /// fresh ones.
    fn lay_out(
        &mut self,
        placement: Placement,
        mut kept: HashMap<String, Kept>,
        seed: u64,
    ) -> Result<(), SpecError> {
        let Placement { layers, chains, .. } = placement;
        let fuse = |(part, chain): (Part, Vec<_>)| (part, units(&chain, &layers).into());
        self.chains = chains.into_iter().map(fuse).collect();
        for placed in layers {
            match kept.remove(&placed.name) {
                Some(kept) => self.put_back(kept),
                None => self.add(placed, seed)?,
            }
        }
        Ok(())
    }

    /// Appends a layer with the tensors that it had.
    fn put_back(&mut self, kept: Kept) {
        let Kept { owner, weight, bias, stats } = kept;
        let mut put = |parameter: Option<Parameter>| {
            parameter.map(|parameter| {
                self.parameters.push(parameter);
                self.parameters.len() - 1
            })
        };
        let (weight, bias) = (put(weight), put(bias));
        let stats = stats.map(|stats| {
            self.stats.push(stats);
            self.stats.len() - 1
        });
        self.layers.push(Owner { weight, bias, stats, ..owner });
    }
}

/// A layer with its tensors, out of its model.
struct Kept {
    owner: Owner,
    weight: Option<Parameter>,
    bias: Option<Parameter>,
    stats: Option<RunningStats>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;
    use crate::nn::ops::{CpuOps, Dims, Tape};
    use crate::nn::spec::Layer;
    use crate::nn::zoo::{self, ArchSettings};
    use crate::nn::{DropoutKey, Pass};

    fn dacnn() -> Model {
        let input = Chw { channels: 3, height: 28, width: 28 };
        let spec = (zoo::find("dacnn").unwrap().build)(ArchSettings::new(input, 10));
        Model::new(spec, &CpuOps::shared(), 1).unwrap()
    }

    fn values(model: &Model, name: &str) -> Vec<f32> {
        let found = model.parameters().iter().find(|it| it.name == name);
        found.unwrap_or_else(|| panic!("no `{name}`")).value.host()
    }

    /// Attaches a second classifier.
    fn twice(model: &mut Model) -> Vec<String> {
        let layers = model.spec().second_classifier(&Part::CLASSIFIER2);
        model.attach_head(&Part::CLASSIFIER2, layers, Some(10), 1).unwrap()
    }

    fn domain(model: &mut Model) -> Vec<String> {
        let layers = model.spec().part(&Part::DOMAIN).to_vec();
        model.attach_head(&Part::DOMAIN, layers, Some(2), 1).unwrap()
    }

    #[test]
    fn heads_have_one_order_whatever_the_order_they_came_in() {
        let (mut one, mut other) = (dacnn(), dacnn());
        twice(&mut one);
        domain(&mut one);
        domain(&mut other);
        twice(&mut other);
        let names = |model: &Model| -> Vec<String> {
            model.parameters().iter().map(|it| it.name.clone()).collect()
        };
        // The second classifier stands after the domain classifier in the spec.
        assert_eq!(one.heads(), [Part::CLASSIFIER, Part::DOMAIN, Part::CLASSIFIER2]);
        assert_eq!(names(&one), names(&other));
        for name in names(&one) {
            assert_eq!(values(&one, &name), values(&other, &name), "{name}");
        }
    }

    #[test]
    fn a_second_classifier_begins_with_other_weights_and_leaves_all_others_as_they_were() {
        let mut model = dacnn();
        let before = model.clone();
        let new = twice(&mut model);
        assert_eq!(new.len(), 10);
        let (first, second) = ("classifier.fc1.weight", "classifier2.fc1.weight");
        assert_ne!(values(&model, first), values(&model, second));
        for parameter in before.parameters() {
            assert_eq!(values(&model, &parameter.name), parameter.value.host());
        }
        assert_eq!(model.parameters().len(), before.parameters().len() + new.len());
        assert_eq!(model.stats().len(), before.stats().len() + 2);
    }

    #[test]
    fn every_head_runs_on_the_features_with_layers_of_its_own() {
        let mut model = dacnn();
        let alone = |model: &mut Model, part: &Part| {
            let key = DropoutKey { seed: 0, pass: "source", epoch: 0, step: 0 };
            let x = (0..4 * 1250).map(|at| (at % 17) as f32 / 17.0).collect();
            let x = model.ops().tensor(x, Dims::Rows(4, 1250)).unwrap();
            model.forward(part, &x, Pass::train(&Tape::default(), key)).unwrap().host()
        };
        let logits = alone(&mut model, &Part::CLASSIFIER);
        twice(&mut model);
        domain(&mut model);
        assert_eq!(alone(&mut model, &Part::CLASSIFIER), logits);
        assert_eq!(alone(&mut model, &Part::DOMAIN).len(), 4 * 2);
        let second = alone(&mut model, &Part::CLASSIFIER2);
        assert!(second.len() == logits.len() && second != logits);
        let moved = model.stats().iter().filter(|it| it.batches > 0).map(|it| it.layer.as_str());
        let expected = [
            "classifier.bn1",
            "classifier.bn2",
            "domain_classifier.bn1",
            "classifier2.bn1",
            "classifier2.bn2",
        ];
        assert_eq!(moved.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_same_head_stays_and_another_one_takes_its_place() {
        let mut model = dacnn();
        domain(&mut model);
        model.parameters_mut().last_mut().unwrap().trainable = false;
        assert!(domain(&mut model).is_empty());
        assert!(!model.parameters().last().unwrap().trainable);
        let other = model.spec().domain_head(&[Layer::Relu]);
        let new = model.attach_head(&Part::DOMAIN, other.clone(), Some(2), 1).unwrap();
        assert_eq!(new, ["domain_classifier.1.weight", "domain_classifier.1.bias"]);
        assert!(model.parameters().iter().all(|it| it.trainable));
        assert!(!model.parameters().iter().any(|it| it.name.starts_with("domain_classifier.fc")));
        let drawn = values(&model, &new[0]);
        assert!(model.attach_head(&Part::DOMAIN, other.clone(), Some(2), 9).unwrap().is_empty());
        assert_eq!(model.replace_head(&Part::DOMAIN, other, Some(2), 9).unwrap(), new);
        assert_ne!(values(&model, &new[0]), drawn);
    }

    #[test]
    fn a_head_that_does_not_fit_leaves_the_model_as_it_was() {
        let mut model = dacnn();
        let before = model.spec().clone();
        let linear = |name: &str| vec![Named::new(name, Layer::Linear { outputs: 3, bias: true })];
        let part = Part::named("critic");
        let error = model.attach_head(&part, linear("critic.0"), Some(1), 0).unwrap_err();
        assert_eq!(error.to_string(), "layer `critic`: ends in 3 values, expected 1 logits");
        let error = model.attach_head(&part, linear("classifier.fc1"), None, 0).unwrap_err();
        assert_eq!(error.to_string(), "layer `classifier.fc1`: another layer has this name");
        assert!(!model.has_head(&part));
        assert_eq!((model.spec(), model.parameters().len()), (&before, 18));
    }
}
