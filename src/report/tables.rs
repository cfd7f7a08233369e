//! The tables of a run's folder, from its CSVs, and the files that they are written to.

use std::fs;
use std::path::Path;

use super::error::{Error, io_at};
use super::scores::Scores;
use super::table::{self, Table};
use crate::plan::table_spec::TableSpec;

/// The tables of a run, in the order of its pipeline, with the scores that they show.
#[derive(Debug)]
pub struct Tables {
    /// What they show.
    pub scores: Scores,
    /// Each with its name; or why it cannot be made.
    pub tables: Vec<(Option<String>, Result<Table, table::Error>)>,
}

impl Tables {
    /// Every table of a run's folder, from its CSVs; none without scores.
    ///
    /// # Errors
    /// When a file cannot be read, or a `[table]` does not fit the scores.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("pipeline.toml");
        let text = fs::read_to_string(&path).map_err(io_at(&path))?;
        let pipeline: toml::Table = toml::from_str(&text)
            .map_err(|error| Error::Malformed { path, reason: error.to_string() })?;
        Self::by(&pipeline, folder)
    }

    /// As [`Tables::of`], the resolved pipeline being known.
    ///
    /// # Errors
    /// As [`Tables::of`], but for tables that do not fit.
    pub fn by(pipeline: &toml::Table, folder: &Path) -> Result<Self, Error> {
        let specs = TableSpec::of_resolved(pipeline).map_err(|reason| {
            let reason = format!("`[table]` cannot be read: {reason}");
            Error::Malformed { path: folder.join("pipeline.toml"), reason }
        })?;
        let scores = Scores::read(pipeline, &specs, folder)?;
        let mut tables = Vec::new();
        if !scores.scores.is_empty() {
            let made = specs.iter().map(|spec| (spec.name.clone(), Table::new(spec, &scores)));
            // Run plainly, a file with a sweep has nothing for a table of its trials.
            let of_sweep = pipeline.contains_key("sweep") && !scores.sweep;
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
