//! The result table: score rows pivoted to text, CSV, Markdown or LaTeX. Computes only means and
//! deviations of what stages scored.

use std::collections::BTreeMap;

use super::csv::Rows;
use crate::plan::pipeline::TableSpec;

/// A score: its columns by name (`model`, `dataset`, `metric`, `value`, and a sweep's axes).
pub type Score = BTreeMap<String, String>;

/// Why there is no table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The scores have no such column.
    #[error("`table.{key}` names `{name}`, which the scores do not have; they have {known}")]
    Column {
        /// The key of `[table]`.
        key: &'static str,
        /// What it names.
        name: String,
        /// What there is.
        known: String,
    },
    /// Several values for one cell.
    #[error("several values for `{row}` / `{column}`: the table does not account for {axes}")]
    Several {
        /// Row.
        row: String,
        /// Column.
        column: String,
        /// The axes that differ.
        axes: String,
    },
    /// Not a number.
    #[error("the score `{0}` is not a number")]
    Number(String),
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Text,
    /// Every digit.
    Csv,
    /// A Markdown table.
    Markdown,
    /// A LaTeX tabular.
    Latex,
}

/// A pivoted table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    corner: String,
    percent: bool,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Table {
    /// The table of `spec` over `scores`; rows and columns in the order they first appear.
    ///
    /// # Errors
    /// When a column does not exist or a cell has several values without `over`.
    pub fn new(spec: &TableSpec, scores: &[Score]) -> Result<Self, Error> {
        let known: Vec<&str> = scores
            .first()
            .map(|score| score.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let named = [
            ("rows", Some(&spec.rows)),
            ("columns", Some(&spec.columns)),
            ("over", spec.over.as_ref()),
        ];
        for (key, name) in named {
            if let Some(name) = name
                && !scores.is_empty()
                && !known.contains(&name.as_str())
            {
                return Err(Error::Column { key, name: name.clone(), known: known.join(", ") });
            }
        }
        let mut columns: Vec<String> = Vec::new();
        let mut cells: indexmap::IndexMap<String, BTreeMap<String, Vec<&Score>>> =
            indexmap::IndexMap::new();
        for score in scores.iter().filter(|score| score.get("metric") == Some(&spec.value)) {
            let column = &score[&spec.columns];
            if !columns.contains(column) {
                columns.push(column.clone());
            }
            let row = cells.entry(score[&spec.rows].clone()).or_default();
            row.entry(column.clone()).or_default().push(score);
        }
        let mut rows = Vec::new();
        for (row, mut found) in cells {
            let mut values = Vec::new();
            for column in &columns {
                let scores = found.remove(column).unwrap_or_default();
                accounted(spec, &row, column, &scores)?;
                values.push(scores.iter().map(|it| value(it)).collect::<Result<Vec<_>, _>>()?);
            }
            rows.push((row, values));
        }
        let percent = spec.value == "accuracy";
        Ok(Self { corner: spec.rows.clone(), percent, columns, rows })
    }

    /// Whether a cell has no value.
    pub fn has_gaps(&self) -> bool {
        self.rows.iter().any(|(_, cells)| cells.iter().any(Vec::is_empty))
    }

    /// The table as text; `bold` marks the best of each column where the metric is accuracy.
    pub fn render(&self, format: Format, bold: bool) -> String {
        match format {
            Format::Csv => self.csv(),
            Format::Text => self.text(bold),
            Format::Markdown => {
                let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
                let grid = self.grid(" ± ");
                let rule: Vec<String> = grid[0].iter().map(|_| "---".to_owned()).collect();
                let rows: String = grid[1..].iter().map(|row| line(row)).collect();
                line(&grid[0]) + &line(&rule) + &rows
            }
            Format::Latex => {
                let escape = |cell: &String| cell.replace('_', r"\_").replace('%', r"\%");
                let grid = self.grid(r" $\pm$ ");
                let rows: String = grid
                    .iter()
                    .map(|row| row.iter().map(escape).collect::<Vec<_>>().join(" & ") + " \\\\\n")
                    .collect();
                let columns = "r".repeat(self.columns.len());
                format!("\\begin{{tabular}}{{l{columns}}}\n{rows}\\end{{tabular}}\n")
            }
        }
    }

    fn grid(&self, between: &str) -> Vec<Vec<String>> {
        let head = std::iter::once(self.corner.clone()).chain(self.columns.iter().cloned());
        let mut grid = vec![head.collect()];
        for (row, cells) in &self.rows {
            let cells = cells.iter().map(|values| self.cell(values, between));
            grid.push(std::iter::once(row.clone()).chain(cells).collect());
        }
        grid
    }

    fn cell(&self, values: &[f64], between: &str) -> String {
        let Some((mean, deviation)) = statistics(values) else { return "–".to_owned() };
        let number = |value: f64| {
            if self.percent { format!("{:.1}", value * 100.0) } else { format!("{value:.4}") }
        };
        match deviation {
            Some(sd) => format!("{}{between}{} (n={})", number(mean), number(sd), values.len()),
            None => number(mean),
        }
    }

    fn csv(&self) -> String {
        let header = [self.corner.as_str(), "column", "mean", "sd", "n"];
        let mut rows = Vec::new();
        for (row, cells) in &self.rows {
            for (column, values) in self.columns.iter().zip(cells) {
                let (mean, sd) = statistics(values).map_or((None, None), |(m, s)| (Some(m), s));
                let text =
                    |value: Option<f64>| value.map(crate::metrics::number).unwrap_or_default();
                let n = values.len().to_string();
                rows.push(vec![row.clone(), column.clone(), text(mean), text(sd), n]);
            }
        }
        Rows { header: header.map(str::to_owned).to_vec(), rows }.text()
    }

    fn text(&self, bold: bool) -> String {
        let grid = self.grid(" ± ");
        let width = |at: usize| grid.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (number, row) in grid.iter().enumerate() {
            let mut line = format!("{:<1$}", row[0], width(0));
            for (at, cell) in row.iter().enumerate().skip(1) {
                let cell = format!("{:>1$}", cell, width(at));
                let best =
                    bold && self.percent && number > 0 && self.best(at - 1) == Some(number - 1);
                line += "  ";
                line += &if best { format!("\u{1b}[1m{cell}\u{1b}[0m") } else { cell };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    fn best(&self, column: usize) -> Option<usize> {
        let means = self.rows.iter().enumerate().filter_map(|(row, (_, cells))| {
            statistics(&cells[column]).map(|(mean, _)| (row, mean))
        });
        means.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }
}

fn value(score: &Score) -> Result<f64, Error> {
    let text = score.get("value").cloned().unwrap_or_default();
    text.parse().map_err(|_| Error::Number(text))
}

/// A cell may hold several values only when they differ in `over` and nothing else.
fn accounted(spec: &TableSpec, row: &str, column: &str, scores: &[&Score]) -> Result<(), Error> {
    let Some(first) = scores.first() else { return Ok(()) };
    let axes: Vec<String> = first
        .keys()
        .filter(|key| *key != "value" && Some(*key) != spec.over.as_ref())
        .filter(|key| scores.iter().any(|score| score.get(*key) != first.get(*key)))
        .map(|key| format!("`{key}`"))
        .collect();
    if axes.is_empty() && (scores.len() == 1 || spec.over.is_some()) {
        return Ok(());
    }
    let axes = if axes.is_empty() { "a repeated score".to_owned() } else { axes.join(", ") };
    Err(Error::Several { row: row.to_owned(), column: column.to_owned(), axes })
}

/// Mean and, of two or more values, the sample standard deviation.
#[expect(clippy::cast_precision_loss, reason = "counts of trials are small")]
fn statistics(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    match values.len() {
        0 => None,
        1 => Some((mean, None)),
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            Some((mean, Some((squares / (n - 1.0)).sqrt())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(model: &str, dataset: &str, value: &str, seed: &str) -> Score {
        let cells = [
            ("model", model),
            ("dataset", dataset),
            ("metric", "accuracy"),
            ("value", value),
            ("seed", seed),
        ];
        cells.map(|(key, cell)| (key.to_owned(), cell.to_owned())).into()
    }

    fn spec(over: Option<&str>) -> TableSpec {
        TableSpec {
            rows: "model".into(),
            columns: "dataset".into(),
            value: "accuracy".into(),
            over: over.map(str::to_owned),
        }
    }

    #[test]
    fn the_formats_show_mean_deviation_and_gaps() {
        let scores = [
            score("source_only", "target.test", "0.4", "0"),
            score("source_only", "target.test", "0.5", "1"),
            score("dann", "target.test", "0.9", "0"),
            score("dann", "source.test", "0.99", "0"),
        ];
        let table = Table::new(&spec(Some("seed")), &scores).unwrap();
        assert!(table.has_gaps());
        insta::assert_snapshot!(table.render(Format::Text, false), @r"
        model             target.test  source.test
        source_only  45.0 ± 7.1 (n=2)            –
        dann                     90.0         99.0
        ");
        insta::assert_snapshot!(table.render(Format::Markdown, false), @r"
        | model | target.test | source.test |
        | --- | --- | --- |
        | source_only | 45.0 ± 7.1 (n=2) | – |
        | dann | 90.0 | 99.0 |
        ");
        assert!(
            table.render(Format::Latex, false).contains(r"source\_only & 45.0 $\pm$ 7.1 (n=2) & –")
        );
        assert!(table.render(Format::Csv, false).contains("dann,target.test,0.9,,1\n"));
    }

    #[test]
    fn an_axis_that_is_not_accounted_for_is_named() {
        let scores = [score("a", "b", "0.4", "0"), score("a", "b", "0.5", "1")];
        let error = Table::new(&spec(None), &scores).unwrap_err();
        assert!(error.to_string().ends_with("does not account for `seed`"), "{error}");
    }
}
