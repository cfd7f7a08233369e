//! `runner table`: prints the tables of a run, finished or still going on, or explains where a number in them comes from.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::so_far::{self, SoFar};
use crate::cli::TableArgs;
use crate::config::diagnostic::suggest;
use crate::console;
use crate::report::finished::FinishedRun;
use crate::report::live::{Counted, Live};
use crate::report::ranking::LEAST_MODELS;
use crate::report::table::{self, TableFormat};
use crate::report::tables::Tables;

/// Prints the tables of a run, one of them, or the explanation of a cell.
///
/// # Errors
/// When there is no such run, table or cell, or the run has no scores.
pub fn run(args: &TableArgs) -> Result<ExitCode, Error> {
    let pipeline = super::pipeline_in(&args.run)?;
    let live = so_far::going_on(&args.results, &args.run, pipeline.as_deref());
    if let Some(live) = live {
        return of_live(args, &live);
    }
    of_finished(args, &args.run, pipeline.as_deref())
}

/// Prints the newest run that `word` stands for and that is over.
fn of_finished(args: &TableArgs, word: &Path, pipeline: Option<&str>) -> Result<ExitCode, Error> {
    let folder = super::find_run_of(&args.results, word, pipeline)?;
    of_run(args, &super::numbers_in(&folder)?)
}

/// Prints what there is of a run that goes on.
///
/// # Errors
/// As [`run`], but for having no scores yet.
fn of_live(args: &TableArgs, live: &Live) -> Result<ExitCode, Error> {
    let counted = live.counts();
    let Live { pipeline, run, .. } = live;
    let before = args.results.join(pipeline).join("latest");
    let over = match before.exists() {
        true => format!("; `runner table {}` shows the newest one that is over", before.display()),
        false => String::new(),
    };
    let Counted { ended, all, failed } = &counted;
    let fails =
        if failed.is_empty() { String::new() } else { format!(", {} failed", failed.len()) };
    console::say(format_args!(
        "note: `{pipeline}` is still running as {run}: {ended} of {all} stages are over{fails}; what is `not run` here may \
         still come{over}"
    ));
    let so_far = match SoFar::of(live, &counted) {
        Ok(so_far) => so_far,
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().next().unwrap_or_default();
            console::say(format_args!(
                "note: what there is of this run cannot be shown from here: {why}"
            ));
            return of_finished(args, &args.run, Some(pipeline));
        }
    };
    let Some(so_far) = so_far else {
        console::say("note: this run does not say yet what it is of; ask again in a moment");
        return Ok(ExitCode::SUCCESS);
    };
    if so_far.draws_later {
        console::say("note: trials that the search draws later are not shown");
    }
    if Tables::of(&so_far.run)?.good().next().is_none() && !args.scores {
        console::say("note: there are no scores yet");
        return Ok(ExitCode::SUCCESS);
    }
    of_run(args, &so_far.run)
}

/// Prints the tables of `run`, one of them, or the explanation of a cell.
fn of_run(args: &TableArgs, run: &FinishedRun) -> Result<ExitCode, Error> {
    if args.scores {
        return rankings(run, args.format);
    }
    let mut tables = Tables::of(run)?;
    if tables.tables.is_empty() {
        let what = match tables.scores.scores.is_empty() {
            true => "has no scores",
            false => {
                "is one run of a file whose tables are of the trials of its sweep, which `runner sweep` carries out; \
                 its scores are in `scores.csv`"
            }
        };
        return Err(Error::Missing(format!("`{}` {what}", run.folder.display())));
    }
    if let Some(name) = &args.name {
        only(&mut tables, name)?;
    }
    let text = match args.explain.as_deref() {
        Some([row, column]) => explain(&tables, row, column, &run.folder)?,
        _ => {
            let several = tables.tables.len() > 1;
            shown(&tables.good().collect::<Vec<_>>(), several, args.format)
        }
    };
    print(&text, args.format)?;
    if args.explain.is_none() {
        // A table that cannot be built is an error only after the others were printed.
        tables.all()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints how the scores that need no labels of the target order the models of a sweep.
fn rankings(run: &FinishedRun, format: TableFormat) -> Result<ExitCode, Error> {
    let tables = Tables::of_rankings(run)?;
    if tables.is_empty() {
        return Err(Error::Missing(format!(
            "`{}` has no ranking of scores: it takes a sweep with at least {LEAST_MODELS} models that have \
             `target_scores`, or other scores without labels, and are evaluated on the target",
            run.folder.display()
        )));
    }
    print(&shown(&tables.iter().collect::<Vec<_>>(), true, format), format)?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str, format: TableFormat) -> Result<(), Error> {
    match format {
        TableFormat::Text => super::unbroken(anstream::stdout().write_all(text.as_bytes())),
        _ => super::print(text),
    }
}

/// Keeps only the table called `name`.
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

/// Tables in a format. Where there are `several`, they are an array in JSON.
fn shown(tables: &[&table::ResultTable], several: bool, format: TableFormat) -> String {
    if format == TableFormat::Json && several {
        return serde_json::to_string_pretty(&tables).expect("tables are plain data") + "\n";
    }
    let bold = io::stdout().is_terminal();
    let texts: Vec<String> = tables.iter().map(|table| table.render(format, bold)).collect();
    texts.join("\n")
}

/// The explanation of a cell, from the first table that has it.
fn explain(
    tables: &Tables,
    row: &str,
    column: &str,
    folder: &std::path::Path,
) -> Result<String, Error> {
    let mut wrong = None;
    for (_, table) in &tables.tables {
        let table = table.as_ref().map_err(Clone::clone);
        match table.and_then(|table| table.explain(row, column, &tables.scores, folder)) {
            Ok(text) => return Ok(text),
            Err(error) => wrong = wrong.or(Some(error)),
        }
    }
    Err(match wrong {
        Some(error @ table::TableError::Named { .. }) => Error::Missing(error.to_string()),
        Some(error) => error.into(),
        None => Error::Missing("the run has no table".into()),
    })
}
