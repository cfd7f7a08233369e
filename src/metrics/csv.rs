//! CSV text with `\n` line ends: the same rows give the same bytes on every run. Knows nothing of what
//! the columns mean.

/// `rows` as CSV, the header first. Rows may differ in width.
pub fn text<Row, Cell>(rows: impl IntoIterator<Item = Row>) -> String
where
    Row: IntoIterator<Item = Cell>,
    Cell: AsRef<[u8]>,
{
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).expect("writing to memory does not fail");
    }
    let bytes = writer.into_inner().expect("writing to memory does not fail");
    String::from_utf8(bytes).expect("strings make a string")
}

/// Seconds by part, as `timings.csv` has them.
pub fn timings(parts: &[(String, f64)]) -> String {
    let header = ["part".to_owned(), "seconds".to_owned()];
    let rows = parts.iter().map(|(part, seconds)| [part.clone(), format!("{seconds:.6}")]);
    text(std::iter::once(header).chain(rows))
}
