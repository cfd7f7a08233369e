//! `runner schema`: the JSON Schema of pipeline files on standard output.

use std::process::ExitCode;

use super::Error;
use crate::plan::schema;

/// Writes it.
pub fn run() -> Result<ExitCode, Error> {
    let text = serde_json::to_string_pretty(&schema::of_file()).expect("a plain value");
    super::print(text + "\n")?;
    Ok(ExitCode::SUCCESS)
}
