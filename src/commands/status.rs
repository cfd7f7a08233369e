//! `runner status`: prints what is running, what is unfinished, and how the newest runs ended.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::Error;
use super::columns::{bytes, columns};
use super::ls::date;
use crate::cli::StatusArgs;
use crate::digest::Fingerprint;
use crate::exec::Ending;
use crate::report::{live, runs};
use crate::store::{Holder, MOST_ATTEMPTS, Store, Unfinished};

/// Prints the state of a store and of the newest run of each pipeline.
///
/// # Errors
/// When the store or the results cannot be read.
pub fn run(args: &StatusArgs) -> Result<ExitCode, Error> {
    let store = Store::peek(&args.store);
    let mut text = format!(
        "store `{}`: {} artifacts, {}\n",
        args.store.display(),
        store.artifacts()?.len(),
        bytes(store.size())
    );
    let holders = store.holders()?;
    for holder in &holders {
        let what = if holder.what.is_empty() { "a stage" } else { &holder.what };
        let state = match holder {
            _ if holder.dead => "died; the next run takes it up",
            _ if holder.known => "running",
            _ => "whose lock no runner wrote; the next run that needs it takes it up",
        };
        text += &format!("  {what}: {}, {state}\n", holder.who);
    }
    let runs = store.runs()?;
    // Runs that build nothing at the moment are listed as well: they still use the store.
    let idle = |run: &&Holder| holders.iter().all(|holder| holder.who != run.who);
    for run in runs.iter().filter(idle) {
        let state = if run.dead { "died" } else { "running" };
        text += &format!("  {}: {}, {state}\n", run.what, run.who);
    }
    if holders.is_empty() && runs.is_empty() {
        text += "  nothing is running\n";
    }
    for run in live::live_runs(&args.results) {
        let (ended, all) = run.counts();
        let state = if run.holder.dead { "its process died" } else { "running" };
        text += &format!(
            "  run {} of {}: {ended} of {all} stages, {}, {state}\n",
            run.run, run.pipeline, run.holder.who
        );
    }
    let runs = runs::all(&args.results)?;
    let mut names: BTreeMap<Fingerprint, String> = BTreeMap::new();
    let mut newest = BTreeMap::new();
    for (folder, record) in &runs {
        for stage in record.trials.iter().flatten() {
            if let Some(fingerprint) = stage.fingerprint {
                names.insert(
                    fingerprint,
                    format!("{} of {}", stage.name, record.provenance.pipeline),
                );
            }
        }
        newest.insert(record.provenance.pipeline.clone(), (folder, record));
    }
    let name = |fingerprint: &Fingerprint| {
        let digits = fingerprint.to_string();
        names.get(fingerprint).cloned().unwrap_or_else(|| format!("artifact {}", &digits[..12]))
    };
    for Unfinished { fingerprint, steps, path } in store.unfinished()? {
        let name = name(&fingerprint);
        text += &format!(
            "  unfinished: {name}, checkpoint after {steps} steps in {}\n",
            path.display()
        );
    }
    for (_, failure) in store.failures_at_work()? {
        text += &format!(
            "  failed: {}, {}, for runs that are at work: {}\n",
            failure.what, failure.who, failure.cause.message
        );
    }
    for (fingerprint, starts) in store.killed()? {
        let name = name(&fingerprint);
        text += &format!("  killed: {name}, {starts} of {MOST_ATTEMPTS} starts did not end\n");
    }
    for (folder, error) in runs::broken(&args.results)? {
        text += &format!("  damaged: run {}: {error}\n", folder.display());
    }
    let mut lines = vec![["pipeline", "newest run", "state", "stages"].map(str::to_owned)];
    for (pipeline, (_, record)) in newest {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for stage in record.trials.iter().flatten() {
            *counts.entry(stage.state.word()).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        lines.push([
            pipeline,
            date(&record.provenance.start),
            record.state().word().to_owned(),
            counts.join(", "),
        ]);
        for stage in record.trials.iter().flatten().filter(|stage| stage.state == Ending::Failed) {
            let message = stage.message().unwrap_or_default().to_owned();
            lines.push([String::new(), format!("  {}", stage.name), "failed".into(), message]);
        }
    }
    if lines.len() > 1 {
        text += "\n";
        text += &columns(&lines);
    }
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}
