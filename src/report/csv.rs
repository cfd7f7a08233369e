//! Metrics as CSV text, the same bytes on every run.

use crate::metrics::Metrics;

/// A header and rows as wide as it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Column names.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// `metrics` as CSV with `\n` line ends.
pub fn write(metrics: &Metrics) -> String {
    let header: Vec<String> = metrics.header.iter().map(|name| (*name).to_owned()).collect();
    Rows { header, rows: metrics.rows.clone() }.text()
}

/// Seconds by part as CSV.
pub fn timings(parts: &[(String, f64)]) -> String {
    let rows = parts.iter().map(|(part, seconds)| vec![part.clone(), format!("{seconds:.6}")]);
    Rows { header: vec!["part".into(), "seconds".into()], rows: rows.collect() }.text()
}

impl Rows {
    /// As CSV with `\n` line ends.
    pub fn text(&self) -> String {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in std::iter::once(&self.header).chain(&self.rows) {
            writer.write_record(row).expect("writing to memory does not fail");
        }
        let bytes = writer.into_inner().expect("writing to memory does not fail");
        String::from_utf8(bytes).expect("strings make a string")
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
