//! `runner ls`: lists every run with its date, state and headline.

use std::path::Path;
use std::process::ExitCode;

use super::Error;
use super::columns::columns;
use super::headline::headline;
use super::so_far::SoFar;
use crate::cli::LsArgs;
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
