//! One typed key of a table: what it must be, what it must fulfil, what counts when it is left out.

use std::ops::RangeInclusive;

use serde_json::{Map, json};

use super::describe::Form;
use super::diagnostic::{Diagnostic, Noted};
use super::keys::Keys;
use super::node::{Node, Value};

impl<'a> Keys<'a> {
    /// A string.
    pub fn string(&mut self, key: &'static str) -> Field<'_, 'a, String> {
        Field::new(self, key, "a string", |node| match &node.value {
            Value::String(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Field<'_, 'a, bool> {
        Field::new(self, key, "`true` or `false`", |node| match node.value {
            Value::Boolean(flag) => Some(flag),
            _ => None,
        })
    }

    /// A whole number.
    pub fn integer(&mut self, key: &'static str) -> Field<'_, 'a, i64> {
        Field::new(self, key, "an integer", |node| match node.value {
            Value::Integer(number) => Some(number),
            _ => None,
        })
    }

    /// A count of things that fits `range`.
    pub fn count(
        &mut self,
        key: &'static str,
        range: RangeInclusive<usize>,
    ) -> Field<'_, 'a, usize> {
        let field = Field::new(self, key, "an integer", |node| match node.value {
            Value::Integer(number) => Some(usize::try_from(number).unwrap_or(usize::MAX)),
            _ => None,
        });
        let expected = match *range.end() {
            usize::MAX => format!("an integer of at least {}", range.start()),
            end => format!("an integer from {} to {end}", range.start()),
        };
        // A negative number becomes usize::MAX above and must not slip through an open range.
        let top = (*range.end()).min(usize::MAX - 1);
        let mut limits = vec![("minimum", json!(range.start()))];
        if *range.end() != usize::MAX {
            limits.push(("maximum", json!(range.end())));
        }
        let field =
            field.such_that(expected, move |number| *number >= *range.start() && *number <= top);
        field.limits(limits)
    }

    /// A number; an integer is taken as a float.
    pub fn float(&mut self, key: &'static str) -> Field<'_, 'a, f64> {
        Field::new(self, key, "a number", as_float)
    }

    /// An array of strings, or a single one.
    pub fn strings(&mut self, key: &'static str) -> Field<'_, 'a, Vec<String>> {
        Field::new(self, key, "an array of strings", |node| match &node.value {
            Value::Array(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::String(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            Value::String(text) => Some(vec![text.clone()]),
            _ => None,
        })
    }

    /// An array of numbers.
    pub fn floats(&mut self, key: &'static str) -> Field<'_, 'a, Vec<f64>> {
        Field::new(self, key, "an array of numbers", |node| match &node.value {
            Value::Array(items) => items.iter().map(as_float).collect(),
            _ => None,
        })
    }

    /// An array of counts, none negative.
    pub fn counts(&mut self, key: &'static str) -> Field<'_, 'a, Vec<usize>> {
        Field::new(self, key, "an array of integers, none negative", |node| match &node.value {
            Value::Array(items) => items
                .iter()
                .map(|item| match item.value {
                    Value::Integer(number) => usize::try_from(number).ok(),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }
}

fn as_float(node: &Node) -> Option<f64> {
    match node.value {
        Value::Float(number) => Some(number),
        #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
        Value::Integer(number) => Some(number as f64),
        _ => None,
    }
}

/// A value that a resolved table can hold.
pub trait Resolved: Clone {
    /// The TOML form.
    fn resolved(&self) -> toml::Value;

    /// The JSON Schema of any such value.
    fn schema() -> serde_json::Value;

    /// Values that stand in for one when there is no file.
    fn stand_ins() -> Vec<Self>;
}

macro_rules! resolved {
    ($($type:ty => $make:expr, $schema:expr, $stand_ins:expr);+ $(;)?) => {
        $(impl Resolved for $type {
            fn resolved(&self) -> toml::Value {
                let make: fn(&$type) -> toml::Value = $make;
                make(self)
            }

            fn schema() -> serde_json::Value {
                json!({ "type": $schema })
            }

            fn stand_ins() -> Vec<Self> {
                $stand_ins
            }
        })+
    };
}

resolved! {
    String => |text| text.clone().into(), "string", vec!["x".into(), "file:x".into()];
    bool => |flag| (*flag).into(), "boolean", vec![false];
    i64 => |number| (*number).into(), "integer", vec![1, 0];
    usize => |number| i64::try_from(*number).unwrap_or(i64::MAX).into(), "integer", vec![1, 2, 0];
    f64 => |number| (*number).into(), "number", vec![1.0, 0.5, 0.0];
}

impl<T: Resolved> Resolved for Vec<T> {
    fn resolved(&self) -> toml::Value {
        self.iter().map(Resolved::resolved).collect::<Vec<_>>().into()
    }

    fn schema() -> serde_json::Value {
        let array = json!({ "type": "array", "items": T::schema() });
        match T::schema() {
            // As [`Keys::strings`] takes it.
            one if one["type"] == "string" => json!({ "anyOf": [array, one] }),
            _ => array,
        }
    }

    fn stand_ins() -> Vec<Self> {
        let two = T::stand_ins().into_iter().map(|one| vec![one.clone(), one]);
        two.chain([Vec::new()]).collect()
    }
}

type Demand<T> = (String, Box<dyn Fn(&T) -> bool>);
type ReadNode<T> = Box<dyn Fn(&Node) -> Option<T>>;

/// One key that is about to be read: say what it must fulfil, then whether it may be left out.
pub struct Field<'k, 'a, T> {
    keys: &'k mut Keys<'a>,
    key: &'static str,
    expected: &'static str,
    read: ReadNode<T>,
    check: Option<Demand<T>>,
    limits: Map<String, serde_json::Value>,
}

impl<'k, 'a, T: Resolved> Field<'k, 'a, T> {
    fn new(
        keys: &'k mut Keys<'a>,
        key: &'static str,
        expected: &'static str,
        read: impl Fn(&Node) -> Option<T> + 'static,
    ) -> Self {
        let (read, limits) = (Box::new(read), Map::new());
        Self { keys, key, expected, read, check: None, limits }
    }

    /// Demands `holds`; `expected` finishes the sentence "`key` must be ...".
    #[must_use]
    pub fn such_that(
        mut self,
        expected: impl Into<String>,
        holds: impl Fn(&T) -> bool + 'static,
    ) -> Self {
        self.check = Some((expected.into(), Box::new(holds)));
        self
    }

    /// What a JSON Schema says of the same demand: `minimum`, `minItems`, `pattern`.
    #[must_use]
    pub fn limits(
        mut self,
        limits: impl IntoIterator<Item = (&'static str, serde_json::Value)>,
    ) -> Self {
        self.limits.extend(limits.into_iter().map(|(key, limit)| (key.to_owned(), limit)));
        self
    }

    /// Says what the key takes.
    fn describe(&mut self, required: bool, default: Option<&T>) {
        let mut schema = T::schema();
        if let serde_json::Value::Object(schema) = &mut schema {
            schema.extend(std::mem::take(&mut self.limits));
            let expected = self.check.as_ref().map_or(self.expected, |check| &check.0);
            schema.insert("description".into(), expected.into());
        }
        let json = default.and_then(|value| serde_json::to_value(value.resolved()).ok());
        if let Some(describing) = &mut self.keys.describing {
            describing.note(self.key, Form::Leaf(schema), required, json);
        }
    }

    /// The value; a problem when it is left out.
    pub fn required(mut self) -> Result<T, Noted> {
        if self.keys.is_describing() {
            self.describe(true, None);
            let holds = |value: &T| self.check.as_ref().is_none_or(|check| check.1(value));
            return T::stand_ins().into_iter().find(holds).ok_or_else(Noted::without_file);
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None => Err(self.keys.missing(self.key, self.expected)),
        }
    }

    /// The value or, when it is left out, `default`.
    pub fn or(mut self, default: impl Into<T>) -> Result<T, Noted> {
        let default = default.into();
        if self.keys.is_describing() {
            self.describe(false, Some(&default));
            return Ok(default);
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node),
            None => {
                self.keys.record(self.key, default.resolved());
                Ok(default)
            }
        }
    }

    /// The value, if it is not left out.
    pub fn optional(mut self) -> Result<Option<T>, Noted> {
        if self.keys.is_describing() {
            self.describe(false, None);
            return Ok(None);
        }
        match self.keys.node(self.key) {
            Some(node) => self.take(node).map(Some),
            None => Ok(None),
        }
    }

    fn take(self, node: &Node) -> Result<T, Noted> {
        let Some(value) = (self.read)(node) else {
            return Err(self.keys.wrong_type(self.key, node, self.expected));
        };
        if let Some((expected, holds)) = &self.check
            && !holds(&value)
        {
            let message = format!("`{}{}` must be {expected}", self.keys.prefix, self.key);
            let found = format!("found {}", node.shown());
            return Err(self.keys.problem(Diagnostic::at(node.span, message, found)));
        }
        self.keys.record(self.key, value.resolved());
        Ok(value)
    }
}

impl Field<'_, '_, i64> {
    /// Demands 0 or more.
    #[must_use]
    pub fn not_negative(self) -> Self {
        self.such_that("an integer of at least 0", |number| *number >= 0)
            .limits([("minimum", json!(0))])
    }
}

impl Field<'_, '_, f64> {
    /// Demands a finite number above zero.
    #[must_use]
    pub fn positive(self) -> Self {
        self.such_that("a number above 0", |number| number.is_finite() && *number > 0.0)
            .limits([("minimum", json!(0.0)), ("exclusiveMinimum", json!(true))])
    }

    /// Demands a finite number of at least `least`.
    #[must_use]
    pub fn at_least(self, least: f64) -> Self {
        self.such_that(format!("a number of at least {least}"), move |number| {
            number.is_finite() && *number >= least
        })
        .limits([("minimum", json!(least))])
    }

    /// Demands a number from 0 up to, but not including, 1.
    #[must_use]
    pub fn below_one(self) -> Self {
        self.such_that("a number of at least 0 and below 1", |number| (0.0..1.0).contains(number))
            .limits([
                ("minimum", json!(0.0)),
                ("maximum", json!(1.0)),
                ("exclusiveMaximum", json!(true)),
            ])
    }

    /// Demands a number above 0 and of at most 1.
    #[must_use]
    pub fn fraction(self) -> Self {
        self.such_that("a fraction above 0 and at most 1", |number| *number > 0.0 && *number <= 1.0)
            .limits([
                ("minimum", json!(0.0)),
                ("exclusiveMinimum", json!(true)),
                ("maximum", json!(1.0)),
            ])
    }
}
