//! `runner status`: prints what is running, what is unfinished, and how the newest runs ended.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::Error;
use super::columns::{bytes, columns};
use super::ls::date;
use super::shared_run::counted;
use crate::cli::StatusArgs;
use crate::cluster::{JobCounts, Site, names_of};
use crate::digest::Fingerprint;
use crate::exec::Ending;
use crate::report::{live, runs};
use crate::store::{self, Holder, MOST_ATTEMPTS, RunRecord, SharedRun, Store, Unfinished};

/// A run that workers share, and what each of them is at.
fn of_workers(
    run: &SharedRun,
    workers: &[Holder],
    holders: &[Holder],
) -> Result<String, store::Error> {
    let SharedRun { id, record, .. } = run;
    let state = match run.stop() {
        Some(_) => ", stopped",
        None if run.is_finished() => ", results are written",
        None => "",
    };
    let (count, RunRecord { pipeline, .. }) = (counted(workers.len()), record);
    let by = run.backend()?.map(|backend| format!(", by `{backend}`")).unwrap_or_default();
    let mut text = format!("  run {id} of {pipeline}{by}: {count}{state}\n");
    text += &in_the_queue(run)?;
    for Holder { who, .. } in workers {
        let its = holders.iter().filter(|holder| holder.who == *who);
        let stages: Vec<&str> = its.map(|holder| holder.what.as_str()).collect();
        let what = if stages.is_empty() { "at nothing".to_owned() } else { stages.join(", ") };
        text += &format!("    {who}: {what}\n");
    }
    for (node, own) in run.unfit()? {
        text += &format!("    {node} was refused, as it computes by `{own}`\n");
    }
    Ok(text)
}

/// What the queue has of a run's workers, for each class. A queue that does not answer says so.
fn in_the_queue(run: &SharedRun) -> Result<String, store::Error> {
    let Some(site) = run.site()?.and_then(|text| Site::parse("site", &text).ok()) else {
        return Ok(String::new());
    };
    if run.is_finished() {
        return Ok(String::new());
    }
    let queues = match site.engine.look(&names_of(&run.label(), &site)) {
        Ok(Some(queues)) => queues,
        Ok(None) => return Ok(String::new()),
        Err(said) => return Ok(format!("    the queue does not answer: {said}\n")),
    };
    let mut text = String::new();
    for (class, counts) in site.classes.iter().zip(queues) {
        let JobCounts { pending, running, reasons, lives: _ } = counts;
        if pending + running == 0 {
            continue;
        }
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} for {reason}")).collect();
        let why =
            if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        text += &format!(
            "    class `{}` in the queue: {running} started, {pending} not started{why}\n",
            class.name
        );
    }
    Ok(text)
}

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
    let mut at_work = Vec::new();
    for run in store.shared_runs()? {
        let workers = store.workers(&run)?;
        if !workers.is_empty() || !run.is_finished() {
            text += &of_workers(&run, &workers, &holders)?;
        }
        at_work.extend(workers);
    }
    let runs = store.runs()?;
    // Runs that build nothing at the moment are listed as well: they still use the store.
    let at_nothing = |run: &&Holder| !holders.iter().chain(&at_work).any(|it| it.who == run.who);
    for run in runs.iter().filter(at_nothing) {
        let state = if run.dead { "died" } else { "running" };
        text += &format!("  {}: {}, {state}\n", run.what, run.who);
    }
    if holders.is_empty() && runs.is_empty() {
        text += "  nothing is running\n";
    }
    for run in live::live_runs(&args.results) {
        let live::Counted { ended, all, .. } = run.counts();
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
        for stage in record.tasks() {
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
        for stage in record.tasks().filter(|stage| stage.state == Ending::Failed) {
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
