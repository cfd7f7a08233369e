//! `[sweep.pairs]`: ordered pairs of domains, as two axes that move together.
//!
//! Never knows what a domain is: a pair is two values for two keys.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::diagnostic::{Diagnostic, Noted};
use super::super::keys::Keys;
use super::super::node::{KeyValue, Node, Table, Value, label_text};
use super::super::overrides::{Assignment, dotted};
use super::super::source::Span;
use super::axis::{self, Axis};
use super::overlap::is_within;

/// What tables and lists of axes call the pair of a trial.
pub const PAIR: &str = "pair";

/// What labels of columns call the domains of a pair.
pub const DOMAINS: [&str; 2] = ["source", "target"];

/// The two keys that take the domains of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairKeys {
    /// The key that takes the source.
    pub source: String,
    /// The key that takes the target.
    pub target: String,
}

impl PairKeys {
    /// Whether `key` is one of the two.
    pub fn has(&self, key: &str) -> bool {
        self.source == key || self.target == key
    }

    /// The key that takes the domain which labels call `name`.
    pub fn domain(&self, name: &str) -> Option<&str> {
        match name {
            _ if name == DOMAINS[0] => Some(&self.source),
            _ if name == DOMAINS[1] => Some(&self.target),
            _ => None,
        }
    }

    /// The pair of a trial with these values of keys: `amazon → webcam`.
    pub fn label<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        Some(text(value(&self.source)?, value(&self.target)?))
    }

    /// Labels of a trial for people: first the pair, which stands for its two keys. They stay as they are where one of
    /// these is missing.
    pub fn joined(&self, labels: Vec<(String, String)>) -> Vec<(String, String)> {
        let value = |key: &str| labels.iter().find(|it| it.0 == key).map(|it| it.1.as_str());
        let Some(pair) = self.label(value) else { return labels };
        let others = labels.into_iter().filter(|it| !self.has(&it.0));
        std::iter::once((PAIR.to_owned(), pair)).chain(others).collect()
    }

    /// `names`, with both keys in the place of [`PAIR`].
    pub fn in_keys(&self, names: Vec<String>) -> Vec<String> {
        let mut keys = Vec::new();
        for name in names {
            let both = match name == PAIR {
                true => vec![self.source.clone(), self.target.clone()],
                false => vec![name],
            };
            keys.extend(both.into_iter().filter(|key| !keys.contains(key)).collect::<Vec<_>>());
        }
        keys
    }
}

fn text(source: &str, target: &str) -> String {
    format!("{source} → {target}")
}

const EXAMPLE: &str = "for example `of = [\"amazon\", \"dslr\", \"webcam\"]`";
const LIST: &str = "for example `list = [[\"amazon\", \"webcam\"], [\"dslr\", \"webcam\"]]`";

