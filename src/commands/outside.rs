//! Reads the files outside the store that the stages of a plan take in, before there is a plan: changed
//! files are other inputs.

use super::Error;
use crate::data::outside::Known;
use crate::plan::graph::{OutsideDigests, Plan};
use crate::plan::trial::Trial;

/// The plan of `trials`; `known` spares reading files that look as before.
///
/// # Errors
/// When files of a stage cannot be read, or there is no plan.
pub(super) fn plan(trials: Vec<Trial>, known: &Known) -> Result<Plan, Error> {
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
    Ok(Plan::new(trials, &outside)?)
}
