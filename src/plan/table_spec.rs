//! What a result table shows: the settings of `[table]` as plain data. They are read from a file in
//! [`super::tables`], and back from a resolved pipeline here.

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::node::label_text;
use crate::config::words;

/// `[table]`, or one of several `[[table]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct TableSpec {
    /// What tells it from the other tables of the file.
    pub name: Option<String>,
    /// What stands above it.
    pub caption: Option<String>,
    /// `model`, `stage`, `dataset` or a swept key: what makes the rows.
    pub rows: String,
    /// The same for the columns.
    pub columns: String,
    /// The metric in the cells.
    pub value: String,
    /// Swept keys to aggregate over; `pipeline.seed`, where that is swept, when none is named.
    #[serde(deserialize_with = "one_or_several")]
    pub over: Vec<String>,
    /// What scores must be of, to count: facts or swept keys with the values that they may have.
    #[serde(deserialize_with = "allowed")]
    pub only: Vec<(String, Vec<String>)>,
    /// What stands beside a mean.
    pub spread: Spread,
    /// Which cell of a column is its best. When left out, as [`Best::Auto`] but in Markdown, which
    /// then marks none.
    pub best: Option<Best>,
    /// Which trials count.
    pub trials: Which,
    /// The row that the others are compared with.
    pub baseline: Option<String>,
    /// How they are compared.
    pub test: Test,
    /// The column that says how much of the gap between two rows the others close.
    pub gap_closed: Option<GapClosed>,
    /// Numbers of others.
    pub published: Vec<Published>,
}

impl Default for TableSpec {
    fn default() -> Self {
        Self {
            name: None,
            caption: None,
            rows: "model".into(),
            columns: "dataset".into(),
            value: "accuracy".into(),
            over: Vec::new(),
            only: Vec::new(),
            spread: Spread::Sd,
            best: None,
            trials: Which::All,
            baseline: None,
            test: Test::Permutation,
            gap_closed: None,
            published: Vec::new(),
        }
    }
}

words! {
    /// What stands beside a mean.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Spread {
        /// The sample standard deviation.
        Sd = "sd",
        /// Half the width of the 95 % interval of the mean, by the t distribution.
        Ci95 = "ci95",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// Which cell of a column is its best.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Best {
        /// What the metric says, where the rows are rivals: not of splits or seeds.
        Auto = "auto",
        /// The highest.
        Max = "max",
        /// The lowest.
        Min = "min",
        /// None.
        None = "none",
    }
}

words! {
    /// Which trials of a sweep count.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Which {
        /// All.
        All = "all",
        /// Those that `[sweep.select]` chose.
        Selected = "selected",
    }
}

words! {
    /// A paired test.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Test {
        /// Of all signs that the differences could have.
        Permutation = "permutation",
        /// Student's.
        T = "t",
    }
}

/// Two rows and the column in which they are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapClosed {
    /// The row without adaptation: 0.
    pub source_only: String,
    /// The row that learned from the target's labels: 1.
    pub target_trained: String,
    /// The column.
    pub on: String,
}

/// A number of others, for one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The cell's row.
    pub row: String,
    /// The cell's column.
    pub column: String,
    /// In the unit of the scores: an accuracy is from 0 to 1.
    pub value: f64,
    /// Where it stands.
    pub cite: String,
}

impl TableSpec {
    /// The tables of a resolved pipeline; one with every default where it names none.
    ///
    /// # Errors
    /// When there is something else at `table`.
    pub fn of_resolved(pipeline: &toml::Table) -> Result<Vec<Self>, String> {
        let read = |value: &toml::Value| value.clone().try_into().map_err(|it| format!("{it}"));
        match pipeline.get("table") {
            None => Ok(vec![Self::default()]),
            Some(toml::Value::Array(tables)) => tables.iter().map(read).collect(),
            Some(table) => Ok(vec![read(table)?]),
        }
    }

    /// Whether it is about the keys of a sweep, so that a single trial has no such table.
    pub fn needs_sweep(&self, swept: &[&str]) -> bool {
        let only = self.only.iter().map(|(key, _)| key);
        let named = [&self.rows, &self.columns].into_iter().chain(&self.over).chain(only);
        self.trials == Which::Selected || named.into_iter().any(|it| swept.contains(&it.as_str()))
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Keys {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Keys::deserialize(from)? {
        Keys::One(key) => vec![key],
        Keys::Several(keys) => keys,
    })
}

/// The values that a key may have, as they stand in tables.
pub(super) fn allowed_values(value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::Array(items) => items.iter().map(label_text).collect(),
        one => vec![label_text(one)],
    }
}

fn allowed<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, Vec<String>)>, D::Error> {
    let table = toml::Table::deserialize(from)?;
    Ok(table.iter().map(|(key, value)| (key.clone(), allowed_values(value))).collect())
}
