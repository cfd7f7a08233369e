//! What can be wrong with a table: with a key of it alone, and with its names against the stages of
//! the file.

use super::heads::Heads;
use super::{FACTS, Mention, NamedAs, Swept, TableDraft};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::sweep::PAIR;
use crate::config::{Diagnostic, Keys, Reference};
use crate::metrics::scores;
use crate::plan::pipeline::PlannedStage;
use crate::plan::table_spec::{AVERAGE, Columns, Which};
use crate::stages::Measures;

/// What makes rows and columns is a fact of the scores or swept; what is aggregated is swept.
pub(super) fn axes(keys: &mut Keys, table: &str, swept: Swept) {
    let mut named: Vec<(&str, &Node)> = Vec::new();
    for key in ["rows", "columns", "over"] {
        match keys.peek(key) {
            Some(Node { value: Value::Array(items), .. }) if key != "rows" => {
                named.extend(items.iter().map(|item| (key, item)));
            }
            node => named.extend(node.map(|node| (key, node))),
        }
    }
    for (key, node) in named {
        let Value::String(word) = &node.value else { continue };
        let known = match key {
            "over" => swept.keys.to_vec(),
            _ => [&FACTS[..], swept.keys].concat(),
        };
        if swept.wrong || known.contains(&word.as_str()) {
            continue;
        }
        let must = match key {
            "over" => "a swept key",
            _ => "\"model\", \"stage\", \"dataset\" or a swept key",
        };
        let message = format!("`{table}.{key}` must be {must}");
        let mut problem = Diagnostic::at(node.span, message, "not an axis of the sweep");
        if swept.keys.is_empty() {
            problem.help.push("the file sweeps no key: add `[sweep]` with `axes`".into());
        }
        problem.help.extend(suggest(word, known));
        keys.problem(problem);
    }
}

pub(super) fn same_twice(
    keys: &mut Keys,
    swept: Swept,
    rows: Option<&str>,
    columns: Option<&Columns>,
) {
    if let (Some(rows), Some(columns)) = (rows, columns)
        && columns.has(rows)
    {
        let place = keys.peek("columns").or(keys.peek("rows"));
        let place = place.map_or(keys.span(), |node| node.span);
        let message = match &columns.0[..] {
            [_] => format!("rows and columns of the table are both `{rows}`"),
            _ => format!("`{rows}` makes both rows and columns of the table"),
        };
        keys.problem(Diagnostic::at(place, message, "the same again"));
    }
    let over: Vec<&Node> = match keys.peek("over") {
        Some(Node { value: Value::Array(items), .. }) => items.iter().collect(),
        node => node.into_iter().collect(),
    };
    for node in over {
        let Value::String(word) = &node.value else { continue };
        let makes = |it: &str| rows == Some(it) || columns.is_some_and(|columns| columns.has(it));
        if makes(word) {
            let message = format!("`{word}` makes rows or columns and is aggregated over");
            keys.problem(Diagnostic::at(node.span, message, "one of the two"));
        }
        if makes(PAIR) && swept.pairs.is_some_and(|pairs| pairs.has(word)) {
            let message = format!("`{word}` is of the pair, which makes rows or columns");
            keys.problem(
                Diagnostic::at(node.span, message, "the same in all trials of a cell")
                    .help("leave it out of `over`"),
            );
        }
    }
}

pub(super) fn metric(keys: &mut Keys, value: Option<&str>) {
    let Some(value) = value.filter(|value| scores::better(value).is_none()) else { return };
    let place = keys.peek("value").map_or(keys.span(), |node| node.span);
    let message = format!("`{value}` is not a metric of scores");
    let mut problem = Diagnostic::at(place, message, "no stage reports it");
    let names: Vec<String> = scores::names().collect();
    problem.help.extend(suggest(value, names.iter().map(String::as_str)));
    keys.problem(problem);
}

pub(super) fn selected(keys: &mut Keys, trials: Option<Which>, swept: Swept) {
    if trials != Some(Which::Selected) || swept.selects || swept.wrong {
        return;
    }
    let place = keys.peek("trials").map_or(keys.span(), |node| node.span);
    keys.problem(
        Diagnostic::at(place, "no trials are selected", "the file has no `[sweep.select]`")
            .help("add `[sweep.select]`, or write `trials = \"all\"`"),
    );
}

/// Compares what the tables name with what the stages of the file score. Only for stages without
/// problems.
pub(in crate::plan) fn check(
    drafts: &[TableDraft],
    stages: &[PlannedStage],
    problems: &mut Vec<Diagnostic>,
) {
    let scores = |stage: &&PlannedStage| stage.measures == Measures::Scores;
    let scoring: Vec<&PlannedStage> = stages.iter().filter(scores).collect();
    let inputs = |key: &str| -> Vec<String> {
        let inputs = scoring.iter().flat_map(|stage| &stage.inputs);
        inputs.filter(|input| input.key.starts_with(key)).map(Reference::text).collect()
    };
    for draft in drafts {
        if let (Some(name), Some(span)) = (&draft.spec.name, draft.name) {
            let file = format!("table-{name}");
            if stages.iter().any(|stage| stage.name == file) {
                let message = format!("a table cannot have the name `{name}`");
                let label = format!("a stage is called `{file}`, and both write `{file}.csv`");
                problems.push(Diagnostic::at(span, message, label).help("choose another name"));
            }
        }
        problems.extend(draft.label.and_then(|span| {
            Heads::default().add(&draft.spec, span, stages, (|_: &str| None, None))
        }));
        for mention in &draft.names {
            let spec = &draft.spec;
            let (what, values) = match mention.axis {
                NamedAs::Rows => ("row of the table", vec![(&*spec.rows, &*mention.name)]),
                NamedAs::Columns if spec.average && mention.name == AVERAGE => continue,
                NamedAs::Columns => match spec.columns.values(&mention.name) {
                    Some(values) => ("column of the table", values),
                    None => {
                        problems.push(not_all_values(draft, mention));
                        continue;
                    }
                },
                NamedAs::Fact(fact) => (fact, vec![(fact, &*mention.name)]),
            };
            for (axis, name) in values {
                let known = match axis {
                    "model" => inputs("models."),
                    "dataset" => inputs("on."),
                    "stage" => scoring.iter().map(|stage| stage.name.clone()).collect(),
                    // Which values a sweep has is known when it ran.
                    _ => continue,
                };
                if known.is_empty() || known.iter().any(|it| it == name) {
                    continue;
                }
                let message = format!("`{}.{}` names no {what}", draft.key, mention.key);
                let label = match axis {
                    "stage" => format!("no stage that scores is called `{name}`"),
                    _ => format!("no stage scores the {axis} `{name}`"),
                };
                let mut problem = Diagnostic::at(mention.span, message, label);
                problem.help.extend(suggest(name, known.iter().map(String::as_str)));
                problems.push(problem);
            }
        }
    }
}

/// Says how a column of several values is named.
fn not_all_values(draft: &TableDraft, mention: &Mention) -> Diagnostic {
    let words = draft.spec.columns.text();
    let message = format!("`{}.{}` names no column of the table", draft.key, mention.key);
    Diagnostic::at(mention.span, message, format!("a column is named by its values of `{words}`"))
        .help("write its values in this order, with ` / ` between them")
}
