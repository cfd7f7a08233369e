//! One file per verb: each gives the exit code or the error to print.

use std::process::ExitCode;

use crate::cli::{Cli, FileArgs, Verb};
use crate::config::Report;
use crate::nn::kernels::isa::{Isa, IsaError};
use crate::plan::resolve::{self, Trials};
use crate::{plan, report, store};

mod check;
mod plan_stages;
mod run;
mod show;
mod sweep;
mod table;

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
            Self::Input(_) | Self::Plan(_) | Self::Missing(_) | Self::Isa(_) => 2,
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
            Self::Store(error) => error.help(),
            Self::Plan(plan::graph::Error::External { failure, .. }) => failure.help.clone(),
            Self::Results(report::results::Error::Io { .. }) => {
                vec!["check its permissions, or give another folder with `--results DIR`".into()]
            }
            Self::Results(report::results::Error::Table(_)) => {
                vec!["name the axis in `[table]`: `rows`, `columns` or `over`".into()]
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
        Verb::Show(args) => show::run(args),
        Verb::Table(args) => table::run(args),
    }
}

/// Every trial of a file's sweep; one without labels when it has none.
fn trials(file: &FileArgs) -> Result<Trials, Error> {
    Ok(resolve::load_sweep(&file.file, &file.set).map_err(Box::new)?)
}
