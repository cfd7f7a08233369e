//! Writes `results/<pipeline>/<run>/`, the files that a run leaves for people and scripts. They are written
//! to a temporary folder, synced and then renamed, also when stages failed. Nothing is computed here but the
//! tables.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::json;

use super::checksums::{self, Checksums};
use super::earlier::Earlier;
use super::error::{Error, io_at};
use super::finished::FinishedRun;
use super::html;
use super::measured::MeasuredRun;
use super::record::{self, Record, RunProvenance, Selection, StageInput};
use super::runs::latest;
use super::tables::Tables;
use super::tasks;
use super::tidy_scores;
use super::trial_files::{sources, trial_folder, write_trial};
use super::trials;
use crate::data::readers::RESULTS_MARK;
use crate::exec::journal::{LIVE, SIGN};
use crate::exec::{Done, Ending};
use crate::fault::fail_point;
use crate::plan::graph::Plan;
use crate::plan::print::to_toml;
use crate::plan::search::Verdict;
use crate::store::Holder;
use crate::system;

/// Checks that the results of a pipeline can be written below `root`, before hours of work depend on it.
///
/// # Errors
/// When they cannot.
pub fn prepare(root: &Path, pipeline: &str) -> Result<(), Error> {
    let home = root.join(pipeline);
    system::create_folder(&home).map_err(io_at(&home))?;
    // A data set that is read from the folder above must not include these pictures.
    let mark = root.join(RESULTS_MARK);
    if !mark.exists() {
        fs::write(&mark, "").map_err(io_at(&mark))?;
    }
    for left in left_by_the_dead(root, DEAD)? {
        // The next run tries again to remove what cannot be removed now.
        let _ = fs::remove_dir_all(left);
    }
    Ok(())
}

/// What dead runs left behind below `root`: half-written results, and journals. The journal of a writer that
/// is known to be dead is kept until it is `age` old, so that people can still look at it.
///
/// # Errors
/// When `root` cannot be read or written.
pub fn left_by_the_dead(root: &Path, age: Duration) -> Result<Vec<PathBuf>, Error> {
    let now = system::now_in(root).map_err(io_at(root))?;
    let homes = fs::read_dir(root).map_err(io_at(root))?.flatten().map(|entry| entry.path());
    let entries = homes.filter_map(|home| fs::read_dir(home).ok()).flatten().flatten();
    let left = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // The writer of a journal touches its sign of life for as long as it lives.
        let sign = match name.starts_with(LIVE) {
            true => entry.path().join(SIGN),
            false if name.starts_with(PRIVATE) => entry.path(),
            false => return false,
        };
        let dead = fs::read_to_string(&sign).is_ok_and(|text| Holder::read(&text).dead);
        let modified = sign.metadata().or_else(|_| entry.metadata()).and_then(|it| it.modified());
        // Results take seconds to write, so a folder this old (by the file system's clock) was left by
        // a dead runner.
        let limit = if dead { age } else { DEAD };
        modified.is_ok_and(|it| now.duration_since(it).is_ok_and(|still| still >= limit))
    };
    Ok(entries.filter(left).map(|entry| entry.path()).collect())
}

/// The prefix of folders that are still being written.
const PRIVATE: &str = ".run-";

/// The prefix of links that are about to become `latest`.
const LATEST: &str = ".latest-";

/// The age at which such a folder no longer belongs to a living runner.
const DEAD: Duration = Duration::from_secs(3600);

/// Removes from `home` what runs left behind that died while they changed their finished results.
fn sweep(home: &Path) {
    let Ok(now) = system::now_in(home) else { return };
    let left = |folder: &Path, begin: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let named = entries.filter(|it| it.file_name().to_string_lossy().starts_with(begin));
        named.map(|it| it.path()).collect()
    };
    let newest = latest(home);
    let asides = newest.iter().flat_map(|folder| left(folder, system::ASIDE));
    for path in asides.chain(left(home, LATEST)) {
        let modified = path.symlink_metadata().and_then(|it| it.modified());
        if modified.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > DEAD)) {
            // The next run tries again to remove what cannot be removed now.
            let _ = fs::remove_file(path);
        }
    }
}

