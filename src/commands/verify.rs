//! `runner verify`: checks that artifacts are whole, that the files of runs follow from them, and that a stage
//! that is built again gives the same bytes. It repairs nothing.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::Error;
use crate::cli::{BackendOption, VerifyArgs};
use crate::config::diagnostic::suggest;
use crate::data::outside::Known;
use crate::digest::Fingerprint;
use crate::exec::{End, Execution, Holdings, Lines, Reporter, execute, finished};
use crate::plan::trial::Trial;
use crate::report::checksums::Checksums;
use crate::report::finished::FinishedRun;
use crate::report::record::Record;
use crate::report::tables::Tables;
use crate::report::trial_files::{self, Derived};
use crate::report::{self, runs};
use crate::scratch;
use crate::stages::{Environment, PROGRAMS};
use crate::store::{self, Artifact, Checked, Found, Store};
use crate::system;
use crate::train::activations;

/// Verifies a run, or every artifact and every run. Exit code 1 when something is wrong.
///
/// # Errors
/// When there is no such run, or the store or the results cannot be read.
pub fn run(args: &VerifyArgs) -> Result<ExitCode, Error> {
    let store = Store::peek(&args.store);
    let mut check = Verification {
        store: &store,
        wrong: Vec::new(),
        notes: Vec::new(),
        named: args.run.is_some(),
        gone: 0,
        artifacts: HashSet::new(),
        activations: 0,
        files: HashSet::new(),
    };
    match &args.run {
        Some(run) => {
            let folder = super::find_run(&args.results, run)?;
            let record = Record::read(&folder)?;
            check.run(&folder, &record)?;
            for stage in &args.rerun {
                check.rerun(&record, stage, args.offline)?;
            }
        }
        None => {
            for fingerprint in store.artifacts()? {
                check.artifact(&fingerprint, "artifact")?;
            }
            check.activations()?;
            for (folder, record) in runs::all(&args.results)? {
                check.run(&folder, &record)?;
            }
            for (_, error) in runs::broken(&args.results)? {
                check.wrong.push(format!("{error}; {AGAIN}"));
            }
            for link in runs::dangling(&args.results)? {
                check.wrong.push(format!("{} leads to no run; {AGAIN}", link.display()));
            }
        }
    }
    let Verification { wrong, notes, gone, artifacts, activations, files, .. } = check;
    let mut text = String::new();
    for line in &wrong {
        text += &format!("wrong: {line}\n");
    }
    for line in &notes {
        text += &format!("note: {line}\n");
    }
    let count = artifacts.len() - gone;
    if gone > 0 {
        text += &format!("{gone} artifacts of older runs are no longer in the store\n");
    }
    if activations > 0 {
        text += &format!("{activations} files of kept activations were compared\n");
    }
    let files = files.len();
    text += &match wrong.len() {
        0 => format!("ok: {count} artifacts, {files} files of results\n"),
        wrong => format!("{wrong} wrong of {count} artifacts and {files} files of results\n"),
    };
    super::print(text)?;
    Ok(ExitCode::from(u8::from(!wrong.is_empty())))
}

/// The advice for a run that cannot be read.
const AGAIN: &str =
    "run the pipeline again, which writes its results anew, and delete what is left";

struct Verification<'a> {
    store: &'a Store,
    wrong: Vec<String>,
    /// Doubts about runs whose files are as they were written.
    notes: Vec<String>,
    /// Whether the user named a run, so that all of its artifacts should be there.
    named: bool,
    gone: usize,
    /// The artifacts that were checked.
    artifacts: HashSet<Fingerprint>,
    /// The number of files of kept activations that were compared.
    activations: usize,
    /// The files of results that were compared.
    files: HashSet<PathBuf>,
}

