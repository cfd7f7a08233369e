//! The table as part of an HTML page: it loads nothing, its heads have a scope, and its notes stand below.
//! The page decides how it looks, by the classes used here.

use super::grid::{ShownColumn, Signs};
use super::model::{ResultTable, TableCell};

pub(super) fn render(table: &ResultTable) -> String {
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
                ShownColumn::Measured(at) => measured(table, at, &row.cells[at]),
                ShownColumn::Published(at) => {
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

fn measured(table: &ResultTable, at: usize, cell: &TableCell) -> String {
    let number = escape(&table.measured(at, cell, Signs::PLAIN));
    if let Some(missing) = cell.missing {
        return format!("<td class=\"missing\"><em>{}</em></td>", escape(missing.word()));
    }
    let (class, number) = match cell.best {
        true => (" class=\"best\"", format!("<strong>{number}</strong>")),
        false => ("", number),
    };
    // Pages that sort their tables use the exact number.
    let sort = cell.mean.map(crate::metrics::number).unwrap_or_default();
    let compared = escape(&table.compared(at, cell, Signs::PLAIN));
    let compared = match compared.as_str() {
        "" => String::new(),
        text => format!(" <span class=\"difference\">{text}</span>"),
    };
    format!("<td{class} data-value=\"{sort}\">{number}{compared}</td>")
}

/// The caption: that of the pipeline, or a description of what the table shows.
fn caption(table: &ResultTable) -> String {
    let unit = if table.percent { " (%)" } else { "" };
    table.caption.clone().unwrap_or_else(|| {
        let ResultTable { metric, rows_by, columns_by, .. } = table;
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
