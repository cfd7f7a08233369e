//! Labels that are plain numbers: which classes they make, and whether one of them is a slip.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::data::dataset::Split;
use crate::data::error::DataError;

/// Labels with the number of images of each.
type LabelCounts = BTreeMap<u32, usize>;

/// The number of the first class of labels of which this is the smallest: labels that count from 1 make
/// no class 0, of which there would never be an image.
pub(super) fn first_class(smallest: u32) -> u32 {
    u32::from(smallest == 1)
}

/// The names of the classes of labels from `smallest` to `largest`: numbers without a gap.
pub(super) fn names(smallest: u32, largest: u32) -> Vec<String> {
    (first_class(smallest)..=largest).map(|class| class.to_string()).collect()
}

/// Fewer images say nothing of which label is usual.
const ENOUGH: usize = 12;

/// A label that hardly any image has, far beyond all others: classes without a single image would lie
/// between, several times as many as there are others.
fn stray(counts: &LabelCounts) -> Option<(u32, u32)> {
    let mut largest = counts.iter().rev();
    let ((label, times), (next, _)) = (largest.next()?, largest.next()?);
    let images: usize = counts.values().sum();
    let rare = *times == 1 || times * 100 <= images;
    let gap = label - next - 1;
    let far = gap > 100 && u64::from(gap) > 4 * (u64::from(*next) + 1);
    (images >= ENOUGH && rare && far).then_some((*label, *next))
}

fn refusal(place: &str, (label, next): (u32, u32)) -> DataError {
    DataError::rejected(format!(
        "{place}: the label {label} lies far beyond all others, which end at {next}"
    ))
    .advise(format!(
        "correct it: numbers count classes, and {} of them would have no image",
        label - next - 1
    ))
}

/// Refuses a stray label among those of lists, when all labels are numbers.
///
/// # Errors
/// With the list and the line.
pub(super) fn refuse_in_lists<'a>(
    labels: impl Iterator<Item = &'a str>,
    lists: &[PathBuf],
) -> Result<(), DataError> {
    let mut counts = LabelCounts::new();
    for label in labels {
        let Ok(number) = label.parse() else { return Ok(()) };
        *counts.entry(number).or_default() += 1;
    }
    let Some((label, next)) = stray(&counts) else { return Ok(()) };
    let refused = |place: String| {
        Err(refusal(&place, (label, next)).advise(
            "or, if it is right, give the classes names: a label that is a word makes all labels names",
        ))
    };
    let has_it = |line: &[u8]| {
        let mut words = line.split(|byte| b" \t,;\"\r".contains(byte));
        words.any(|word| {
            str::from_utf8(word).is_ok_and(|word| word.parse::<u32>().is_ok_and(|it| it == label))
        })
    };
    for list in lists {
        let text = fs::read(list).map_err(|error| DataError::io(list, error))?;
        if let Some(at) = text.split(|byte| *byte == b'\n').position(has_it) {
            return refused(format!("{}: line {}", list.display(), at + 1));
        }
    }
    refused(lists.first().map_or(String::new(), |list| list.display().to_string()))
}

/// Refuses a stray label in what was read at `path`, and gives the smallest and the largest label.
///
/// # Errors
/// With the split and the image.
pub(super) fn range(
    splits: &IndexMap<String, Split>,
    path: &Path,
) -> Result<Option<(u32, u32)>, DataError> {
    let mut counts = LabelCounts::new();
    for label in splits.values().flat_map(|split| &split.labels) {
        *counts.entry(*label).or_default() += 1;
    }
    if let Some((label, next)) = stray(&counts) {
        let image = |(name, split): (&String, &Split)| {
            let at = split.labels.iter().position(|it| *it == label)?;
            Some(format!("split `{name}`, image {at}"))
        };
        let place = splits.iter().find_map(image).unwrap_or_default();
        return Err(refusal(&format!("{}: {place}", path.display()), (label, next)));
    }
    let ends = counts.first_key_value().zip(counts.last_key_value());
    Ok(ends.map(|((smallest, _), (largest, _))| (*smallest, *largest)))
}

/// A remark on `classes`, when most have no image in any split: labels that are numbers stand for
/// themselves, so that a few large ones make many classes.
pub(super) fn mostly_empty(classes: &[String], splits: &IndexMap<String, Split>) -> Option<String> {
    let labels = splits.values().flat_map(|split| &split.labels);
    let used = labels.collect::<BTreeSet<_>>().len();
    (used > 0 && used * 2 < classes.len())
        .then(|| format!("{} of {} classes have no image", classes.len() - used, classes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::Images;

    #[test]
    fn classes_that_are_mostly_without_an_image_are_worth_a_remark() {
        let set = |labels: &[u32]| {
            let images = Images::new(1, vec![(1, 1); labels.len()], vec![0; labels.len()]);
            let split = Split { images, labels: labels.to_vec() };
            IndexMap::from([("train".to_owned(), split)])
        };
        let said = |labels: &[u32], largest| mostly_empty(&names(0, largest), &set(labels));
        let expected = "1997 of 2001 classes have no image";
        assert_eq!(said(&[0, 1, 1999, 2000, 0], 2000).as_deref(), Some(expected));
        assert_eq!(said(&[0, 2, 4], 5), None, "half of them");
        assert_eq!(said(&[], 5), None, "nothing at all");
    }

    fn counts(labels: &[(u32, usize)]) -> LabelCounts {
        labels.iter().copied().collect()
    }

    #[test]
    fn labels_that_count_from_one_make_no_class_zero() {
        assert_eq!(names(1, 3), ["1", "2", "3"]);
        assert_eq!(names(0, 2), ["0", "1", "2"]);
        // Part of a numbering keeps its numbers.
        assert_eq!(names(2, 3), ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_rare_label_far_beyond_all_others_is_a_slip() {
        let ten: Vec<(u32, usize)> = (0..10).map(|class| (class, 6)).collect();
        let with = |label, times| stray(&counts(&[&ten[..], &[(label, times)]].concat()));
        assert_eq!(with(1999, 1), Some((1999, 9)));
        assert_eq!(with(255, 1), Some((255, 9)), "the label of nothing");
        assert_eq!(with(30, 1), None, "classes that happen to be missing");
        assert_eq!(with(1999, 6), None, "as usual as the others");
        let many: Vec<(u32, usize)> = (0..23).map(|at| (at * 15, 1)).collect();
        assert_eq!(stray(&counts(&many)), None, "few images of many classes");
        assert_eq!(stray(&counts(&[&many[..], &[(1999, 1)]].concat())), Some((1999, 330)));
        assert_eq!(stray(&counts(&[(3, 1), (40, 1), (980, 1)])), None, "too few to tell");
    }
}
