//! What all formats write in the same words: column heads, numbers, differences, and the columns of
//! published numbers beside the measured ones.

use super::model::{ColumnKind, Missing, ResultTable, TableCell};
use crate::metrics::rounded;
use crate::plan::table_spec::Spread;
use crate::report::target_labels;

/// The sign after a number that models are part of whose predicted classes collapse on the target.
pub(super) const COLLAPSED: &str = "†";

/// The sign after a number that depends on a program which saw labels of the target.
pub(super) const SAW_LABELS: &str = "‡";

/// The signs after a number that so many models are part of whose predicted classes collapse, and so many that depend on a
/// program which saw labels of the target; each with what it says, for what shows numbers without the notes of a table.
pub fn signs(
    collapsed: usize,
    target_labels: usize,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = [
        (collapsed, COLLAPSED, "predicted classes collapse on the target"),
        (target_labels, SAW_LABELS, target_labels::NOTE),
    ];
    all.into_iter().filter(|it| it.0 > 0).map(|(_, sign, says)| (sign, says))
}

/// A column as a format shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownColumn {
    /// A measured column of the table.
    Measured(usize),
    /// The published numbers beside a measured column.
    Published(usize),
}

/// The signs that a format uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// Between a mean and its spread.
    pub between: &'static str,
    /// Before a difference.
    pub delta: &'static str,
    /// After a significant difference.
    pub star: &'static str,
    /// After a number that models are part of whose predicted classes collapse on the target.
    pub collapsed: &'static str,
    /// After a number that depends on a program which saw labels of the target.
    pub saw_labels: &'static str,
    /// Whether p values are shown beside differences.
    pub p: bool,
}

impl Signs {
    /// Those of a format that shows plain text.
    pub(super) const PLAIN: Self = Self {
        between: " ± ",
        delta: "Δ ",
        star: "*",
        collapsed: COLLAPSED,
        saw_labels: SAW_LABELS,
        p: true,
    };
}

impl ResultTable {
    /// The columns from left to right, without the column of row names.
    pub(super) fn shown(&self) -> Vec<ShownColumn> {
        let mut shown = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            shown.push(ShownColumn::Measured(at));
            if column.published {
                shown.push(ShownColumn::Published(at));
            }
        }
        shown
    }

    /// The head of a column.
    pub(super) fn head(&self, shown: ShownColumn) -> String {
        match shown {
            ShownColumn::Measured(at) => match self.columns[at].kind {
                ColumnKind::Scores | ColumnKind::Average => self.columns[at].shown().to_owned(),
                ColumnKind::GapClosed => format!("{} (%)", self.columns[at].name),
            },
            ShownColumn::Published(at) => format!("{} (published)", self.columns[at].shown()),
        }
    }

    /// A number of a column, rounded for people.
    pub(super) fn number(&self, column: usize, value: f64) -> String {
        let percent = self.percent || self.columns[column].kind == ColumnKind::GapClosed;
        if percent { format!("{:.1}", value * 100.0) } else { rounded(value) }
    }

    /// Mean, spread and count of a cell, or why it has no value.
    pub(super) fn measured(&self, column: usize, cell: &TableCell, signs: Signs) -> String {
        let Some(mean) = cell.mean else {
            return cell.missing.map_or("–", Missing::word).to_owned();
        };
        let mean = self.number(column, mean);
        let half = cell.ci95.map(|[low, high]| (high - low) / 2.0);
        let spread = match self.spread {
            Spread::Sd => cell.sd,
            Spread::Ci95 => half,
            Spread::None => None,
        };
        let marks = [(cell.collapsed, signs.collapsed), (cell.target_labels, signs.saw_labels)];
        let mark: String =
            marks.into_iter().filter(|(count, _)| *count > 0).map(|(_, sign)| sign).collect();
        match spread {
            Some(spread) => {
                let spread = self.number(column, spread);
                format!("{mean}{}{spread} (n={}){mark}", signs.between, cell.n)
            }
            None => format!("{mean}{mark}"),
        }
    }

    /// `Δ +33.9* (p=0.012)`; empty without a difference.
    pub(super) fn compared(&self, column: usize, cell: &TableCell, signs: Signs) -> String {
        let Some(difference) = &cell.difference else { return String::new() };
        let number = self.number(column, difference.mean);
        let plus = if difference.mean >= 0.0 { "+" } else { "" };
        let star = if difference.significant { signs.star } else { "" };
        let p = match difference.p_holm.filter(|_| signs.p) {
            Some(p) => format!(" (p{})", p_value(p)),
            None => String::new(),
        };
        format!("{}{plus}{number}{star}{p}", signs.delta)
    }

    /// A published number with the number of its citation; empty where nothing was published.
    pub(super) fn published(&self, column: usize, cell: &TableCell) -> String {
        let one = cell.published.as_ref();
        one.map_or_else(String::new, |one| {
            format!("{} [{}]", self.number(column, one.value), one.note)
        })
    }
}

/// `=0.012`, `<0.001`.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".into() } else { format!("={p:.3}") }
}
