//! `runner gc`: removes from the store what no kept run needs. Without `--yes` it only prints what it would
//! remove.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use super::Error;
use super::columns::{bytes, columns};
use super::kept::KeptRuns;
use crate::cli::GcArgs;
use crate::console;
use crate::report::results;
use crate::scratch;
use crate::store::{Garbage, Store, Waste};

/// Younger things may belong to a run that has no record yet.
const GRACE: Duration = Duration::from_secs(3600);

/// Lists what can be removed, and removes it with `--yes`. What a running run needs stays.
///
/// # Errors
/// When an older runner is at work, what the runs of the store need cannot be known, or the store
/// cannot be read.
pub fn run(args: &GcArgs) -> Result<ExitCode, Error> {
    if !args.store.is_dir() {
        return Err(Error::Missing(format!("there is no store `{}`", args.store.display())));
    }
    let store = Store::open(&args.store)?;
    let waiting =
        |holder: &str| console::say(format_args!("waiting for {holder}, which clears up as well"));
    let collection = if args.yes { Some(store.collect(waiting)?) } else { None };
    // This comes before the records are read: a run leaves the store once its record is written.
    let users = store.users()?;
    if let Some(holder) = users.others.first() {
        let text = format!("{} is at work on this store; try again when it is done", holder.who);
        return Err(Error::Missing(text));
    }
    let mut kept = KeptRuns::find(args, &store)?;
    let mut needed = std::mem::take(&mut kept.needed);
    needed.extend(&users.needs);
    let grace = if args.now { Duration::ZERO } else { GRACE };
    let mut garbage = store.garbage(needed, grace, !users.runs.is_empty())?;
    garbage.extend(store.finished_runs()?);
    if let Some(folder) = &kept.named {
        let left = results::left_by_the_dead(folder, grace)?;
        garbage.extend(left.into_iter().map(|path| Garbage::new(path, Waste::Left)));
    }
    let left = scratch::left_behind().into_iter();
    garbage.extend(left.map(|path| Garbage::new(path, Waste::Left)));
    let held_back = if kept.unseen.is_empty() {
        Vec::new()
    } else {
        let (held_back, rest) = garbage.into_iter().partition(|one| one.what.is_of_runs());
        garbage = rest;
        held_back
    };
    let mut text = format!("runs: {} kept, {} not", kept.runs.0, kept.runs.1);
    if kept.elsewhere > 0 {
        text += &format!("; {} in other folders, all kept", kept.elsewhere);
    }
    for run in &users.runs {
        text += &format!("\n{}, {}, is running, so what it needs is kept", run.what, run.who);
    }
    text += "\n";
    text += &counts(&garbage);
    for reason in &kept.unseen {
        text += &format!("kept: {reason}\n");
    }
    if !held_back.is_empty() {
        let size = bytes(held_back.iter().map(|one| one.size).sum());
        text += &format!("so {} things, {size}, stay that no known run needs\n", held_back.len());
    }
    let size = bytes(garbage.iter().map(|one| one.size).sum());
    if let Some(collection) = collection {
        let mut taken = Vec::new();
        for mut one in garbage {
            let is_run = one.what == Waste::Run;
            let _held = is_run.then(|| store.hold_run(&one.path)).transpose()?;
            // A worker may have joined since.
            if is_run && !store.is_over(&one.path)? {
                continue;
            }
            if !one.take_away(&collection)? {
                return Err(Error::Machine(
                    "another runner took over, as this one stood still for too long; run it again"
                        .into(),
                ));
            }
            taken.push(one);
        }
        kept.forget(&store)?;
        users.clear_abandoned()?;
        drop(collection);
        let mut removed = taken.len();
        for one in &taken {
            match one.remove() {
                // It may belong to another user.
                Err(_) if one.what == Waste::Left => removed -= 1,
                done => done?,
            }
        }
        text += &format!("removed {removed} things, {size}\n");
    } else if garbage.is_empty() {
        text += "nothing to remove\n";
    } else {
        if args.verbose {
            for one in &garbage {
                text += &format!("  {} ({})\n", one.path.display(), one.what);
            }
        }
        text += &format!("{} things, {size}; nothing was removed: say `--yes`\n", garbage.len());
    }
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// The number and size of each kind of garbage.
fn counts(garbage: &[Garbage]) -> String {
    let mut counts: BTreeMap<Waste, (usize, u64)> = BTreeMap::new();
    for one in garbage {
        let (count, size) = counts.entry(one.what).or_default();
        *count += 1;
        *size += one.size;
    }
    let lines: Vec<[String; 3]> = counts
        .iter()
        .map(|(what, (count, size))| [what.to_string(), count.to_string(), bytes(*size)])
        .collect();
    columns(&lines)
}
