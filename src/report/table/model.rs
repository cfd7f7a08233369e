//! What a result table is made of: columns, rows, cells, and what a cell was measured from.

use std::fmt;

use serde::Serialize;

use super::error::Error;
use crate::plan::table_spec::{Spread, Test, Which};
use crate::report::stats;

/// A pivoted table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// What tells it from the other tables of the pipeline.
    pub name: Option<String>,
    /// What stands above it.
    pub caption: Option<String>,
    /// What makes the rows: `model`, `stage`, `dataset` or a swept key.
    pub rows_by: String,
    /// The same for the columns.
    pub columns_by: String,
    /// The metric in the cells.
    pub metric: String,
    /// Whether it is shown in percent.
    pub percent: bool,
    /// The swept keys that were aggregated over.
    pub over: Vec<String>,
    /// What stands beside a mean.
    pub spread: Spread,
    /// Which trials count.
    pub trials: Which,
    /// Whether labels of the target chose the trials: every view must say so.
    pub oracle: bool,
    /// The columns; those of scores first, in the order of the scores.
    pub columns: Vec<Column>,
    /// The rows, in the order of the scores.
    pub rows: Vec<Row>,
    /// How the rows were compared with the baseline.
    pub comparison: Option<Comparison>,
    /// What must be read with it.
    pub notes: Vec<Note>,
    /// Why its numbers are in doubt, for formats that have no room for notes.
    #[serde(skip)]
    pub(super) doubts: Vec<String>,
    /// Whether formats that marked no best cell before it could be asked for mark it.
    #[serde(skip)]
    pub(super) mark_in_markdown: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name; `gap closed` of that kind.
    pub name: String,
    /// What is in it.
    pub kind: Kind,
    /// Whether a column of published numbers stands beside it.
    pub published: bool,
}

/// What is in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The metric.
    Scores,
    /// The share of the gap between two rows that a row closes, 1 for all of it: a ratio of means.
    GapClosed,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

/// A cell. Numbers are in the unit of the scores: an accuracy is from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// Its row's name.
    pub row: String,
    /// Its column's name.
    pub column: String,
    /// How many values it has.
    pub n: usize,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their sample standard deviation, of two or more.
    pub sd: Option<f64>,
    /// The 95 % interval of the mean, by the t distribution, of two or more.
    pub ci95: Option<[f64; 2]>,
    /// Whether no other cell of the column is better.
    pub best: bool,
    /// What the mean is of, in the order of the trials.
    pub values: Vec<Value>,
    /// Trials without a score for it, and why.
    pub without: Vec<Gap>,
    /// Why it has no value at all.
    pub missing: Option<Missing>,
    /// How it differs from the baseline.
    pub difference: Option<Difference>,
    /// What others published.
    pub published: Option<Published>,
}

/// A score of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The trial's name, `000`; empty of a plain run.
    pub trial: String,
    /// Its values of the keys that are aggregated over.
    pub over: Vec<String>,
    /// The score.
    pub value: f64,
    /// The stage that scored.
    pub stage: String,
    /// The model that was scored.
    pub model: String,
    /// Index in [`Scores::trials`].
    #[serde(skip)]
    pub(super) at: usize,
}

/// A trial without a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// The trial's name, `000`; empty of a plain run.
    pub trial: String,
    /// Why.
    pub reason: Missing,
    /// The stage or the reason that the run names.
    pub detail: String,
}

/// Why there is no score. The first counts for a cell whose trials differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A stage failed.
    Failed,
    /// The trial was stopped early, being among the worse.
    Pruned,
    /// The run was interrupted, or has no such trial.
    NotRun,
    /// The trial was not selected.
    NotSelected,
    /// No stage scores this.
    NoSuchPair,
    /// A share of a gap that is no gap.
    Undefined,
}

impl Missing {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Pruned => "pruned",
            Self::NotRun => "not run",
            Self::NotSelected => "not selected",
            Self::NoSuchPair => "no such pair",
            Self::Undefined => "undefined",
        }
    }
}

/// A number of others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// In the unit of the scores.
    pub value: f64,
    /// Where it stands.
    pub cite: String,
    /// The number of the note with the citation, from 1.
    pub note: usize,
}

/// How rows were compared with the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's row.
    pub baseline: String,
    /// The test.
    pub test: Test,
    /// How many comparisons Holm's correction is over.
    pub comparisons: usize,
    /// The fewest and the most pairs of a comparison.
    pub pairs: Option<[usize; 2]>,
    /// The smallest p value that the test can give with the most pairs.
    pub least_p: Option<f64>,
    /// Whether p values are estimates from drawn choices of signs.
    pub drawn: bool,
    /// The level that corrected p values are held against.
    pub level: f64,
}

/// A cell against the baseline's in the same column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Mean of the paired differences.
    pub mean: f64,
    /// How many pairs.
    pub n: usize,
    /// The two-sided p value; `None` where the test says nothing.
    pub p: Option<f64>,
    /// The same after Holm's correction over the table.
    pub p_holm: Option<f64>,
    /// Whether that is below the level.
    pub significant: bool,
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The sign in the table that it explains: `[1]`.
    pub mark: Option<String>,
    /// What it says.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        match &self.mark {
            Some(mark) => write!(to, "{mark} {}", self.text),
            None => write!(to, "{}", self.text),
        }
    }
}

impl Table {
    /// Puts a reason to doubt its numbers among the notes.
    pub fn doubt(&mut self, reason: &str) {
        self.notes.push(Note { mark: None, text: reason.to_owned() });
        self.doubts.push(reason.to_owned());
    }

    /// The cell of a row and a column, if there is one.
    pub fn cell(&self, row: &str, column: &str) -> Option<&Cell> {
        self.cells().find(|cell| cell.row == row && cell.column == column)
    }

    pub(super) fn row(&self, key: &str, name: &str) -> Result<usize, Error> {
        let known = self.rows.iter().map(|row| row.name.as_str());
        known.clone().position(|it| it == name).ok_or_else(|| Error::named(key, "row", name, known))
    }

    pub(super) fn column(&self, key: &str, name: &str) -> Result<usize, Error> {
        let known = self.columns.iter().map(|column| column.name.as_str());
        let found = known.clone().position(|it| it == name);
        found.ok_or_else(|| Error::named(key, "column", name, known))
    }

    /// Every cell, row by row.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.rows.iter().flat_map(|row| &row.cells)
    }

    /// The names of its files, without ending.
    pub fn stem(name: Option<&str>) -> String {
        name.map_or_else(|| "table".to_owned(), |name| format!("table-{name}"))
    }
}

impl Cell {
    /// A cell of `values` with their statistics.
    pub(super) fn of(row: &str, column: &str, values: Vec<Value>) -> Self {
        let numbers: Vec<f64> = values.iter().map(|value| value.value).collect();
        let (mean, sd) =
            stats::mean_and_deviation(&numbers).map_or((None, None), |it| (Some(it.0), it.1));
        let half = sd.and_then(|sd| stats::half_interval(sd, numbers.len()));
        Self {
            row: row.to_owned(),
            column: column.to_owned(),
            n: values.len(),
            mean,
            sd,
            ci95: mean.zip(half).map(|(mean, half)| [mean - half, mean + half]),
            values,
            ..Self::default()
        }
    }
}
