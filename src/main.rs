//! The `runner` command.

use std::process::ExitCode;

use runner::cli::Cli;
use runner::commands;

fn main() -> ExitCode {
    runner::memory::keep_freed_memory();
    match commands::run(&Cli::of_process()) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{}", error.render());
            ExitCode::from(error.exit_code())
        }
    }
}