/// Reads the table: its two axes, which have as many values.
pub(super) fn read(keys: &mut Keys) -> Result<(PairKeys, [Axis; 2]), Noted> {
    let span = keys.span();
    keys.about(&[
        ("source", "key that takes the source of a pair"),
        ("target", "key that takes the target of a pair"),
        ("of", "domains; every one is paired with every other, in both orders"),
        ("list", "the pairs themselves, each a source and a target"),
    ]);
    let place = |keys: &Keys, key: &str| keys.peek(key).map_or(span, |node| node.span);
    let (source_at, target_at) = (place(keys, "source"), place(keys, "target"));
    let source = keys.string("source").required();
    let target = keys.string("target").required();
    let domain = || json!({ "anyOf": [{ "type": "string" }, { "type": "number" }] });
    keys.may_be("of", || json!({ "type": "array", "minItems": 2, "items": domain() }));
    let pair = || json!({ "type": "array", "minItems": 2, "maxItems": 2, "items": domain() });
    keys.may_be("list", || json!({ "type": "array", "minItems": 1, "items": pair() }));
    let given = keys.only_one(&["of", "list"]);
    let (of, list) = (keys.node("of"), keys.node("list"));
    let found =
        match (given, of, list) {
            (Some("of"), Some(node), _) => {
                keys.record("of", node.to_toml());
                all_pairs(node)
            }
            (Some(_), _, Some(node)) => {
                keys.record("list", node.to_toml());
                listed_pairs(node)
            }
            (_, Some(_), Some(node)) => Err(Diagnostic::at(
                node.span,
                "`of` and `list` of `[sweep.pairs]` exclude each other",
                "a second way to say which pairs",
            )
            .help("leave out `list` for all pairs, or `of` for these")),
            _ => Err(Diagnostic::at(span, "`[sweep.pairs]` has no domains", "in this table")
                .help(EXAMPLE)),
        };
    let found = found.map_err(|problem| keys.problem(problem));
    let (source, target, pairs) = (source?, target?, found?);
    if source == target {
        let message = format!("`[sweep.pairs]` gives source and target the same key `{source}`");
        return Err(keys.problem(
            Diagnostic::at(target_at, message, "the same key again")
                .related(source_at, "first here")
                .help("name the key of each domain, for example `\"stages.target.input\"`"),
        ));
    }
    let (sources, targets): (Vec<Node>, Vec<Node>) = pairs.into_iter().unzip();
    let mut axis = |key: &str, at: Span, values: Vec<Node>| {
        axis::read(key, at, &Node { span: at, value: Value::Array(values) })
            .map_err(|problem| keys.problem(problem))
    };
    let axes = [axis(&source, source_at, sources), axis(&target, target_at, targets)];
    let [from, to] = axes;
    Ok((PairKeys { source, target }, [from?, to?]))
}

/// Every ordered pair of different domains of `of`, the pairs of a source one after the other.
fn all_pairs(node: &Node) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let wrong = |found: String| {
        Err(Diagnostic::at(node.span, "`sweep.pairs.of` must be an array of domains", found)
            .help(EXAMPLE))
    };
    let Value::Array(domains) = &node.value else {
        return wrong(format!("found {}", node.value.type_name()));
    };
    if domains.len() < 2 {
        return wrong(format!("a pair needs two, and it has {}", domains.len()));
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    for domain in domains {
        is_domain(domain)?;
        if let Some(first) = seen.insert(label(domain), domain.span) {
            let message = format!("`sweep.pairs.of` has the domain {} twice", domain.shown());
            return Err(Diagnostic::at(domain.span, message, "the same domain again")
                .related(first, "first here")
                .help("leave one of the two out"));
        }
    }
    let numbered = || domains.iter().enumerate();
    let pairs = numbered().flat_map(|(at, source)| {
        let others = numbered().filter(move |(other, _)| *other != at);
        others.map(move |(_, target)| (source.clone(), target.clone()))
    });
    Ok(pairs.collect())
}

/// The pairs of `list`.
fn listed_pairs(node: &Node) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let wrong = |node: &Node, found: String| {
        let message = "`sweep.pairs.list` must be an array of pairs, each a source and a target";
        Diagnostic::at(node.span, message, found).help(LIST)
    };
    let of_type = |node: &Node| wrong(node, format!("found {}", node.value.type_name()));
    let Value::Array(items) = &node.value else { return Err(of_type(node)) };
    if items.is_empty() {
        return Err(wrong(node, "it is empty".into()));
    }
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mut pairs = Vec::new();
    for item in items {
        let Value::Array(both) = &item.value else { return Err(of_type(item)) };
        let [source, target] = &both[..] else {
            return Err(wrong(item, format!("it has {} domains", both.len())));
        };
        is_domain(source)?;
        is_domain(target)?;
        if source.is_same(target) {
            let message = format!("{} is paired with itself", source.shown());
            return Err(Diagnostic::at(item.span, message, "source and target are one domain")
                .help("leave the pair out"));
        }
        if let Some(first) = seen.insert(text(&label(source), &label(target)), item.span) {
            let message = format!("`sweep.pairs.list` has the pair {} twice", item.shown());
            return Err(Diagnostic::at(item.span, message, "the same pair again")
                .related(first, "first here")
                .help("leave one of the two out"));
        }
        pairs.push((source.clone(), target.clone()));
    }
    Ok(pairs)
}

