//! Explains a cell: its arithmetic, and for every trial the file, the value and the artifacts behind it.

use std::path::Path;

use super::average;
use super::error::TableError;
use super::model::{ColumnKind, Gap, Missing, ResultTable, Sample, TableCell};
use crate::metrics::number;
use crate::plan::table_spec::Test;
use crate::report::scores::RunScores;
use crate::report::trial_files::{metrics_name, trial_folder};

pub(super) fn explain(
    table: &ResultTable,
    row: &str,
    column: &str,
    scores: &RunScores,
    folder: &Path,
) -> Result<String, TableError> {
    let at = table.column("--explain", column)?;
    let cell = &table.rows[table.row("--explain", row)?].cells[at];
    let mut text = format!("{row} / {}: {}\n", table.columns[at].name, table.metric);
    if table.columns[at].kind == ColumnKind::GapClosed {
        return Ok(text + &gap_closed(table, cell));
    }
    if table.columns[at].kind == ColumnKind::Average {
        return Ok(text + &of_average(table, row, at));
    }
    text += &arithmetic(table, cell);
    if let Some(published) = &cell.published {
        text += &format!("published  {} ({})\n", number(published.value), published.cite);
    }
    for value in &cell.values {
        text += &source(table, value, scores, folder);
    }
    for Gap { trial, reason, detail } in &cell.without {
        let trial = if trial.is_empty() { "the run" } else { trial };
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        text += &format!("\nno score of {trial}: {}{detail}\n", reason.word());
    }
    Ok(text)
}

fn arithmetic(table: &ResultTable, cell: &TableCell) -> String {
    let Some(mean) = cell.mean else {
        return format!("no value: {}\n", cell.missing.map_or("unknown", Missing::word));
    };
    let values: Vec<String> = cell.values.iter().map(|value| number(value.value)).collect();
    if values.len() == 1 {
        return format!("value      {}\n", number(mean)) + &compared(table, cell);
    }
    let n = cell.n;
    let mut text = format!("mean       {} = ({}) / {n}\n", number(mean), values.join(" + "));
    if let Some(sd) = cell.sd {
        text += &format!(
            "sd         {} = sqrt(sum of (value - mean)^2 / {})\n",
            number(sd),
            n.saturating_sub(1)
        );
    }
    if let Some([low, high]) = cell.ci95 {
        text += &format!(
            "95 %       {} to {} = mean -/+ t({}, 0.975) sd / sqrt({n})\n",
            number(low),
            number(high),
            n.saturating_sub(1)
        );
    }
    text + &compared(table, cell)
}

fn compared(table: &ResultTable, cell: &TableCell) -> String {
    let (Some(found), Some(comparison)) = (&cell.difference, &table.comparison) else {
        return String::new();
    };
    let baseline = &comparison.baseline;
    let against = table.rows.iter().find(|row| row.name == *baseline);
    let against = against.and_then(|row| row.cells.iter().find(|it| it.column == cell.column));
    let pairs: Vec<String> = cell
        .values
        .iter()
        .filter_map(|value| {
            let other = against?.values.iter().find(|other| other.over == value.over)?;
            Some(format!("({} - {})", number(value.value), number(other.value)))
        })
        .collect();
    let mut text = format!(
        "difference {} to {baseline} = ({}) / {}\n",
        number(found.mean),
        pairs.join(" + "),
        found.n
    );
    if let (Some(p), Some(holm)) = (found.p, found.p_holm) {
        let test = match comparison.test {
            Test::T => "paired t test",
            Test::Permutation => "paired permutation test",
        };
        text += &format!(
            "p          {} ({test}); {} after Holm's correction over {}\n",
            number(p),
            number(holm),
            comparison.comparisons
        );
    }
    text
}

/// The means that an average is over, and where the numbers behind them are explained.
fn of_average(table: &ResultTable, row: &str, at: usize) -> String {
    let Some(row) = table.rows.iter().find(|it| it.name == row) else { return String::new() };
    let (cells, cell) = (&row.cells[..at], &row.cells[at]);
    let mut text = arithmetic(table, cell);
    if let Some(published) = &cell.published {
        text += &format!("published  {} ({})\n", number(published.value), published.cite);
    }
    for value in &cell.values {
        let of = |cell: &TableCell| {
            cell.values.iter().find(|it| it.over == value.over).map(|it| it.value)
        };
        let values: Vec<String> = cells.iter().filter_map(of).map(number).collect();
        let over = table.over.iter().zip(&value.over).map(|(key, it)| format!("{key} = {it}, "));
        text += &format!(
            "\n{}trials {}\n  value    {} = ({}) / {}\n",
            over.collect::<String>(),
            value.trial,
            number(value.value),
            values.join(" + "),
            values.len()
        );
    }
    let columns: Vec<&str> = cells.iter().map(|it| it.column.as_str()).collect();
    text += &format!("\nof the columns {}\n", columns.join(", "));
    for note in average::notes(table) {
        text += &format!("{note}\n");
    }
    text
}

fn gap_closed(table: &ResultTable, cell: &TableCell) -> String {
    let mut text = match (cell.mean, cell.missing) {
        (Some(mean), _) => format!("share      {} over {} trials\n", number(mean), cell.n),
        (None, missing) => {
            format!("no value: {}\n", missing.map_or("unknown", Missing::word))
        }
    };
    for note in table.notes.iter().filter(|note| note.text.starts_with("Gap closed")) {
        text += &format!("{note}\n");
    }
    text
}

/// `trial 000 (pipeline.seed = 0)` with the file and the artifacts behind a value.
fn source(table: &ResultTable, value: &Sample, scores: &RunScores, folder: &Path) -> String {
    let trial = &scores.trials[value.at];
    let labels: Vec<String> =
        trial.labels.iter().map(|(key, label)| format!("{key} = {label}")).collect();
    let mut text = match (trial.name.as_str(), labels.as_slice()) {
        ("", _) => "\nthe run\n".to_owned(),
        (name, labels) => format!("\ntrial {name}: {}\n", labels.join(", ")),
    };
    let file = trial_folder(folder, scores.sweep, value.at).join(metrics_name(&value.stage));
    text += &format!(
        "  value    {} ({})\n  file     {}\n",
        number(value.value),
        table.metric,
        file.display()
    );
    for stage in [&value.stage, &value.model] {
        if let Some(fingerprint) = scores.stage(value.at, stage).and_then(|it| it.fingerprint) {
            text += &format!("  artifact {fingerprint} ({stage})\n");
        }
    }
    text
}
