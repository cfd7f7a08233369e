//! `runner table`: the tables of a finished run, from its CSVs, and where their numbers come from.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::Error;
use crate::cli::TableArgs;
use crate::config::diagnostic::suggest;
use crate::report::results::{self, Tables};
use crate::report::table::{self, Format};

/// Prints the tables of a run, one of them, or what is behind a cell.
///
/// # Errors
/// When there is no such run, table or cell, or the run has no scores.
pub fn run(args: &TableArgs) -> Result<ExitCode, Error> {
    // A wrong file is explained as such, rather than called a run that is not there.
    if args.run.is_file() {
        crate::plan::resolve::load(&args.run, &[]).map_err(Box::new)?;
    }
    let folder = super::find_run(&args.results, &args.run)?;
    let mut tables = results::tables_of(&folder)?;
    if tables.tables.is_empty() {
        return Err(Error::Missing(format!("`{}` has no scores", folder.display())));
    }
    if let Some(name) = &args.name {
        only(&mut tables, name)?;
    }
    let text = match args.explain.as_deref() {
        Some([row, column]) => explain(tables, row, column, &folder)?,
        _ => shown(tables, args.format)?,
    };
    match args.format {
        Format::Text => anstream::stdout().write_all(text.as_bytes())?,
        _ => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves only the table called `name`.
fn only(tables: &mut Tables, name: &str) -> Result<(), Error> {
    let names: Vec<&str> = tables.tables.iter().filter_map(|(name, _)| name.as_deref()).collect();
    if !names.contains(&name) {
        let help = match suggest(name, names) {
            Some(help) => help,
            None => "its only table has no name".into(),
        };
        return Err(Error::Missing(format!("the run has no table `{name}`; {help}")));
    }
    tables.tables.retain(|(own, _)| own.as_deref() == Some(name));
    Ok(())
}

/// All tables in a format; several as JSON are an array.
fn shown(tables: Tables, format: Format) -> Result<String, Error> {
    let tables = tables.all()?;
    if format == Format::Json && tables.len() > 1 {
        let text = serde_json::to_string_pretty(&tables).expect("tables are plain data");
        return Ok(text + "\n");
    }
    let bold = io::stdout().is_terminal();
    let texts: Vec<String> = tables.iter().map(|table| table.render(format, bold)).collect();
    Ok(texts.join("\n"))
}

/// What is behind a cell of the first table that has it.
fn explain(
    tables: Tables,
    row: &str,
    column: &str,
    folder: &std::path::Path,
) -> Result<String, Error> {
    let mut first: Option<table::Error> = None;
    let Tables { scores, tables } = tables;
    for (_, table) in tables {
        match table.and_then(|table| table.explain(row, column, &scores, folder)) {
            Ok(text) => return Ok(text),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.expect("there is a table");
    match error {
        table::Error::Named { .. } => Err(Error::Missing(error.to_string())),
        error => Err(results::Error::Table(error).into()),
    }
}
