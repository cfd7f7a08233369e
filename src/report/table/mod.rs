//! The result table: scores of a run pivoted, with what they say together. Computes nothing that a
//! stage should have; how it looks is for the files beside this one.

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

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// Every digit.
    Csv,
    /// A Markdown table.
    Markdown,
    /// A LaTeX tabular, for the package booktabs.
    Latex,
    /// A part of an HTML page.
    Html,
    /// Everything that is known of every cell.
    Json,
}

/// The formats that a run's folder gets, with the endings of their files.
pub const FILES: [(&str, Format); 5] = [
    ("csv", Format::Csv),
    ("md", Format::Markdown),
    ("tex", Format::Latex),
    ("html", Format::Html),
    ("json", Format::Json),
];

impl Table {
    /// The table of `spec` over the scores of a run; rows and columns in the order of the scores.
    ///
    /// # Errors
    /// When something that `spec` names is not there, or a cell has several values that it does not
    /// account for.
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

    /// The table in a format; `bold` marks the best of each column in text.
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

    /// What the cell of `row` and `column` was made of: the arithmetic, and the runs and files behind
    /// it.
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
