//! The `runner` command.

use std::process::ExitCode;

use clap::Parser as _;
use runner::cli::Cli;
use runner::commands;

fn main() -> ExitCode {
    match commands::run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{}", error.render());
            ExitCode::from(error.exit_code())
        }
    }
}
