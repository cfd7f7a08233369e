//! Compares rows: differences from a baseline with a paired test, and the share of a gap that a row closes.
//! Two trials are a pair when they have the same values of the keys that are aggregated over.

use super::error::TableError;
use super::model::{
    BaselineComparison, ColumnKind, Difference, Missing, ResultTable, Sample, TableCell,
    TableColumn,
};
use crate::metrics::rounding;
use crate::plan::table_spec::{self, Test};
use crate::report::stats;

/// A corrected p value below this level counts as significant.
pub const LEVEL: f64 = 0.05;

/// Compares every cell with the cell of the row `baseline` in the same column.
pub(super) fn with_baseline(
    table: &mut ResultTable,
    baseline: &str,
    test: Test,
) -> Result<(), TableError> {
    let base = table.row("table.baseline", baseline)?;
    let against = table.rows[base].cells.clone();
    let mut tested = Vec::new();
    for (number, row) in table.rows.iter_mut().enumerate().filter(|(number, _)| *number != base) {
        for (at, cell) in row.cells.iter_mut().enumerate() {
            let together = pairs([cell, &against[at]]);
            let differences: Vec<f64> =
                together.iter().map(|[a, b]| rounding::difference(*a, *b)).collect();
            let Some((mean, _)) = stats::mean_and_deviation(&differences) else { continue };
            let scale = together.iter().flatten().fold(0.0, |most: f64, it| most.max(it.abs()));
            let mean = if rounding::is_noise(mean, scale) { 0.0 } else { mean };
            let found = match test {
                Test::T => stats::paired_t(&differences),
                Test::Permutation if differences.len() < 2 => {
                    stats::Tested { p: None, least: None, drawn: false }
                }
                Test::Permutation => stats::sign_flips(&differences, 0),
            };
            let n = differences.len();
            tested.push((number, at, n, found));
            cell.difference =
                Some(Difference { mean, n, p: found.p, p_holm: None, significant: false });
        }
    }
    let p: Vec<f64> = tested.iter().filter_map(|(.., found)| found.p).collect();
    let mut corrected = stats::holm(&p).into_iter();
    for (row, at, _, found) in &tested {
        let difference = table.rows[*row].cells[*at].difference.as_mut();
        if let (Some(difference), true) = (difference, found.p.is_some()) {
            difference.p_holm = corrected.next();
            difference.significant = difference.p_holm.is_some_and(|p| p < LEVEL);
        }
    }
    let counts = || tested.iter().map(|(_, _, n, _)| *n);
    table.comparison = Some(BaselineComparison {
        baseline: baseline.to_owned(),
        test,
        comparisons: p.len(),
        pairs: counts().min().zip(counts().max()).map(|(fewest, most)| [fewest, most]),
        least_p: tested.iter().filter_map(|it| it.3.least).min_by(f64::total_cmp),
        drawn: tested.iter().any(|it| it.3.drawn),
        level: LEVEL,
    });
    Ok(())
}

/// The paired values of several cells, in the order of the first cell.
fn pairs<const N: usize>(cells: [&TableCell; N]) -> Vec<[f64; N]> {
    let same = |value: &Sample| {
        let mut found = [0.0; N];
        for (at, cell) in cells.iter().enumerate() {
            found[at] = cell.values.iter().find(|other| other.over == value.over)?.value;
        }
        Some(found)
    };
    cells[0].values.iter().filter_map(same).collect()
}

/// Adds the column that says which share of the gap between two rows each row closes: a ratio of means over
/// the trials that have a score in all three rows.
pub(super) fn gap_closed(
    table: &mut ResultTable,
    gap: &table_spec::GapClosed,
) -> Result<(), TableError> {
    let low = table.row("table.gap_closed.source_only", &gap.source_only)?;
    let high = table.row("table.gap_closed.target_trained", &gap.target_trained)?;
    let on = table.column("table.gap_closed.on", &gap.on)?;
    let cell = |row: usize| table.rows[row].cells[on].clone();
    let (low, high) = (cell(low), cell(high));
    for row in &mut table.rows {
        let of = &row.cells[on];
        let together = pairs([of, &low, &high]);
        let mut closed = TableCell {
            row: row.name.clone(),
            column: GAP.to_owned(),
            n: together.len(),
            ..TableCell::default()
        };
        let mean = |at: usize| {
            let values: Vec<f64> = together.iter().map(|it| it[at]).collect();
            Some(stats::mean_and_deviation(&values)?.0)
        };
        match (mean(0), mean(1), mean(2)) {
            (Some(own), Some(from), Some(to)) if !rounding::equal(from, to) => {
                closed.mean = Some(rounding::difference(own, from) / (to - from));
            }
            (Some(_), ..) => closed.missing = Some(Missing::Undefined),
            (None, ..) => {
                let missing = [of, &low, &high].into_iter().filter_map(|cell| cell.missing).min();
                closed.missing = Some(missing.unwrap_or(Missing::NotRun));
            }
        }
        row.cells.push(closed);
    }
    table.columns.push(TableColumn::plain(GAP, ColumnKind::GapClosed));
    Ok(())
}

/// The name of the column of gaps closed.
pub(super) const GAP: &str = "gap closed";
