//! The only reader of `[table]` and `[[table]]`, and so the only place that knows their defaults. It reports
//! what is wrong with them as far as that can be known before anything runs, and never looks at a result.

use std::collections::HashMap;

use indexmap::IndexMap;
use serde_json::json;

use super::column_label::ColumnLabel;
use super::table_spec::{Columns, GapClosed, Published, Spread, TableSpec, Test, Which};

use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Table, Value, label_text};
use crate::config::source::{SourceId, Span};
use crate::config::sweep::PairKeys;
use crate::config::{Diagnostic, Keys, Noted};
use crate::metrics::scores;

mod cells;
mod check;
mod heads;

pub(super) use cells::check_trials;
pub(super) use check::check;

/// The facts that every score has.
pub const FACTS: [&str; 3] = ["model", "stage", "dataset"];

/// A table as it was read, with the places of the names that stages must have.
#[derive(Debug)]
pub(super) struct TableDraft {
    pub spec: TableSpec,
    /// `table`, or `table.1` of several.
    key: String,
    name: Option<Span>,
    /// Where its label of columns stands.
    label: Option<Span>,
    names: Vec<Mention>,
}

/// A row, a column or another fact of scores that a setting names, with its place.
#[derive(Debug)]
struct Mention {
    /// `baseline`, `published.0.row`.
    key: String,
    axis: NamedAs,
    name: String,
    span: Span,
}

/// What a name in a table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedAs {
    Rows,
    Columns,
    Fact(&'static str),
}

/// The keys of the sweep, as far as they can be trusted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Swept<'a> {
    pub keys: &'a [&'a str],
    /// Those that take the domains of a pair.
    pub pairs: Option<&'a PairKeys>,
    /// Whether the sweep itself has problems, so that nothing can be said about what it sweeps.
    pub wrong: bool,
    /// Whether it has a `[sweep.select]`.
    pub selects: bool,
}

/// Whether the whole file has a `[sweep.select]`.
pub(super) fn selects(root: &Keys) -> bool {
    let Some(Node { value: Value::Table(sweep), .. }) = root.peek("sweep") else { return false };
    sweep.entries.contains_key("select")
}

/// Reads the tables of a whole file.
pub(super) fn read(root: &mut Keys, swept: Swept) -> Vec<TableDraft> {
    root.may_be_tables("table", |keys| read_one(keys, "table", swept));
    let Some(Node { value: Value::Array(items), span }) = root.peek("table") else {
        let table = root.optional_nested("table", |keys| read_one(keys, "table", swept));
        return table.ok().flatten().into_iter().collect();
    };
    root.node("table");
    let mut drafts = Vec::new();
    let mut resolved = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let key = format!("table.{at}");
        let Value::Table(table) = &item.value else {
            let found = format!("found {}", item.value.type_name());
            root.problem(Diagnostic::at(item.span, format!("`{key}` must be a table"), found));
            continue;
        };
        let draft = root.descend(&key, table, item.span, |keys| read_one(keys, &key, swept));
        resolved.extend(root.take(&key));
        drafts.extend(draft);
    }
    if items.is_empty() {
        root.problem(Diagnostic::at(*span, "`table` is empty", "expected a table"));
    }
    root.record("table", resolved);
    names_differ(root, items);
    drafts
}

/// The tables of a file: those that it asks for, or the usual table where it asks for none.
pub(super) fn specs(drafts: Vec<TableDraft>) -> Vec<TableSpec> {
    match drafts.is_empty() {
        true => vec![TableSpec::default()],
        false => drafts.into_iter().map(|draft| draft.spec).collect(),
    }
}

impl Default for TableSpec {
    /// The usual table: what an empty `[table]` asks for.
    fn default() -> Self {
        let none = Table::default();
        let mut keys = Keys::new(&none, Span::new(SourceId(0), 0..0));
        let nothing_swept = Swept { keys: &[], pairs: None, wrong: false, selects: false };
        let draft = read_one(&mut keys, "table", nothing_swept);
        draft.expect("every key of a table may be left out").spec
    }
}

/// Reports tables of a file that would be written to the same files.
fn names_differ(root: &mut Keys, items: &[Node]) {
    let mut seen: HashMap<Option<&str>, Span> = HashMap::new();
    for item in items {
        let Value::Table(table) = &item.value else { continue };
        let (name, span) = match table.entries.get("name").map(|entry| &entry.node) {
            Some(Node { value: Value::String(name), span }) => (Some(name.as_str()), *span),
            _ => (None, item.span),
        };
        let Some(first) = seen.insert(name, span) else { continue };
        let message = match name {
            Some(name) => format!("two tables have the name `{name}`"),
            None => "two tables have no name".to_owned(),
        };
        root.problem(
            Diagnostic::at(span, message, "the second")
                .related(first, "the first")
                .help("give each its own `name`; one may go without"),
        );
    }
}