/// Compares the newest run of a pipeline below `root` with one that ended like this. A run that built
/// something has new results, so it is not compared at all.
pub fn earlier(
    root: &Path,
    plan: &Plan,
    resolved: &toml::Table,
    (done, verdicts): (&[Done], &[Verdict]),
) -> Earlier {
    if !done.iter().all(|it| matches!(it.end.ending(), Ending::Cached | Ending::Paused)) {
        return Earlier::Other;
    }
    Earlier::of(&root.join(&plan.trials[0].pipeline.name), &id(plan, done, verdicts, resolved))
}

/// The written results of a run.
#[derive(Debug)]
pub struct Written {
    /// Their folder.
    pub folder: PathBuf,
    /// Whether they were written now. Otherwise an earlier run has the same results.
    pub new: bool,
    /// An earlier run that should have the same results, and what is wrong with its files.
    pub damaged: Option<(PathBuf, Vec<String>)>,
    /// Why the page could not be written, if so. It can be drawn from the other files at any time.
    pub page: Result<(), Error>,
}

impl Written {
    /// The results of an earlier run. Its page is drawn again if it is incomplete.
    fn earlier(folder: PathBuf) -> Self {
        let page = match html::is_whole(&folder) {
            true => Ok(()),
            false => html::write(&folder).map(drop),
        };
        Self { folder, new: false, damaged: None, page }
    }
}

/// Writes the results of a run below `root`, with `resolved` as its pipeline, unless the `earlier` run has
/// all of them. They are synced to the disk when this returns.
///
/// # Errors
/// When a file cannot be read or written, or an artifact is missing or damaged. No folder is left then.
pub fn write(
    root: &Path,
    plan: &Plan,
    resolved: &toml::Table,
    (done, verdicts): (&[Done], &[Verdict]),
    earlier: Earlier,
    provenance: impl FnOnce() -> RunProvenance,
) -> Result<Written, Error> {
    if let Earlier::Whole(folder) = earlier {
        return Ok(Written::earlier(folder));
    }
    let home = root.join(&plan.trials[0].pipeline.name);
    sweep(&home);
    let private =
        tempfile::Builder::new().prefix(PRIVATE).tempdir_in(&home).map_err(io_at(&home))?;
    let folder = private.path();
    let (record, sums, measured) = fill(folder, plan, resolved, (done, verdicts), provenance)?;
    let earlier = match earlier {
        Earlier::Unlisted(folder) => Earlier::compared(folder, &sums),
        earlier => earlier,
    };
    let damaged = match earlier {
        Earlier::Whole(folder) => return Ok(Written::earlier(folder)),
        Earlier::Damaged(folder, wrong) => Some((folder, wrong)),
        Earlier::Other | Earlier::Unlisted(_) => None,
    };
    let hash = blake3::hash(format!("{record}{}", folder.display()).as_bytes()).to_hex();
    let name = format!("{}-{}", system::now().format("%Y%m%dT%H%M%SZ"), &hash[..6]);
    let target = home.join(&name);
    let page = html::write_of(&measured).map(drop);
    open_to_readers(folder)?;
    system::sync_all(folder).map_err(io_at(folder))?;
    fail_point("results written");
    fs::rename(folder, &target).map_err(io_at(&target))?;
    fail_point("results renamed");
    point_latest(&home, &name)?;
    Ok(Written { folder: target, new: true, damaged, page })
}

/// The results of a run whose tasks came so far, in `folder`, which is empty: as they are written at the end, without a
/// page.
///
/// # Errors
/// When a file cannot be read or written, or an artifact is missing or damaged.
pub fn so_far(
    folder: &Path,
    plan: &Plan,
    resolved: &toml::Table,
    done: &[Done],
    provenance: impl FnOnce() -> RunProvenance,
) -> Result<FinishedRun, Error> {
    fill(folder, plan, resolved, (done, &[]), provenance)?;
    FinishedRun::read(folder)
}

