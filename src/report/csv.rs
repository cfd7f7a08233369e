//! Tables of text, as the CSVs of a run hold them.

use crate::metrics::csv::text;

/// A header and rows as wide as it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvRows {
    /// Column names.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl CsvRows {
    /// As CSV with `\n` line ends.
    pub fn text(&self) -> String {
        text(std::iter::once(&self.header).chain(&self.rows))
    }

    /// Reads CSV text.
    ///
    /// # Errors
    /// When it is not CSV, or rows differ in width.
    pub fn read(text: &str) -> Result<Self, csv::Error> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers()?.iter().map(str::to_owned).collect();
        let rows = reader
            .records()
            .map(|row| Ok(row?.iter().map(str::to_owned).collect()))
            .collect::<Result<_, csv::Error>>()?;
        Ok(Self { header, rows })
    }

    /// Puts names in for cells such as `@models.0`.
    pub fn name_references(&mut self, name: impl Fn(&str) -> Option<String>) {
        for cell in self.rows.iter_mut().flatten() {
            if let Some(found) = cell.strip_prefix('@').and_then(&name) {
                *cell = found;
            }
        }
    }
}