fn read_one(keys: &mut Keys, key: &str, swept: Swept) -> Result<TableDraft, Noted> {
    let legal = |name: &String| {
        let fits = |letter: char| {
            letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_-".contains(letter)
        };
        !name.is_empty() && name.chars().all(fits)
    };
    let at_name = keys.peek("name").map(|node| node.span);
    let label = keys.peek("column_label").map(|node| node.span);
    keys.about(&[
        ("name", "name of the table and of its files; one of several may have none"),
        ("caption", "caption of the table"),
        ("rows", "what rows are: `model`, `stage`, `dataset` or an axis of the sweep"),
        (
            "columns",
            "what columns are: `model`, `stage`, `dataset` or an axis of the sweep, or several of these, for a column of \
             every combination",
        ),
        (
            "column_label",
            "what stands above a column in place of its name, with placeholders: `{KEY}` for a value of `columns`, \
             `{source}` and `{target}` for the domains of a pair, `{KEY|initial}` for a first letter",
        ),
        ("average", "whether there is a column with the mean of the others, of rows that have all of them"),
        ("value", "metric in the cells"),
        ("over", "axes to aggregate over; `pipeline.seed` when left out and swept"),
        ("only", "which scores count: values of `model`, `stage`, `dataset` or axes"),
        (
            "spread",
            "what follows ±: standard deviation, half the 95 % confidence interval, or nothing",
        ),
        ("best", "what is marked as best in each column; by the metric when left out"),
        ("trials", "whether all trials count or those that `[sweep.select]` selected"),
        ("headline", "row that lists of runs show; otherwise the last but for those of `gap_closed` and `baseline`"),
        ("baseline", "row that others are compared with, in pairs"),
        ("test", "test of the differences to the baseline"),
        ("gap_closed", "a column with the share of the gap between two rows that each row closes"),
        ("published", "numbers of others to show beside these"),
    ]);
    let name =
        keys.string("name").such_that("lower-case letters, digits, `_` and `-`", legal).optional();
    let caption = keys.string("caption").optional();
    let rows = keys.string("rows").or("model");
    let columns = columns(keys);
    let column_label = column_label(keys, columns.as_ref().ok());
    let average = keys.boolean("average").optional();
    let value = keys.string("value").or("accuracy");
    let over = over(keys);
    let mut names = Vec::new();
    let only = only(keys, key, swept, &mut names);
    let spread = keys.choice("spread").or(Spread::Sd);
    let best = keys.choice("best").optional();
    let trials = keys.choice("trials").or(Which::All);
    let headline = mention(keys, "headline", &mut names);
    let baseline = mention(keys, "baseline", &mut names);
    let test = match keys.has("baseline") {
        true => keys.choice("test").or(Test::Permutation),
        false => unused_test(keys),
    };
    let gap_closed = keys.optional_nested("gap_closed", |keys| {
        let mut named = |keys: &mut Keys, key, axis| {
            let path = format!("gap_closed.{key}");
            let name = keys.string(key).required();
            place(keys, key, path, axis, name.as_ref().ok(), &mut names);
            name
        };
        keys.about(&[
            ("source_only", "row at the lower end of the gap"),
            ("target_trained", "row at the upper end of the gap"),
            ("on", "column that the gap is measured in"),
        ]);
        let source_only = named(keys, "source_only", NamedAs::Rows);
        let target_trained = named(keys, "target_trained", NamedAs::Rows);
        let on = named(keys, "on", NamedAs::Columns);
        Ok(GapClosed { source_only: source_only?, target_trained: target_trained?, on: on? })
    });
    let percent = value.as_deref().is_ok_and(scores::in_percent);
    let published = published(keys, percent, &mut names);
    check::axes(keys, key, swept);
    check::same_twice(keys, swept, rows.as_deref().ok(), columns.as_ref().ok());
    check::metric(keys, value.as_deref().ok());
    check::selected(keys, trials.ok(), swept);
    let spec = TableSpec {
        name: name?,
        caption: caption?,
        rows: rows?,
        columns: columns?,
        column_label: column_label?,
        average: average?.unwrap_or_default(),
        value: value?,
        over: over?,
        only: only?,
        spread: spread?,
        best: best?,
        trials: trials?,
        headline: headline?,
        baseline: baseline?,
        test: test?,
        gap_closed: gap_closed?,
        published: published?,
    };
    Ok(TableDraft { spec, key: key.to_owned(), name: at_name, label, names })
}

