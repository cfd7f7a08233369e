//! The result table: the scores of a run, pivoted and compared. It computes nothing that a stage should have
//! measured. Each format is one of the files beside this one.

use super::scores::Scores;
use crate::plan::table_spec::TableSpec;

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
mod text;

pub use error::Error;
pub use model::{
    Cell, Column, Comparison, Difference, Gap, Kind, Missing, Note, Published, Row, Table, Value,
};
pub use notes::ORACLE;

/// The format that a table is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
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
pub const FILES: [(&str, Format); 5] = [
    ("csv", Format::Csv),
    ("md", Format::Markdown),
    ("tex", Format::Latex),
    ("html", Format::Html),
    ("json", Format::Json),
];

impl Table {
    /// Builds the table of `spec` from the scores of a run. Rows and columns keep the order of the scores.
    ///
    /// # Errors
    /// When `spec` names something that the scores do not have, or a cell has several values that it does not
    /// aggregate.
    pub fn new(spec: &TableSpec, scores: &Scores) -> Result<Self, Error> {
        let mut table = build::build(spec, scores)?;
        if let Some(baseline) = &spec.baseline {
            compare::with_baseline(&mut table, baseline, spec.test)?;
        }
        if let Some(gap) = &spec.gap_closed {
            compare::gap_closed(&mut table, gap)?;
        }
        build::mark_best(&mut table, spec.best);
        build::put_published(&mut table, &spec.published)?;
        table.notes = notes::of(&table, spec, scores);
        Ok(table)
    }

    /// Writes the table in a format. With `bold`, the text format marks the best cell of each column.
    pub fn render(&self, format: Format, bold: bool) -> String {
        match format {
            Format::Text => text::render(self, bold),
            Format::Csv => csv::render(self),
            Format::Markdown => markdown::render(self),
            Format::Latex => latex::render(self),
            Format::Html => html::render(self),
            Format::Json => {
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
        scores: &Scores,
        folder: &std::path::Path,
    ) -> Result<String, Error> {
        explain::explain(self, row, column, scores, folder)
    }
}

#[cfg(test)]
mod tests;
