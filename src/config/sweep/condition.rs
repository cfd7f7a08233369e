//! `where`: which combinations of a sweep are kept.
//!
//! `lr < 0.1 or (seed == 0 and not kind in ["sgd"])`: comparisons of swept keys and values, joined
//! by `and`, `or`, `not` and parentheses. A key may be cut down to an ending that only one axis has.

use std::cmp::Ordering;

use super::super::diagnostic::{Diagnostic, suggest};
use super::super::node::Node;
use super::super::source::Span;
use super::super::word::{Word, words};

/// A condition that is checked for every combination.
#[derive(Debug, Clone)]
pub struct Condition {
    span: Span,
    text: String,
    root: Term,
}

#[derive(Debug, Clone)]
enum Term {
    Any(Vec<Term>),
    All(Vec<Term>),
    Not(Box<Term>),
    Compare(Operand, Relation, Operand),
    In(Operand, Vec<toml::Value>),
}

words! {
    /// How two values are compared.
    enum Relation {
        /// They are the same.
        Equal = "==",
        /// They differ.
        Unequal = "!=",
        /// The first is the lower one, or they are the same.
        AtMost = "<=",
        /// The first is the higher one, or they are the same.
        AtLeast = ">=",
        /// The first is the lower one.
        Below = "<",
        /// The first is the higher one.
        Above = ">",
    }
}

#[derive(Debug, Clone)]
enum Operand {
    /// Number of the axis.
    Axis(usize),
    Value(toml::Value),
}

#[derive(Debug, Clone, PartialEq)]
enum Lexeme {
    Word(String),
    Value(toml::Value),
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ","];

impl Condition {
    /// Reads the condition `text` at `span` over the axes called `keys`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str, span: Span, keys: &[&str]) -> Result<Self, Diagnostic> {
        let wrong = |(message, help): (String, Option<String>)| {
            let mut problem = Diagnostic::at(span, format!("`where`: {message}"), "this condition");
            problem.help.extend(help);
            problem.help.push("for example `where = \"lr < 0.1 or seed == 0\"`".into());
            problem
        };
        let tokens = tokens(text).map_err(|message| wrong((message, None)))?;
        let mut parser = Parser { tokens: &tokens, at: 0, keys, depth: 0 };
        let root = parser.any().map_err(wrong)?;
        if let Some(rest) = parser.peek() {
            return Err(wrong((format!("did not expect {}", shown(rest)), None)));
        }
        Ok(Self { span, text: text.to_owned(), root })
    }

    /// Whether a combination is kept; `values` in the order of the axes.
    ///
    /// # Errors
    /// When it compares what cannot be compared.
    pub(super) fn holds(&self, values: &[&Node]) -> Result<bool, Diagnostic> {
        holds(&self.root, values).map_err(|message| {
            Diagnostic::at(self.span, format!("`where`: {message}"), "this condition")
        })
    }

    /// Where it stands.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    /// The condition as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn tokens(text: &str) -> Result<Vec<Lexeme>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Lexeme::Sign(sign));
            sign.len()
        } else if first == '"' || first == '\'' {
            let close = rest[1..].find(first).ok_or("a quote is not closed")?;
            tokens.push(Lexeme::Value(rest[1..=close].to_owned().into()));
            close + 2
        } else {
            let of_word = |it: char| it.is_alphanumeric() || "_-+.".contains(it);
            let end = rest.find(|it| !of_word(it)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("did not expect `{first}`"));
            }
            let word = &rest[..end];
            tokens.push(match (word.parse::<i64>(), word.parse::<f64>(), word) {
                (Ok(whole), _, _) => Lexeme::Value(whole.into()),
                (_, Ok(number), _) if first.is_ascii_digit() || "-+.".contains(first) => {
                    Lexeme::Value(number.into())
                }
                (_, _, "true" | "false") => Lexeme::Value((word == "true").into()),
                _ => Lexeme::Word(word.to_owned()),
            });
            end
        };
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

fn shown(token: &Lexeme) -> String {
    match token {
        Lexeme::Word(word) => format!("`{word}`"),
        Lexeme::Value(value) => format!("`{value}`"),
        Lexeme::Sign(sign) => format!("`{sign}`"),
    }
}

