//! What a table writes above its columns in place of their names: a text with placeholders for the values that make a
//! column.

use serde::{Deserialize, Serialize};

/// A text with placeholders: `{source|initial}→{target|initial}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ColumnLabel {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Value { name: String, initial: bool },
}

/// The one filter: the first letter of a value, as a capital.
const INITIAL: &str = "initial";

impl ColumnLabel {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence about it.
    pub fn read(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            if rest[at..].starts_with('}') {
                return Err("closes a brace that none opened".into());
            }
            let end = rest[at..].find('}').ok_or("does not close a brace")? + at;
            parts.push(Part::Text(rest[..at].to_owned()));
            let (name, filter) = match rest[at + 1..end].split_once('|') {
                Some((name, filter)) => (name.trim(), Some(filter.trim())),
                None => (rest[at + 1..end].trim(), None),
            };
            if let Some(filter) = filter.filter(|filter| *filter != INITIAL) {
                return Err(format!("knows no `{filter}`; after `|` stands `{INITIAL}`"));
            }
            parts.push(Part::Value { name: name.to_owned(), initial: filter.is_some() });
            rest = &rest[end + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The label of the column with these values; nothing where one of them is not known.
    pub fn of(&self, value: impl Fn(&str) -> Option<String>) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Value { name, initial: false } => value(name),
            Part::Value { name, initial: true } => {
                Some(value(name)?.chars().take(1).flat_map(char::to_uppercase).collect())
            }
        };
        self.parts.iter().map(part).collect()
    }
}

impl TryFrom<String> for ColumnLabel {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::read(&text)
    }
}

impl From<ColumnLabel> for String {
    fn from(label: ColumnLabel) -> Self {
        label.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_give_values_or_their_initials() {
        let value = |name: &str| match name {
            "source" => Some("amazon".to_owned()),
            "target" => Some("webcam".to_owned()),
            _ => None,
        };
        let label = |text: &str| ColumnLabel::read(text).unwrap().of(value);
        assert_eq!(label("{source|initial}→{ target | initial }").unwrap(), "A→W");
        assert_eq!(label("to {target}, from {source}").unwrap(), "to webcam, from amazon");
        assert_eq!(label("plain").unwrap(), "plain");
        assert_eq!(label("{other}"), None);
    }

    #[test]
    fn what_is_wrong_with_a_label_is_said_and_one_survives_a_record() {
        for (text, wrong) in [
            ("{source", "does not close a brace"),
            ("source}", "closes a brace that none opened"),
            ("{source|upper}", "knows no `upper`; after `|` stands `initial`"),
        ] {
            assert_eq!(ColumnLabel::read(text).unwrap_err(), wrong);
        }
        let label = ColumnLabel::read("{source|initial}").unwrap();
        let text = serde_json::to_string(&label).unwrap();
        assert_eq!(text, "\"{source|initial}\"");
        assert_eq!(serde_json::from_str::<ColumnLabel>(&text).unwrap(), label);
    }
}
