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

/// The part of a stage that is all of it.
pub const TOTAL: &str = "total";

/// All seconds of a stage and those by part, as `timings.csv` has them.
pub fn timings(total: f64, parts: &[(String, f64)]) -> String {
    let header = ["part".to_owned(), "seconds".to_owned()];
    let all = std::iter::once((TOTAL, total));
    let parts = parts.iter().map(|(part, seconds)| (part.as_str(), *seconds));
    let rows = all.chain(parts).map(|(part, seconds)| [part.to_owned(), format!("{seconds:.6}")]);
    text(std::iter::once(header).chain(rows))
}
