//! Which run of a store a word on the command line stands for: a pipeline file, whose plan gives the id, or an id.
//! Changes nothing.

use std::fs;
use std::path::Path;

use super::Error;
use super::rounds::Conclusion;
use crate::cli::{FileArgs, WorkArgs};
use crate::config::document;
use crate::exec::{Done, Ending};
use crate::plan::print::to_toml;
use crate::plan::trials::Trials;
use crate::store::{self, SharedRun, Store};
use crate::system;

/// So many digits of a digest are an id.
const DIGITS: usize = 8;

/// What a word on the command line stands for.
pub(super) enum Named {
    /// A file, with its trials. The run may not be registered yet.
    File {
        /// The run's id.
        id: String,
        /// What the id is of.
        text: String,
        /// The trials.
        trials: Box<Trials>,
    },
    /// A run that is registered.
    Run(SharedRun),
}

/// Whether a word on the command line is a pipeline file, and not the id of a run.
pub(super) fn is_file(word: &Path) -> bool {
    document::is_input(word) || fs::metadata(word).is_ok_and(|it| !it.is_dir())
}

/// What `word` stands for in `store`, with the changes of `set`.
///
/// # Errors
/// When it is a file with mistakes, or neither a file nor a run.
pub(super) fn find(store: &Store, word: &Path, set: &[String]) -> Result<Named, Error> {
    if is_file(word) {
        let trials = super::all_trials(&FileArgs { file: word.to_owned(), set: set.to_vec() })?;
        let text = to_toml(&trials.resolved);
        return Ok(Named::File { id: id_of(&text), text, trials: Box::new(trials) });
    }
    let (name, root) = (word.display(), store.root().display());
    if !store.root().is_dir() {
        return Err(Error::Missing(format!(
            "there is no file `{name}`, and no store `{root}` on {} that could have a run of this id",
            store::node()
        )));
    }
    if !set.is_empty() {
        return Err(Error::Missing(format!(
            "there is no file `{name}`, and a run that is named by its id has its `--set` already"
        )));
    }
    let mut found = store.shared_runs()?;
    let begins = |run: &SharedRun| word.to_str().is_some_and(|word| run.id.starts_with(word));
    found.retain(begins);
    match found.as_slice() {
        [run] => Ok(Named::Run(run.clone())),
        _ => Err(Error::Missing(format!(
            "there is no file `{name}`, and no run of `{root}`, or more than one, is called so; \
             `runner status --store {}` lists them",
            system::as_typed(&[root.to_string()])
        ))),
    }
}

/// The id of the run of a plan.
pub(super) fn id_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..DIGITS].to_owned()
}

/// Notes that the results of `trials` are written, should workers have shared their run. Results that lack what the
/// workers built or are to build say nothing of what is needed: those of another backend, those of a run that did not
/// come to its end, or saw a stage fail that may not fail for others, and those of a run beside which workers go on.
///
/// # Errors
/// When the store cannot be read or written.
pub(super) fn finish(
    store: &Store,
    trials: &Trials,
    Conclusion { plan, done, problem, .. }: &Conclusion,
    fail_fast: bool,
) -> Result<(), Error> {
    let is_open = |done: &Done| match done.end.ending() {
        Ending::Interrupted => true,
        Ending::Failed => fail_fast || !done.is_recorded,
        Ending::Cached | Ending::Built | Ending::Paused | Ending::Skipped => false,
    };
    if problem.is_some() || done.iter().any(is_open) {
        return Ok(());
    }
    // A file with a sweep may have been run without it.
    if trials.search.is_some() != trials.resolved.contains_key("sweep") {
        return Ok(());
    }
    match store.shared_run(&id_of(&to_toml(&trials.resolved)))? {
        Some(run)
            if run.backend()?.is_none_or(|settled| settled == plan.backend)
                && store.workers(&run)?.is_empty() =>
        {
            Ok(run.finish()?)
        }
        _ => Ok(()),
    }
}

/// The command that does `verb` with `run` of `store`, from any folder.
pub(super) fn command(store: &Path, run: &SharedRun, verb: &str, more: &[&str]) -> String {
    let store = std::path::absolute(store).unwrap_or_else(|_| store.to_owned());
    let store = store.display().to_string();
    let words = [&["runner", verb, &run.id, "--store", &store], more].concat();
    system::as_typed(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
}

/// The command that writes the results of `run` from what is in `store`, in the folder that this process is in:
/// `runner run` or `sweep`, which is `verb`.
pub(super) fn writing_results(
    store: &Path,
    run: &SharedRun,
    verb: &str,
    args: &WorkArgs,
) -> String {
    let file =
        if is_file(&args.run) { args.run.display().to_string() } else { run.record.file.clone() };
    let mut words = vec!["runner".to_owned(), verb.to_owned(), file];
    for set in &run.record.set {
        words.extend(["--set".to_owned(), set.clone()]);
    }
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    let is_same = |a: &Path, b: &str| {
        let real = |path: &Path| fs::canonicalize(path).ok();
        a == Path::new(b) || real(a).is_some_and(|a| Some(a) == real(Path::new(b)))
    };
    if !is_same(store, ".runner") {
        option("--store", store.display().to_string());
    }
    if !is_same(&args.options.results, "results") {
        option("--results", args.options.results.display().to_string());
    }
    if let Some(backend) = &args.options.backend.backend {
        option("--backend", backend.clone());
    }
    system::as_typed(&words)
}

/// The command that takes a run of `store` up again which was stopped.
pub(super) fn again(store: &Path, run: &SharedRun) -> String {
    // What cannot be read is said by whoever needs it.
    match run.again() {
        Ok(Some(line)) => line,
        Ok(None) | Err(_) => command(store, run, "work", &["--resume"]),
    }
}

/// `1 worker`, `3 workers`.
pub(super) fn counted(workers: usize) -> String {
    match workers {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    }
}

/// The digest of this program, as it was when it was started.
pub(super) fn program() -> Result<String, Error> {
    let running = Path::new("/proc/self/exe");
    let path = match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().map_err(|error| Error::Machine(error.to_string()))?,
    };
    let mut hasher = blake3::Hasher::new();
    let read = hasher.update_mmap(&path);
    read.map_err(|error| Error::Machine(format!("this program cannot be read: {error}")))?;
    Ok(hasher.finalize().to_string())
}

/// That this program is the one of all workers of `run`.
///
/// # Errors
/// When it is another one: both digests.
pub(super) fn check_program(store: &Store, run: &SharedRun) -> Result<(), Error> {
    let SharedRun { id, record, .. } = run;
    let own = program()?;
    if own == record.program {
        return Ok(());
    }
    let anew = command(store.root(), run, "work", &["--anew"]);
    Err(Error::Missing(format!(
        "the workers of run {id} are another program, runner {} with the digest {}, and this one has {own}; start \
         that one, or go on with this one by `{anew}` when no worker is left",
        record.runner, record.program
    )))
}

/// That the backend `asked` for is the `settled` one of `run`.
///
/// # Errors
/// When it is another one.
pub(super) fn check_backend(
    store: &Store,
    run: &SharedRun,
    settled: &str,
    asked: &str,
) -> Result<(), Error> {
    if settled == asked {
        return Ok(());
    }
    let anew = command(store.root(), run, "work", &["--anew"]);
    Err(Error::Missing(format!(
        "run {} is for `{settled}`, and not for `{asked}`; `{anew} --backend '{asked}'` changes that when no worker is \
         left",
        run.id
    )))
}
