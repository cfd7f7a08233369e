//! Why a stage has to run: what differs between it and an artifact that was made before. Runs
//! nothing.

use petgraph::graph::NodeIndex;
use serde_json::Value;

use crate::digest::{Content, Fingerprint};
use crate::plan::graph::Plan;
use crate::store::{InputRecord, Manifest};

/// Where changes are looked for.
pub(super) struct Differences<'a> {
    /// What is to run.
    pub plan: &'a Plan,
    /// What is known of the inputs.
    pub content: &'a dyn Fn(NodeIndex) -> Option<Content>,
    /// What they were.
    pub manifest: &'a dyn Fn(&Fingerprint) -> Option<Manifest>,
    /// How many stages back changes are followed.
    pub depth: usize,
}

impl Differences<'_> {
    /// What differs between `task` and what `before` was made from, a line each; further lines of one
    /// change are indented.
    pub fn changes(&self, task: NodeIndex, before: &Manifest) -> Vec<String> {
        self.of(task, before, 0)
    }

    fn of(&self, task: NodeIndex, before: &Manifest, depth: usize) -> Vec<String> {
        let node = &self.plan.graph[task];
        let kind = node.stage.kind();
        if kind != before.kind {
            return vec![format!("`kind` changed {:?} -> {kind:?}", before.kind)];
        }
        let mut lines = Vec::new();
        let revision = node.stage.revision();
        if revision != before.revision {
            let was = before.revision;
            lines.push(format!(
                "this runner makes a `{kind}` another way: revision {was} -> {revision}"
            ));
        }
        if let Some(backend) = &node.backend
            && *backend != before.backend
        {
            lines.push(format!("the backend changed {:?} -> {backend:?}", before.backend));
        }
        let settings = serde_json::to_value(&node.settings).unwrap_or_default();
        lines.extend(settings_changes(&before.settings, &settings));
        if node.external != before.external {
            lines.push("the files that it reads from outside the store changed".to_owned());
        }
        // An input that is read at several keys is followed once.
        let mut several: Vec<(&InputRecord, NodeIndex, Vec<&str>)> = Vec::new();
        for input in &node.inputs {
            let name = &self.plan.graph[input.task].name;
            let (key, split) = (&input.key, &input.split);
            let Some(was) = before.inputs.iter().find(|was| was.key == *key) else {
                lines.push(format!("input `{key}` is new: `{name}`"));
                continue;
            };
            if was.split != *split {
                let text = |split: &Option<String>| split.clone().unwrap_or_else(|| "all".into());
                lines.push(format!(
                    "input `{key}` changed {} -> {}",
                    text(&was.split),
                    text(split)
                ));
            }
            let same = several
                .iter_mut()
                .find(|(it, task, _)| it.fingerprint == was.fingerprint && *task == input.task);
            match same {
                Some((_, _, keys)) => keys.push(key),
                None => several.push((was, input.task, vec![key])),
            }
        }
        for (was, task, keys) in several {
            lines.extend(self.input(&keys, task, was, depth));
        }
        for was in &before.inputs {
            if !node.inputs.iter().any(|input| input.key == was.key) {
                lines.push(format!("input `{}` is gone", was.key));
            }
        }
        lines
    }

    /// Why the bytes of an input are others, or may be.
    fn input(
        &self,
        keys: &[&str],
        task: NodeIndex,
        was: &InputRecord,
        depth: usize,
    ) -> Vec<String> {
        let now = (self.content)(task);
        if now == Some(was.content) {
            return Vec::new();
        }
        let name = &self.plan.graph[task].name;
        let below = match (self.manifest)(&was.fingerprint) {
            Some(before) if depth < self.depth => self.of(task, &before, depth + 1),
            _ => Vec::new(),
        };
        let what = match now {
            Some(_) => "changed",
            None => "will run first",
        };
        let what = format!("input `{}` (stage `{name}`) {what}", keys.join("`, `"));
        match below.as_slice() {
            [] => vec![what],
            [one] => vec![format!("{what}: {one}")],
            several => {
                let mut lines = vec![format!("{what}:")];
                lines.extend(several.iter().map(|line| format!("  {line}")));
                lines
            }
        }
    }
}

/// The settings that differ, by dotted key.
fn settings_changes(before: &Value, now: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(before), Some(now), &mut lines);
    lines
}

fn compare(key: &str, before: Option<&Value>, now: Option<&Value>, lines: &mut Vec<String>) {
    match (before, now) {
        (Some(Value::Object(before)), Some(Value::Object(now))) => {
            let below =
                |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
            for (name, value) in now {
                compare(&below(name), before.get(name), Some(value), lines);
            }
            for (name, value) in before.iter().filter(|(name, _)| !now.contains_key(*name)) {
                compare(&below(name), Some(value), None, lines);
            }
        }
        (Some(before), Some(now)) if same(before, now) => {}
        (Some(before), Some(now)) => lines.push(format!("`{key}` changed {before} -> {now}")),
        (None, Some(now)) => lines.push(format!("`{key}` is new: {now}")),
        (Some(before), None) => lines.push(format!("`{key}` is gone: it was {before}")),
        (None, None) => {}
    }
}

/// As fingerprints see it: `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_compared_by_dotted_key_and_as_numbers() {
        let before = json!({ "epochs": 3, "optimizer": { "lr": 0.001, "betas": [0.9, 0.99] } });
        let now = json!({ "epochs": 3.0, "optimizer": { "lr": 0.0003, "kind": "sgd" } });
        assert_eq!(
            settings_changes(&before, &now),
            [
                "`optimizer.lr` changed 0.001 -> 0.0003",
                "`optimizer.kind` is new: \"sgd\"",
                "`optimizer.betas` is gone: it was [0.9,0.99]",
            ]
        );
        assert_eq!(settings_changes(&now, &now), Vec::<String>::new());
    }
}
