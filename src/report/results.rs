//! `results/<pipeline>/<run>/`: what a run leaves for people and scripts. Written to a temporary
//! folder and renamed, also when stages failed. Computes nothing but the table.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use petgraph::graph::NodeIndex;
use serde_json::{Value, json};

use super::csv::Rows;
use super::record::{Provenance, Record, Stage};
use super::scores::read_rows;
use super::table;
use super::tables::Tables;
use super::trial_files::{trial_folder, write_trial};
use super::trials;
use crate::data::readers::RESULTS_MARK;
use crate::exec::journal::{LIVE, SIGN};
use crate::exec::{Done, State};
use crate::fault::fail_point;
use crate::plan::graph::Plan;
use crate::plan::print::to_toml;
use crate::plan::search::Verdict;
use crate::system;

/// Why results could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot read or write results at `{}`: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}`: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No table can be made.
    #[error(transparent)]
    Table(#[from] table::Error),
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io { path: path.to_owned(), source }
}

/// Makes sure, before hours of work, that the results of a pipeline can be written below `root`.
///
/// # Errors
/// When they cannot.
pub fn prepare(root: &Path, pipeline: &str) -> Result<(), Error> {
    let home = root.join(pipeline);
    fs::create_dir_all(&home).map_err(io_at(&home))?;
    // Whoever reads images from the folder above must not take results for some.
    let mark = root.join(RESULTS_MARK);
    if !mark.exists() {
        fs::write(&mark, "").map_err(io_at(&mark))?;
    }
    let now = system::now_in(&home).map_err(io_at(&home))?;
    for entry in fs::read_dir(&home).map_err(io_at(&home))?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Whoever writes a journal moves its sign of life as long as it lives.
        let sign = match name.starts_with(LIVE) {
            true => entry.path().join(SIGN),
            false if name.starts_with(PRIVATE) => entry.path(),
            false => continue,
        };
        let modified = sign.metadata().or_else(|_| entry.metadata()).and_then(|it| it.modified());
        // Writing results takes seconds: what is old by the file system's own clock is of a runner
        // that died. What cannot be removed now is tried again by the next run.
        if modified.is_ok_and(|it| now.duration_since(it).is_ok_and(|age| age > DEAD)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// How the names of folders begin that are still written.
const PRIVATE: &str = ".run-";

/// Age from which such a folder is nobody's.
const DEAD: Duration = Duration::from_secs(3600);

/// Writes the results of a run below `root`, `resolved` as its pipeline, and returns their folder;
/// an older run with the same artifacts is returned instead (`false`) when nothing ran.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(
    root: &Path,
    plan: &Plan,
    resolved: &toml::Table,
    (done, verdicts): (&[Done], &[Verdict]),
    provenance: impl FnOnce() -> Provenance,
) -> Result<(PathBuf, bool), Error> {
    let home = root.join(&plan.trials[0].pipeline.name);
    let id = id(plan, done, verdicts, resolved);
    if done.iter().all(|it| matches!(it.state, State::Cached | State::Pruned { .. }))
        && let Some(same) = same_run(&home, &id)
    {
        return Ok((same, false));
    }
    let sweep = !plan.trials[0].labels.is_empty();
    let stages = stage_records(plan, done);
    let private =
        tempfile::Builder::new().prefix(PRIVATE).tempdir_in(&home).map_err(io_at(&home))?;
    let folder = private.path();
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(io_at(&path))
    };
    put("pipeline.toml", &to_toml(resolved))?;
    put("timings.csv", &timings(plan, done)?)?;
    for task in &plan.order {
        put_log(folder, plan, *task, done)?;
    }
    let mut files = IndexMap::new();
    let digest = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
    for number in 0..plan.trials.len() {
        let at = trial_folder(folder, sweep, number);
        for (name, text) in write_trial(&at, (plan, done), number, verdicts.get(number))? {
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
    let record = Record { id, provenance: provenance(), values, files, trials: stages };
    let record = serde_json::to_string_pretty(&record).expect("a record is plain data");
    put("run.json", &format!("{record}\n"))?;
    if let Ok(tables) = Tables::by(resolved, folder) {
        for (name, text) in tables.files() {
            put(&name, &text)?;
        }
    }
    let hash = blake3::hash(format!("{record}{}", folder.display()).as_bytes()).to_hex();
    let name = format!("{}-{}", chrono::Utc::now().format("%Y%m%dT%H%M%SZ"), &hash[..6]);
    let target = home.join(&name);
    open_to_readers(folder)?;
    fail_point("results written");
    fs::rename(folder, &target).map_err(io_at(&target))?;
    fail_point("results renamed");
    point_latest(&home, &name)?;
    Ok((target, true))
}

/// Temporary folders are closed to others; what becomes of them is not.
///
/// # Errors
/// When the system refuses.
pub fn open_to_readers(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(io_at(folder))?;
    }
    Ok(())
}

fn point_latest(home: &Path, name: &str) -> Result<(), Error> {
    let new = home.join(format!(".latest-{name}"));
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(name, &new);
    #[cfg(not(unix))]
    let made: io::Result<()> = Err(io::ErrorKind::Unsupported.into());
    made.or_else(|_| fs::write(&new, name)).map_err(io_at(&new))?;
    let latest = home.join("latest");
    fs::rename(&new, &latest).map_err(io_at(&latest))
}

/// The folder that `latest` points at.
pub fn latest(home: &Path) -> Option<PathBuf> {
    let latest = home.join("latest");
    if latest.is_dir() {
        return fs::canonicalize(latest).ok();
    }
    fs::read_to_string(latest).ok().map(|name| home.join(name.trim()))
}

fn stage_records(plan: &Plan, done: &[Done]) -> Vec<Vec<Stage>> {
    let trial = |stages: &IndexMap<String, NodeIndex>| {
        let record = |(name, task): (&String, &NodeIndex)| {
            let (node, done) = (&plan.graph[*task], &done[task.index()]);
            let (mut error, mut waited_for) = (None, None);
            match &done.state {
                State::Failed { message, help } => {
                    error = Some(json!({ "message": message, "help": help }));
                }
                State::Skipped { because } => waited_for = Some(because.clone()),
                _ => {}
            }
            Stage {
                name: name.clone(),
                kind: node.stage.kind().to_owned(),
                state: done.state.word().to_owned(),
                fingerprint: done.fingerprint,
                content: done.artifact.as_ref().map(|it| it.0),
                external: node.external.clone(),
                seconds: done.seconds,
                settings: json!(node.settings),
                error,
                waited_for,
                data: done.artifact.as_ref().and_then(|it| data_sources(&it.1)),
            }
        };
        stages.iter().map(record).collect()
    };
    plan.stages.iter().map(trial).collect()
}

/// Title, licence, citation and source of what is in an artifact, if it came from outside: those of a
/// data set, or of weights in `provenance.json`.
fn data_sources(artifact: &Path) -> Option<Value> {
    let parsed = |name: &str| -> Option<Value> {
        serde_json::from_slice(&fs::read(artifact.join(name)).ok()?).ok()
    };
    match parsed("dataset.json") {
        Some(mut dataset) => Some(dataset.get_mut("provenance")?.take()),
        None => parsed("provenance.json"),
    }
}

/// Digest of the names and fingerprints of all stages, of what was selected and why, and of the
/// tables asked for: two runs with the same have the same results.
fn id(plan: &Plan, done: &[Done], verdicts: &[Verdict], resolved: &toml::Table) -> String {
    let mut hasher = blake3::Hasher::new();
    let select = resolved.get("sweep").and_then(|sweep| sweep.get("select"));
    let tables = resolved.get("table");
    hasher.update(format!("{verdicts:?} {select:?} {tables:?}\n").as_bytes());
    for (trial, stages) in plan.trials.iter().zip(&plan.stages) {
        hasher.update(format!("{:?}\n", trial.label_texts()).as_bytes());
        for (name, task) in stages {
            let done = &done[task.index()];
            let fingerprint = done.fingerprint.map(|it| it.to_string());
            if let State::Pruned { rows } = &done.state {
                hasher.update(format!("pruned {}\n", rows.len()).as_bytes());
            }
            hasher.update(format!("{name} {}\n", fingerprint.unwrap_or_default()).as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// The newest run, if it is of the same stages.
fn same_run(home: &Path, id: &str) -> Option<PathBuf> {
    let folder = latest(home)?;
    // A record can be long, and its id comes first.
    let mut head = Vec::new();
    let record = fs::File::open(folder.join("run.json")).ok()?;
    record.take(128).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    (head.split('"').nth(1)? == "id" && head.split('"').nth(3)? == id).then_some(folder)
}

/// `logs/<stage>.log`: what a stage said that ran, its error and its inputs.
fn put_log(folder: &Path, plan: &Plan, task: NodeIndex, all: &[Done]) -> Result<(), Error> {
    let done = &all[task.index()];
    let mut lines = done.log.clone();
    if let State::Failed { message, help } = &done.state {
        lines.push(format!("error: {message}"));
        lines.extend(help.iter().map(|help| format!("help: {help}")));
        let inputs = plan.graph[task].inputs.iter().zip(plan.input_texts(task));
        lines.extend(inputs.map(|(input, text)| {
            let artifact = all[input.task.index()].artifact.as_ref();
            let folder = artifact.map(|it| format!(" in {}", it.1.display())).unwrap_or_default();
            format!("input: {text}{folder}")
        }));
    }
    if lines.is_empty() {
        return Ok(());
    }
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).map_err(io_at(&logs))?;
    let path = logs.join(format!("{}.log", crate::exec::display_name(plan, task)));
    fs::write(&path, lines.join("\n") + "\n").map_err(io_at(&path))
}

/// Every metric of a run by name, and its last value where it has one for each epoch:
/// `score: dann, target.test, accuracy`.
///
/// # Errors
/// When a file cannot be read.
pub fn final_metrics(folder: &Path) -> Result<IndexMap<String, String>, Error> {
    let record = Record::read(folder)?;
    let mut all = IndexMap::new();
    for (number, stages) in record.trials.iter().enumerate() {
        let at = trial_folder(folder, record.provenance.sweep, number);
        for stage in stages {
            let Some(rows) = read_rows(&at.join(format!("{}.csv", stage.name)))? else {
                continue;
            };
            for row in rows.rows {
                let named = rows.header.iter().zip(&row);
                let named = named.filter(|it| !["epoch", "step", "value"].contains(&it.0.as_str()));
                let words: Vec<&str> = named.map(|(_, cell)| cell.as_str()).collect();
                let trial = match record.trials.len() {
                    1 => String::new(),
                    _ => format!("[{number:03}]"),
                };
                let name = format!("{}{trial}: {}", stage.name, words.join(", "));
                all.insert(name, row.last().cloned().unwrap_or_default());
            }
        }
    }
    Ok(all)
}

fn timings(plan: &Plan, done: &[Done]) -> Result<String, Error> {
    let header = ["stage", "part", "seconds", "cached"].map(str::to_owned).to_vec();
    let mut rows = Vec::new();
    for task in &plan.order {
        let end = &done[task.index()];
        let name = crate::exec::display_name(plan, *task);
        let cached = (end.state.word() == "cached").to_string();
        rows.push(vec![
            name.clone(),
            "total".into(),
            format!("{:.6}", end.seconds),
            cached.clone(),
        ]);
        let Some((_, artifact)) = &end.artifact else { continue };
        for part in read_rows(&artifact.join("timings.csv"))?.unwrap_or_default().rows {
            rows.push(vec![name.clone(), part[0].clone(), part[1].clone(), cached.clone()]);
        }
    }
    Ok(Rows { header, rows }.text())
}
