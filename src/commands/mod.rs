//! The verbs of the command line, one file each. A verb returns its exit code, or the error that is printed;
//! the parts that several verbs share stand here.

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
use crate::report::finished::FinishedRun;
use crate::report::record::Record;
use crate::report::{runs, target_labels};
use crate::stages::Halt;
use crate::train::Repeats;
use crate::{plan, report, store, system};

mod changes;
mod check;
mod columns;
mod comparison;
mod completions;
mod devices;
mod diff;
mod driver;
mod explain;
mod export;
mod forecast;
mod gc;
mod headline;
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
mod shared_run;
mod show;
mod so_far;
mod status;
mod stop;
mod sweep;
mod table;
mod verify;
pub mod watch;
mod work;

/// Why a command could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file is wrong.
    #[error(transparent)]
    Input(#[from] Box<Report>),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
    /// What an option of the command names cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Place {
        /// The option with a word for its value, such as `--out DIR`.
        option: &'static str,
        /// What could not be written.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The pipeline has no valid plan.
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
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Results cannot be read or written.
    #[error(transparent)]
    Results(#[from] report::Error),
    /// A table that was asked for cannot be built.
    #[error(transparent)]
    Table(#[from] report::table::TableError),
    /// The environment asks for an instruction set that cannot be had.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The machine refused something, such as threads or signals.
    #[error("{0}")]
    Machine(String),
    /// What was asked for does not exist.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// The exit code: 2 when the input is wrong, otherwise 1.
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

    /// The text for standard error. `anstream` removes its escape codes where they do not belong.
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
            Self::Store(error) | Self::Results(report::Error::Store(error)) => error.help(),
            Self::Outside { halt: Halt::Failed(failure), .. } => failure.help.clone(),
            Self::Results(report::Error::Malformed { .. }) => {
                vec!["run the pipeline again: results that are damaged are written anew".into()]
            }
            Self::Results(report::Error::Io { source, .. }) => {
                vec![system::refused(source, "--results DIR")]
            }
            Self::Place { option, source, .. } => vec![system::refused(source, option)],
            Self::Table(error) => error.help().map(str::to_owned).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// Runs the verb of the command line.
///
/// # Errors
/// When the verb could not do what it was asked to.
pub fn run(cli: &Cli) -> Result<ExitCode, Error> {
    Isa::current()?;
    // A wrong word must not become the failure of a stage, which the store remembers.
    Repeats::of_environment().map_err(Error::Machine)?;
    match &cli.verb {
        Verb::Run(args) => match &args.on.on {
            Some(name) => driver::run(args, name),
            None => run::run(args),
        },
        Verb::Sweep(args) => sweep::run(args),
        Verb::Work(args) => work::run(args),
        Verb::Stop(args) => stop::run(args),
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
        Verb::Schema(args) => schema::run(args),
        Verb::Init(args) => init::run(args),
        Verb::Devices => devices::run(),
        Verb::Completions(args) => completions::run(args),
        Verb::Report(args) => report_page::run(args),
        Verb::Plot(args) => plot::run(args),
    }
}

/// Writes `text` to standard output.
///
/// # Errors
/// When it cannot be written, for instance because a disk is full.
fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut output = std::io::stdout().lock();
    unbroken(output.write_all(text.as_ref()).and_then(|()| output.flush()))
}

/// Turns a closed pipe into success: a reader that has seen enough, such as `head`, is no failure, and what the
/// command found still decides its exit code.
fn unbroken(written: std::io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// The folder of the run that a word on the command line stands for.
fn find_run(results: &Path, run: &Path) -> Result<PathBuf, Error> {
    find_run_of(results, run, pipeline_in(run)?.as_deref())
}

/// As [`find_run`], of a word that is the file or the pipe of `pipeline`, if it is one.
fn find_run_of(results: &Path, run: &Path, pipeline: Option<&str>) -> Result<PathBuf, Error> {
    runs::find(results, run, pipeline).ok_or_else(|| {
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

/// The name of the pipeline in the file or pipe that `word` names; `None` where it names neither. A pipeline
/// with mistakes is reported as such, and not as a run that does not exist.
fn pipeline_in(word: &Path) -> Result<Option<String>, Error> {
    let is_text = document::is_input(word) || fs::metadata(word).is_ok_and(|it| !it.is_dir());
    match is_text {
        true => Ok(Some(resolve::load(word, &[]).map_err(Box::new)?.name)),
        false => Ok(None),
    }
}

/// As [`numbers_in`], of the run that a word on the command line stands for.
fn find_numbers(results: &Path, run: &Path) -> Result<FinishedRun, Error> {
    numbers_in(&find_run(results, run)?)
}

/// The run in `folder`, to show its numbers. Prints a note where its files are not those that the run wrote.
fn numbers_in(folder: &Path) -> Result<FinishedRun, Error> {
    let wrong = match Checksums::read(folder) {
        Ok(sums) => sums.map(|sums| sums.differences(folder)).unwrap_or_default(),
        Err(error) => vec![error.to_string()],
    };
    if !wrong.is_empty() {
        let then = "what is shown here may be wrong: run the pipeline again";
        say_damage(folder, &wrong, then);
    }
    Ok(FinishedRun::read(folder)?)
}

/// Prints the doubts about a run, for verbs whose output does not hold them.
fn say_doubts(run: &FinishedRun) {
    let labels = target_labels::warning(&run.record.trials);
    for doubt in run.doubts.iter().chain(&labels) {
        console::say(format_args!("note: {doubt}"));
    }
}

/// Prints what is wrong with the results in `folder`, and what follows from it.
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

/// The message for a run whose pipeline this runner no longer accepts.
fn not_taken(folder: &Path, record: &Record, error: &Error) -> String {
    let (name, then) = (folder.display(), &record.provenance.runner);
    let what = error.to_string();
    let what = what.lines().next().unwrap_or_default();
    format!(
        "{name}: this runner does not take the pipeline that runner {then} ran: {what}; correct the file as \
         `runner check` says and run it again"
    )
}

/// The trials of a run with the values in its record, without the search that drew them.
fn recorded(record: &Record) -> Result<Trials, Error> {
    of_record(record, |file| match record.values.as_slice() {
        [] => trials_of(file, record.provenance.sweep),
        values => {
            let values: Vec<Vec<_>> = values.iter().cloned().map(Vec::from_iter).collect();
            Ok(trials::load_points(&file.file, &values).map_err(Box::new)?)
        }
    })
}

/// The trials that a run began with, and the search that draws the others again.
fn again(record: &Record) -> Result<Trials, Error> {
    of_record(record, |file| trials_of(file, record.provenance.sweep))
}

fn of_record(
    record: &Record,
    load: impl FnOnce(&FileArgs) -> Result<Trials, Error>,
) -> Result<Trials, Error> {
    of_text(&record.provenance.text, &record.provenance.file, load)
}

/// The trials in the `text` of a pipeline that was in `file`.
fn of_text(
    text: &str,
    file: &str,
    load: impl FnOnce(&FileArgs) -> Result<Trials, Error>,
) -> Result<Trials, Error> {
    let machine = |error: std::io::Error| Error::Machine(error.to_string());
    let mut copy =
        tempfile::Builder::new().prefix("pipeline-").suffix(".toml").tempfile().map_err(machine)?;
    copy.write_all(text.as_bytes()).map_err(machine)?;
    let mut trials = load(&FileArgs { file: copy.path().to_owned(), set: Vec::new() })?;
    for trial in &mut trials.trials {
        trial.pipeline.path = PathBuf::from(file);
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
