//! The output of frozen layers during a training. Changes no number: it only saves computing the same
//! values in every epoch.

use std::sync::Arc;

use crate::nn::Model;
use crate::progress::Watch;
use crate::train::activations::{Activations, Caching};
use crate::train::contract::{Data, Stop};
use crate::train::feed::DomainInputs;
use crate::train::inputs::Inputs;

/// The output of the layers that are frozen now, for each set of images where it is worth keeping.
#[derive(Default)]
pub(super) struct FrozenOutputs {
    source: Option<Arc<Activations>>,
    target: Option<Arc<Activations>>,
    validate: Option<Arc<Activations>>,
    recorded: Vec<Option<Arc<Activations>>>,
}

/// What goes into the networks of a training.
pub(super) struct TrainingInputs<'a> {
    /// What it learns from.
    pub domains: DomainInputs<'a>,
    /// What it is validated with.
    pub validate: Option<Inputs<'a>>,
    /// What else is measured after every epoch.
    pub recorded: Vec<Inputs<'a>>,
}

impl<'a> TrainingInputs<'a> {
    /// The images of `data`, or the output of frozen layers for them.
    pub(super) fn of(model: &Model, data: &Data<'a>, frozen: FrozenOutputs) -> Self {
        let DomainInputs { source, target } = DomainInputs::of(model, data);
        let validate =
            data.validate.map(|(dataset, split)| Inputs::new(model, &split.images, dataset));
        let outputs = frozen.recorded.into_iter().chain(std::iter::repeat(None));
        let recorded = data.recorded.iter().zip(outputs).map(|((dataset, split), outputs)| {
            Inputs::new(model, &split.images, *dataset).after(outputs)
        });
        Self {
            domains: DomainInputs {
                source: source.map(|it| it.after(frozen.source)),
                target: target.map(|it| it.after(frozen.target)),
            },
            validate: validate.map(|it| it.after(frozen.validate)),
            recorded: recorded.collect(),
        }
    }
}

impl FrozenOutputs {
    /// Computes the output of the layers of `model` that are frozen now, or finds it; not of images that
    /// are trained on where what goes in there `changes`. Source and target enter
    /// the network at the same place, so either both have one or neither.
    ///
    /// # Errors
    /// When the device fails or the user asks to stop.
    pub(super) fn of(
        model: &mut Model,
        data: &Data,
        changes: bool,
        caching: Caching,
        watch: &Watch,
    ) -> Result<Self, Stop> {
        let mut frozen = Self::default();
        if let (Some((dataset, split)), false) = (data.source, changes) {
            frozen.source = caching.of(model, &split.images, dataset, watch)?;
        }
        let goes_on = frozen.source.is_some() || (data.source.is_none() && !changes);
        if let (true, Some(target)) = (goes_on, &data.target) {
            frozen.target = caching.of(model, target.images(), target.normalisation(), watch)?;
            if frozen.target.is_none() {
                frozen.source = None;
            }
        }
        if let Some((dataset, split)) = data.validate {
            frozen.validate = caching.of(model, &split.images, dataset, watch)?;
        }
        for (dataset, split) in &data.recorded {
            frozen.recorded.push(caching.of(model, &split.images, *dataset, watch)?);
        }
        Ok(frozen)
    }
}
