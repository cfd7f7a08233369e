//! Reads mentions of other stages. Whether these lead to a stage is the plan's to say.

use serde_json::json;

use super::describe::Form;
use super::diagnostic::{Diagnostic, Noted};
use super::keys::Keys;
use super::mention::{Reference, Wants};
use super::node::{Node, Value};

impl Keys<'_> {
    /// A mention of another stage; required.
    pub fn reference(&mut self, key: &'static str, wants: Wants) -> Result<Reference, Noted> {
        if self.describe_reference(key, wants, true, false) {
            return Ok(self.stand_in(key, wants));
        }
        match self.node(key) {
            Some(node) => self.one_reference(key, node, wants),
            None => Err(self.missing(key, "the name of a stage")),
        }
    }

    /// A mention of another stage that may be left out.
    pub fn optional_reference(
        &mut self,
        key: &'static str,
        wants: Wants,
    ) -> Result<Option<Reference>, Noted> {
        if self.describe_reference(key, wants, false, false) {
            return Ok(None);
        }
        self.node(key).map(|node| self.one_reference(key, node, wants)).transpose()
    }

    /// Mentions in an order that counts, which may be left out: the first has `key` itself, the others `key.1` and on. One
    /// alone may be written without an array, and is the same.
    pub fn ordered_references(
        &mut self,
        key: &'static str,
        wants: Wants,
    ) -> Result<Vec<Reference>, Noted> {
        if let Some(describing) = &mut self.describing {
            let schema = wants.schema();
            let array = json!({ "type": "array", "items": schema, "minItems": 1 });
            describing.note(key, Form::Leaf(json!({ "anyOf": [array, schema] })), false, None);
            return Ok(Vec::new());
        }
        let Some(node) = self.node(key) else { return Ok(Vec::new()) };
        let items = match &node.value {
            Value::Array(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if items.is_empty() {
            let message = format!("`{}{key}` is empty", self.prefix);
            let problem = Diagnostic::at(node.span, message, "expected at least one stage name");
            return Err(self.problem(problem.help(format!("leave `{key}` out to do without it"))));
        }
        let mut found: Vec<Reference> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let place = if at == 0 { key.to_owned() } else { format!("{key}.{at}") };
            let next = self.reference_at(place, item, wants)?;
            if let Some(same) = found.iter().find(|it| it.text() == next.text()) {
                let message = format!("`{}{key}` names `{}` twice", self.prefix, next.text());
                let problem = Diagnostic::at(next.span, message, "once more");
                return Err(self.problem(problem.related(same.span, "named here")));
            }
            found.push(next);
        }
        match found.as_slice() {
            [one] => self.record(key, one.text()),
            several => {
                let names: Vec<toml::Value> = several.iter().map(|it| it.text().into()).collect();
                self.record(key, names);
            }
        }
        Ok(found)
    }

    fn one_reference(&mut self, key: &str, node: &Node, wants: Wants) -> Result<Reference, Noted> {
        let reference = self.reference_at(key.to_owned(), node, wants)?;
        self.record(key, reference.text());
        Ok(reference)
    }

    /// A non-empty array of mentions, or a single one; required.
    pub fn references(&mut self, key: &'static str, wants: Wants) -> Result<Vec<Reference>, Noted> {
        if self.describe_reference(key, wants, true, true) {
            return Ok(vec![self.stand_in(key, wants)]);
        }
        let Some(node) = self.node(key) else {
            return Err(self.missing(key, "an array of stage names"));
        };
        let found = self.all_references(key, node, wants)?;
        if found.is_empty() {
            let message = format!("`{}{key}` is empty", self.prefix);
            let label = "expected at least one stage name";
            return Err(self.problem(Diagnostic::at(node.span, message, label)));
        }
        Ok(found)
    }

    /// An array of mentions, or a single one; empty when left out.
    pub fn optional_references(
        &mut self,
        key: &'static str,
        wants: Wants,
    ) -> Result<Vec<Reference>, Noted> {
        if self.describe_reference(key, wants, false, true) {
            return Ok(Vec::new());
        }
        self.node(key).map_or(Ok(Vec::new()), |node| self.all_references(key, node, wants))
    }

    fn all_references(
        &mut self,
        key: &str,
        node: &Node,
        wants: Wants,
    ) -> Result<Vec<Reference>, Noted> {
        let items = match &node.value {
            Value::Array(items) => items.as_slice(),
            Value::String(_) => std::slice::from_ref(node),
            _ => return Err(self.wrong_type(key, node, "an array of stage names")),
        };
        let found: Vec<Result<Reference, Noted>> = (items.iter().enumerate())
            .map(|(at, item)| self.reference_at(format!("{key}.{at}"), item, wants))
            .collect();
        let names: Vec<toml::Value> =
            found.iter().flatten().map(|found| found.text().into()).collect();
        self.record(key, names);
        found.into_iter().collect()
    }

    /// Takes a string node as a mention of a stage, for keys that take several shapes.
    #[expect(clippy::needless_pass_by_value, reason = "callers build the key on the spot")]
    pub fn reference_at(
        &mut self,
        key: String,
        node: &Node,
        wants: Wants,
    ) -> Result<Reference, Noted> {
        let Value::String(text) = &node.value else {
            return Err(self.wrong_type(&key, node, "the name of a stage"));
        };
        let (stage, split) = match text.split_once('.') {
            Some((stage, split)) => (stage, Some(split.to_owned())),
            None => (text.as_str(), None),
        };
        let split = match (wants, split) {
            (Wants::Split(default), None) => Some(default.to_owned()),
            (Wants::Split(_) | Wants::Artifact, some) => some,
            (_, Some(split)) => {
                let message =
                    format!("`{}{key}` takes a whole stage, not one of its splits", self.prefix);
                return Err(self.problem(
                    Diagnostic::at(node.span, message, format!("names the split `{split}`"))
                        .help(format!("write `{stage}`")),
                ));
            }
            (_, None) => None,
        };
        let reference = Reference {
            key: format!("{}{key}", self.prefix),
            stage: stage.to_owned(),
            split,
            wants,
            span: node.span,
        };
        self.gathered.references.push(reference.clone());
        Ok(reference)
    }
}

impl Keys<'_> {
    /// Says what a mention is, when there is no file to read one from.
    fn describe_reference(&mut self, key: &str, wants: Wants, required: bool, many: bool) -> bool {
        let Some(describing) = &mut self.describing else { return false };
        let mut schema = wants.schema();
        if many {
            let least = usize::from(required);
            let array = json!({ "type": "array", "items": schema, "minItems": least });
            schema = json!({ "anyOf": [array, schema] });
        }
        describing.note(key, Form::Leaf(schema), required, None);
        true
    }

    fn stand_in(&self, key: &str, wants: Wants) -> Reference {
        let split = match wants {
            Wants::Split(default) => Some(default.to_owned()),
            Wants::Dataset
            | Wants::Model
            | Wants::Classifier
            | Wants::Artifact
            | Wants::Anything => None,
        };
        Reference { key: key.into(), stage: "x".into(), split, wants, span: self.span() }
    }
}
