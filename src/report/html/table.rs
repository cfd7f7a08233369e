//! The tables of the page, with captions, headings for every row and column, and buttons to sort by.

use std::fmt::Write as _;

use crate::report::plot::escape;

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub(super) struct HtmlCell {
    pub(super) text: String,
    /// The number that it is sorted by, where it is not sorted by its text.
    pub(super) value: Option<f64>,
    /// Whether it is the best cell of its column.
    pub(super) best: bool,
}

impl HtmlCell {
    pub(super) fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { value: text.parse().ok(), text, best: false }
    }
}

/// A table that can be sorted by each column. The first cell of each row is its heading.
pub(super) fn sortable(caption: &str, header: &[String], rows: &[Vec<HtmlCell>]) -> String {
    let mut html = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\">\
         <table class=\"sortable\"><caption>{0}</caption><thead><tr>",
        escape(caption)
    );
    for name in header {
        let _ = write!(
            html,
            "<th scope=\"col\"><button type=\"button\">{}</button></th>",
            escape(name)
        );
    }
    html += "</tr></thead><tbody>";
    for row in rows {
        html += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            let value = cell.value.map(|it| format!(" data-value=\"{it}\"")).unwrap_or_default();
            let class = if cell.value.is_some() && at > 0 { " class=\"number\"" } else { "" };
            let text = escape(&cell.text);
            let _ = match (at, cell.best) {
                (0, _) => write!(html, "<th scope=\"row\"{value}>{text}</th>"),
                (_, true) => write!(
                    html,
                    "<td{class}{value}><strong>{text}</strong><span class=\"hidden\"> (best)</span></td>"
                ),
                _ => write!(html, "<td{class}{value}>{text}</td>"),
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>\n"
}

/// A table of names and values.
pub(super) fn pairs(caption: &str, pairs: &[(String, String)]) -> String {
    let rows: String = pairs
        .iter()
        .map(|(name, value)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value))
        })
        .collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{0}\"><table class=\"pairs\">\
         <caption>{0}</caption><tbody>{rows}</tbody></table></div>\n",
        escape(caption)
    )
}
