//! One file per verb: each gives the exit code or the error to print.

use crate::cli::{Cli, Verb};
use crate::config::Report;

mod check;
mod show;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file is wrong.
    #[error(transparent)]
    Input(#[from] Box<Report>),
    /// Standard output cannot be written.
    #[error("error: cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
}

impl Error {
    /// 2 when the input is wrong, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Output(_) => 1,
        }
    }

    /// The text for standard error, with escape codes, which `anstream` takes out where they
    /// do not belong.
    pub fn render(&self) -> String {
        match self {
            Self::Input(report) => report.render(true),
            Self::Output(_) => self.to_string(),
        }
    }
}

/// Does what the command line says.
///
/// # Errors
/// When it could not be done.
pub fn run(cli: &Cli) -> Result<(), Error> {
    match &cli.verb {
        Verb::Check(args) => check::run(args),
        Verb::Show(args) => show::run(args),
    }
}
