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
    pub entries: IndexMap<String, Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone)]
pub struct Entry {
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

impl Table {
    /// The plain table, without places.
    pub fn to_toml(&self) -> toml::Table {
        self.entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_toml())).collect()
    }
}
