//! Reads the files outside the store that the stages of a plan take in, before there is a plan: changed
//! files are other inputs.

use super::Error;
use crate::config::{Diagnostic, Report, document};
use crate::data::outside::Known;
use crate::plan::graph::{OutsideDigests, Plan};
use crate::plan::trial::Trial;

/// Fails where a stage needs what is not on this machine, such as a program. Of several trials the first counts: places
/// are of a file with the values of a trial put in.
///
/// # Errors
/// With everything that is missing.
pub(super) fn all_there(trials: &[Trial]) -> Result<(), Error> {
    for trial in trials {
        let pipeline = &trial.pipeline;
        let absent = pipeline.stages.iter().flat_map(|it| it.stage.absent(pipeline.home()));
        let absent: Vec<Diagnostic> = absent.collect();
        if !absent.is_empty() {
            let name = document::name(&pipeline.path);
            return Err(Box::new(Report::new(&name, pipeline.sources.clone(), absent)).into());
        }
    }
    Ok(())
}

/// The plan of `trials`; `known` spares reading files that look as before.
///
/// # Errors
/// When something is missing, files of a stage cannot be read, or there is no plan.
pub(super) fn plan(trials: Vec<Trial>, known: &Known) -> Result<Plan, Error> {
    all_there(&trials)?;
    let mut outside = OutsideDigests::default();
    for (number, trial) in trials.iter().enumerate() {
        for planned in &trial.pipeline.stages {
            let digest = planned.stage.external(known, trial.pipeline.home());
            let failed = |halt| Error::Outside { stage: planned.name.clone(), halt };
            if let Some(digest) = digest.map_err(failed)? {
                outside.put(number, &planned.name, digest);
            }
        }
    }
    Ok(Plan::new(trials, &outside)?)
}
