//! Why there is no table.

use crate::config::diagnostic::suggest;

/// Why there is no table.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The scores have no such column.
    #[error("`table.{key}` names `{name}`, which the scores do not have; they have {known}")]
    Column {
        /// The key of `[table]`.
        key: &'static str,
        /// What it names.
        name: String,
        /// What there is.
        known: String,
    },
    /// The scores have no such metric.
    #[error("`table.value` is `{name}`, which no stage of the run reported; {help}")]
    Metric {
        /// The metric.
        name: String,
        /// What there is.
        help: String,
    },
    /// A setting names a row or a column that is not there.
    #[error("`{key}` names the {what} `{name}`, which the table does not have; {help}")]
    Named {
        /// The setting or option.
        key: String,
        /// `row` or `column`.
        what: &'static str,
        /// What it names.
        name: String,
        /// What there is.
        help: String,
    },
    /// Several values for one cell.
    #[error("several values for `{row}` / `{column}`: the table does not account for {axes}")]
    Several {
        /// Row.
        row: String,
        /// Column.
        column: String,
        /// The axes that differ.
        axes: String,
    },
    /// Not a number.
    #[error("the score `{0}` is not a number")]
    Number(String),
    /// Nothing was selected.
    #[error("the table is of the selected trials, and the run selected none")]
    Selected,
    /// Nothing was left.
    #[error("`table.only` leaves no score")]
    Nothing,
}

impl Error {
    pub(super) fn named<'a>(
        key: &str,
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let help = suggest(name, known).unwrap_or_else(|| "it has none".into());
        Self::Named { key: key.to_owned(), what, name: name.to_owned(), help }
    }

    /// Whether trials of a sweep could make it good.
    pub fn wants_trials(&self) -> bool {
        matches!(self, Self::Named { .. } | Self::Selected | Self::Nothing)
    }

    /// What to do.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Several { .. } | Self::Column { .. } => Some(
                "name the axis in `[table]`: `rows`, `columns` or `over`, or hold it with `only`",
            ),
            Self::Selected => {
                Some("write `trials = \"all\"`, or run the sweep with its `[sweep.select]`")
            }
            _ => None,
        }
    }
}
