//! The table for a terminal: aligned columns, the best cells in bold, notes below.

use unicode_width::UnicodeWidthStr as _;

use super::grid::{ShownColumn, Signs};
use super::model::ResultTable;

pub(super) fn render(table: &ResultTable, bold: bool) -> String {
    let shown = table.shown();
    let mut grid = vec![vec![(table.rows_by.clone(), false)]];
    grid[0].extend(shown.iter().map(|one| (table.head(*one), false)));
    for row in &table.rows {
        let cell = |one: &ShownColumn| match *one {
            ShownColumn::Measured(at) => {
                let cell = &row.cells[at];
                let measured = table.measured(at, cell, Signs::PLAIN);
                let compared = table.compared(at, cell, Signs::PLAIN);
                let gap = if compared.is_empty() { "" } else { "  " };
                (format!("{measured}{gap}{compared}"), cell.best)
            }
            ShownColumn::Published(at) => (table.published(at, &row.cells[at]), false),
        };
        let name = std::iter::once((row.name.clone(), false));
        grid.push(name.chain(shown.iter().map(cell)).collect());
    }
    let width = |at: usize| grid.iter().map(|row| row[at].0.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=shown.len()).map(width).collect();
    let mut text = String::new();
    for title in table.caption.iter().chain(table.name.iter().filter(|_| table.caption.is_none())) {
        text += &format!("{title}\n");
    }
    for row in &grid {
        let mut line = String::new();
        for (at, (cell, best)) in row.iter().enumerate() {
            let pad = " ".repeat(widths[at] - cell.width());
            let padded = if at == 0 { format!("{cell}{pad}") } else { format!("  {pad}{cell}") };
            line += &if bold && *best { format!("\u{1b}[1m{padded}\u{1b}[0m") } else { padded };
        }
        text += line.trim_end();
        text.push('\n');
    }
    for note in &table.notes {
        text += &format!("{note}\n");
    }
    text
}
