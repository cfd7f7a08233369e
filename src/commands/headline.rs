//! The row of a run's first table that stands for the run in a list: `dann: source.test 97.0 %, target.test 91.5 %`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::metrics::rounded;
use crate::report::record::Record;
use crate::report::table::{ORACLE, signs};

/// What is read of `table.json`, which says itself what its numbers are: the first table of a pipeline is not always among
/// those of a run.
#[derive(Debug, Deserialize)]
struct Shown {
    name: Option<String>,
    #[serde(default)]
    percent: bool,
    #[serde(default)]
    oracle: bool,
    #[serde(default)]
    columns: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Column {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    cells: Vec<Cell>,
}

#[derive(Debug, Deserialize)]
struct Cell {
    column: String,
    n: usize,
    mean: Option<f64>,
    missing: Option<String>,
    #[serde(default)]
    collapsed: usize,
    #[serde(default)]
    target_labels: usize,
}

/// The headline of the run in `folder`, with what its tables say of its numbers; `None` where it has none.
pub(super) fn headline(folder: &Path, record: &Record) -> Option<String> {
    let text = fs::read_to_string(folder.join("table.json")).ok()?;
    let shown: Shown = serde_json::from_str(&text).ok()?;
    let spec = record.tables.iter().find(|it| it.name == shown.name)?;
    let ends = spec.gap_closed.iter().flat_map(|gap| [&gap.source_only, &gap.target_trained]);
    let ends: Vec<&String> = ends.chain(&spec.baseline).collect();
    let row = match &spec.headline {
        Some(row) => shown.rows.iter().find(|it| it.name == *row)?,
        None => {
            let own = shown.rows.iter().rev().find(|it| !ends.contains(&&it.name));
            own.or(shown.rows.last())?
        }
    };
    let cells: Vec<String> =
        row.cells.iter().enumerate().filter_map(|(at, cell)| shown.cell(at, cell)).collect();
    if cells.is_empty() {
        return None;
    }
    let sum = |count: fn(&Cell) -> usize| row.cells.iter().map(count).sum();
    let signs = signs(sum(|it| it.collapsed), sum(|it| it.target_labels));
    let signs = signs.map(|(sign, says)| format!("{sign}: {says}"));
    let notes: Vec<String> =
        shown.oracle.then(|| ORACLE.to_owned()).into_iter().chain(signs).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    Some(format!("{}: {}{notes}", row.name, cells.join(", ")))
}

impl Shown {
    /// A cell with its column and the signs after its number; `None` where it has no number.
    fn cell(&self, at: usize, cell: &Cell) -> Option<String> {
        let is_share = self.columns.get(at).is_some_and(|it| it.kind == "gap_closed");
        let number = match cell.mean {
            Some(mean) if self.percent || is_share => format!("{:.1} %", 100.0 * mean),
            Some(mean) => rounded(mean),
            // JSON has no word for these numbers.
            None if cell.n > 0 && cell.missing.is_none() => "not finite".to_owned(),
            None => return None,
        };
        let signs: String = signs(cell.collapsed, cell.target_labels).map(|it| it.0).collect();
        Some(format!("{} {number}{signs}", cell.column))
    }
}
