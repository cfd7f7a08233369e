//! The table in LaTeX: a tabular with booktabs rules, followed by its notes in small print.

use super::grid::{COLLAPSED, SAW_LABELS, ShownColumn, Signs};
use super::model::ResultTable;

const SIGNS: Signs = Signs {
    between: r" $\pm$ ",
    delta: r"$\Delta$ ",
    star: "$^{*}$",
    collapsed: r"$^{\dagger}$",
    saw_labels: r"$^{\ddagger}$",
    p: false,
};

pub(super) fn render(table: &ResultTable) -> String {
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
        let cell = |one: &ShownColumn| match *one {
            ShownColumn::Measured(at) => {
                let cell = &row.cells[at];
                let measured = match cell.mean {
                    Some(_) => minus(&table.measured(at, cell, SIGNS)),
                    None => format!("\\emph{{{}}}", table.measured(at, cell, SIGNS)),
                };
                let measured = if cell.best { format!("\\textbf{{{measured}}}") } else { measured };
                let compared = minus(&table.compared(at, cell, SIGNS));
                if compared.is_empty() { measured } else { format!("{measured}, {compared}") }
            }
            ShownColumn::Published(at) => escape(&table.published(at, &row.cells[at])),
        };
        let name = std::iter::once(escape(&row.name));
        text += &line(name.chain(shown.iter().map(cell)).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    if !table.notes.is_empty() {
        text += "\n\\smallskip\n{\\footnotesize\\raggedright\n";
        for note in &table.notes {
            // A dagger in the words of a pipeline stays as it is.
            let note = match note.mark.as_deref() {
                Some(COLLAPSED) => format!("$\\dagger$ {}", escape(&note.text)),
                Some(SAW_LABELS) => format!("$\\ddagger$ {}", escape(&note.text)),
                _ => escape(&note.to_string()),
            };
            text += &format!("\\noindent {note}\\par\n");
        }
        text += "}\n";
    }
    text
}

/// Writes the hyphens of a number as minus signs.
fn minus(number: &str) -> String {
    number.replace('-', "$-$")
}

/// Escapes characters that LaTeX treats specially, and writes the non-ASCII characters that tables use as
/// commands. Other characters stay, as every current engine reads UTF-8.
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
            // At the start of a row they would be taken as an argument of the preceding `\\`.
            '[' | '*' if before.is_none() => escaped += &format!("{{{letter}}}"),
            // Two of them in a row would become a ligature.
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
