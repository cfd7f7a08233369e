//! The output of frozen layers during a training. Changes no number: it only saves computing the same
//! values in every epoch.

use std::sync::Arc;

use crate::nn::Model;
use crate::progress::Watch;
use crate::train::activations::{Activations, Caching};
use crate::train::contract::{Data, Stop};

/// The output of the layers that are frozen now, for each set of images where it is worth keeping.
#[derive(Default)]
pub(super) struct FrozenOutputs {
    pub source: Option<Arc<Activations>>,
    pub target: Option<Arc<Activations>>,
    pub validate: Option<Arc<Activations>>,
}

impl FrozenOutputs {
    /// Computes the output of the layers of `model` that are frozen now, or finds it. Source and target enter
    /// the network at the same place, so either both have one or neither.
    ///
    /// # Errors
    /// When the device fails or the user asks to stop.
    pub(super) fn of(
        model: &mut Model,
        data: &Data,
        augments: bool,
        caching: Caching,
        watch: &Watch,
    ) -> Result<Self, Stop> {
        let mut frozen = Self::default();
        // Images that change from epoch to epoch leave nothing to keep.
        if let (Some((dataset, split)), false) = (data.source, augments) {
            frozen.source = caching.of(model, &split.images, dataset, watch)?;
        }
        let goes_on = frozen.source.is_some() || (data.source.is_none() && !augments);
        if let (true, Some(target)) = (goes_on, &data.target) {
            frozen.target = caching.of(model, target.images(), target.normalisation(), watch)?;
            if frozen.target.is_none() {
                frozen.source = None;
            }
        }
        if let Some((dataset, split)) = data.validate {
            frozen.validate = caching.of(model, &split.images, dataset, watch)?;
        }
        Ok(frozen)
    }
}
