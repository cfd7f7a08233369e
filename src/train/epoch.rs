//! How many steps an epoch has, and which images each step takes. Where two domains differ in size, one
//! ends before the other; nothing here reads an image.

use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::contract::Data;
use crate::config::node::Value;
use crate::config::{Diagnostic, Keys, Noted};
use crate::data::{Unlabelled, loader};

/// More steps per epoch than this are taken for a mistake.
const MOST_STEPS: usize = 1_000_000_000;

/// What an epoch is a pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochLength {
    /// The domain with fewer batches; the other is not seen whole.
    Shorter,
    /// The domain with more batches; the other comes again, in another order.
    Longer,
    /// Neither: so many steps, whatever comes in them again or not at all.
    Steps(usize),
}

impl EpochLength {
    /// Reads `epoch = "longer"`, `"shorter"` or a number of steps, if it is there.
    pub fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        keys.may_be("epoch", || {
            let words = json!({ "enum": ["longer", "shorter"],
                "description": "the domain that an epoch is a pass over" });
            let steps = json!({ "type": "integer", "minimum": 1, "maximum": MOST_STEPS,
                "description": "steps of an epoch" });
            json!({ "anyOf": [words, steps] })
        });
        let Some(node) = keys.node("epoch") else { return Ok(None) };
        let length = match &node.value {
            Value::String(word) if word == "longer" => Some(Self::Longer),
            Value::String(word) if word == "shorter" => Some(Self::Shorter),
            Value::Integer(steps) => usize::try_from(*steps)
                .ok()
                .filter(|steps| (1..=MOST_STEPS).contains(steps))
                .map(Self::Steps),
            _ => None,
        };
        if length.is_none() {
            let message = "`epoch` must be \"longer\", \"shorter\" or a number of steps";
            return Err(keys.problem(
                Diagnostic::at(node.span, message, format!("found {}", node.shown()))
                    .help("write `epoch = \"longer\"`; how many epochs there are is `epochs`"),
            ));
        }
        keys.record("epoch", node.to_toml());
        Ok(length)
    }

    /// Whether it says which of two domains counts.
    pub fn compares_domains(self) -> bool {
        matches!(self, Self::Shorter | Self::Longer)
    }
}

/// The steps of an epoch over domains with `source` and `target` batches; by default, as many as the
/// domain with fewer batches has.
pub(super) fn steps(length: Option<EpochLength>, source: usize, target: Option<usize>) -> usize {
    let target = target.unwrap_or(source);
    match length {
        None | Some(EpochLength::Shorter) => source.min(target),
        Some(EpochLength::Longer) => source.max(target),
        Some(EpochLength::Steps(steps)) => steps,
    }
}

/// Batches of at least two images in `count`: batch norm has no variance in a batch of one.
pub(super) fn batches(count: usize, size: usize) -> usize {
    count / size + usize::from(count % size >= 2)
}

/// What an epoch does not see, or sees again, for people: the line for the log and a few words for the
/// summary. `None` where it is a pass over everything there is.
pub fn coverage(data: &Data, size: usize, length: Option<EpochLength>) -> Option<(String, String)> {
    let counts = [
        ("source", data.source.1.labels.len()),
        ("target", data.target.as_ref().map_or(0, Unlabelled::len)),
    ];
    let domains = if data.target.is_some() { &counts[..] } else { &counts[..1] };
    let of = |count: usize| batches(count, size);
    let steps = steps(length, of(counts[0].1), data.target.as_ref().map(|_| of(counts[1].1)));
    let told: Vec<String> = domains
        .iter()
        .filter(|(_, count)| of(*count) != steps)
        .map(|(domain, count)| match steps < of(*count) {
            true => format!("{} of {count} {domain} images", steps * size),
            false => format!("the {count} {domain} images {} times", times(steps, of(*count))),
        })
        .collect();
    if told.is_empty() {
        return None;
    }
    let told = told.join(" and ");
    let plural = if steps == 1 { "" } else { "s" };
    let mut line = format!("an epoch is {steps} step{plural} and sees {told}");
    if length.is_none() {
        line += "; `epoch = \"longer\"` sees all, and those of the smaller domain again";
    }
    Some((line, format!("{told} per epoch")))
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn times(steps: usize, batches: usize) -> String {
    match steps % batches {
        0 => (steps / batches).to_string(),
        _ => format!("{:.1}", steps as f64 / batches as f64),
    }
}

/// The images of one domain in an epoch: pass after pass, each in an order of its own.
pub(super) struct ImagePasses {
    seed: u64,
    epoch: u64,
    purpose: &'static str,
    count: usize,
    size: usize,
    /// The pass that was asked for last, and its order.
    order: Mutex<(u64, Vec<usize>)>,
}

impl ImagePasses {
    /// Those of `count` images in batches of `size`.
    pub fn new(
        (seed, epoch): (u64, u64),
        purpose: &'static str,
        (count, size): (usize, usize),
    ) -> Self {
        let order = loader::pass_order(seed, purpose, (epoch, 0), count);
        Self { seed, epoch, purpose, count, size, order: Mutex::new((0, order)) }
    }

    /// The pass that step `step` is in, and the images it takes.
    pub fn batch(&self, step: usize) -> (u64, Vec<usize>) {
        let batches = batches(self.count, self.size);
        let (pass, at) = ((step / batches) as u64, step % batches);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass {
            let drawn = loader::pass_order(self.seed, self.purpose, (self.epoch, pass), self.count);
            *order = (pass, drawn);
        }
        let end = self.count.min((at + 1) * self.size);
        (pass, order.1[at * self.size..end].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_as_long_as_the_shorter_domain_unless_another_length_is_named() {
        assert_eq!(steps(None, 2, Some(1)), 1);
        assert_eq!(steps(Some(EpochLength::Shorter), 2, Some(1)), 1);
        assert_eq!(steps(Some(EpochLength::Longer), 2, Some(5)), 5);
        assert_eq!(steps(Some(EpochLength::Steps(9)), 2, Some(5)), 9);
        assert_eq!(steps(None, 3, None), 3);
    }

    #[test]
    fn a_last_batch_of_one_image_is_left_out() {
        assert_eq!([512, 513, 514, 1].map(|count| batches(count, 256)), [2, 2, 3, 0]);
    }

    #[test]
    fn each_pass_has_every_image_once_and_an_order_of_its_own() {
        let passes = ImagePasses::new((1, 0), "shuffle target", (5, 2));
        // Two whole batches a pass; the fifth image has no partner.
        let of = |step| passes.batch(step);
        let first: Vec<usize> = [of(0).1, of(1).1].concat();
        let second: Vec<usize> = [of(2).1, of(3).1].concat();
        assert_eq!((of(1).0, of(2).0, of(4).0), (0, 1, 2));
        assert_ne!(first, second);
        for pass in [&first, &second] {
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 4, "{pass:?}");
        }
        // Going back gives the same: a training that resumes may begin anywhere.
        assert_eq!([of(0).1, of(1).1].concat(), first);
        assert_eq!(first[..2], loader::epoch_order(1, "shuffle target", 0, 5)[..2]);
    }
}
