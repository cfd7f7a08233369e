//! The result table as plain data: its columns, rows and cells, and the scores behind each cell. Nothing here
//! decides what a table shows.

use std::fmt;

use serde::Serialize;

use super::error::TableError;
use crate::plan::table_spec::{Spread, Test, Which};
use crate::report::stats;

/// A pivoted table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultTable {
    /// Its name among the tables of the pipeline.
    pub name: Option<String>,
    /// The caption above it.
    pub caption: Option<String>,
    /// What its rows stand for: `model`, `stage`, `dataset` or a swept key.
    pub rows_by: String,
    /// What its columns stand for.
    pub columns_by: String,
    /// The metric in the cells.
    pub metric: String,
    /// Whether the metric is shown in percent.
    pub percent: bool,
    /// The swept keys that cells aggregate over.
    pub over: Vec<String>,
    /// What is shown beside a mean.
    pub spread: Spread,
    /// Which trials count.
    pub trials: Which,
    /// Whether target labels selected the trials. Every format must say so.
    pub oracle: bool,
    /// The columns: first those of scores, in the order of the scores.
    pub columns: Vec<TableColumn>,
    /// The rows, in the order of the scores.
    pub rows: Vec<TableRow>,
    /// How the rows were compared with the baseline.
    pub comparison: Option<BaselineComparison>,
    /// The notes below it.
    pub notes: Vec<Note>,
    /// Why its numbers are in doubt, for the format that has no notes.
    #[serde(skip)]
    pub(super) doubts: Vec<String>,
    /// Whether Markdown marks the best cell, which it does only where `best` is set.
    #[serde(skip)]
    pub(super) mark_in_markdown: bool,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// What stands above it in place of its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What its cells hold.
    pub kind: ColumnKind,
    /// Whether a column of published numbers is shown beside it.
    pub published: bool,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Scores of the metric.
    Scores,
    /// The mean of the columns of scores.
    Average,
    /// The share of the gap between two rows that a row closes, as a ratio of means: 1 for all of it.
    GapClosed,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// One cell per column.
    pub cells: Vec<TableCell>,
}

/// A cell. Its numbers have the unit of the scores: an accuracy is from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TableCell {
    /// The name of its row.
    pub row: String,
    /// The name of its column.
    pub column: String,
    /// The number of its values.
    pub n: usize,
    /// Their mean.
    pub mean: Option<f64>,
    /// Their sample standard deviation, for two or more values.
    pub sd: Option<f64>,
    /// The 95 % confidence interval of the mean by the t distribution, for two or more values.
    pub ci95: Option<[f64; 2]>,
    /// Whether no other cell of the column is better.
    pub best: bool,
    /// The values, in the order of the trials.
    pub values: Vec<Sample>,
    /// The trials without a score for it, and why.
    pub without: Vec<Gap>,
    /// Why it has no value at all.
    pub missing: Option<Missing>,
    /// How many of its values, or of those that it is the average of, are of models whose predicted classes collapse on
    /// the target.
    #[serde(skip_serializing_if = "is_none")]
    pub collapsed: usize,
    /// How many of its values, or of those that it is the average of, depend on a program that saw labels of the target.
    #[serde(skip_serializing_if = "is_none")]
    pub target_labels: usize,
    /// Its difference from the baseline.
    pub difference: Option<Difference>,
    /// The number that others published for it.
    pub published: Option<PublishedCell>,
}

/// Whether a count is of nothing: tables say nothing of it then.
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// A score of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// The name of the trial, such as `000`; empty for a plain run. An average names all of its trials.
    pub trial: String,
    /// The values of its trial for the keys that are aggregated over.
    pub over: Vec<String>,
    /// The score.
    pub value: f64,
    /// The stage that scored.
    pub stage: String,
    /// The model that was scored.
    pub model: String,
    /// Index in `RunScores::trials`.
    #[serde(skip)]
    pub(super) at: usize,
}

/// A trial without a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gap {
    /// The name of the trial, such as `000`; empty for a plain run.
    pub trial: String,
    /// Why there is none.
    pub reason: Missing,
    /// The stage and the message that the run gives as the reason.
    pub detail: String,
}