impl Verification<'_> {
    /// Compares kept activations with their digests.
    fn activations(&mut self) -> Result<(), Error> {
        let folder = self.store.activations();
        let (whole, damaged) = activations::check(&folder)
            .map_err(|source| store::Error::Read { path: folder, source })?;
        self.activations = whole + damaged.len();
        self.wrong.extend(damaged.into_iter().map(|path| {
            let path = path.display();
            format!("the kept activations in {path} are damaged; a run computes them again")
        }));
        Ok(())
    }

    /// Compares every byte of an artifact with its manifest; `None` when it is missing or damaged.
    fn artifact(
        &mut self,
        fingerprint: &Fingerprint,
        what: &str,
    ) -> Result<Option<Artifact>, Error> {
        if !self.artifacts.insert(*fingerprint) {
            return Ok(match self.store.find(fingerprint)? {
                Found::Whole(artifact) => Some(artifact),
                _ => None,
            });
        }
        let wrong = match self.store.verify(fingerprint)? {
            Found::Whole(artifact) => return Ok(Some(artifact)),
            // A collection removed it, which does no harm to a run that the user did not name.
            Found::Nothing if !self.named => {
                self.gone += 1;
                return Ok(None);
            }
            Found::Nothing => "is no longer in the store".to_owned(),
            Found::Damaged(reason) => format!(
                "is damaged: {reason}; remove the folder `{}` and run the pipeline again",
                self.store.folder(fingerprint).display()
            ),
        };
        self.wrong.push(format!("{what} {fingerprint} {wrong}"));
        Ok(None)
    }

    /// Checks that the files of a run follow from its artifacts and are as they were written.
    fn run(&mut self, folder: &Path, record: &Record) -> Result<(), Error> {
        match FinishedRun::of(folder, record.clone()) {
            Ok(run) => {
                let name = folder.display();
                let doubts = run.doubts.iter().map(|doubt| format!("{name}: {doubt}"));
                // Files that cannot be compared count as wrong.
                let said = if run.inputs_known { &mut self.notes } else { &mut self.wrong };
                said.extend(doubts);
                self.follows(&run)?;
            }
            // Its files can still be compared with their checksums below.
            Err(error) => self.wrong.push(format!("{error}; {AGAIN}")),
        }
        for (file, digest) in &record.files {
            let path = folder.join(file);
            match system::read_file(&path) {
                Ok(found) if blake3::hash(&found).to_hex().as_str() == digest => {}
                Ok(_) => self.wrong.push(format!("{} is not what the run wrote", path.display())),
                Err(error) => self.wrong.push(format!("{}: {error}", path.display())),
            }
            self.files.insert(path);
        }
        match Checksums::read(folder) {
            Ok(Some(sums)) => {
                // Files that do not follow from their artifact were already reported.
                let damage = sums.damage(folder, |path| !self.files.contains(path));
                let said = |(path, wrong): (PathBuf, String)| format!("{} {wrong}", path.display());
                self.wrong.extend(damage.into_iter().map(said));
                self.files.extend(sums.paths(folder));
            }
            // An older runner wrote no checksums.
            Ok(None) => {}
            Err(error) => self.wrong.push(error.to_string()),
        }
        Ok(())
    }

    fn follows(&mut self, run: &FinishedRun) -> Result<(), Error> {
        let record = &run.record;
        let name = run.folder.display();
        let text = record.provenance.text.as_bytes();
        self.compare(run.folder.join("pipeline.toml"), text, "its record");
        for (number, stages) in record.trials.iter().enumerate() {
            for stage in stages {
                let (Some(fingerprint), Some(content)) = (&stage.fingerprint, stage.content) else {
                    continue;
                };
                let what = format!("{name}: stage `{}`: artifact", stage.name);
                let Some(artifact) = self.artifact(fingerprint, &what)? else { continue };
                if artifact.content != content {
                    self.wrong
                        .push(format!("{what} {fingerprint} has other bytes than the run had"));
                    continue;
                }
                if !run.inputs_known {
                    continue;
                }
                let files = Checked::open(&artifact.path, &content)
                    .map_err(report::Error::from)
                    .and_then(|it| trial_files::derived(&it, &stage.name, &stage.inputs));
                let files = match files {
                    // The damage was reported when its bytes were compared.
                    Err(report::Error::Store(store::Error::Damaged { .. })) => continue,
                    files => files?,
                };
                for Derived { path, bytes } in files {
                    let cut = format!("trials/{number:03}/{}", path.display());
                    if !record.files.contains_key(&cut) {
                        self.compare(run.trial_folder(number).join(path), &bytes, "its artifact");
                    }
                }
            }
        }
        if let (true, Ok(tables)) = (run.inputs_known, Tables::as_written(run)) {
            for (file, text) in tables.files() {
                self.compare(run.folder.join(file), text.as_bytes(), "the CSVs");
            }
            if let Some((file, text)) = tables.ranking_file() {
                let path = run.folder.join(file);
                // An older runner wrote none. That one is missing is seen by the checksums.
                if path.exists() {
                    self.compare(path, text.as_bytes(), "the CSVs");
                }
            }
        }
        Ok(())
    }

    fn compare(&mut self, path: PathBuf, wanted: &[u8], source: &str) {
        match system::read_file(&path) {
            Ok(found) if found == wanted => {}
            Ok(_) => self.wrong.push(format!("{} does not follow from {source}", path.display())),
            Err(error) => self.wrong.push(format!("{}: {error}", path.display())),
        }
        self.files.insert(path);
    }

    /// Builds a stage again from the same input artifacts, in a store of its own, and compares the bytes.
    fn rerun(&mut self, record: &Record, name: &str, offline: bool) -> Result<(), Error> {
        let trials = super::recorded(record)?.trials;
        // In a sweep, the first trial that built it stands for all.
        let made =
            |trial: &usize| record.stage(*trial, name).is_some_and(|it| it.content.is_some());
        let trial = (0..record.trials.len()).find(made).unwrap_or(0);
        let Some(recorded) = record.stage(trial, name) else {
            let known = record.trials.iter().flatten().map(|stage| stage.name.as_str());
            let help = suggest(name, known).unwrap_or_default();
            return Err(Error::Missing(format!("the run has no stage `{name}`; {help}")));
        };
        let mut pipeline = trials[trial].pipeline.clone();
        let mut needed = vec![name.to_owned()];
        let mut at = 0;
        while at < needed.len() {
            let stage = pipeline.stages.iter().find(|stage| stage.name == needed[at]);
            for input in stage.into_iter().flat_map(|stage| &stage.inputs) {
                if !needed.contains(&input.stage) {
                    needed.push(input.stage.clone());
                }
            }
            at += 1;
        }
        pipeline.stages.retain(|stage| needed.contains(&stage.name));
        for stage in &mut pipeline.stages {
            stage.after.clear();
        }
        let machine = |error: io::Error| Error::Machine(error.to_string());
        let private = scratch::folder().map_err(machine)?;
        let store = Store::open(private.path())?;
        for needed in &needed[1..] {
            let found = record.stage(trial, needed).and_then(|stage| stage.fingerprint);
            if let Some(fingerprint) = found
                && let Found::Whole(artifact) = self.store.find(&fingerprint)?
            {
                store.borrow(&fingerprint, &artifact.path)?;
            }
        }
        let home = pipeline.home().to_owned();
        let plan = super::outside::plan(
            vec![Trial::single(pipeline)],
            &Known::default(),
            &BackendOption::default(),
        )?;
        let cancel = AtomicBool::new(false);
        let environment = Environment {
            offline,
            downloads: store.downloads(),
            activations: None,
            home,
            save_every: Duration::from_secs(60),
        };
        let execution =
            Execution { fail_fast: true, ..Execution::new(&store, &environment, &Lines, &cancel) };
        let since = Instant::now();
        let done = execute(&plan, &execution, &Holdings::look_up(&plan, &store));
        Lines.event(&finished(&done, since));
        let task = plan.stages[0][name];
        let done = &done[task.index()];
        if let End::Failed(failure) = &done.end {
            self.wrong.push(format!("stage `{name}` cannot be made again: {failure}"));
            return Ok(());
        }
        let (Some((content, made)), Some(fingerprint)) = (&done.artifact, recorded.fingerprint)
        else {
            self.wrong.push(format!("stage `{name}` cannot be made again"));
            return Ok(());
        };
        if done.fingerprint != Some(fingerprint) {
            self.wrong.push(format!(
                "stage `{name}` is another one here: its code, the backend or files outside changed"
            ));
        }
        if recorded.content != Some(*content) {
            let differing = match self.store.find(&fingerprint)? {
                Found::Whole(artifact) => differing(&artifact.path, made),
                _ => String::new(),
            };
            let whose = match recorded.kind == PROGRAMS {
                true => "; its program does not give the same bytes every time",
                false => "",
            };
            self.wrong.push(format!("stage `{name}` made again has other bytes{differing}{whose}"));
        }
        Ok(())
    }
}

/// The names of the files that differ between two artifacts.
fn differing(a: &Path, b: &Path) -> String {
    let names = fs::read_dir(a).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let differs = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        !["manifest.json", "timings.csv"].contains(&&*name)
            && fs::read(a.join(&*name)).ok() != fs::read(b.join(&*name)).ok()
    };
    let names: Vec<String> =
        names.filter(differs).map(|name| name.to_string_lossy().into_owned()).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}
