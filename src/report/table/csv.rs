//! The table as CSV: one line per cell, with every digit. Columns that a table does not ask for are left out.

use super::model::ResultTable;
use super::notes::ORACLE;
use crate::metrics::number;
use crate::plan::table_spec::Spread;
use crate::report::csv::CsvRows;
use crate::report::target_labels;

pub(super) fn render(table: &ResultTable) -> String {
    let interval = table.spread == Spread::Ci95;
    let compared = table.comparison.is_some();
    let published = table.cells().any(|cell| cell.published.is_some());
    let collapses = table.cells().any(|cell| cell.collapsed > 0);
    let gaps = table.cells().any(|cell| cell.missing.is_some());
    let notes = table.oracle
        || !table.doubts.is_empty()
        || table.cells().any(|cell| cell.target_labels > 0);
    let groups: [(bool, &[&str]); 7] = [
        (true, &["column", "mean", "sd", "n"]),
        (interval, &["ci95_low", "ci95_high"]),
        (compared, &["difference", "pairs", "p", "p_holm"]),
        (published, &["published", "cite"]),
        (collapses, &["collapsed"]),
        (gaps, &["missing"]),
        (notes, &["note"]),
    ];
    let asked = groups.iter().filter(|(asked, _)| *asked).flat_map(|(_, names)| *names);
    let header = std::iter::once(table.rows_by.clone()).chain(asked.map(|it| (*it).to_owned()));
    let text = |value: Option<f64>| value.map(number).unwrap_or_default();
    let mut rows = Vec::new();
    for cell in table.cells() {
        let mut row = vec![cell.row.clone(), cell.column.clone()];
        row.extend([text(cell.mean), text(cell.sd), cell.n.to_string()]);
        if interval {
            row.extend([text(cell.ci95.map(|it| it[0])), text(cell.ci95.map(|it| it[1]))]);
        }
        if compared {
            let found = cell.difference.as_ref();
            row.push(text(found.map(|it| it.mean)));
            row.push(found.map(|it| it.n.to_string()).unwrap_or_default());
            row.extend([text(found.and_then(|it| it.p)), text(found.and_then(|it| it.p_holm))]);
        }
        if published {
            row.push(text(cell.published.as_ref().map(|it| it.value)));
            row.push(cell.published.as_ref().map(|it| it.cite.clone()).unwrap_or_default());
        }
        if collapses {
            row.push(cell.collapsed.to_string());
        }
        if gaps {
            row.push(cell.missing.map(|it| it.word().to_owned()).unwrap_or_default());
        }
        if notes {
            let oracle = table.oracle.then_some(ORACLE).into_iter();
            let labels = (cell.target_labels > 0).then_some(target_labels::NOTE);
            let doubts = table.doubts.iter().map(String::as_str);
            row.push(oracle.chain(labels).chain(doubts).collect::<Vec<_>>().join("; "));
        }
        rows.push(row);
    }
    CsvRows { header: header.collect(), rows }.text()
}