/// Writes every file of a run into `folder` but its page. Returns the text of its record, the checksums of the files
/// that follow from data, and the run as it was read from them.
fn fill(
    folder: &Path,
    plan: &Plan,
    resolved: &toml::Table,
    (done, verdicts): (&[Done], &[Verdict]),
    provenance: impl FnOnce() -> RunProvenance,
) -> Result<(String, Checksums, MeasuredRun), Error> {
    let id = id(plan, done, verdicts, resolved);
    let sweep = !plan.trials[0].labels.is_empty();
    let sources = sources(done)?;
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(io_at(&path))
    };
    put("pipeline.toml", &to_toml(resolved))?;
    put("timings.csv", &tasks::timings(plan, done, &sources)?)?;
    for task in &plan.order {
        tasks::put_log(folder, plan, *task, done)?;
    }
    let mut files = IndexMap::new();
    let digest = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    for number in 0..plan.trials.len() {
        let at = trial_folder(folder, sweep, number);
        for (name, text) in write_trial(&at, (plan, done, &sources), number, verdicts.get(number))?
        {
            files.insert(format!("trials/{number:03}/{name}"), digest(&text));
        }
        if sweep {
            let path = at.join("pipeline.toml");
            let text = to_toml(&plan.trials[number].pipeline.resolved);
            fs::write(&path, text).map_err(io_at(&path))?;
        }
    }
    if sweep {
        let text = trials::text(plan, done, verdicts);
        put("trials.csv", &text)?;
        files.insert("trials.csv".into(), digest(&text));
    }
    let values = plan.trials.iter().map(|trial| trial.labels.iter().cloned().collect());
    let values = if sweep { values.collect() } else { Vec::new() };
    let pipeline = &plan.trials[0].pipeline;
    let record = Record {
        id,
        provenance: provenance(),
        tables: pipeline.tables.clone(),
        selection: pipeline.select.as_ref().map(Selection::new),
        pairs: pipeline.pairs.clone(),
        values,
        files,
        trials: tasks::records(plan, done, &sources)?,
    };
    let text = record.text();
    put(record::NAME, &text)?;
    let run = FinishedRun::of(folder, record)?;
    let tables = Tables::as_written(&run)?;
    for (name, text) in tables.files() {
        put(&name, &text)?;
    }
    if let Some((name, text)) = tables.ranking_file() {
        put(name, &text)?;
    }
    drop(tables);
    let measured = MeasuredRun::of(run)?;
    if let Some(scores) = tidy_scores::text(&measured) {
        put(tidy_scores::NAME, &scores)?;
    }
    let sums = Checksums::of(folder)?;
    put(checksums::NAME, &sums.text())?;
    Ok((text, sums, measured))
}

/// Lets other users read `folder`: temporary folders are private, but results are not.
///
/// # Errors
/// When the operating system refuses.
pub fn open_to_readers(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(io_at(folder))?;
    }
    Ok(())
}

fn point_latest(home: &Path, name: &str) -> Result<(), Error> {
    let new = home.join(format!("{LATEST}{name}"));
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(name, &new);
    #[cfg(not(unix))]
    let made: std::io::Result<()> = Err(std::io::ErrorKind::Unsupported.into());
    made.or_else(|_| fs::write(&new, name)).map_err(io_at(&new))?;
    let latest = home.join("latest");
    fs::rename(&new, &latest).map_err(io_at(&latest))?;
    // This makes both renames durable: that of the run's folder, and this one.
    File::open(home).and_then(|home| home.sync_all()).map_err(io_at(home))
}

/// A digest of the names, inputs and fingerprints of all stages, of what was selected and why, of the tables that were asked
/// for, and of the title. Two runs with the same digest have the same results: a fingerprint does not say what an input is
/// called, and results do. It is made of JSON, so that it does not hang on how types are printed while debugging.
fn id(plan: &Plan, done: &[Done], verdicts: &[Verdict], resolved: &toml::Table) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: serde_json::Value| {
        hasher.update(part.to_string().as_bytes());
        hasher.update(b"\n");
    };
    let select = resolved.get("sweep").and_then(|sweep| sweep.get("select"));
    let tables = resolved.get("table");
    let pipeline = &plan.trials[0].pipeline;
    let (title, pairs) = (&pipeline.title, &pipeline.pairs);
    add(
        json!({ "verdicts": verdicts, "select": select, "tables": tables, "title": title, "pairs": pairs }),
    );
    for (trial, stages) in plan.trials.iter().zip(&plan.stages) {
        add(json!(trial.label_texts()));
        for ((name, task), planned) in stages.iter().zip(&trial.pipeline.stages) {
            let done = &done[task.index()];
            add(json!({
                "stage": name,
                "fingerprint": done.fingerprint,
                "pruned_after": done.end.rows_so_far().map(<[_]>::len),
                "inputs": StageInput::of(planned),
                "after": planned.after,
            }));
        }
    }
    hasher.finalize().to_hex().to_string()
}
