//! The table in LaTeX: a tabular with booktabs rules, followed by its notes in small print.

use std::collections::HashSet;

use indexmap::{IndexMap, IndexSet};

use super::grid::{COLLAPSED, SAW_LABELS, ShownColumn, Signs};
use super::model::{PublishedCell, ResultTable};

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
            ShownColumn::Published(at) => {
                let cell = &row.cells[at];
                match cell.published.as_ref().and_then(|it| Some((it.value, it.key.as_ref()?))) {
                    Some((value, key)) => {
                        format!("{}~\\cite{{{key}}}", minus(&table.number(at, value)))
                    }
                    None => escape(&table.published(at, cell)),
                }
            }
        };
        let name = std::iter::once(escape(&row.name));
        text += &line(name.chain(shown.iter().map(cell)).collect());
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    if !table.notes.is_empty() {
        text += "\n\\smallskip\n{\\footnotesize\\raggedright\n";
        let cited: HashSet<String> = published(table)
            .filter(|it| it.key.is_some())
            .map(|it| format!("[{}]", it.note))
            .collect();
        for note in &table.notes {
            // The bibliography says it.
            if note.mark.as_ref().is_some_and(|mark| cited.contains(mark)) {
                continue;
            }
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

/// The numbers of others in the table.
fn published(table: &ResultTable) -> impl Iterator<Item = &PublishedCell> {
    table.rows.iter().flat_map(|row| &row.cells).filter_map(|cell| cell.published.as_ref())
}

/// What the table cites, as a file for BibTeX: what the pipeline says of each key. Nothing where no number has one.
pub(super) fn bibliography(table: &ResultTable) -> Option<String> {
    let mut entries: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for one in published(table) {
        if let Some(key) = &one.key {
            entries.entry(key).or_default().insert(&one.cite);
        }
    }
    let entry = |(key, cites): (&&str, &IndexSet<&str>)| {
        // BibTeX counts the braces of an entry, and those behind a backslash, too.
        let no_brace = |text: String| {
            text.replace(r"\{", r"\textbraceleft{}").replace(r"\}", r"\textbraceright{}")
        };
        let cites: Vec<String> = cites.iter().map(|cite| no_brace(escape(cite))).collect();
        format!("@misc{{{key},\n  note = {{{}}},\n}}\n", cites.join("; "))
    };
    (!entries.is_empty()).then(|| entries.iter().map(entry).collect())
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
            '→' => escaped += r"$\rightarrow$",
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
