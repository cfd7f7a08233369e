//! The table as a part of an HTML page: nothing from elsewhere, heads with their scope, notes below.
//! How it looks is the page's to say, by the classes.

use super::grid::{Shown, Signs};
use super::model::{Cell, Table};

const SIGNS: Signs = Signs { between: " ± ", delta: "Δ ", star: "*", p: true };

pub(super) fn render(table: &Table) -> String {
    let shown = table.shown();
    let mut text = "<figure class=\"result-table\">\n<table>\n".to_owned();
    text += &format!("<caption>{}</caption>\n<thead>\n<tr>", escape(&caption(table)));
    text += &format!("<th scope=\"col\">{}</th>", escape(&table.rows_by));
    for one in &shown {
        text += &format!("<th scope=\"col\">{}</th>", escape(&table.head(*one)));
    }
    text += "</tr>\n</thead>\n<tbody>\n";
    for row in &table.rows {
        text += &format!("<tr><th scope=\"row\">{}</th>", escape(&row.name));
        for one in &shown {
            text += &match *one {
                Shown::Measured(at) => measured(table, at, &row.cells[at]),
                Shown::Published(at) => {
                    let published = escape(&table.published(at, &row.cells[at]));
                    format!("<td class=\"published\">{published}</td>")
                }
            };
        }
        text += "</tr>\n";
    }
    text += "</tbody>\n</table>\n";
    if !table.notes.is_empty() {
        text += "<figcaption>\n<ul>\n";
        for note in &table.notes {
            text += &format!("<li>{}</li>\n", escape(&note.to_string()));
        }
        text += "</ul>\n</figcaption>\n";
    }
    text + "</figure>\n"
}

fn measured(table: &Table, at: usize, cell: &Cell) -> String {
    let number = escape(&table.measured(at, cell, SIGNS));
    if let Some(missing) = cell.missing {
        return format!("<td class=\"missing\"><em>{}</em></td>", escape(missing.word()));
    }
    let (class, number) = match cell.best {
        true => (" class=\"best\"", format!("<strong>{number}</strong>")),
        false => ("", number),
    };
    // For a page that sorts: the number as it is.
    let sort = cell.mean.map(crate::metrics::number).unwrap_or_default();
    let compared = escape(&table.compared(at, cell, SIGNS));
    let compared = match compared.as_str() {
        "" => String::new(),
        text => format!(" <span class=\"difference\">{text}</span>"),
    };
    format!("<td{class} data-value=\"{sort}\">{number}{compared}</td>")
}

/// What stands above the table: its own caption, or what is in it.
fn caption(table: &Table) -> String {
    let unit = if table.percent { " (%)" } else { "" };
    table.caption.clone().unwrap_or_else(|| {
        let Table { metric, rows_by, columns_by, .. } = table;
        format!("{metric}{unit} by {rows_by} and {columns_by}")
    })
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            _ => escaped.push(letter),
        }
    }
    escaped
}