/// Why there is no score. Where the trials of a cell differ, the first of these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A stage failed.
    Failed,
    /// The search ended the trial early.
    Pruned,
    /// The run was interrupted before it, or has no such trial.
    NotRun,
    /// The trial was not selected.
    NotSelected,
    /// No stage scores this pair.
    NoSuchPair,
    /// Not all columns have a number that it is the average of.
    Incomplete,
    /// The gap is zero, so nothing has a share of it; or numbers are all equal, so that nothing correlates with
    /// them.
    Undefined,
}

impl Missing {
    /// The words that tables show.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Pruned => "pruned",
            Self::NotRun => "not run",
            Self::NotSelected => "not selected",
            Self::NoSuchPair => "no such pair",
            Self::Incomplete => "incomplete",
            Self::Undefined => "undefined",
        }
    }
}

/// A number that others published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublishedCell {
    /// In the unit of the scores.
    pub value: f64,
    /// The citation.
    pub cite: String,
    /// What a bibliography calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The number of the note that has the citation, counted from 1.
    pub note: usize,
}

/// How rows were compared with the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaselineComparison {
    /// The row that the others are compared with.
    pub baseline: String,
    /// The test.
    pub test: Test,
    /// The number of comparisons that Holm's correction covers.
    pub comparisons: usize,
    /// The smallest and the largest number of pairs in a comparison.
    pub pairs: Option<[usize; 2]>,
    /// The smallest p value that the test can reach with the most pairs.
    pub least_p: Option<f64>,
    /// Whether p values are estimated from randomly drawn choices of signs.
    pub drawn: bool,
    /// The significance level of corrected p values.
    pub level: f64,
}

/// The difference between a cell and the baseline's cell in the same column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The mean of the paired differences.
    pub mean: f64,
    /// The number of pairs.
    pub n: usize,
    /// The two-sided p value; `None` where the test has none.
    pub p: Option<f64>,
    /// The p value after Holm's correction over the table.
    pub p_holm: Option<f64>,
    /// Whether the corrected p value is below the level.
    pub significant: bool,
}

/// A note below a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The sign in the table that it explains: `[1]`.
    pub mark: Option<String>,
    /// Its text.
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

impl ResultTable {
    /// Adds a reason to doubt its numbers to the notes.
    pub fn doubt(&mut self, reason: &str) {
        self.notes.push(Note { mark: None, text: reason.to_owned() });
        self.doubts.push(reason.to_owned());
    }

    /// The cell of a row and a column, if there is one.
    pub fn cell(&self, row: &str, column: &str) -> Option<&TableCell> {
        self.cells().find(|cell| cell.row == row && cell.column == column)
    }

    pub(super) fn row(&self, key: &str, name: &str) -> Result<usize, TableError> {
        let known = self.rows.iter().map(|row| row.name.as_str());
        known
            .clone()
            .position(|it| it == name)
            .ok_or_else(|| TableError::named(key, "row", name, known))
    }

    pub(super) fn column(&self, key: &str, name: &str) -> Result<usize, TableError> {
        let known = self.columns.iter().map(|column| column.name.as_str());
        let found = known.clone().position(|it| it == name);
        let labelled = || self.columns.iter().position(|it| it.label.as_deref() == Some(name));
        found.or_else(labelled).ok_or_else(|| TableError::named(key, "column", name, known))
    }

    /// Every cell, row by row.
    pub fn cells(&self) -> impl Iterator<Item = &TableCell> {
        self.rows.iter().flat_map(|row| &row.cells)
    }

    /// The name of its files, without their extension.
    pub fn stem(name: Option<&str>) -> String {
        name.map_or_else(|| "table".to_owned(), |name| format!("table-{name}"))
    }
}

impl TableColumn {
    /// A column that has its name above it, and no published numbers yet.
    pub(super) fn plain(name: &str, kind: ColumnKind) -> Self {
        Self { name: name.to_owned(), label: None, kind, published: false }
    }

    /// What stands above it.
    pub(super) fn shown(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

impl TableCell {
    /// The cell that has these `values`, with their statistics.
    pub(super) fn of(row: &str, column: &str, values: Vec<Sample>) -> Self {
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
