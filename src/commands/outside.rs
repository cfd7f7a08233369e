//! Reads the files outside the store that the stages of a plan take in, before there is a plan: changed
//! files are other inputs.

use super::Error;
use crate::cli::BackendOption;
use crate::data::outside::Known;
use crate::device::Device;
use crate::nn::dispatch;
use crate::plan::graph::{OutsideDigests, Plan};
use crate::plan::trial::Trial;

/// The plan of `trials` for machines of a `backend`; `known` spares reading files that look as before.
///
/// # Errors
/// When files of a stage cannot be read, no machine has the backend, or there is no plan.
pub(super) fn plan(
    trials: Vec<Trial>,
    known: &Known,
    BackendOption { backend }: &BackendOption,
) -> Result<Plan, Error> {
    if let Some(wanted) = backend {
        let device = trials.iter().map(|trial| trial.pipeline.device);
        device.into_iter().try_for_each(|device| check(wanted, device))?;
    }
    let mut outside = OutsideDigests::default();
    for (number, trial) in trials.iter().enumerate() {
        for planned in &trial.pipeline.stages {
            let digest = planned.stage.external(known);
            let failed = |halt| Error::Outside { stage: planned.name.clone(), halt };
            if let Some(digest) = digest.map_err(failed)? {
                outside.put(number, &planned.name, digest);
            }
        }
    }
    let backend = |device| backend.clone().unwrap_or_else(|| dispatch::backend(device));
    Ok(Plan::new(trials, &outside, &backend)?)
}

/// That `device` may have the `wanted` backend on some machine.
fn check(wanted: &str, device: Device) -> Result<(), Error> {
    let all = dispatch::backends(device);
    if all.iter().any(|it| it == wanted) {
        return Ok(());
    }
    let all: Vec<String> = all.iter().map(|it| format!("\"{it}\"")).collect();
    Err(Error::Missing(format!(
        "`--backend {wanted}` is no backend of `device = \"{device}\"`; expected {}",
        all.join(", ")
    )))
}
