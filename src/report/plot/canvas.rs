//! The marks that charts are made of, as SVG text. Places are rounded to a tenth of a pixel, so that
//! the same numbers give the same bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is drawn so far, and how large.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) body: String,
}

/// Where a text stands at its place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn attribute(self) -> &'static str {
        match self {
            Self::Start => "",
            Self::Middle => " text-anchor=\"middle\"",
            Self::End => " text-anchor=\"end\"",
        }
    }
}

/// Text with what HTML and SVG would read as marks written out.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no way to write these.
            '\u{0}'..='\u{8}'
            | '\u{b}'
            | '\u{c}'
            | '\u{e}'..='\u{1f}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A place, to a tenth; what is no number becomes 0.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let tenths = (value * 10.0).round();
    // No `-0`.
    let tenths = if tenths == 0.0 { 0.0 } else { tenths };
    format!("{}", tenths / 10.0)
}

/// Roughly how wide `text` is at `size` pixels.
#[expect(clippy::cast_precision_loss, reason = "texts are short")]
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.61
}

/// `text`, with its middle left out when it is wider than `room`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few letters")]
pub(super) fn fitted(text: &str, size: f64, room: f64) -> String {
    if width_of(text, size) <= room {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    let keep = ((room / (size * 0.61)) as usize).saturating_sub(1).max(2);
    let tail = keep / 2;
    let head: String = letters[..keep - tail].iter().collect();
    let end: String = letters[letters.len() - tail..].iter().collect();
    format!("{head}…{end}")
}

/// `names`, each with so much left out that it is no wider than `room`, and so that names that differ still do: where their
/// ends are the same, what all begin with goes first.
pub(super) fn fitted_apart(names: &[&str], size: f64, room: f64) -> Vec<String> {
    let fit = |names: &[String]| -> Vec<String> {
        names.iter().map(|name| fitted(name, size, room)).collect()
    };
    let differ = |shown: &[String]| {
        let pairs: BTreeSet<(&str, &str)> =
            names.iter().copied().zip(shown.iter().map(String::as_str)).collect();
        let shown: BTreeSet<&str> = pairs.iter().map(|it| it.1).collect();
        shown.len() == pairs.len()
    };
    let whole: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let shown = fit(&whole);
    if differ(&shown) {
        return shown;
    }
    let first: Vec<char> = names[0].chars().collect();
    let same = |name: &&str| name.chars().zip(&first).take_while(|(a, b)| a == *b).count();
    let common = names.iter().map(same).min().unwrap_or(0);
    // Not in the middle of a word, but for very long ones.
    let word = first[..common].iter().rev().take_while(|it| !it.is_whitespace()).count();
    let common = common - word.min(6).min(common);
    let rest: Vec<String> = names
        .iter()
        .map(|it| format!("…{}", it.chars().skip(common).collect::<String>()))
        .collect();
    let shown = fit(&rest);
    if differ(&shown) {
        return shown;
    }
    // They differ in their middles alone: their numbers tell them apart.
    let numbered = |(at, name): (usize, &&str)| {
        let number = format!("{}: ", at + 1);
        let left = room - width_of(&number, size);
        number + &fitted(name, size, left)
    };
    names.iter().enumerate().map(numbered).collect()
}

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    pub(super) fn raw(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = anchor.attribute();
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ = write!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\"{anchor} class=\"t {class}\">{text}</text>"
        );
    }

    /// A text that runs upwards.
    pub(super) fn upward(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = anchor.attribute();
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ = write!(
            self.body,
            "<text transform=\"translate({x} {y}) rotate(-90)\"{anchor} \
             class=\"t {class}\">{text}</text>"
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let _ = write!(
            self.body,
            "<path d=\"M{} {}L{} {}\" class=\"{class}\"/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1)
        );
    }

    /// A line through `points`, with `extra` attributes.
    pub(super) fn path(&mut self, points: &[(f64, f64)], class: &str, extra: &str) {
        let _ = write!(self.body, "<path d=\"{}\" class=\"{class}\"{extra}/>", steps(points));
    }

    /// Points as marks of the line's own width.
    pub(super) fn dots(&mut self, points: &[(f64, f64)], class: &str) {
        let mut d = String::new();
        for (x, y) in points {
            let _ = write!(d, "M{} {}h0", number(*x), number(*y));
        }
        let _ = write!(self.body, "<path d=\"{d}\" class=\"{class}\"/>");
    }

    /// A filled shape with `points` as its corners.
    pub(super) fn area(&mut self, points: &[(f64, f64)], class: &str) {
        let _ = write!(self.body, "<path d=\"{}Z\" class=\"{class}\"/>", steps(points));
    }

    pub(super) fn rect(&mut self, at: (f64, f64), size: (f64, f64), attributes: &str) {
        let _ = write!(
            self.body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {attributes}/>",
            number(at.0),
            number(at.1),
            number(size.0),
            number(size.1)
        );
    }
}

fn steps(points: &[(f64, f64)]) -> String {
    let mut d = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let _ = write!(d, "{}{} {}", if at == 0 { 'M' } else { 'L' }, number(*x), number(*y));
    }
    d
}
