//! What a result table shows: the settings of `[table]` as plain data. [`super::tables`] reads them from a
//! file and knows their defaults; the record of a run keeps every one of them.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::column_label::ColumnLabel;
use crate::config::sweep::{DOMAINS, PAIR};
use crate::config::words;

/// `[table]`, or one of several `[[table]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSpec {
    /// What tells it from the other tables of the file.
    pub name: Option<String>,
    /// What stands above it.
    pub caption: Option<String>,
    /// `model`, `stage`, `dataset` or a swept key: what makes the rows.
    pub rows: String,
    /// The same for the columns.
    pub columns: Columns,
    /// What stands above a column in place of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column_label: Option<ColumnLabel>,
    /// Whether there is a column with the mean of the others.
    #[serde(default, skip_serializing_if = "is_not")]
    pub average: bool,
    /// The metric in the cells.
    pub value: String,
    /// Swept keys to aggregate over; `pipeline.seed`, where that is swept, when none is named.
    pub over: Vec<String>,
    /// What scores must be of, to count: facts or swept keys with the values that they may have.
    pub only: IndexMap<String, Vec<String>>,
    /// What stands beside a mean.
    pub spread: Spread,
    /// Which cell of a column is its best. When left out, as [`Best::Auto`] but in Markdown, which
    /// then marks none.
    pub best: Option<Best>,
    /// Which trials count.
    pub trials: Which,
    /// The row that stands for the run where there is place for one alone.
    #[serde(default)]
    pub headline: Option<String>,
    /// The row that the others are compared with.
    pub baseline: Option<String>,
    /// How they are compared.
    pub test: Test,
    /// The column that says how much of the gap between two rows the others close.
    pub gap_closed: Option<GapClosed>,
    /// Numbers of others.
    pub published: Vec<Published>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

/// `model`, `stage`, `dataset` or a swept key, or several of these: a column for every combination of their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrSeveral", into = "OneOrSeveral")]
pub struct Columns(pub Vec<String>);

/// The record of one is what it was before there were several.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<String>),
}

impl From<OneOrSeveral> for Columns {
    fn from(columns: OneOrSeveral) -> Self {
        match columns {
            OneOrSeveral::One(word) => Self(vec![word]),
            OneOrSeveral::Several(words) => Self(words),
        }
    }
}

impl From<Columns> for OneOrSeveral {
    fn from(Columns(mut words): Columns) -> Self {
        if words.len() == 1 { Self::One(words.remove(0)) } else { Self::Several(words) }
    }
}

/// The column with the mean of the others.
pub const AVERAGE: &str = "average";

/// Between the values of a column.
const BETWEEN: &str = " / ";

impl Columns {
    /// Whether `word` is one of those that make the columns.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|it| it == word)
    }

    /// The words as one text.
    pub fn text(&self) -> String {
        self.0.join(BETWEEN)
    }

    /// The name of the column of these values.
    pub fn name(values: &[String]) -> String {
        values.join(BETWEEN)
    }

    /// The values that the column called `name` is of, each with the word that it is a value of; `None` where there
    /// are not as many.
    pub fn values<'a>(&'a self, name: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        if let [word] = &self.0[..] {
            return Some(vec![(word, name)]);
        }
        let values: Vec<&str> = name.split(BETWEEN).collect();
        let both = self.0.iter().map(String::as_str).zip(values.iter().copied()).collect();
        (values.len() == self.0.len()).then_some(both)
    }

    /// What a label may name: the words, and both domains of a pair.
    pub fn placeholders(&self) -> Vec<&str> {
        let domains: &[&str] = if self.has(PAIR) { &DOMAINS } else { &[] };
        self.0.iter().map(String::as_str).chain(domains.iter().copied()).collect()
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
    /// What a bibliography calls it, for LaTeX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl TableSpec {
    /// The keys that cells aggregate over where they are swept.
    pub fn aggregated(&self) -> Vec<&str> {
        match self.over.is_empty() {
            true => vec!["pipeline.seed"],
            false => self.over.iter().map(String::as_str).collect(),
        }
    }

    /// Whether it is about the keys of a sweep, so that a single trial has no such table.
    pub fn needs_sweep(&self, swept: &[&str]) -> bool {
        let named =
            self.columns.0.iter().chain([&self.rows]).chain(&self.over).chain(self.only.keys());
        self.trials == Which::Selected || named.into_iter().any(|it| swept.contains(&it.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_table_shows_the_accuracy_of_models_by_data_set_and_survives_a_record() {
        let usual = TableSpec::default();
        assert_eq!([&usual.rows, &usual.value], ["model", "accuracy"]);
        assert_eq!(usual.columns.0, ["dataset"]);
        assert_eq!((usual.spread, usual.best, usual.trials), (Spread::Sd, None, Which::All));
        let text = serde_json::to_string(&usual).unwrap();
        assert_eq!(serde_json::from_str::<TableSpec>(&text).unwrap(), usual);
        // As in records of versions whose tables had columns of one thing.
        assert!(text.contains("\"columns\":\"dataset\",\"value\""), "{text}");
    }

    #[test]
    fn a_column_of_several_things_is_named_by_its_values() {
        let columns = Columns(vec!["pair".into(), "dataset".into()]);
        let name = Columns::name(&["a → b".into(), "target.test".into()]);
        assert_eq!(name, "a → b / target.test");
        let values = columns.values(&name).unwrap();
        assert_eq!(values, [("pair", "a → b"), ("dataset", "target.test")]);
        assert_eq!(columns.values("a → b"), None);
        assert_eq!(columns.placeholders(), ["pair", "dataset", "source", "target"]);
        let text = serde_json::to_string(&columns).unwrap();
        assert_eq!(serde_json::from_str::<Columns>(&text).unwrap(), columns);
    }
}
