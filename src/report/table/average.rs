//! The column with the mean of the others: of every value of the keys that are aggregated over, such as a seed, the
//! mean of its scores in all columns. Mean and deviation are those of these means.

use indexmap::IndexSet;

use super::model::{ColumnKind, Missing, Note, ResultTable, Sample, TableCell, TableColumn};
use crate::plan::table_spec::AVERAGE;
use crate::report::stats::mean_and_deviation;

/// Adds the column to a table that has only columns of scores.
pub(super) fn put(table: &mut ResultTable) {
    for row in &mut table.rows {
        let average = cell(&row.name, &row.cells);
        row.cells.push(average);
    }
    table.columns.push(TableColumn::plain(AVERAGE, ColumnKind::Average));
}

fn cell(row: &str, cells: &[TableCell]) -> TableCell {
    let mut samples = Vec::new();
    for of in repeats(cells) {
        let found = cells.iter().map(|cell| cell.values.iter().find(|it| it.over == *of));
        let Some(found) = found.collect::<Option<Vec<&Sample>>>() else { continue };
        let Some(first) = found.first() else { continue };
        let values: Vec<f64> = found.iter().map(|it| it.value).collect();
        let Some((value, _)) = mean_and_deviation(&values) else { continue };
        let trials: IndexSet<&str> = found.iter().map(|it| it.trial.as_str()).collect();
        samples.push(Sample {
            trial: trials.into_iter().collect::<Vec<_>>().join(" "),
            over: of.clone(),
            value,
            stage: first.stage.clone(),
            model: first.model.clone(),
            at: first.at,
        });
    }
    let missing = samples.is_empty().then_some(Missing::Incomplete);
    let count = |of: fn(&TableCell) -> usize| match samples.is_empty() {
        true => 0,
        false => cells.iter().map(of).sum(),
    };
    let collapsed = count(|cell| cell.collapsed);
    let target_labels = count(|cell| cell.target_labels);
    TableCell { missing, collapsed, target_labels, ..TableCell::of(row, AVERAGE, samples) }
}

/// The values of the aggregated keys that any of the cells has, in their order.
fn repeats(cells: &[TableCell]) -> IndexSet<&Vec<String>> {
    cells.iter().flat_map(|cell| &cell.values).map(|value| &value.over).collect()
}

/// What the column is, and of which rows it leaves something out.
pub(super) fn notes(table: &ResultTable) -> Vec<Note> {
    let Some(at) = table.columns.iter().position(|it| it.kind == ColumnKind::Average) else {
        return Vec::new();
    };
    let over = table.over.join(", ");
    let count = if at == 1 { "one column".to_owned() } else { format!("{at} columns") };
    let text = match table.over.is_empty() {
        true => format!("Average: the mean of the {count} before it."),
        false => format!(
            "Average: the mean of the {count} before it for each {over}; mean and ± are over these means."
        ),
    };
    let mut notes = vec![Note { mark: None, text }];
    let mut without: Vec<String> = Vec::new();
    let mut fewer: Vec<String> = Vec::new();
    for row in &table.rows {
        let (cells, average) = (&row.cells[..at], &row.cells[at]);
        let all = repeats(cells).len();
        if average.n == 0 {
            let lacks = cells.iter().zip(&table.columns).filter(|(cell, _)| cell.n == 0);
            let lacks: Vec<&str> = lacks.map(|(_, column)| column.shown()).collect();
            without.push(match lacks.is_empty() {
                // Its columns have numbers, and none in common.
                true => row.name.clone(),
                false => format!("{} (no {})", row.name, lacks.join(", ")),
            });
        } else if average.n < all {
            fewer.push(format!("{} ({} of {all})", row.name, average.n));
        }
    }
    if !without.is_empty() {
        let text = format!("No average of a row that has not all columns: {}.", without.join("; "));
        notes.push(Note { mark: None, text });
    }
    if !fewer.is_empty() {
        let text = format!(
            "The average leaves out each {over} that not all columns have: {}.",
            fewer.join(", ")
        );
        notes.push(Note { mark: None, text });
    }
    notes
}
