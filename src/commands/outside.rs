//! Reads the files outside the store that the stages of a plan take in, before there is a plan: changed
//! files are other inputs.

use super::Error;
use crate::cli::BackendOption;
use crate::config::{Diagnostic, Report, document};
use crate::console;
use crate::data::outside::Known;
use crate::device::Device;
use crate::exec::Holdings;
use crate::nn::dispatch;
use crate::plan::graph::{OutsideDigests, Plan};
use crate::plan::pipeline::Pipeline;
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
        fail_for(pipeline, absent.collect())?;
    }
    Ok(())
}

/// Fails where a stage that is still to be built needs what is not on this machine, such as a file whose checksum says
/// all that the plan needs of it.
///
/// # Errors
/// With everything that is missing of the first trial that lacks something.
pub(super) fn all_to_build(plan: &Plan, holdings: &Holdings) -> Result<(), Error> {
    for (trial, tasks) in plan.trials.iter().zip(&plan.stages) {
        let pipeline = &trial.pipeline;
        let stages = pipeline
            .stages
            .iter()
            .filter(|it| tasks.get(&it.name).is_some_and(|task| holdings.get(*task).is_none()));
        fail_for(pipeline, stages.flat_map(|it| it.stage.absent_to_build()).collect())?;
    }
    Ok(())
}

fn fail_for(pipeline: &Pipeline, absent: Vec<Diagnostic>) -> Result<(), Error> {
    if absent.is_empty() {
        return Ok(());
    }
    let name = document::name(&pipeline.path);
    Err(Box::new(Report::new(&name, pipeline.sources.clone(), absent)).into())
}

/// The plan of `trials` for machines of a `backend`; `known` spares reading files that look as before.
///
/// # Errors
/// When something is missing, files of a stage cannot be read, no machine has the backend, or there is no plan.
pub(super) fn plan(
    trials: Vec<Trial>,
    known: &Known,
    option: &BackendOption,
) -> Result<Plan, Error> {
    check(&trials, option)?;
    all_there(&trials)?;
    let BackendOption { backend } = option;
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
    let backend = |device| backend.clone().unwrap_or_else(|| dispatch::backend(device));
    Ok(Plan::new(trials, &outside, &backend)?)
}

/// Has pipelines be read for machines of the `backend` that was asked for.
pub(super) fn read_for(BackendOption { backend }: &BackendOption) {
    if let Some(backend) = backend {
        dispatch::read_for(Some(backend));
    }
}

/// Says what of the machines that are planned for could not be tried out here.
pub(super) fn say_untried() {
    if let Some(reason) = dispatch::untried() {
        console::say(format_args!(
            "note: what is planned for a GPU elsewhere could not be tried out here, neither that it is there nor that it \
             has the memory and computes what the processor computes; its machine finds out. Here {reason}"
        ));
    }
}

/// That the devices of `trials` may have the backend that was asked for on some machine.
///
/// # Errors
/// When one cannot.
pub(super) fn check(
    trials: &[Trial],
    BackendOption { backend }: &BackendOption,
) -> Result<(), Error> {
    let Some(wanted) = backend else { return Ok(()) };
    trials.iter().try_for_each(|trial| check_device(wanted, trial.pipeline.device))
}

fn check_device(wanted: &str, device: Device) -> Result<(), Error> {
    dispatch::check_backend(wanted, device).map_err(|all| {
        let all: Vec<String> = all.iter().map(|it| format!("\"{it}\"")).collect();
        let expected = match device {
            Device::Cuda { .. } => "the one that `runner devices` shows on the machine with the GPU, such as",
            Device::Cpu | Device::Dfdx | Device::DfdxCuda(_) => "one of",
        };
        Error::Missing(format!(
            "`--backend '{wanted}'` is no backend of `device = \"{device}\"`; expected {expected} {}",
            all.join(", ")
        ))
    })
}
