//! The result table: the scores of a run, pivoted and compared. It computes nothing that a stage should have
//! measured. Each format is one of the files beside this one.

use super::scores::RunScores;
use crate::plan::table_spec::TableSpec;

mod average;
mod build;
mod compare;
mod csv;
mod error;
mod explain;
mod grid;
mod html;
mod latex;
mod markdown;
mod model;
mod notes;
mod ranking;
mod text;

pub use error::TableError;
pub use grid::signs;
pub use model::{
    BaselineComparison, ColumnKind, Difference, Gap, Missing, Note, PublishedCell, ResultTable,
    Sample, TableCell, TableColumn, TableRow,
};
pub use notes::ORACLE;

/// The format that a table is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TableFormat {
    /// Aligned columns.
    Text,
    /// One line per cell, with every digit.
    Csv,
    /// A Markdown table.
    Markdown,
    /// A LaTeX tabular for the booktabs package.
    Latex,
    /// Part of an HTML page.
    Html,
    /// Everything that is known about every cell.
    Json,
}

/// The formats that are written to the folder of a run, with their file extensions.
pub const FILES: [(&str, TableFormat); 5] = [
    ("csv", TableFormat::Csv),
    ("md", TableFormat::Markdown),
    ("tex", TableFormat::Latex),
    ("html", TableFormat::Html),
    ("json", TableFormat::Json),
];

impl ResultTable {
    /// Builds the table of `spec` from the scores of a run. CsvRows and columns keep the order of the scores.
    ///
    /// # Errors
    /// When `spec` names something that the scores do not have, or a cell has several values that it does not
    /// aggregate.
    pub fn new(spec: &TableSpec, scores: &RunScores) -> Result<Self, TableError> {
        let mut table = build::build(spec, scores)?;
        if spec.average {
            average::put(&mut table);
        }
        if let Some(baseline) = &spec.baseline {
            compare::with_baseline(&mut table, baseline, spec.test)?;
        }
        if let Some(gap) = &spec.gap_closed {
            compare::gap_closed(&mut table, gap)?;
        }
        build::columns_differ(&table)?;
        build::mark_best(&mut table, spec.best);
        build::put_published(&mut table, spec, scores.all_pairs)?;
        table.notes = notes::of(&table, spec, scores);
        Ok(table)
    }

    /// A file for BibTeX with what the LaTeX table cites; nothing where no published number has a key.
    pub fn bibliography(&self) -> Option<String> {
        latex::bibliography(self)
    }

    /// Writes the table in a format. With `bold`, the text format marks the best cell of each column.
    pub fn render(&self, format: TableFormat, bold: bool) -> String {
        match format {
            TableFormat::Text => text::render(self, bold),
            TableFormat::Csv => csv::render(self),
            TableFormat::Markdown => markdown::render(self),
            TableFormat::Latex => latex::render(self),
            TableFormat::Html => html::render(self),
            TableFormat::Json => {
                serde_json::to_string_pretty(self).expect("a table is plain data") + "\n"
            }
        }
    }

    /// Explains the cell of `row` and `column`: its arithmetic, and the trials and files behind it.
    ///
    /// # Errors
    /// When there is no such cell.
    pub fn explain(
        &self,
        row: &str,
        column: &str,
        scores: &RunScores,
        folder: &std::path::Path,
    ) -> Result<String, TableError> {
        explain::explain(self, row, column, scores, folder)
    }
}

#[cfg(test)]
mod tests;