/// Terms within terms that are taken for a mistake.
const MOST_DEPTH: usize = 100;

type Wrong = (String, Option<String>);

struct Parser<'a> {
    tokens: &'a [Lexeme],
    at: usize,
    keys: &'a [&'a str],
    /// Terms within terms.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Lexeme> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let found = match self.peek() {
            Some(Lexeme::Word(word)) => word == wanted,
            Some(Lexeme::Sign(sign)) => *sign == wanted,
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Term, Wrong> {
        let mut terms = vec![self.all()?];
        while self.take("or") {
            terms.push(self.all()?);
        }
        Ok(Term::Any(terms))
    }

    fn all(&mut self) -> Result<Term, Wrong> {
        let mut terms = vec![self.one()?];
        while self.take("and") {
            terms.push(self.one()?);
        }
        Ok(Term::All(terms))
    }

    fn one(&mut self) -> Result<Term, Wrong> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(("too many `(` and `not` within each other".into(), None));
        }
        let one = self.inner();
        self.depth -= 1;
        one
    }

    fn inner(&mut self) -> Result<Term, Wrong> {
        if self.take("not") {
            return Ok(Term::Not(Box::new(self.one()?)));
        }
        if self.take("(") {
            let inner = self.any()?;
            return if self.take(")") {
                Ok(inner)
            } else {
                Err(("a `(` is not closed".into(), None))
            };
        }
        let left = self.operand()?;
        let comparison = Relation::all().find(|it| self.take(it.word()));
        if comparison.is_none() && !self.take("in") {
            let found = self.peek().map_or("its end".to_owned(), shown);
            return Err((format!("expected a comparison such as `==` before {found}"), None));
        }
        match (comparison, self.operand()?) {
            (None, Operand::Value(toml::Value::Array(items))) => Ok(Term::In(left, items)),
            (None, _) | (Some(_), Operand::Value(toml::Value::Array(_))) => {
                Err(("`in` and an array such as `[1, 2]` go together".into(), None))
            }
            (Some(comparison), right) => Ok(Term::Compare(left, comparison, right)),
        }
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        if self.take("[") {
            let mut items = Vec::new();
            while !self.take("]") {
                match self.operand()? {
                    Operand::Value(value) => items.push(value),
                    Operand::Axis(_) => return Err(("an array holds values only".into(), None)),
                }
                if !self.take(",") && !matches!(self.peek(), Some(Lexeme::Sign("]"))) {
                    return Err(("a `[` is not closed".into(), None));
                }
            }
            return Ok(Operand::Value(items.into()));
        }
        let token = self.peek().ok_or(("expected a key or a value at its end".into(), None))?;
        self.at += 1;
        match token {
            Lexeme::Value(value) => Ok(Operand::Value(value.clone())),
            Lexeme::Word(word) => self.axis(word).map(Operand::Axis),
            Lexeme::Sign(_) => {
                Err((format!("expected a key or a value, not {}", shown(token)), None))
            }
        }
    }

    fn axis(&self, word: &str) -> Result<usize, Wrong> {
        let ending = format!(".{word}");
        let fits = |key: &&str| **key == *word || key.ends_with(&ending);
        let mut fitting = self.keys.iter().enumerate().filter(|(_, key)| fits(key));
        match (self.keys.iter().position(|key| *key == word), fitting.next(), fitting.next()) {
            (Some(at), _, _) | (_, Some((at, _)), None) => Ok(at),
            (_, Some(_), Some(_)) => Err((format!("`{word}` is the ending of several axes"), None)),
            _ => Err((
                format!("`{word}` is not swept"),
                suggest(word, self.keys.iter().copied())
                    .or_else(|| Some("text goes in quotes: `'text'`".into())),
            )),
        }
    }
}

