//! `runner schema`: what a pipeline file may hold, on standard output.

use std::process::ExitCode;

use super::Error;
use crate::cli::{SchemaArgs, SchemaFormat};
use crate::plan::{manual, schema};

/// Writes it.
pub fn run(args: &SchemaArgs) -> Result<ExitCode, Error> {
    let text = match args.format {
        SchemaFormat::Json => {
            serde_json::to_string_pretty(&schema::of_file()).expect("a plain value") + "\n"
        }
        SchemaFormat::Markdown => manual::page(),
    };
    super::print(text)?;
    Ok(ExitCode::SUCCESS)
}
