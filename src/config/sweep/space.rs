//! What the values of an axis are drawn from.
//!
//! Every space is a stretch of the real line, its coordinates; a value stands for a point or for a
//! piece of it. That is the form in which samplers and estimators see it.

use super::super::node::{Node, Value};
use super::super::source::Span;

/// Digits of a number that is drawn: enough to search by, few enough to read and to type.
const DIGITS: i32 = 4;

/// A distribution.
#[derive(Debug, Clone)]
pub(super) enum Space {
    /// Uniform in [low, high].
    Uniform(f64, f64),
    /// The logarithm is uniform.
    LogUniform(f64, f64),
    /// A whole number from low to high, both included, each as likely.
    Int(i64, i64),
    /// One of these, each as likely.
    Choice(Vec<Node>),
}

/// A number; an integer counts as one.
pub(super) fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Float(number) => Some(number),
        #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
        Value::Integer(number) => Some(number as f64),
        _ => None,
    }
}

/// `value` with as many significant `digits`.
pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    format!("{value:.*e}", usize::try_from(digits - 1).unwrap_or(0)).parse().unwrap_or(value)
}

/// Digits that tell values between `low` and `high` apart: more where these are close.
fn digits(low: f64, high: f64) -> i32 {
    let closeness = (low.abs().max(high.abs()) / (high - low)).log10().floor();
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what a float holds")]
    let more = closeness.clamp(0.0, 12.0) as i32;
    DIGITS + more
}

/// The numbers `word = [low, high]`, or what is wrong with them.
pub(super) fn ends(word: &str, items: &[Node]) -> Result<(f64, f64), String> {
    let [low, high] = pair(word, items)?;
    let (Some(low), Some(high)) = (number(low), number(high)) else {
        return Err(format!("needs two numbers for `{word}`"));
    };
    if low.is_finite() && high.is_finite() && low < high {
        Ok((low, high))
    } else {
        Err("needs `low` < `high`".into())
    }
}

fn pair<'a>(word: &str, items: &'a [Node]) -> Result<&'a [Node; 2], String> {
    items.try_into().map_err(|_| format!("needs `{word} = [low, high]`"))
}

/// The space `int = [low, high]`, or what is wrong with it.
pub(super) fn int(word: &str, items: &[Node]) -> Result<Space, String> {
    let [low, high] = pair(word, items)?;
    let (Value::Integer(low), Value::Integer(high)) = (&low.value, &high.value) else {
        return Err("needs two integers for `int`".into());
    };
    let near = high.checked_sub(*low).is_some_and(|it| (0..1 << 40).contains(&it));
    if near { Ok(Space::Int(*low, *high)) } else { Err("needs `low` <= `high`".into()) }
}

/// The space `uniform = [low, high]`, or what is wrong with it.
pub(super) fn uniform(word: &str, items: &[Node]) -> Result<Space, String> {
    ends(word, items).map(|(low, high)| Space::Uniform(low, high))
}

/// The space `log_uniform = [low, high]`, or what is wrong with it.
pub(super) fn log_uniform(word: &str, items: &[Node]) -> Result<Space, String> {
    match ends(word, items)? {
        (low, _) if low <= 0.0 => Err("needs numbers above 0 for `log_uniform`".into()),
        (low, high) if low.ln() >= high.ln() => Err("needs numbers that are further apart".into()),
        (low, high) => Ok(Space::LogUniform(low, high)),
    }
}

impl Space {
    /// The ends of its coordinates.
    #[expect(clippy::cast_precision_loss, reason = "checked when it was read")]
    pub(super) fn ends(&self) -> (f64, f64) {
        match self {
            Self::Uniform(low, high) => (*low, *high),
            Self::LogUniform(low, high) => (low.ln(), high.ln()),
            Self::Int(low, high) => (*low as f64, *high as f64 + 1.0),
            Self::Choice(values) => (0.0, values.len() as f64),
        }
    }

    /// The value at a coordinate.
    pub(super) fn value(&self, at: f64, span: Span) -> Node {
        #[expect(clippy::cast_possible_truncation, reason = "checked when it was read")]
        let whole = at.floor() as i64;
        let value = match self {
            Self::Uniform(low, high) => {
                Value::Float(rounded(at, digits(*low, *high)).clamp(*low, *high))
            }
            Self::LogUniform(low, high) => {
                Value::Float(rounded(at.exp(), digits(*low, *high)).clamp(*low, *high))
            }
            Self::Int(low, high) => Value::Integer(whole.clamp(*low, *high)),
            Self::Choice(values) => {
                let place = usize::try_from(whole).unwrap_or(0).min(values.len() - 1);
                return values[place].clone();
            }
        };
        Node { span, value }
    }

    /// The middle of what stands for `value`.
    #[expect(clippy::cast_precision_loss, reason = "checked when it was read")]
    pub(super) fn coordinate(&self, value: &Node) -> f64 {
        match self {
            Self::Uniform(..) => number(value).unwrap_or_default(),
            Self::LogUniform(..) => number(value).unwrap_or(1.0).ln(),
            Self::Int(..) => number(value).unwrap_or_default() + 0.5,
            Self::Choice(values) => {
                let text = value.to_toml().to_string();
                let same = |it: &Node| it.to_toml().to_string() == text;
                values.iter().position(same).unwrap_or(0) as f64 + 0.5
            }
        }
    }

    /// Every value in order, where they can be counted.
    pub(super) fn all(&self, span: Span) -> Option<Vec<Node>> {
        match self {
            Self::Uniform(..) | Self::LogUniform(..) => None,
            Self::Int(low, high) if high - low >= 10_000 => None,
            Self::Int(low, high) => {
                Some((*low..=*high).map(|it| Node { span, value: Value::Integer(it) }).collect())
            }
            Self::Choice(values) => Some(values.clone()),
        }
    }
}
