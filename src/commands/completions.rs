//! `runner completions`: a shell's completion script on standard output.

use std::process::ExitCode;

use clap::CommandFactory as _;

use super::Error;
use crate::cli::{Cli, CompletionsArgs};

/// Writes it.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "runner", &mut script);
    super::print(script)?;
    Ok(ExitCode::SUCCESS)
}
