//! `runner ls`: lists every run with its date, state and headline.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::columns::columns;
use crate::cli::LsArgs;
use crate::metrics::rounded;
use crate::report::csv::CsvRows;
use crate::report::runs;

/// Lists the runs, the newest last.
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
            headline(&folder).unwrap_or_default(),
        ]);
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

/// The last row of the table of a run: `dann: source.test 0.9701, target.test 0.9146`.
fn headline(folder: &Path) -> Option<String> {
    let rows = CsvRows::read(&fs::read_to_string(folder.join("table.csv")).ok()?).ok()?;
    let last = rows.rows.last()?.first()?;
    // The first columns are the row, the column and the mean of a cell.
    let cells = rows.rows.iter().filter(|cell| cell[0] == *last && !cell[2].is_empty());
    let cells: Vec<String> = cells.map(|cell| format!("{} {}", cell[1], short(&cell[2]))).collect();
    Some(format!("{last}: {}", cells.join(", ")))
}

fn short(number: &str) -> String {
    number.parse::<f64>().map_or_else(|_| number.to_owned(), rounded)
}