fn label(domain: &Node) -> String {
    label_text(&domain.to_toml())
}

/// Checks that a pair can be named by `domain`.
fn is_domain(domain: &Node) -> Result<(), Diagnostic> {
    if matches!(domain.value, Value::String(_) | Value::Integer(_) | Value::Float(_)) {
        return Ok(());
    }
    let found = format!("found {}", domain.value.type_name());
    Err(Diagnostic::at(
        domain.span,
        "a domain of `[sweep.pairs]` must be a string or a number",
        found,
    )
    .help("name a stage of each domain, and sweep the key that takes its name"))
}

/// Leaves those pairs of `[sweep.pairs]` that have the values of `sets`, and says so, for people. Where both
/// keys are set, theirs is the only pair. Does nothing to a table that is no good: reading it says why.
///
/// # Errors
/// When no pair has the value that one key is set to, or something inside a domain is set.
pub(super) fn narrow(sweep: &mut Table, sets: &[Assignment]) -> Result<Option<String>, Diagnostic> {
    let Some(KeyValue { node: Node { value: Value::Table(table), .. }, .. }) =
        sweep.entries.get_mut("pairs")
    else {
        return Ok(None);
    };
    let node = |key: &str| table.entries.get(key).map(|entry| &entry.node);
    let key = |word: &str| match node(word).map(|it| &it.value) {
        Some(Value::String(key)) => Some(key.clone()),
        _ => None,
    };
    let (Some(source), Some(target)) = (key("source"), key("target")) else { return Ok(None) };
    let (Some(from), Some(to)) = (dotted(&source), dotted(&target)) else { return Ok(None) };
    let (pairs, place) = match (node("of"), node("list")) {
        (Some(of), None) => (all_pairs(of), of.span),
        (None, Some(list)) => (listed_pairs(list), list.span),
        _ => return Ok(None),
    };
    let Ok(mut pairs) = pairs else { return Ok(None) };
    for (path, domain) in [(&from, &pairs[0].0), (&to, &pairs[0].1)] {
        for set in sets.iter().filter(|set| is_within(&set.path, path)) {
            set.apply_below(path.len(), &mut domain.clone())?;
        }
    }
    // The last one counts.
    let value = |path: &[String]| {
        sets.iter().rev().find_map(|set| {
            let value = set.value.below(path.strip_prefix(&set.path[..])?)?;
            Some((set, value.clone()))
        })
    };
    match (value(&from), value(&to)) {
        (None, None) => return Ok(None),
        (Some((_, source)), Some((_, target))) => pairs = vec![(source, target)],
        (Some((set, value)), None) => {
            pairs.retain(|pair| pair.0.is_same(&value));
            if pairs.is_empty() {
                return Err(no_such_pair(set, &source, &target));
            }
        }
        (None, Some((set, value))) => {
            pairs.retain(|pair| pair.1.is_same(&value));
            if pairs.is_empty() {
                return Err(no_such_pair(set, &target, &source));
            }
        }
    }
    let named = pairs.iter().map(|(source, target)| text(&label(source), &label(target)));
    let note = format!(
        "`--set` of the keys of `[sweep.pairs]` leaves the pairs {}",
        named.collect::<Vec<_>>().join(", ")
    );
    let both = |(source, target)| Node { span: place, value: Value::Array(vec![source, target]) };
    let list = Value::Array(pairs.into_iter().map(both).collect());
    table.entries.shift_remove("of");
    let list = KeyValue { key: place, node: Node { span: place, value: list } };
    table.entries.insert("list".to_owned(), list);
    Ok(Some(note))
}

fn no_such_pair(set: &Assignment, key: &str, other: &str) -> Diagnostic {
    let message = format!("no pair of `[sweep.pairs]` gives `{key}` this value");
    Diagnostic::at(set.span, message, "of none of the pairs")
        .help(format!("set `{other}` too, or give a value that a pair has"))
}
