//! How many steps an epoch has, and which images each step takes. Where two domains differ in size, one
//! ends before the other; nothing here reads an image.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::contract::{Data, FitError};
use super::sampler::{DrawnBatch, Draws};
use super::settings::TrainingSettings;
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

/// The steps of an epoch over domains with `source` and `target` batches, one of which there must be; by
/// default, as many as the domain with fewer batches has. A domain that is not there has no say.
fn steps(length: Option<EpochLength>, source: Option<usize>, target: Option<usize>) -> usize {
    let of_source = source.or(target).unwrap_or_default();
    let of_target = target.or(source).unwrap_or_default();
    match length {
        None | Some(EpochLength::Shorter) => of_source.min(of_target),
        Some(EpochLength::Longer) => of_source.max(of_target),
        Some(EpochLength::Source) => of_source,
        Some(EpochLength::Target) => of_target,
        Some(EpochLength::Steps(steps)) => steps,
    }
}

/// The steps of an epoch of a training.
///
/// # Errors
/// When a domain has too few images for one step, or the source too few classes for its sampler.
pub(super) fn steps_per_epoch(data: &Data, settings: &TrainingSettings) -> Result<usize, FitError> {
    let size = settings.batch_size;
    let enough = |domain, count, batches| match batches {
        0 => Err(FitError::TooFew { domain, count }),
        batches => Ok(batches),
    };
    let of_source = data.source.map(|(_, split)| {
        settings.sampler.check(&split.labels)?;
        let batches = settings.sampler.batches(&split.labels, size);
        enough("source", split.labels.len(), batches)
    });
    let of_target = data.target.as_ref().map(Unlabelled::len);
    let of_target = of_target.map(|count| enough("target", count, batches(count, size)));
    match (of_source.transpose()?, of_target.transpose()?) {
        (None, None) => Err(FitError::TooFew { domain: "training", count: 0 }),
        (source, target) => Ok(steps(settings.epoch, source, target)),
    }
}

/// Batches of at least two images in `count`: batch norm has no variance in a batch of one.
pub(super) fn batches(count: usize, size: usize) -> usize {
    count / size + usize::from(count % size >= 2)
}

/// The images of a domain, each of which comes once a pass.
struct WholeDomain {
    name: &'static str,
    images: usize,
    batches: usize,
}

impl WholeDomain {
    /// What `steps` steps see of it, unless that is each image once.
    fn seen(&self, steps: usize, size: usize) -> Option<String> {
        let Self { name, images, batches } = *self;
        match steps.cmp(&batches) {
            Ordering::Equal => None,
            Ordering::Less => Some(format!("{} of {images} {name} images", steps * size)),
            Ordering::Greater => {
                Some(format!("the {images} {name} images {} times", times(steps, batches)))
            }
        }
    }
}

/// What an epoch does not see, or sees again, for people: the line for the log and a few words for the
/// summary. `None` where it is a pass over everything there is.
pub fn coverage(data: &Data, settings: &TrainingSettings) -> Option<(String, String)> {
    let (size, sampler) = (settings.batch_size, &settings.sampler);
    let of_source = data.source.map(|(_, split)| sampler.batches(&split.labels, size));
    let of_target = data.target.as_ref().map(|target| batches(target.len(), size));
    let steps = steps(settings.epoch, of_source, of_target);
    // A sampler may have an idea of its own of what a pass over the source is.
    let sampled = data.source.and_then(|(_, split)| sampler.sees(&split.labels));
    let images = data.source.filter(|_| sampled.is_none()).map(|(_, split)| split.labels.len());
    let source = images.zip(of_source).map(|(images, batches)| WholeDomain {
        name: "source",
        images,
        batches,
    });
    let target = (data.target.as_ref().map(Unlabelled::len).zip(of_target))
        .map(|(images, batches)| WholeDomain { name: "target", images, batches });
    let whole: Vec<WholeDomain> = source.into_iter().chain(target).collect();
    let told: Vec<String> = whole.iter().filter_map(|it| it.seen(steps, size)).collect();
    let told = Some(told.join(" and ")).filter(|told| !told.is_empty());
    let plural = if steps == 1 { "" } else { "s" };
    let seen: Vec<&str> = told.as_deref().into_iter().chain(sampled.as_deref()).collect();
    if seen.is_empty() {
        return None;
    }
    let mut line = format!("an epoch is {steps} step{plural} and sees {}", seen.join(" and "));
    if settings.epoch.is_none() && whole.iter().any(|it| steps < it.batches) {
        line += "; `epoch = \"longer\"` sees all, and those of the smaller domain again";
    }
    let summary: Vec<String> =
        told.map(|told| format!("{told} per epoch")).into_iter().chain(sampled).collect();
    Some((line, summary.join(", ")))
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
}