/// Reads `over`: a swept key, or an array of swept keys.
fn over(keys: &mut Keys) -> Result<Vec<String>, Noted> {
    let empty = |span| {
        Diagnostic::at(span, "`over` is empty", "expected a swept key")
            .help("leave it out to aggregate over `pipeline.seed` alone, where that is swept")
    };
    match several(keys, "over", empty)? {
        Some(found) => Ok(found),
        None => Ok(keys.string("over").optional()?.into_iter().collect()),
    }
}

/// Reads `columns`: a fact or a swept key, or an array of these.
fn columns(keys: &mut Keys) -> Result<Columns, Noted> {
    let empty = |span| {
        Diagnostic::at(span, "`columns` is empty", "expected what makes the columns")
            .help("leave it out for a column of each data set")
    };
    match several(keys, "columns", empty)? {
        Some(found) => Ok(Columns(found)),
        None => keys.string("columns").or("dataset").map(|word| Columns(vec![word])),
    }
}

/// Reads words that differ, where `key` is an array of them.
fn several(
    keys: &mut Keys,
    key: &'static str,
    empty: impl FnOnce(Span) -> Diagnostic,
) -> Result<Option<Vec<String>>, Noted> {
    keys.may_be(key, || json!({ "type": "array", "minItems": 1, "items": { "type": "string" } }));
    let Some(Node { value: Value::Array(items), span }) = keys.peek(key) else { return Ok(None) };
    let found = keys.strings(key).optional()?.unwrap_or_default();
    let twice = found.iter().enumerate().find(|(at, word)| found[..*at].contains(word));
    if let Some((at, word)) = twice {
        let message = format!("`{key}` names `{word}` twice");
        return Err(keys.problem(Diagnostic::at(items[at].span, message, "the same again")));
    }
    if found.is_empty() {
        return Err(keys.problem(empty(*span)));
    }
    Ok(Some(found))
}

/// Reads `column_label`, whose placeholders are of `columns`.
fn column_label(keys: &mut Keys, columns: Option<&Columns>) -> Result<Option<ColumnLabel>, Noted> {
    let Some(text) = keys.string("column_label").optional()? else { return Ok(None) };
    let span = keys.peek("column_label").map_or(keys.span(), |node| node.span);
    let example = "for example `column_label = \"{source|initial}→{target|initial}\"`, with `columns = \"pair\"`";
    let label = ColumnLabel::read(&text).map_err(|wrong| {
        let message = format!("`column_label` {wrong}");
        keys.problem(Diagnostic::at(span, message, "in this label").help(example))
    })?;
    let known = columns.map(Columns::placeholders).unwrap_or_default();
    let unknown = label.names().find(|name| columns.is_some() && !known.contains(name));
    if let Some(name) = unknown {
        let message = format!("`column_label` has the placeholder `{{{name}}}`");
        let mut problem = Diagnostic::at(span, message, "no value of a column");
        problem.help.extend(suggest(name, known.iter().copied()));
        return Err(keys.problem(problem));
    }
    Ok(Some(label))
}

fn mention(
    keys: &mut Keys,
    key: &'static str,
    names: &mut Vec<Mention>,
) -> Result<Option<String>, Noted> {
    let name = keys.string(key).optional()?;
    place(keys, key, key.to_owned(), NamedAs::Rows, name.as_ref(), names);
    Ok(name)
}

fn place(
    keys: &Keys,
    key: &str,
    path: String,
    axis: NamedAs,
    name: Option<&String>,
    names: &mut Vec<Mention>,
) {
    if let (Some(name), Some(node)) = (name, keys.peek(key)) {
        names.push(Mention { key: path, axis, name: name.clone(), span: node.span });
    }
}

/// Reads `only`: which scores count.
fn only(
    keys: &mut Keys,
    table: &str,
    swept: Swept,
    names: &mut Vec<Mention>,
) -> Result<IndexMap<String, Vec<String>>, Noted> {
    if let Some(Node { value: Value::Table(entries), .. }) = keys.peek("only") {
        let known = [&FACTS[..], swept.keys].concat();
        for (key, entry) in &entries.entries {
            if swept.wrong || known.contains(&key.as_str()) {
                continue;
            }
            let message = format!("`{table}.only` knows no `{key}`");
            let mut problem = Diagnostic::at(entry.key, message, "not an axis of the sweep");
            problem.help.extend(suggest(key, known.iter().copied()));
            keys.problem(problem);
        }
    }
    let only = keys.words("only", |keys, word, node| {
        let value = node.to_toml();
        let values = allowed_values(&value);
        if let Some(fact) = FACTS.into_iter().find(|fact| *fact == word) {
            let nodes: Vec<&Node> = match &node.value {
                Value::Array(items) => items.iter().collect(),
                _ => vec![node],
            };
            for (node, name) in nodes.into_iter().zip(&values) {
                let (key, span) = (format!("only.{fact}"), node.span);
                names.push(Mention { key, axis: NamedAs::Fact(fact), name: name.clone(), span });
            }
        }
        keys.record(word, value);
        Ok(values)
    });
    only.map(IndexMap::from_iter)
}

