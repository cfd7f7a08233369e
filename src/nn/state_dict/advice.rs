//! What to write into a pipeline file so that weights fit: worked out from names and shapes, and
//! checked by comparing again as if it had been written.

use std::collections::HashSet;

use super::names::{best, patterns, prefixes};
use super::{LoadPlan, StateDict, Taken, WantedTensors, compare};

/// How a stage takes weights.
#[derive(Debug, Clone, Copy)]
pub struct LoadSettings<'a> {
    /// `prefix`.
    pub prefix: Option<&'a str>,
    /// `skip`.
    pub skip: &'a [String],
    /// `strict`.
    pub strict: bool,
}

/// Patterns in an advice; when more would be needed, it is another network.
const MOST: usize = 6;

/// Lines of advice where `fit` of the network `wanted` is not whole.
pub fn advice(
    wanted: &WantedTensors,
    file: &StateDict,
    taken: &Taken,
    fit: &LoadPlan,
    settings: LoadSettings,
) -> Vec<String> {
    let names = file.names();
    let mut lines: Vec<String> = trials(&names, wanted, taken, fit)
        .into_iter()
        .filter_map(|(prefix, taken)| with(wanted, file, &taken, prefix.as_deref(), settings))
        .collect();
    if lines.is_empty() {
        let few = |names: Vec<&str>| {
            let some = names.iter().take(3).map(|name| format!("`{name}`"));
            some.collect::<Vec<_>>().join(", ")
        };
        lines.push(format!(
            "look whether `model` is the network that the file is of: the names of the file begin \
             with {}, those of the network with {}",
            few(names.iter().map(String::as_str).collect()),
            few(wanted.names())
        ));
    }
    let others = file.other_entries();
    if !others.is_empty() {
        let some: Vec<String> =
            others.iter().take(MOST).map(|entry| format!("`entry = {entry:?}`")).collect();
        lines.push(format!("the file holds tensors elsewhere, too: {}", some.join(", ")));
    }
    lines
}

/// What could be taken: what is, or what lies below a prefix that stands before more names.
fn trials(
    names: &[String],
    wanted: &WantedTensors,
    taken: &Taken,
    fit: &LoadPlan,
) -> Vec<(Option<String>, Taken)> {
    let all: HashSet<&str> = wanted.names().into_iter().collect();
    let found = prefixes(names, &all);
    let now = found.get(taken.prefix.as_str()).copied().unwrap_or_default();
    let most = found.values().copied().max().unwrap_or_default();
    if most > now || (most > 0 && most == now && !fit.extra.is_empty()) {
        let below = |prefix: String| (Some(prefix.clone()), Taken::below(names, &prefix));
        let prefixes = best(&found);
        if !prefixes.is_empty() {
            return prefixes.into_iter().map(below).collect();
        }
    }
    vec![(None, taken.clone())]
}

/// What to set besides `prefix`, and what comes of it; `None` where that is nothing.
fn with(
    wanted: &WantedTensors,
    file: &StateDict,
    taken: &Taken,
    prefix: Option<&str>,
    settings: LoadSettings,
) -> Option<String> {
    let mut set: Vec<String> = prefix.iter().map(|it| format!("`prefix = {it:?}`")).collect();
    let mut fit = compare(wanted, file, taken, settings.skip).ok()?;
    let lacking = fit.missing.iter().chain(fit.misshaped.iter().map(|it| &it.0));
    let lacking = lacking.chain(fit.unreadable.iter().map(|it| &it.0));
    let lacking: Vec<&str> = lacking.map(String::as_str).collect();
    let patterns = patterns(&lacking, &wanted.names());
    if !patterns.is_empty() && patterns.len() <= MOST && fit.parameters.0 > 0 {
        let skip = [settings.skip, patterns.as_slice()].concat();
        fit = compare(wanted, file, taken, &skip).ok()?;
        set.push(format!("`skip = {}`", toml::Value::from(skip)));
    }
    if !fit.is_whole() && settings.strict {
        set.push("`strict = false`".into());
    }
    if fit.parameters.0 == 0 || set.is_empty() {
        return None;
    }
    Some(format!(
        "{}: {} of the parameters come from the file then",
        set.join(" and "),
        fit.share()
    ))
}
