//! Settings that are numbers of pixels: heights and widths, rows and columns.

use serde_json::json;

use super::diagnostic::Diagnostic;
use super::node::{Node, Value};
use super::source::Span;
use super::{Keys, Noted};

/// Pixels of the longest side.
pub const LARGEST: usize = 16_384;

/// What two numbers of pixels are, where they are a size.
pub const SIZE: &str = "height and width";

/// Two numbers of pixels from `least` on, which mean `about`, or one number for both, as a schema has them.
pub fn sides(least: usize, about: &str) -> [serde_json::Value; 2] {
    let side = json!({ "type": "integer", "minimum": least, "maximum": LARGEST });
    let both = json!({ "type": "array", "items": side, "minItems": 2, "maxItems": 2,
        "description": about });
    [both, side]
}

/// The value at `key` that `read` finds in it; what is wrong with any other one, `problem` says.
pub fn read<T>(
    keys: &mut Keys,
    key: &'static str,
    schema: impl FnOnce() -> serde_json::Value,
    read: impl FnOnce(&Node) -> Option<T>,
    problem: impl FnOnce(Span, String) -> Diagnostic,
) -> Result<Option<T>, Noted> {
    keys.may_be(key, schema);
    let Some(node) = keys.node(key) else { return Ok(None) };
    let Some(found) = read(node) else {
        return Err(keys.problem(problem(node.span, format!("found {}", node.shown()))));
    };
    keys.record(key, node.to_toml());
    Ok(Some(found))
}

/// `center_crop = 224` or `center_crop = [224, 224]`, height and width, at `key`; nothing when it is left out.
///
/// # Errors
/// When it is something else.
pub fn height_and_width(
    keys: &mut Keys,
    key: &'static str,
) -> Result<Option<(usize, usize)>, Noted> {
    let schema = || json!({ "anyOf": sides(1, SIZE) });
    read(
        keys,
        key,
        schema,
        |node| two_lengths(node, 1),
        |span, found| {
            let message =
                format!("`{key}` must be a height and a width from 1 to {LARGEST} pixels");
            Diagnostic::at(span, message, found)
                .help(format!("write `{key} = [224, 224]`, or `{key} = 224` for the same"))
        },
    )
}

/// Two numbers of pixels from `least` on, or one for both.
pub fn two_lengths(node: &Node, least: usize) -> Option<(usize, usize)> {
    let length = |node| length(node, least);
    match &node.value {
        Value::Array(items) => match items.as_slice() {
            [first, second] => length(first).zip(length(second)),
            _ => None,
        },
        _ => length(node).map(|length| (length, length)),
    }
}

/// A number of pixels from `least` on.
pub fn length(node: &Node, least: usize) -> Option<usize> {
    match node.value {
        Value::Integer(length) => {
            usize::try_from(length).ok().filter(|length| (least..=LARGEST).contains(length))
        }
        _ => None,
    }
}