fn unused_test(keys: &mut Keys) -> Result<Test, Noted> {
    let Some(node) = keys.node("test") else { return Ok(Test::Permutation) };
    Err(keys.problem(
        Diagnostic::at(node.span, "`test` needs a `baseline` to compare with", "there is none")
            .help("add `baseline = \"source_only\"`, a row of the table"),
    ))
}

/// The values that a key may have, as tables show them.
fn allowed_values(value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::Array(items) => items.iter().map(label_text).collect(),
        one => vec![label_text(one)],
    }
}

/// Reads one number that others published.
fn published_one(
    keys: &mut Keys,
    path: &str,
    percent: bool,
    names: &mut Vec<Mention>,
) -> Result<Published, Noted> {
    let mut named = |keys: &mut Keys, key, axis| {
        let name = keys.string(key).required();
        place(keys, key, format!("{path}.{key}"), axis, name.as_ref().ok(), names);
        name
    };
    keys.about(&[
        ("row", "row of the cell"),
        ("column", "column of the cell"),
        ("value", "the number; an accuracy is a share of 1"),
        ("cite", "where it was published"),
        ("key", "what a bibliography calls it: LaTeX tables cite it by that, and a `.bib` file is written beside them"),
    ]);
    let row = named(keys, "row", NamedAs::Rows);
    let column = named(keys, "column", NamedAs::Columns);
    let expected = if percent { "an accuracy from 0 to 1" } else { "a number" };
    let fits = move |value: &f64| value.is_finite() && (!percent || (0.0..=1.0).contains(value));
    let value = keys.float("value").such_that(expected, fits).required();
    let cite = keys.string("cite").such_that("a citation", |it| !it.trim().is_empty());
    let cite = cite.required();
    let fits = |key: &String| {
        !key.is_empty() && key.chars().all(|it| it.is_ascii_alphanumeric() || "_:.+/-".contains(it))
    };
    let key = keys.string("key");
    let key = key.such_that("letters, digits and `_:.+/-`, as in `ganin2016`", fits);
    let key = key.optional();
    Ok(Published { row: row?, column: column?, value: value?, cite: cite?, key: key? })
}

/// Reads the numbers that others published, each with its cell and its citation.
fn published(
    keys: &mut Keys,
    percent: bool,
    names: &mut Vec<Mention>,
) -> Result<Vec<Published>, Noted> {
    keys.may_be_tables("published", |keys| published_one(keys, "", percent, names));
    let Some(node) = keys.node("published") else { return Ok(Vec::new()) };
    let example = "published = [{ row = \"dann\", column = \"target.test\", value = 0.7666, \
        cite = \"Ganin et al. 2016, Table 2\" }]";
    let Value::Array(items) = &node.value else {
        let found = format!("found {}", node.value.type_name());
        let message = "`published` must be an array of tables";
        return Err(keys.problem(Diagnostic::at(node.span, message, found).help(example)));
    };
    let before = keys.problems();
    let mut all = Vec::new();
    let mut resolved = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let path = format!("published.{at}");
        let Value::Table(table) = &item.value else {
            let found = format!("found {}", item.value.type_name());
            let message = format!("`{path}` must be a table");
            keys.problem(Diagnostic::at(item.span, message, found).help(example));
            continue;
        };
        let one = keys
            .descend(&path, table, item.span, |keys| published_one(keys, &path, percent, names));
        resolved.extend(keys.take(&path));
        let Ok(one) = one else { continue };
        if all.iter().any(|it: &Published| it.row == one.row && it.column == one.column) {
            let message = format!("`{}` / `{}` is published twice", one.row, one.column);
            keys.problem(Diagnostic::at(item.span, message, "the same cell again"));
        }
        all.push(one);
    }
    keys.record("published", resolved);
    keys.no_problem_since(before).map(|()| all)
}

/// Removes the tables about the whole sweep from the resolved form of a trial.
pub(super) fn leave_for_trial(resolved: &mut toml::Table, specs: &[TableSpec], swept: &[&str]) {
    let stays = |spec: &TableSpec| !spec.needs_sweep(swept);
    match resolved.get_mut("table") {
        Some(toml::Value::Array(tables)) => {
            let mut at = specs.iter();
            tables.retain(|_| at.next().is_none_or(stays));
            if tables.is_empty() {
                resolved.remove("table");
            }
        }
        Some(_) if !specs.iter().all(stays) => {
            resolved.remove("table");
        }
        _ => {}
    }
}
