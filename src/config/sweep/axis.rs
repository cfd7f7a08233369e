//! One axis of a sweep: a dotted key and what values it takes.

use super::super::diagnostic::{Diagnostic, suggest};
use super::super::node::{Node, Table, Value};
use super::super::overrides::{VARIABLES, dotted};
use super::super::source::Span;
use super::super::word::{Word, words, words_of};
use super::space::{self, Space};

const EXAMPLE: &str = "for example `\"pipeline.seed\" = [0, 1, 2]`";

/// More values of one axis than this are taken for a mistake.
const MOST_VALUES: usize = 10_000;

/// One axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The dotted key as written.
    pub key: String,
    /// Where it stands.
    pub span: Span,
    pub(super) path: Vec<String>,
    pub(super) values: AxisValues,
}

impl Axis {
    /// The parts of its key.
    pub fn path(&self) -> &[String] {
        &self.path
    }
}

/// What an axis takes.
#[derive(Debug, Clone)]
pub(super) enum AxisValues {
    /// Each of these.
    Listed(Vec<Node>),
    /// What is drawn from it.
    Drawn(Space),
}

words! {
    /// A key of an axis that is a table.
    enum AxisKey {
        /// The first value of a range.
        From = "from",
        /// Its last.
        To = "to",
        /// What lies between one and the next.
        Step = "step",
        /// AxisValues to draw from.
        Choice = "choice",
        /// Ends of whole numbers to draw from.
        Int = "int",
        /// Ends of numbers to draw from.
        Uniform = "uniform",
        /// Ends of numbers whose logarithm is drawn.
        LogUniform = "log_uniform",
    }
}

/// Reads the axis `key = node`.
pub(super) fn read(key: &str, span: Span, node: &Node) -> Result<Axis, Diagnostic> {
    let values = match &node.value {
        Value::Array(values) => AxisValues::Listed(listed(key, node, values)?),
        Value::Table(table) => of_table(key, span, node, table)?,
        other => {
            return Err(Diagnostic::at(
                node.span,
                format!("axis `{key}` must be an array of values"),
                format!("found {}", other.type_name()),
            )
            .help(EXAMPLE));
        }
    };
    let path = dotted(key).filter(|path| path.len() > 1);
    let path = path.ok_or_else(|| {
        Diagnostic::at(span, format!("`{key}` is not a dotted key"), "not a key").help(EXAMPLE)
    })?;
    if !matches!(path[0].as_str(), "pipeline" | "stages" | VARIABLES) {
        let message = format!("`{key}` cannot be swept");
        return Err(Diagnostic::at(span, message, "not below `pipeline`, `stages` or `vars`"));
    }
    Ok(Axis { key: key.to_owned(), span, path, values })
}

fn listed(key: &str, node: &Node, values: &[Node]) -> Result<Vec<Node>, Diagnostic> {
    if values.is_empty() {
        let message = format!("axis `{key}` has no values");
        return Err(Diagnostic::at(node.span, message, "empty").help(EXAMPLE));
    }
    Ok(values.to_vec())
}

fn of_table(key: &str, span: Span, node: &Node, table: &Table) -> Result<AxisValues, Diagnostic> {
    let unknown = table.entries.iter().find(|(word, _)| AxisKey::named(word).is_none());
    if let Some((word, entry)) = unknown {
        // An unquoted dotted key is a table of tables.
        if dotted(key).is_some_and(|path| path.len() == 1) {
            return Err(Diagnostic::at(
                span,
                format!("axis `{key}` must be an array"),
                "found a table",
            )
            .help(format!("put the whole dotted key in quotes, {EXAMPLE}")));
        }
        let message = format!("axis `{key}` has the unknown key `{word}`");
        let mut problem = Diagnostic::at(entry.key, message, "not a key of an axis");
        problem.help.extend(suggest(word, words_of::<AxisKey>()));
        problem.help.push(forms());
        return Err(problem);
    }
    let given = |key: AxisKey| table.entries.get(key.word()).map(|entry| &entry.node);
    let wrong = |what: &str| {
        Err(Diagnostic::at(node.span, format!("axis `{key}` {what}"), "in this table")
            .help(forms()))
    };
    if let (Some(from), Some(to), Some(step), 3) =
        (given(AxisKey::From), given(AxisKey::To), given(AxisKey::Step), table.entries.len())
    {
        return range(key, node, [from, to, step]).map(AxisValues::Listed);
    }
    if table.entries.len() != 1 {
        return wrong("is none of the known forms");
    }
    let (word, entry) = table.entries.iter().next().expect("one entry");
    let Value::Array(items) = &entry.node.value else {
        return wrong(&format!("needs an array after `{word}`"));
    };
    let space = match AxisKey::named(word) {
        Some(AxisKey::Choice) => Ok(Space::Choice(listed(key, &entry.node, items)?)),
        Some(AxisKey::Int) => space::int(word, items),
        Some(AxisKey::Uniform) => space::uniform(word, items),
        Some(AxisKey::LogUniform) => space::log_uniform(word, items),
        Some(AxisKey::From | AxisKey::To | AxisKey::Step) | None => space::ends(word, items)
            .and(Err("needs two keys more: `from`, `to` and `step` go together".into())),
    };
    space.map(AxisValues::Drawn).or_else(|reason| wrong(&reason))
}

fn forms() -> String {
    "an axis is `[a, b]`, `{ from, to, step }`, `{ choice = [a, b] }`, `{ int = [low, high] }`, \
     `{ uniform = [low, high] }` or `{ log_uniform = [low, high] }`"
        .into()
}

/// Every `step` from `from` to `to`, both included.
fn range(key: &str, node: &Node, ends: [&Node; 3]) -> Result<Vec<Node>, Diagnostic> {
    let wrong =
        |what: &str| Err(Diagnostic::at(node.span, format!("axis `{key}` {what}"), "this range"));
    let at = |value| Node { span: node.span, value };
    if let [Value::Integer(from), Value::Integer(to), Value::Integer(step)] =
        ends.map(|it| &it.value)
    {
        if *step <= 0 || to < from {
            return wrong("needs `from` <= `to` and a `step` above 0");
        }
        let count = to.abs_diff(*from) / step.unsigned_abs() + 1;
        if count > MOST_VALUES as u64 {
            return wrong("has too many values");
        }
        let count = i64::try_from(count).expect("a few thousand");
        return Ok((0..count).map(|it| at(Value::Integer(from + it * step))).collect());
    }
    let [Some(from), Some(to), Some(step)] = ends.map(space::number) else {
        return wrong("needs numbers for `from`, `to` and `step`");
    };
    if !(from.is_finite() && to.is_finite() && step > 0.0 && from <= to) {
        return wrong("needs `from` <= `to` and a `step` above 0");
    }
    // A last step that falls short of `to` by rounding alone is taken.
    let count = ((to - from) / step + 1e-9).floor() + 1.0;
    if count > MOST_VALUES as f64 {
        return wrong("has too many values");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
    let count = count as u32;
    let value = |it| space::rounded(from + f64::from(it) * step, 12);
    let values: Vec<f64> = (0..count).map(value).collect();
    if values.windows(2).any(|pair| pair[0] >= pair[1]) {
        return wrong("needs a larger `step`: its values cannot be told apart");
    }
    Ok(values.into_iter().map(|it| at(Value::Float(it))).collect())
}
