//! `runner ls`: lists every run with its date, state and headline.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::columns::columns;
use super::so_far::SoFar;
use crate::cli::LsArgs;
use crate::metrics::{rounded, scores};
use crate::report::csv::CsvRows;
use crate::report::record::Record;
use crate::report::{live, runs};

/// Lists the runs, the newest last, and after them those that are running or died.
///
/// # Errors
/// When the results cannot be read.
pub fn run(args: &LsArgs) -> Result<ExitCode, Error> {
    let runs = runs::all(&args.results)?;
    let runs = runs.into_iter().filter(|(_, it)| {
        args.pipeline.as_ref().is_none_or(|name| *name == it.provenance.pipeline)
    });
    let mut lines = vec![["date", "pipeline", "run", "state", "headline"].map(str::to_owned)];
    for (folder, record) in runs {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines.push([
            date(&record.provenance.start),
            record.provenance.pipeline.clone(),
            name,
            record.state().word().to_owned(),
            headline(&folder, &record).unwrap_or_default(),
        ]);
    }
    for run in live::live_runs(&args.results) {
        if args.pipeline.as_ref().is_some_and(|name| *name != run.pipeline) {
            continue;
        }
        let counted = run.counts();
        let state = if run.holder.dead { "died" } else { "running" };
        let begun = runs::time_in(&run.run).map(|(time, _)| date(&time.and_utc().to_rfc3339()));
        let so_far = (!run.holder.dead).then(|| SoFar::of(&run, &counted).ok().flatten()).flatten();
        let scores = so_far.and_then(|it| headline(&it.run.folder, &it.run.record));
        let scores = scores.map(|it| format!("; so far {it}")).unwrap_or_default();
        let headline = format!("{} of {} stages{scores}", counted.ended, counted.all);
        lines.push([begun.unwrap_or_default(), run.pipeline, run.run, state.to_owned(), headline]);
    }
    for (folder, error) in runs::broken(&args.results)? {
        let name = |path: Option<&Path>| {
            path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
        };
        let pipeline = name(folder.parent());
        if args.pipeline.as_ref().is_none_or(|it| *it == pipeline) {
            let run = name(Some(&folder));
            lines.push(["–".into(), pipeline, run, "damaged".into(), error.to_string()]);
        }
    }
    if lines.len() == 1 {
        return Err(Error::Missing(format!("no runs in `{}`", args.results.display())));
    }
    super::print(columns(&lines))?;
    Ok(ExitCode::SUCCESS)
}

/// A time from a record, in the local time zone.
pub(super) fn date(moment: &str) -> String {
    let read = chrono::DateTime::parse_from_rfc3339(moment);
    read.map_or_else(
        |_| moment.to_owned(),
        |it| it.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// The row of a run's first table that stands for it: `dann: source.test 97.0 %, target.test 91.5 %`.
fn headline(folder: &Path, record: &Record) -> Option<String> {
    let rows = CsvRows::read(&fs::read_to_string(folder.join("table.csv")).ok()?).ok()?.rows;
    // The file `table.csv` is that of the table without a name, or of the first.
    let tables = &record.tables;
    let spec = tables.iter().find(|it| it.name.is_none()).or(tables.first())?;
    let ends = spec.gap_closed.iter().flat_map(|gap| [&gap.source_only, &gap.target_trained]);
    let ends: Vec<&String> = ends.chain(&spec.baseline).collect();
    let named = || rows.iter().rev().map(|cell| &cell[0]);
    let row = match &spec.headline {
        Some(row) => row,
        None => named().find(|row| !ends.contains(row)).or_else(|| named().next())?,
    };
    // The first columns are the row, the column and the mean of a cell.
    let cells = rows.iter().filter(|cell| cell[0] == *row && !cell[2].is_empty());
    let short = |number: &str| match number.parse::<f64>() {
        Ok(value) if scores::in_percent(&spec.value) => format!("{:.1} %", 100.0 * value),
        Ok(value) => rounded(value),
        Err(_) => number.to_owned(),
    };
    let cells: Vec<String> = cells.map(|cell| format!("{} {}", cell[1], short(&cell[2]))).collect();
    if cells.is_empty() {
        return None;
    }
    Some(format!("{row}: {}", cells.join(", ")))
}
