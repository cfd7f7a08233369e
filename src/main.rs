//! The `runner` command.

use std::process::ExitCode;

use runner::cli::Cli;
use runner::{commands, console};

fn main() -> ExitCode {
    runner::memory::keep_freed_memory();
    match commands::run(&Cli::of_process()) {
        Ok(code) => code,
        Err(error) => {
            console::say(error.render());
            ExitCode::from(error.exit_code())
        }
    }
}
