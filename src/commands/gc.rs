//! `runner gc`: removes from the store what no kept run needs. Only says what it would do, unless
//! told `--yes`.

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;
use std::time::Duration;

use super::Error;
use super::columns::{bytes, columns};
use crate::cli::GcArgs;
use crate::report::record;
use crate::store::Store;

/// What is younger may be of a run that has no record yet.
const GRACE: Duration = Duration::from_secs(3600);

/// Lists what can go, and removes it with `--yes`.
///
/// # Errors
/// When something runs, or the store or the results cannot be read.
pub fn run(args: &GcArgs) -> Result<ExitCode, Error> {
    if !args.store.is_dir() {
        return Err(Error::Missing(format!("there is no store `{}`", args.store.display())));
    }
    let store = Store::open(&args.store)?;
    if let Some(holder) = store.holders()?.into_iter().find(|holder| !holder.dead) {
        let text = format!("{} is at work on this store; try again when it is done", holder.who);
        return Err(Error::Missing(text));
    }
    let mut kept = HashSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut runs_kept, mut runs_not) = (0, 0);
    // The newest come first.
    for (_, record) in record::all(&args.results)?.into_iter().rev() {
        let seen = seen.entry(record.provenance.pipeline.clone()).or_default();
        *seen += 1;
        let among_last = args.keep_last.is_some_and(|last| *seen <= last);
        let young = args.older_than.is_some_and(|age| {
            let start = chrono::DateTime::parse_from_rfc3339(&record.provenance.start);
            start.is_ok_and(|start| crate::system::now().signed_duration_since(start) <= age)
        });
        // Either wish is enough to keep a run; without any, all are kept.
        let keep = among_last || young || (args.keep_last.is_none() && args.older_than.is_none());
        if keep {
            runs_kept += 1;
            kept.extend(record.fingerprints());
        } else {
            runs_not += 1;
        }
    }
    let garbage = store.garbage(kept, if args.now { Duration::ZERO } else { GRACE })?;
    let mut counts: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for one in &garbage {
        let (count, size) = counts.entry(one.what).or_default();
        *count += 1;
        *size += one.size;
    }
    let mut text = format!("runs: {runs_kept} kept, {runs_not} not\n");
    let lines: Vec<[String; 3]> = counts
        .iter()
        .map(|(what, (count, size))| [(*what).to_owned(), count.to_string(), bytes(*size)])
        .collect();
    text += &columns(&lines);
    let size = bytes(garbage.iter().map(|one| one.size).sum());
    if args.yes {
        for one in &garbage {
            one.remove()?;
        }
        text += &format!("removed {} things, {size}\n", garbage.len());
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