impl Draws for ImagePasses {
    fn batch(&self, step: usize) -> DrawnBatch {
        let batches = batches(self.count, self.size);
        let (pass, at) = ((step / batches) as u64, step % batches);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.0 != pass {
            let drawn = loader::pass_order(self.seed, self.purpose, (self.epoch, pass), self.count);
            *order = (pass, drawn);
        }
        let end = self.count.min((at + 1) * self.size);
        let indices = order.1[at * self.size..end].to_vec();
        DrawnBatch { passes: vec![pass; indices.len()], indices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document;
    use crate::config::source::Sources;

    /// The length that lines of TOML ask for, how it is recorded, and what is wrong.
    fn read(lines: &str) -> (Option<EpochLength>, String, Vec<String>) {
        let root = document::parse(Sources::default().add("test", lines), lines).unwrap();
        let Value::Table(table) = &root.value else { panic!("a document is a table") };
        let mut keys = Keys::new(table, root.span);
        let length = EpochLength::read(&mut keys).unwrap_or(None);
        let gathered = keys.finish();
        let problems = gathered.problems.iter().map(|one| one.message.clone()).collect();
        (length, gathered.resolved.to_string(), problems)
    }

    #[test]
    fn an_epoch_is_as_long_as_the_shorter_domain_unless_another_length_is_named() {
        let of = |length| steps(length, Some(2), Some(5));
        assert_eq!(of(None), 2);
        assert_eq!(of(Some(EpochLength::Shorter)), 2);
        assert_eq!(of(Some(EpochLength::Longer)), 5);
        assert_eq!(of(Some(EpochLength::Source)), 2);
        assert_eq!(of(Some(EpochLength::Target)), 5);
        assert_eq!(of(Some(EpochLength::Steps(9))), 9);
        assert_eq!(steps(None, Some(2), Some(1)), 1);
    }

    #[test]
    fn an_epoch_of_one_domain_is_as_long_as_that_domain() {
        let lengths = [None, Some(EpochLength::Shorter), Some(EpochLength::Longer)];
        for length in lengths {
            assert_eq!(steps(length, Some(3), None), 3);
            assert_eq!(steps(length, None, Some(4)), 4, "a training without source images");
        }
    }

    #[test]
    fn steps_per_epoch_is_the_same_setting_as_a_number_for_epoch() {
        let number = read("epoch = 1000");
        assert_eq!(number, (Some(EpochLength::Steps(1000)), "epoch = 1000\n".to_owned(), vec![]));
        assert_eq!(read("steps_per_epoch = 1000"), number);
        assert_eq!(read(""), (None, String::new(), vec![]));
        assert_eq!(read("epoch = 'target'").0, Some(EpochLength::Target));
        let both = read("epoch = 'longer'\nsteps_per_epoch = 5");
        assert_eq!(both.2, ["`epoch` and `steps_per_epoch` both say how long an epoch is"]);
        let none = read("steps_per_epoch = 0");
        assert_eq!(none.2, ["`steps_per_epoch` must be an integer from 1 to 1000000000"]);
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
        let first: Vec<usize> = [of(0).indices, of(1).indices].concat();
        let second: Vec<usize> = [of(2).indices, of(3).indices].concat();
        assert_eq!(
            (of(1).passes, of(2).passes, of(4).passes),
            (vec![0; 2], vec![1; 2], vec![2; 2])
        );
        assert_ne!(first, second);
        for pass in [&first, &second] {
            let mut sorted = pass.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 4, "{pass:?}");
        }
        // Going back gives the same: a training that resumes may begin anywhere.
        assert_eq!([of(0).indices, of(1).indices].concat(), first);
        assert_eq!(first[..2], loader::epoch_order(1, "shuffle target", 0, 5)[..2]);
    }
}
