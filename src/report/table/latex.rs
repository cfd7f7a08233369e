//! The table in LaTeX: a tabular with the rules of booktabs, then its notes as a small paragraph.

use super::grid::{Shown, Signs};
use super::model::Table;

const SIGNS: Signs = Signs { between: r" $\pm$ ", delta: r"$\Delta$ ", star: "$^{*}$", p: false };

pub(super) fn render(table: &Table) -> String {
    let shown = table.shown();
    let line = |cells: Vec<String>| cells.join(" & ") + " \\\\\n";
    let mut text = "% \\usepackage{booktabs}\n".to_owned();
    if let Some(caption) = &table.caption {
        text += &format!("% \\caption{{{}}}\n", escape(caption));
    }
    text += &format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(shown.len()));
    let heads = shown.iter().map(|one| escape(&table.head(*one)));
    text += &line(std::iter::once(escape(&table.rows_by)).chain(heads).collect());
    text += "\\midrule\n";
    for row in &table.rows {
        let cell = |one: &Shown| match *one {
            Shown::Measured(at) => {
                let cell = &row.cells[at];
                let measured = match cell.mean {
                    Some(_) => minus(&table.measured(at, cell, SIGNS)),
                    None => format!("\\emph{{{}}}", table.measured(at, cell, SIGNS)),
                };
                let measured = if cell.best { format!("\\textbf{{{measured}}}") } else { measured };
                let compared = minus(&table.compared(at, cell, SIGNS));
                if compared.is_empty() { measured } else { format!("{measured}, {compared}") }
            }
            Shown::Published(at) => escape(&table.published(at, &row.cells[at])),
        };
        let name = std::iter::once(escape(&row.name));
        text += &line(name.chain(shown.iter().map(cell)).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    if !table.notes.is_empty() {
        text += "\n\\smallskip\n{\\footnotesize\\raggedright\n";
        for note in &table.notes {
            text += &format!("\\noindent {}\\par\n", escape(&note.to_string()));
        }
        text += "}\n";
    }
    text
}

/// A hyphen before a number is a minus.
fn minus(number: &str) -> String {
    number.replace('-', "$-$")
}

/// Letters that mean something to LaTeX, and those beyond ASCII that tables use, as LaTeX writes
/// them. Others stay: every engine of today reads UTF-8.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    let mut before = None;
    for letter in text.chars() {
        match letter {
            '\\' => escaped += r"\textbackslash{}",
            '~' => escaped += r"\textasciitilde{}",
            '^' => escaped += r"\textasciicircum{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '<' => escaped += r"\textless{}",
            '>' => escaped += r"\textgreater{}",
            '|' => escaped += r"\textbar{}",
            '"' => escaped += "{''}",
            // At the start of a row they would be an argument of what ends the row before.
            '[' | '*' if before.is_none() => escaped += &format!("{{{letter}}}"),
            // Two of them would be drawn as one other.
            '-' | '`' | '\'' if before == Some(letter) => escaped += &format!("{{{letter}}}"),
            '±' => escaped += r"$\pm$",
            'Δ' => escaped += r"$\Delta$",
            'λ' => escaped += r"$\lambda$",
            '×' => escaped += r"$\times$",
            '−' => escaped += "$-$",
            '–' => escaped += "--",
            '\n' | '\r' | '\t' => escaped.push(' '),
            letter if letter.is_control() => {}
            _ => escaped.push(letter),
        }
        before = Some(letter);
    }
    escaped
}