fn holds(term: &Term, values: &[&Node]) -> Result<bool, String> {
    match term {
        Term::Any(terms) => {
            terms.iter().try_fold(false, |so_far, term| Ok(holds(term, values)? || so_far))
        }
        Term::All(terms) => {
            terms.iter().try_fold(true, |so_far, term| Ok(holds(term, values)? && so_far))
        }
        Term::Not(term) => Ok(!holds(term, values)?),
        Term::Compare(left, comparison, right) => {
            compare(&value(left, values), *comparison, &value(right, values))
        }
        Term::In(item, items) => {
            let item = value(item, values);
            items.iter().try_fold(false, |so_far, other| {
                Ok(compare(&item, Relation::Equal, other)? || so_far)
            })
        }
    }
}

fn value(operand: &Operand, values: &[&Node]) -> toml::Value {
    match operand {
        Operand::Axis(at) => values[*at].to_toml(),
        Operand::Value(value) => value.clone(),
    }
}

fn compare(left: &toml::Value, comparison: Relation, right: &toml::Value) -> Result<bool, String> {
    #[expect(clippy::cast_precision_loss, reason = "settings are far below 2^53")]
    let number = |value: &toml::Value| match value {
        toml::Value::Integer(whole) => Some(*whole as f64),
        toml::Value::Float(number) => Some(*number),
        _ => None,
    };
    let order = match (number(left), number(right), left.as_str(), right.as_str()) {
        (Some(left), Some(right), _, _) => left.partial_cmp(&right),
        (_, _, Some(left), Some(right)) => Some(left.cmp(right)),
        // Values of other types are not the same.
        _ => {
            return match comparison {
                Relation::Equal => Ok(left == right),
                Relation::Unequal => Ok(left != right),
                Relation::AtMost | Relation::AtLeast | Relation::Below | Relation::Above => {
                    Err(format!("{left} and {right} cannot be compared by `{}`", comparison.word()))
                }
            };
        }
    };
    // Nothing but `!=` holds of what is not a number.
    Ok(match comparison {
        Relation::Equal => order.is_some_and(Ordering::is_eq),
        Relation::Unequal => !order.is_some_and(Ordering::is_eq),
        Relation::AtMost => order.is_some_and(Ordering::is_le),
        Relation::AtLeast => order.is_some_and(Ordering::is_ge),
        Relation::Below => order.is_some_and(Ordering::is_lt),
        Relation::Above => order.is_some_and(Ordering::is_gt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Value;
    use crate::config::source::Sources;

    fn check(text: &str, lr: f64, seed: i64) -> Result<bool, String> {
        let span = Span::new(Sources::default().add("x", text), 0..1);
        let node = |value| Node { span, value };
        let (lr, seed) = (node(Value::Float(lr)), node(Value::Integer(seed)));
        let keys = ["stages.net.optimizer.lr", "pipeline.seed"];
        let condition = Condition::read(text, span, &keys).map_err(|it| it.message)?;
        condition.holds(&[&lr, &seed]).map_err(|it| it.message)
    }

    #[test]
    fn conditions_hold_as_they_read() {
        for (text, expected) in [
            ("lr < 0.1", true),
            ("lr < 0.1 and seed == 0", false),
            ("lr < 0.1 and seed == 0 or seed in [1, 2]", true),
            ("lr < 0.1 and (seed == 0 or seed > 1e2)", false),
            ("not pipeline.seed == 1", false),
            ("optimizer.lr >= 0.05 and seed != 2", true),
        ] {
            assert_eq!(check(text, 0.05, 1), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_conditions_are_explained() {
        for (text, expected) in [
            ("lr", "expected a comparison such as `==` before its end"),
            ("lr < ", "expected a key or a value at its end"),
            ("lamda < 1", "`lamda` is not swept"),
            ("lr < 'a'", "0.05 and \"a\" cannot be compared by `<`"),
            ("(lr < 1", "a `(` is not closed"),
            ("lr in 3", "`in` and an array such as `[1, 2]` go together"),
            ("lr < 1 seed", "did not expect `seed`"),
            ("lr < 'a", "a quote is not closed"),
            ("lr ~ 2", "did not expect `~`"),
        ] {
            assert_eq!(check(text, 0.05, 1), Err(format!("`where`: {expected}")), "{text}");
        }
    }
}
