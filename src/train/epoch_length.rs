//! What an epoch is a pass over, as a pipeline file says it. Counts nothing.

use serde_json::json;

use crate::config::node::Value;
use crate::config::{Diagnostic, Keys, Noted};

/// More steps per epoch than this are taken for a mistake.
const MOST_STEPS: usize = 1_000_000_000;

/// What an epoch is a pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochLength {
    /// The domain with fewer batches; the other is not seen whole.
    Shorter,
    /// The domain with more batches; the other comes again, in another order.
    Longer,
    /// The source; the target comes again, or is not seen whole.
    Source,
    /// The target; the source comes again, or is not seen whole.
    Target,
    /// Neither: so many steps, whatever comes in them again or not at all.
    Steps(usize),
}

impl EpochLength {
    /// Reads `epoch = "longer"`, another word or a number of steps, or `steps_per_epoch = 1000`, which
    /// means and is recorded as `epoch = 1000`; `None` where there is neither.
    ///
    /// # Errors
    /// When there are both, or another value; `keys` then knows the problem and its place.
    pub fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        keys.may_be("epoch", || {
            let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
            let words = json!({ "enum": words,
                "description": "the domain that an epoch is a pass over" });
            let steps = json!({ "type": "integer", "minimum": 1, "maximum": MOST_STEPS,
                "description": "steps of an epoch" });
            json!({ "anyOf": [words, steps] })
        });
        let node = keys.node("epoch");
        let number = keys.peek("steps_per_epoch").map(|node| node.span);
        let steps = keys.count("steps_per_epoch", 1..=MOST_STEPS).optional();
        keys.take("steps_per_epoch");
        let Some(node) = node else {
            return Ok(steps?.map(|steps| {
                keys.record("epoch", i64::try_from(steps).unwrap_or(i64::MAX));
                Self::Steps(steps)
            }));
        };
        if let Some(number) = number {
            let message = "`epoch` and `steps_per_epoch` both say how long an epoch is";
            return Err(keys.problem(
                Diagnostic::at(number, message, "a second length")
                    .related(node.span, "the first one")
                    .help("leave one of them out: `steps_per_epoch` is `epoch` with a number"),
            ));
        }
        let length = match &node.value {
            Value::String(found) => {
                WORDS.iter().find(|(word, _)| word == found).map(|(_, length)| *length)
            }
            Value::Integer(steps) => usize::try_from(*steps)
                .ok()
                .filter(|steps| (1..=MOST_STEPS).contains(steps))
                .map(Self::Steps),
            _ => None,
        };
        if length.is_none() {
            let message = "`epoch` must be \"longer\", \"shorter\", \"source\", \"target\" or a \
                           number of steps";
            return Err(keys.problem(
                Diagnostic::at(node.span, message, format!("found {}", node.shown()))
                    .help("write `epoch = \"longer\"`; how many epochs there are is `epochs`"),
            ));
        }
        keys.record("epoch", node.to_toml());
        Ok(length)
    }
}

/// The words for lengths.
const WORDS: [(&str, EpochLength); 4] = [
    ("longer", EpochLength::Longer),
    ("shorter", EpochLength::Shorter),
    ("source", EpochLength::Source),
    ("target", EpochLength::Target),
];
