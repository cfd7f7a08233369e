//! The reasons why a table cannot be built, with what to do about them.

use crate::config::diagnostic::suggest;

/// Why a table cannot be built.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// The table names an axis that the scores do not have.
    #[error("`table.{key}` names `{name}`, which the scores do not have; they have {known}")]
    Column {
        /// The key of `[table]` that names it.
        key: &'static str,
        /// The name.
        name: String,
        /// The axes that the scores have.
        known: String,
    },
    /// The scores do not have the metric.
    #[error("`table.value` is `{name}`, which no stage of the run reported; {help}")]
    Metric {
        /// The metric.
        name: String,
        /// The nearest metrics that they have.
        help: String,
    },
    /// A setting names a row or a column that the table does not have.
    #[error("`{key}` names the {what} `{name}`, which the table does not have; {help}")]
    Named {
        /// The setting or command-line option.
        key: String,
        /// `row` or `column`.
        what: &'static str,
        /// The name.
        name: String,
        /// The nearest names that the table has.
        help: String,
    },
    /// A cell has several values that the table does not aggregate.
    #[error("several values for `{row}` / `{column}`: the table does not account for {axes}")]
    Several {
        /// The row.
        row: String,
        /// The column.
        column: String,
        /// The axes in which the values differ.
        axes: String,
    },
    /// The table is of selected trials, and none was selected.
    #[error("the table is of the selected trials, and the run selected none")]
    Selected,
    /// Two columns would look alike.
    #[error("two columns of the table are called `{name}`")]
    Twice {
        /// What stands above both.
        name: String,
    },
    /// `only` leaves no score.
    #[error("`table.only` leaves no score")]
    Nothing,
}

impl TableError {
    pub(super) fn named<'a>(
        key: &str,
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let help = suggest(name, known).unwrap_or_else(|| "it has none".into());
        Self::Named { key: key.to_owned(), what, name: name.to_owned(), help }
    }

    /// Whether the table could be built if the sweep were run.
    pub fn wants_trials(&self) -> bool {
        matches!(self, Self::Named { .. } | Self::Selected | Self::Nothing)
    }

    /// What the user can do.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Several { .. } | Self::Column { .. } => Some(
                "name the axis in `[table]`: `rows`, `columns` or `over`, or hold it with `only`",
            ),
            Self::Selected => {
                Some("write `trials = \"all\"`, or run the sweep with its `[sweep.select]`")
            }
            Self::Twice { .. } => Some("change `column_label`, or leave it or `average` out"),
            Self::Metric { .. } | Self::Named { .. } | Self::Nothing => None,
        }
    }
}
