//! One file per verb: each gives the exit code or the error to print.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::{Cli, FileArgs, Verb};
use crate::config::{Report, document};
use crate::console;
use crate::nn::kernels::isa::{Isa, IsaError};
use crate::plan::resolve;
use crate::plan::trials::{self, Trials};
use crate::report::checksums::Checksums;
use crate::report::record::{self, Record};
use crate::stages::Halt;
use crate::{plan, report, store, system};

mod changes;
mod check;
mod columns;
mod comparison;
mod completions;
mod diff;
mod explain;
mod export;
mod forecast;
mod gc;
mod init;
mod kept;
mod ls;
mod outlook;
mod outside;
mod plan_stages;
mod plot;
mod report_page;
mod reproduce;
mod rounds;
mod run;
mod schema;
mod show;
mod status;
mod sweep;
mod table;
mod verify;
pub mod watch;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file is wrong.
    #[error(transparent)]
    Input(#[from] Box<Report>),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
    /// No plan.
    #[error(transparent)]
    Plan(#[from] plan::graph::Error),
    /// Files outside the store that a stage reads cannot be read.
    #[error("stage `{stage}`: {halt}")]
    Outside {
        /// The stage.
        stage: String,
        /// Why.
        halt: Halt,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The results.
    #[error(transparent)]
    Results(#[from] report::results::Error),
    /// The instruction set that the environment asks for.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The machine: threads or signals.
    #[error("{0}")]
    Machine(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// 2 when the input is wrong, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_)
            | Self::Plan(_)
            | Self::Outside { .. }
            | Self::Missing(_)
            | Self::Isa(_) => 2,
            _ => 1,
        }
    }

    /// The text for standard error, with escape codes, which `anstream` takes out where they
    /// do not belong.
    pub fn render(&self) -> String {
        if let Self::Input(report) = self {
            return report.render(true);
        }
        let mut text = format!("error: {self}");
        for line in self.help() {
            text.push_str(&format!("\n  = help: {line}"));
        }
        text
    }

    fn help(&self) -> Vec<String> {
        match self {
            Self::Store(error) | Self::Results(report::results::Error::Store(error)) => {
                error.help()
            }
            Self::Outside { halt: Halt::Failed(failure), .. } => failure.help.clone(),
            Self::Results(report::results::Error::Malformed { .. }) => {
                vec!["run the pipeline again: results that are damaged are written anew".into()]
            }
            Self::Results(report::results::Error::Io { source, .. }) => {
                vec![system::refused(source, "--results")]
            }
            Self::Results(report::results::Error::Table(error)) => {
                error.help().map(str::to_owned).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// When it could not be done.
pub fn run(cli: &Cli) -> Result<ExitCode, Error> {
    Isa::current()?;
    match &cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Sweep(args) => sweep::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Plan(args) => plan_stages::run(args),
        Verb::Ls(args) => ls::run(args),
        Verb::Status(args) => status::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Reproduce(args) => reproduce::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Gc(args) => gc::run(args),
        Verb::Explain(args) => explain::run(args),
        Verb::Show(args) => show::run(args),
        Verb::Table(args) => table::run(args),
        Verb::Watch(args) => watch::run(args),
        Verb::Schema => schema::run(),
        Verb::Init(args) => init::run(args),
        Verb::Completions(args) => completions::run(args),
        Verb::Report(args) => report_page::run(args),
        Verb::Plot(args) => plot::run(args),
    }
}

/// Writes `text` to standard output.
///
/// # Errors
/// When it cannot be written, as where a disk is full.
fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut output = std::io::stdout().lock();
    unbroken(output.write_all(text.as_ref()).and_then(|()| output.flush()))
}

/// What became of a write to standard output. A reader that has seen enough, as `head` does, is no
/// failure: what the command found still decides its exit code.
fn unbroken(written: std::io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The folder of the run that a user names.
fn find_run(results: &Path, run: &Path) -> Result<PathBuf, Error> {
    let pipeline = pipeline_in(run)?;
    record::find(results, run, pipeline.as_deref()).ok_or_else(|| {
        let results = results.display();
        Error::Missing(match pipeline {
            Some(name) => format!("there is no run of `{name}` in `{results}`"),
            None => format!(
                "no run, or more than one, is called `{}` in `{results}`; `runner ls` lists them",
                run.display()
            ),
        })
    })
}

/// The name of the pipeline in the file, or pipe, that a user names; `None` where it names neither. It is
/// read once, and a wrong one is explained as such, rather than called a run that is not there.
fn pipeline_in(word: &Path) -> Result<Option<String>, Error> {
    let is_text = document::is_input(word) || fs::metadata(word).is_ok_and(|it| !it.is_dir());
    match is_text {
        true => Ok(Some(resolve::load(word, &[]).map_err(Box::new)?.name)),
        false => Ok(None),
    }
}

/// The folder of the run that a user names and whose numbers are to be shown. Says so when they are not
/// those that the run wrote.
fn find_numbers(results: &Path, run: &Path) -> Result<PathBuf, Error> {
    let folder = find_run(results, run)?;
    let wrong = match Checksums::read(&folder) {
        Ok(sums) => sums.map(|sums| sums.differences(&folder)).unwrap_or_default(),
        Err(error) => vec![error.to_string()],
    };
    if !wrong.is_empty() {
        let then = "what is shown here may be wrong: run the pipeline again";
        say_damage(&folder, &wrong, then);
    }
    Ok(folder)
}

/// Says what is wrong with the results in `folder`, and what follows from it.
fn say_damage(folder: &Path, wrong: &[String], then: &str) {
    const SHOWN: usize = 3;
    let mut texts = wrong[..wrong.len().min(SHOWN)].join(", ");
    if wrong.len() > SHOWN {
        texts += &format!(" and {} more", wrong.len() - SHOWN);
    }
    console::say(format_args!(
        "note: the results in `{}` are not as they should be: {texts}; {then}",
        folder.display()
    ));
}

/// What to say of a run whose pipeline this runner no longer takes.
fn not_taken(folder: &Path, record: &Record, error: &Error) -> String {
    let (name, then) = (folder.display(), &record.provenance.runner);
    let what = error.to_string();
    let what = what.lines().next().unwrap_or_default();
    format!(
        "{name}: this runner does not take the pipeline that runner {then} ran: {what}; correct the file as \
         `runner check` says and run it again"
    )
}

/// The trials of a run as its record holds them, without the search that found them.
fn recorded(record: &Record) -> Result<Trials, Error> {
    of_record(record, |file| match record.values.as_slice() {
        [] => trials_of(file, record.provenance.sweep),
        values => {
            let values: Vec<Vec<_>> = values.iter().cloned().map(Vec::from_iter).collect();
            Ok(trials::load_points(&file.file, &values).map_err(Box::new)?)
        }
    })
}

/// The trials that a run began with, and the search that finds the others again.
fn again(record: &Record) -> Result<Trials, Error> {
    of_record(record, |file| trials_of(file, record.provenance.sweep))
}

fn of_record(
    record: &Record,
    load: impl FnOnce(&FileArgs) -> Result<Trials, Error>,
) -> Result<Trials, Error> {
    let machine = |error: std::io::Error| Error::Machine(error.to_string());
    let mut text =
        tempfile::Builder::new().prefix("pipeline-").suffix(".toml").tempfile().map_err(machine)?;
    text.write_all(record.provenance.text.as_bytes()).map_err(machine)?;
    let mut trials = load(&FileArgs { file: text.path().to_owned(), set: Vec::new() })?;
    for trial in &mut trials.trials {
        trial.pipeline.path = PathBuf::from(&record.provenance.file);
    }
    Ok(trials)
}

/// The trials of a file's sweep, or the file alone.
fn trials_of(file: &FileArgs, sweep: bool) -> Result<Trials, Error> {
    if sweep {
        return all_trials(file);
    }
    Ok(Trials::single(resolve::load(&file.file, &file.set).map_err(Box::new)?))
}

/// Every trial of a file's sweep; one without labels when it has none.
fn all_trials(file: &FileArgs) -> Result<Trials, Error> {
    Ok(trials::load(&file.file, &file.set).map_err(Box::new)?)
}
