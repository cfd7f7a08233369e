//! The table in Markdown. A `[table]` that asks for rows and columns alone gives the bare table.

use super::grid::{COLLAPSED, SAW_LABELS, ShownColumn, Signs};
use super::model::ResultTable;

const SIGNS: Signs = Signs {
    between: " ± ",
    delta: "Δ ",
    star: r"\*",
    collapsed: COLLAPSED,
    saw_labels: SAW_LABELS,
    p: false,
};

pub(super) fn render(table: &ResultTable) -> String {
    let shown = table.shown();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = String::new();
    if let Some(caption) = &table.caption {
        text += &format!("{}\n\n", escape(caption));
    }
    let heads = shown.iter().map(|one| escape(&table.head(*one)));
    let heads: Vec<String> = std::iter::once(escape(&table.rows_by)).chain(heads).collect();
    text += &line(&heads);
    text += &line(&vec!["---".to_owned(); heads.len()]);
    for row in &table.rows {
        let cell = |one: &ShownColumn| match *one {
            ShownColumn::Measured(at) => {
                let cell = &row.cells[at];
                let measured = table.measured(at, cell, SIGNS);
                let best = cell.best && table.mark_in_markdown;
                let measured = if best { format!("**{measured}**") } else { measured };
                let compared = table.compared(at, cell, SIGNS);
                if compared.is_empty() { measured } else { format!("{measured}, {compared}") }
            }
            ShownColumn::Published(at) => escape(&table.published(at, &row.cells[at])),
        };
        let name = std::iter::once(escape(&row.name));
        text += &line(&name.chain(shown.iter().map(cell)).collect::<Vec<_>>());
    }
    for note in &table.notes {
        text += &format!("\n{}\n", escape(&note.to_string()));
    }
    text
}

/// Escapes what Markdown would take for markup. An underscore inside a word needs no escape.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (at, letter) in text.char_indices() {
        let inside = |side: Option<char>| side.is_some_and(char::is_alphanumeric);
        let within =
            || inside(text[..at].chars().next_back()) && inside(text[at + 1..].chars().next());
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '_' if within() => escaped.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '|' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}
