//! The tables of a finished run, and the files that they are written to.

use super::error::Error;
use super::finished::FinishedRun;
use super::scores::Scores;
use super::table::{self, Table};

/// The tables of a run, in the order of its pipeline, with the scores that they show.
#[derive(Debug)]
pub struct Tables<'a> {
    /// What they show.
    pub scores: Scores<'a>,
    /// Each with its name; or why it cannot be made.
    pub tables: Vec<(Option<String>, Result<Table, table::Error>)>,
}

impl<'a> Tables<'a> {
    /// Every table of a run as people are to see it, with what must be said beside its numbers; none
    /// without scores.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(run: &'a FinishedRun) -> Result<Self, Error> {
        let mut tables = Self::as_written(run)?;
        for table in tables.tables.iter_mut().filter_map(|(_, table)| table.as_mut().ok()) {
            run.doubts.iter().for_each(|doubt| table.doubt(doubt));
        }
        Ok(tables)
    }

    /// As [`Tables::of`], without what was learned about the run since it was written: what its files hold.
    ///
    /// # Errors
    /// As [`Tables::of`].
    pub fn as_written(run: &'a FinishedRun) -> Result<Self, Error> {
        let scores = Scores::of(run)?;
        let mut tables = Vec::new();
        if !scores.scores.is_empty() {
            let specs = run.record.tables.iter();
            let made = specs.map(|spec| (spec.name.clone(), Table::new(spec, &scores)));
            // Run plainly, a file with a sweep has nothing for a table of its trials.
            let of_sweep = run.pipeline.contains_key("sweep") && !scores.sweep;
            let fits = |error: &table::Error| !of_sweep || !error.wants_trials();
            tables.extend(made.filter(|(_, table)| table.as_ref().err().is_none_or(fits)));
        }
        Ok(Self { scores, tables })
    }

    /// Those that can be made.
    pub fn good(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter_map(|(_, table)| table.as_ref().ok())
    }

    /// All of them.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn all(self) -> Result<Vec<Table>, table::Error> {
        self.tables.into_iter().map(|(_, table)| table).collect()
    }

    /// The name and the text of every file. The first table has the plain name `table` too when no
    /// other has it, so that there always is one.
    pub fn files(&self) -> Vec<(String, String)> {
        let plain = self.tables.iter().any(|(name, _)| name.is_none());
        let mut files = Vec::new();
        for (at, (name, table)) in self.tables.iter().enumerate() {
            let Ok(table) = table else { continue };
            let first = (at == 0 && !plain).then(|| Table::stem(None));
            for stem in std::iter::once(Table::stem(name.as_deref())).chain(first) {
                let file = |(ending, format): &(&str, table::Format)| {
                    (format!("{stem}.{ending}"), table.render(*format, false))
                };
                files.extend(table::FILES.iter().map(file));
            }
        }
        files
    }
}
