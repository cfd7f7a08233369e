//! Builds the tables of a finished run, and names the files that they are written to. The tables themselves
//! are pivoted and rendered in [`super::table`].

use super::error::Error;
use super::finished::FinishedRun;
use super::ranking::{Ranking, file};
use super::scores::RunScores;
use super::table::{self, ResultTable};

/// The tables of a run in the order of its pipeline, and the scores that they show.
#[derive(Debug)]
pub struct Tables<'a> {
    /// All scores of the run.
    pub scores: RunScores<'a>,
    /// Each table with its name, or the reason why it cannot be built.
    pub tables: Vec<(Option<String>, Result<ResultTable, table::TableError>)>,
}

impl<'a> Tables<'a> {
    /// Every table of a run as people are to see it, with the doubts about the run among its notes. A run
    /// without scores has none.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(run: &'a FinishedRun) -> Result<Self, Error> {
        let mut tables = Self::as_written(run)?;
        for table in tables.tables.iter_mut().filter_map(|(_, table)| table.as_mut().ok()) {
            run.doubts.iter().chain(&tables.scores.unread).for_each(|doubt| table.doubt(doubt));
        }
        Ok(tables)
    }

    /// The same tables without those doubts: what the files of the run hold.
    ///
    /// # Errors
    /// As [`Tables::of`].
    pub fn as_written(run: &'a FinishedRun) -> Result<Self, Error> {
        let scores = RunScores::of(run)?;
        let mut tables = Vec::new();
        if !scores.scores.is_empty() {
            let specs = run.record.tables.iter();
            let made = specs.map(|spec| (spec.name.clone(), ResultTable::new(spec, &scores)));
            // A plain run of a file with a sweep has nothing to show in a table of its trials.
            let of_sweep = run.pipeline.contains_key("sweep") && !scores.sweep;
            let fits = |error: &table::TableError| !of_sweep || !error.wants_trials();
            tables.extend(made.filter(|(_, table)| table.as_ref().err().is_none_or(fits)));
        }
        Ok(Self { scores, tables })
    }

    /// The tables of the rankings of scores that need no labels of the target, with the doubts about the run among
    /// their notes.
    ///
    /// # Errors
    /// As [`Tables::of`].
    pub fn of_rankings(run: &FinishedRun) -> Result<Vec<ResultTable>, Error> {
        let scores = RunScores::of(run)?;
        let rankings = Ranking::all(&scores);
        let mut tables: Vec<ResultTable> =
            rankings.iter().flat_map(|it| ResultTable::of_ranking(it, &scores)).collect();
        for table in &mut tables {
            run.doubts.iter().chain(&scores.unread).for_each(|doubt| table.doubt(doubt));
        }
        Ok(tables)
    }

    /// The name and the text of the file of these rankings, where there are some.
    pub fn ranking_file(&self) -> Option<(&'static str, String)> {
        let text = file::text(&Ranking::all(&self.scores), &self.scores)?;
        Some((file::NAME, text))
    }

    /// The tables that can be built.
    pub fn good(&self) -> impl Iterator<Item = &ResultTable> {
        self.tables.iter().filter_map(|(_, table)| table.as_ref().ok())
    }

    /// All tables.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn all(self) -> Result<Vec<ResultTable>, table::TableError> {
        self.tables.into_iter().map(|(_, table)| table).collect()
    }

    /// The name and the text of every file. Where every table has a name, the first is also written as plain
    /// `table`, so that scripts always find one.
    pub fn files(&self) -> Vec<(String, String)> {
        let plain = self.tables.iter().any(|(name, _)| name.is_none());
        let mut files = Vec::new();
        for (at, (name, table)) in self.tables.iter().enumerate() {
            let Ok(table) = table else { continue };
            let first = (at == 0 && !plain).then(|| ResultTable::stem(None));
            for stem in std::iter::once(ResultTable::stem(name.as_deref())).chain(first) {
                let file = |(ending, format): &(&str, table::TableFormat)| {
                    (format!("{stem}.{ending}"), table.render(*format, false))
                };
                files.extend(table::FILES.iter().map(file));
                files.extend(table.bibliography().map(|text| (format!("{stem}.bib"), text)));
            }
        }
        files
    }
}
