//! The output of frozen layers during a training. Changes no number: it only saves computing the same
//! values in every epoch.

use std::sync::Arc;
use std::time::Instant;

use super::TrainingLoop;
use crate::nn::ops::Ops;
use crate::train::activations::{Activations, Caching};
use crate::train::contract::Stop;

/// The output of the layers that are frozen now, for each set of images where it is worth keeping.
#[derive(Default)]
pub(super) struct FrozenOutputs {
    pub source: Option<Arc<Activations>>,
    pub target: Option<Arc<Activations>>,
    pub validate: Option<Arc<Activations>>,
}

impl<D: Ops> TrainingLoop<'_, D> {
    /// Computes the output of the frozen layers, or finds it. Source and target enter the network at
    /// the same place, so either both have one or neither.
    pub(super) fn compute_frozen(&mut self, caching: Option<Caching>) -> Result<(), Stop> {
        let Some(caching) = caching else { return Ok(()) };
        let start = Instant::now();
        let (dataset, split) = self.data.source;
        let (model, watch) = (&mut *self.model, self.watch);
        let mut frozen = FrozenOutputs::default();
        // Images that change from epoch to epoch leave nothing to keep.
        if self.settings.augment.is_none() {
            frozen.source = caching.of(model, &split.images, dataset, watch)?;
        }
        if let (Some(_), Some(target)) = (&frozen.source, &self.data.target) {
            frozen.target = caching.of(model, target.images(), target.normalisation(), watch)?;
            if frozen.target.is_none() {
                frozen.source = None;
            }
        }
        if let Some((dataset, split)) = self.data.validate {
            frozen.validate = caching.of(model, &split.images, dataset, watch)?;
        }
        self.frozen = frozen;
        self.times.frozen += start.elapsed().as_secs_f64();
        Ok(())
    }
}
