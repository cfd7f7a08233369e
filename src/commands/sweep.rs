//! `runner sweep`: every trial of a `[sweep]` in one graph.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::driver::Drive;
use super::rounds::Failures;
use crate::cli::{RunOptions, SweepArgs};
use crate::digest::Fingerprint;
use crate::exec::Ending;
use crate::plan::print::to_toml;
use crate::plan::trials::Trials;
use crate::report::record::Record;
use crate::report::runs;
use crate::stages::Failure;

/// Runs all trials; stages they share run once.
///
/// # Errors
/// When the file is wrong or has no sweep, or the store or the results cannot be written.
pub fn run(args: &SweepArgs) -> Result<ExitCode, Error> {
    let load = || {
        let trials = super::all_trials(&args.file)?;
        match trials.search.is_some() {
            true => Ok(trials),
            false => {
                Err(Error::Missing("the pipeline has no `[sweep]` axes; use `runner run`".into()))
            }
        }
    };
    let options = &args.options;
    let failures = |trials: &Trials| failures(trials, options);
    if let Some(name) = &args.on.on {
        let (file, on) = (&args.file, &args.on);
        let load = || {
            let trials = load()?;
            let text = to_toml(&trials.resolved);
            Ok((trials, text))
        };
        return Drive { verb: "sweep", file, on, options, load: &load, failures: &failures }
            .on(name);
    }
    super::outside::read_for(&options.backend);
    let trials = load()?;
    let failures = failures(&trials);
    Ok(super::run::run_trials(trials, failures, options)?.code)
}

/// What is not tried again.
fn failures(trials: &Trials, options: &RunOptions) -> Failures {
    let failures = match options.retry_failed {
        true => Failures::new(),
        false => failed_before(&options.results, &trials.trials[0].pipeline.name),
    };
    let failures = failures.into_iter().map(|(name, mut failed)| {
        failed.help.push("the same command with `--retry-failed` tries it again".into());
        (name, failed)
    });
    failures.collect()
}

/// What failed in the newest sweep of a pipeline, and is not tried again. A stage that every trial needs is
/// always tried again, as there is nothing to do without it.
fn failed_before(results: &Path, pipeline: &str) -> Failures {
    let of = |record: &Record| record.provenance.sweep && record.provenance.pipeline == pipeline;
    let all = runs::all(results).unwrap_or_default().into_iter().map(|(_, record)| record);
    let Some(record) = all.rev().find(of) else {
        return Failures::new();
    };
    let mut found: BTreeMap<Fingerprint, (Failure, usize)> = BTreeMap::new();
    for stage in record.trials.iter().flatten().filter(|stage| stage.state == Ending::Failed) {
        let (Some(fingerprint), Some(error)) = (stage.fingerprint, &stage.error) else { continue };
        // Nothing says that it would be killed again, or that it cannot be built here.
        if error["killed"] == true || error["misplaced"] == true {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let help = error["help"].as_array().map(|help| help.iter().map(text).collect());
        let help: Vec<String> = help.unwrap_or_default();
        let help = help.into_iter().filter(|line| !line.contains("--retry-failed")).collect();
        let failed =
            Failure { message: text(&error["message"]), help, killed: false, misplaced: false };
        found.entry(fingerprint).or_insert((failed, 0)).1 += 1;
    }
    let all = record.trials.len();
    found.into_iter().filter(|it| it.1.1 < all).map(|(name, (failed, _))| (name, failed)).collect()
}
