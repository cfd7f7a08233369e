//! A TOML value that knows where it was written.

use indexmap::IndexMap;

use super::source::Span;

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the value stands.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction or exponent, `inf` and `nan` included.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as written.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table, inline or under a header.
    Table(Table),
}

/// Keys in the order of the file, each with its place.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The entries.
    pub entries: IndexMap<String, KeyValue>,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub struct KeyValue {
    /// Where the key stands.
    pub key: Span,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// What TOML calls this kind of value, with its article.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date-time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The node at a dotted path below this one; an array is entered by index (`models.0`).
    /// Where the path leaves the tree, the deepest node that exists.
    pub fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for part in path.split('.') {
            let next = match &node.value {
                Value::Table(table) => table.entries.get(part).map(|entry| &entry.node),
                Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get(at)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The node at `path` below this one, if there is one; an array is entered by index.
    pub fn below(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(self, |node, part| match &node.value {
            Value::Table(table) => table.entries.get(part).map(|entry| &entry.node),
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Whether both mean the same setting: numbers by their value, however they are written; tables
    /// whatever the order of their keys.
    pub fn is_same(&self, other: &Node) -> bool {
        self.meaning() == other.meaning()
    }

    /// A text that two nodes share when they mean the same setting.
    pub fn meaning(&self) -> String {
        /// Integers up to here are floats, too.
        const EXACT: u64 = 1 << 53;
        match &self.value {
            #[expect(clippy::cast_precision_loss, reason = "such integers are exact")]
            Value::Integer(number) if number.unsigned_abs() <= EXACT => {
                format!("{:?}", *number as f64)
            }
            Value::Integer(number) => number.to_string(),
            // Adding it leaves one zero of the two.
            Value::Float(number) => format!("{:?}", number + 0.0),
            Value::Boolean(flag) => flag.to_string(),
            Value::String(text) => format!("{text:?}"),
            Value::Datetime(text) => text.clone(),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(Node::meaning).collect::<Vec<_>>().join(","))
            }
            Value::Table(table) => {
                let entries = table.entries.iter();
                let mut entries: Vec<String> =
                    entries.map(|(key, it)| format!("{key:?}={}", it.node.meaning())).collect();
                entries.sort();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    /// The value for people, as [`shown`] writes it.
    pub fn shown(&self) -> String {
        shown(&self.to_toml())
    }

    /// The plain value, without places.
    pub fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::String(text) => toml::Value::String(text.clone()),
            Value::Integer(number) => toml::Value::Integer(*number),
            Value::Float(number) => toml::Value::Float(*number),
            Value::Boolean(flag) => toml::Value::Boolean(*flag),
            Value::Datetime(text) => text
                .parse()
                .map_or_else(|_| toml::Value::String(text.clone()), toml::Value::Datetime),
            Value::Array(items) => toml::Value::Array(items.iter().map(Node::to_toml).collect()),
            Value::Table(table) => toml::Value::Table(table.to_toml()),
        }
    }
}

/// A value in TOML, for people: a number that would have many zeros has an exponent in their place.
pub fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Float(number) if is_long(*number) => format!("{number:e}"),
        toml::Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        toml::Value::Table(table) if table.is_empty() => "{}".to_owned(),
        toml::Value::Table(table) => {
            let entries = table.iter().map(|(key, it)| format!("{} = {}", as_key(key), shown(it)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// An axis value as text: strings without quotes, and no number with more zeros than can be counted.
pub fn label_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => shown(other),
    }
}

fn is_long(number: f64) -> bool {
    number.is_finite() && number != 0.0 && !(1e-9..1e16).contains(&number.abs())
}

/// A key as TOML writes it: quoted where it needs to be.
fn as_key(key: &str) -> String {
    let is_bare = |it: char| it.is_ascii_alphanumeric() || "_-".contains(it);
    match !key.is_empty() && key.chars().all(is_bare) {
        true => key.to_owned(),
        false => toml::Value::String(key.to_owned()).to_string(),
    }
}

impl Table {
    /// The plain table, without places.
    pub fn to_toml(&self) -> toml::Table {
        self.entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_toml())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;
    use crate::config::source::Sources;

    fn read(value: &str) -> Node {
        let text = format!("x = {value}");
        let root = document::parse(Sources::default().add("x", &*text), &text).expect("valid TOML");
        root.below(&["x".to_owned()]).expect("the value").clone()
    }

    #[test]
    fn values_are_the_same_however_they_are_written() {
        let same = [
            ("1", "1.0"),
            ("[1, 2]", "[1.0, 2]"),
            ("{ a = 1, b = 2 }", "{ b = 2.0, a = 1 }"),
            ("0.0", "-0.0"),
            ("1e3", "1000"),
            ("-7", "-7.0"),
            ("nan", "nan"),
        ];
        for (a, b) in same {
            assert!(read(a).is_same(&read(b)) && read(b).is_same(&read(a)), "{a} {b}");
        }
        let differ = [
            ("1", "\"1\""),
            ("1", "true"),
            ("[1]", "[1, 1]"),
            ("{ a = 1 }", "{ a = 1, b = 1 }"),
            ("{ a = 1 }", "{ b = 1 }"),
            ("0.1", "0.2"),
            ("9007199254740993", "9007199254740992"),
            ("\"1.0\"", "1"),
        ];
        for (a, b) in differ {
            assert!(!read(a).is_same(&read(b)) && !read(b).is_same(&read(a)), "{a} {b}");
        }
    }

    #[test]
    fn only_numbers_of_many_zeros_are_shown_in_another_way_than_toml_writes_them() {
        assert_eq!(read("1e30").shown(), "1e30");
        assert_eq!(read("[-2.5e-12, { lr = 1e300 }]").shown(), "[-2.5e-12, { lr = 1e300 }]");
        let plain = [
            "1e-6",
            "0.1",
            "123456789.5",
            "1e15",
            "0.0",
            "inf",
            "nan",
            "5",
            "true",
            "{}",
            "[]",
            "\"a \\\" b\"",
            "'c:\\d'",
            "1979-05-27",
            "{ kind = \"sgd\", \"a b\" = [1, 2.5], c = { d = 'e' } }",
        ];
        for text in plain {
            let node = read(text);
            assert_eq!(node.shown(), node.to_toml().to_string(), "labels of old results");
        }
    }
}
