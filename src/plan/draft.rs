//! Stages as their tables say, before anyone knows what they lead to. Never looks at another stage.

use super::resources::{self, Resources};
use crate::config::diagnostic::suggest;
use crate::config::node::{KeyValue, Node, Table, Value};
use crate::config::source::Span;
use crate::config::{Diagnostic, Gathered, Keys, Noted, Wants};
use crate::stages::{Defaults, Kind, Measures, Stage};

/// Names of the CSV files that a run writes beside those of its stages.
const RESERVED: &[&str] = &["timings", "table", "trials", "scores"];

/// A stage that was read, and what is known of its kind.
pub(super) struct ReadStage {
    pub stage: Box<dyn Stage>,
    pub measures: Measures,
    pub resources: Resources,
}

/// A stage's table as far as it could be read.
pub(super) struct StageDraft<'a> {
    pub name: String,
    /// Its header and its table.
    pub entry: &'a KeyValue,
    pub stage: Result<ReadStage, Noted>,
    pub gathered: Gathered,
}

/// Reads every `[stages.NAME]`.
pub(super) fn drafts<'a>(
    table: &'a Table,
    root: Span,
    kinds: &[Kind],
    defaults: &Defaults,
    problems: &mut Vec<Diagnostic>,
) -> Vec<StageDraft<'a>> {
    if table.entries.is_empty() {
        problems.push(
            Diagnostic::at(root, "the pipeline has no stages", "").help("add `[stages.NAME]`"),
        );
    }
    let mut drafts = Vec::new();
    for (name, entry) in &table.entries {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if name.is_empty() || !name.chars().all(fits) {
            let message = format!("`{name}` is not a name for a stage");
            problems.push(Diagnostic::at(entry.key, message, "expected letters, digits, `_`, `-`"));
        }
        if RESERVED.contains(&name.as_str()) {
            let message = format!("`{name}` cannot be the name of a stage");
            let label = format!("`{name}.csv` is a file of the run itself");
            problems.push(Diagnostic::at(entry.key, message, label).help("choose another name"));
        }
        let Value::Table(settings) = &entry.node.value else {
            let message = format!("`stages.{name}` must be a table");
            let found = format!("found {}", entry.node.value.type_name());
            problems.push(Diagnostic::at(entry.node.span, message, found));
            continue;
        };
        let mut keys = Keys::new(settings, entry.key);
        let stage = read_stage(&mut keys, kinds, defaults);
        let mut gathered = keys.finish();
        let sound = Noted::all_among(problems, std::mem::take(&mut gathered.problems));
        let stage = sound.and(stage);
        drafts.push(StageDraft { name: name.clone(), entry, stage, gathered });
    }
    drafts
}

/// Reads one `[stages.NAME]`.
pub(super) fn read_stage(
    keys: &mut Keys,
    kinds: &[Kind],
    defaults: &Defaults,
) -> Result<ReadStage, Noted> {
    let kind = read_kind(keys, kinds);
    let after = keys.optional_references("after", Wants::Anything);
    let resources = keys.optional_nested("resources", resources::read);
    if kind.is_err() {
        keys.leave_open();
    }
    let read = kind.and_then(|kind| {
        let stage = (kind.parse)(keys, defaults)?;
        let resources = resources?.unwrap_or_default();
        Ok(ReadStage { stage, measures: kind.measures, resources })
    });
    after.and(read)
}

fn read_kind<'k>(keys: &mut Keys, kinds: &'k [Kind]) -> Result<&'k Kind, Noted> {
    if keys.is_describing() {
        let words: Vec<(&str, &str)> = kinds.iter().map(|kind| (kind.name, kind.about)).collect();
        return keys.may_be_kind("kind", &words).map(|at| &kinds[at]);
    }
    let word = match keys.node("kind") {
        None => {
            let words: Vec<String> =
                kinds.iter().map(|kind| format!("\"{}\"", kind.name)).collect();
            return Err(keys.problem(
                Diagnostic::at(keys.span(), "missing key `kind`", "in this stage")
                    .help(format!("add `kind = ...`, one of {}", words.join(", "))),
            ));
        }
        Some(Node { value: Value::String(word), span }) => (word, *span),
        Some(node) => {
            let found = format!("found {}", node.value.type_name());
            let problem = Diagnostic::at(node.span, "`kind` must be a string", found);
            return Err(keys.problem(problem));
        }
    };
    let (word, span) = word;
    keys.record("kind", word.clone());
    kinds.iter().find(|kind| kind.name == word).ok_or_else(|| {
        let message = format!("`{word}` is not a kind of stage");
        let mut problem = Diagnostic::at(span, message, "unknown kind");
        problem.help.extend(suggest(word, kinds.iter().map(|kind| kind.name)));
        keys.problem(problem)
    })
}
