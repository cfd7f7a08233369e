//! The table in Markdown. Without anything asked for but rows and columns it is the bare table.

use super::grid::{Shown, Signs};
use super::model::Table;

const SIGNS: Signs = Signs { between: " ± ", delta: "Δ ", star: r"\*", p: false };

pub(super) fn render(table: &Table) -> String {
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
        let cell = |one: &Shown| match *one {
            Shown::Measured(at) => {
                let cell = &row.cells[at];
                let measured = table.measured(at, cell, SIGNS);
                let best = cell.best && table.mark_in_markdown;
                let measured = if best { format!("**{measured}**") } else { measured };
                let compared = table.compared(at, cell, SIGNS);
                if compared.is_empty() { measured } else { format!("{measured}, {compared}") }
            }
            Shown::Published(at) => escape(&table.published(at, &row.cells[at])),
        };
        let name = std::iter::once(escape(&row.name));
        text += &line(&name.chain(shown.iter().map(cell)).collect::<Vec<_>>());
    }
    for note in &table.notes {
        text += &format!("\n{}\n", escape(&note.to_string()));
    }
    text
}

/// Names are words, not Markdown. An underscore inside a word is one as it stands.
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
