//! How many steps an epoch has, and which images each step takes. Where two domains differ in size, one
//! ends before the other; nothing here reads an image.

use std::cmp::Ordering;

use super::batch_size::BatchSize;
use super::contract::{Data, FitError};
use super::epoch_length::EpochLength;
use super::method::Needs;
use super::settings::TrainingSettings;
use crate::data::Unlabelled;

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
    let size = settings.batches();
    let least = if size.drop_last { size.images } else { 2 };
    let enough = |domain, count, batches| match batches {
        0 => Err(FitError::TooFew { domain, count, least }),
        batches => Ok(batches),
    };
    let of_source = data.source.map(|(_, split)| {
        settings.sampler.check(&split.labels)?;
        let batches = settings.sampler.batches(&split.labels, size);
        enough("source", split.labels.len(), batches)
    });
    let of_target = data.target.as_ref().map(Unlabelled::len);
    let of_target = of_target.map(|count| enough("target", count, size.batches(count)));
    match (of_source.transpose()?, of_target.transpose()?) {
        (None, None) => Err(FitError::TooFew { domain: "training", count: 0, least }),
        (source, target) => Ok(steps(settings.epoch, source, target)),
    }
}

/// The images of a domain, each of which comes once a pass.
struct WholeDomain {
    name: &'static str,
    images: usize,
    batches: usize,
}

impl WholeDomain {
    /// What `steps` steps see of it, unless that is each image once.
    fn seen(&self, steps: usize, size: BatchSize) -> Option<String> {
        let Self { name, images, batches } = *self;
        match steps.cmp(&batches) {
            Ordering::Equal if size.seen(images) == images => None,
            Ordering::Equal => Some(format!("{} of {images} {name} images", size.seen(images))),
            Ordering::Less => Some(format!("{} of {images} {name} images", steps * size.images)),
            Ordering::Greater if size.seen(images) < images => {
                let (seen, times) = (size.seen(images), times(steps, batches));
                Some(format!("{seen} of {images} {name} images, others each time, {times} times"))
            }
            Ordering::Greater => {
                Some(format!("the {images} {name} images {} times", times(steps, batches)))
            }
        }
    }
}

/// What an epoch does not see, or sees again, for people: the line for the log and a few words for the
/// summary. `None` where it is a pass over everything there is, and where nothing learns from it.
pub fn coverage(
    data: &Data,
    settings: &TrainingSettings,
    needs: &Needs,
) -> Option<(String, String)> {
    if !needs.steps {
        return None;
    }
    let (size, sampler) = (settings.batches(), &settings.sampler);
    let of_source = data.source.map(|(_, split)| sampler.batches(&split.labels, size));
    let of_target = data.target.as_ref().map(|target| size.batches(target.len()));
    let steps = steps(settings.epoch, of_source, of_target);
    // A sampler may have an idea of its own of what a pass over the source is.
    let sampled = data.source.and_then(|(_, split)| sampler.sees(&split.labels));
    let matched = (needs.matches_classes)
        .then(|| "target images by the classes that the method gives them".to_owned());
    let images = data.source.filter(|_| sampled.is_none()).map(|(_, split)| split.labels.len());
    let source = images.zip(of_source).map(|(images, batches)| WholeDomain {
        name: "source",
        images,
        batches,
    });
    let target = (data.target.as_ref().map(Unlabelled::len).zip(of_target))
        .filter(|_| matched.is_none())
        .map(|(images, batches)| WholeDomain { name: "target", images, batches });
    let whole: Vec<WholeDomain> = source.into_iter().chain(target).collect();
    let told: Vec<String> = whole.iter().filter_map(|it| it.seen(steps, size)).collect();
    let told = Some(told.join(" and ")).filter(|told| !told.is_empty());
    let plural = if steps == 1 { "" } else { "s" };
    let chosen: Vec<String> = sampled.into_iter().chain(matched).collect();
    let seen: Vec<&str> =
        told.as_deref().into_iter().chain(chosen.iter().map(String::as_str)).collect();
    if seen.is_empty() {
        return None;
    }
    let mut line = format!("an epoch is {steps} step{plural} and sees {}", seen.join(" and "));
    if settings.epoch.is_none() && whole.iter().any(|it| steps < it.batches) {
        line += "; `epoch = \"longer\"` sees all, and those of the smaller domain again";
    }
    let summary: Vec<String> =
        told.map(|told| format!("{told} per epoch")).into_iter().chain(chosen).collect();
    Some((line, summary.join(", ")))
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn times(steps: usize, batches: usize) -> String {
    match steps % batches {
        0 => (steps / batches).to_string(),
        _ => format!("{:.1}", steps as f64 / batches as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::read_lines;
    use crate::train::tiny;

    /// The length that lines of TOML ask for, how it is recorded, and what is wrong.
    fn read(lines: &str) -> (Option<EpochLength>, String, Vec<String>) {
        let (length, gathered) = read_lines(lines, EpochLength::read);
        (length.unwrap_or(None), gathered.resolved.to_string(), gathered.messages())
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
    fn people_are_told_where_the_method_chooses_images_of_the_target() {
        let (dataset, split) = (tiny::dataset(), tiny::split());
        let (source, target) = (Some((&dataset, &split)), Some(split.unlabelled(&dataset)));
        let data = Data { source, target, validate: None, recorded: Vec::new(), scored: None };
        let settings = tiny::settings(1);
        assert_eq!(coverage(&data, &settings, &Needs::SOURCE), None);
        let needs = Needs { matches_classes: true, ..Needs::SOURCE };
        let (line, summary) = coverage(&data, &settings, &needs).unwrap();
        assert_eq!(summary, "target images by the classes that the method gives them");
        assert_eq!(line, format!("an epoch is 3 steps and sees {summary}"));
        assert_eq!(coverage(&data, &settings, &Needs { steps: false, ..needs }), None);
    }

    #[test]
    fn a_last_batch_of_one_image_is_left_out() {
        let size = BatchSize { images: 256, drop_last: false };
        assert_eq!([512, 513, 514, 1].map(|count| size.batches(count)), [2, 2, 3, 0]);
    }
}
