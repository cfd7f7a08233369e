//! The `runner` command.

use std::process::ExitCode;

use clap::Parser as _;
use runner::cli::Cli;
use runner::commands;

fn main() -> ExitCode {
    runner::memory::keep_freed_memory();
    match commands::run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{}", error.render());
            ExitCode::from(error.exit_code())
        }
    }
}
