//! Shifts the labels of a split: its classes come in given proportions from then on.

use super::dataset::Dataset;
use super::error::DataError;
use super::subset::{Class, draw, find_class, quotas};

/// What the number 1 is in the units of a [`ClassWeight`].
const UNITS: f64 = 1e9;

/// The largest weight.
pub const LARGEST: f64 = 1e9;

/// How much of a class there is to be, beside the other classes: from 0 to [`LARGEST`], to nine decimals. Shares
/// are computed in whole numbers, so that `0.1` is a tenth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassWeight(usize);

impl ClassWeight {
    /// Of a class without images.
    pub const ZERO: Self = Self(0);
    /// Of a class that nothing is said of.
    const ONE: Self = Self(1_000_000_000);

    /// `None` for a number below 0 or above [`LARGEST`], and for one above 0 whose nine decimals are 0.
    pub fn new(number: f64) -> Option<Self> {
        if !(0.0..=LARGEST).contains(&number) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 1e18")]
        let units = (number * UNITS).round() as usize;
        (units > 0 || number == 0.0).then_some(Self(units))
    }
}

/// The weights of the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proportions {
    /// One for each class, in the order of the classes.
    Each(Vec<ClassWeight>),
    /// Those of some classes by name; the others have 1.
    Named(Vec<(String, ClassWeight)>),
}

impl Proportions {
    /// The weight of each of `classes`, not all of them 0.
    ///
    /// # Errors
    /// When they are not one for each class, a class is not there, or all weights are 0.
    pub fn weights(&self, classes: &[String]) -> Result<Vec<ClassWeight>, DataError> {
        let weights = match self {
            Self::Each(weights) if weights.len() == classes.len() => weights.clone(),
            Self::Each(weights) => {
                let (given, classes) = (weights.len(), classes.len());
                let message = format!("{given} proportions for {classes} classes");
                return Err(DataError::rejected(message).advise(
                    "give a number for each class, or a table of those that differ from 1: \
                     `{ \"CLASS\" = 0.1 }`",
                ));
            }
            Self::Named(pairs) => {
                let mut weights = vec![ClassWeight::ONE; classes.len()];
                for (name, weight) in pairs {
                    weights[find_class(classes, &Class::Name(name.clone()))?] = *weight;
                }
                weights
            }
        };
        if weights.iter().all(|weight| *weight == ClassWeight::ZERO) {
            return Err(DataError::rejected("the proportions of all classes are 0")
                .advise("give at least one class a number above 0"));
        }
        Ok(weights)
    }
}

/// Keeps as many images of the split `from` as there are such that class c is `weights[c] / sum(weights)` of them.
///
/// With n_c images of class c, that is `T = floor(min_c n_c * sum(weights) / weights[c])` images, the minimum over
/// the classes of a weight above 0. Class c gets the whole part of `T * weights[c] / sum(weights)`, and the places
/// left go one each to the largest remainders (to the lower class of equal ones). Which images of a class
/// stay is drawn with `seed`; they keep their order. The other splits stay as they are.
///
/// # Errors
/// When there is no such split, the weights are not those of its classes, or a class of a weight above 0 would
/// have no image.
pub fn keep_proportions(
    dataset: &mut Dataset,
    from: &str,
    proportions: &Proportions,
    seed: u64,
) -> Result<(), DataError> {
    let weights = proportions.weights(&dataset.classes)?;
    let weights: Vec<usize> = weights.iter().map(|weight| weight.0).collect();
    let split = dataset.split(from)?;
    let counts = split.class_counts(dataset.classes.len());
    let quotas = quotas(&weights, largest_total(&counts, &weights));
    // Without an image of one class no other keeps any: that one is to be named.
    let lacking = |has: &[usize]| (0..weights.len()).find(|at| weights[*at] > 0 && has[*at] == 0);
    if let Some(class) = lacking(&counts).or_else(|| lacking(&quotas)) {
        let (name, there) = (&dataset.classes[class], counts[class]);
        return Err(DataError::rejected(format!(
            "class `{name}` would keep none of its {there} images in `{from}`, though its \
             proportion is above 0"
        ))
        .advise("write 0 for a class that is to have no image, or leave it out with `classes`"));
    }
    let chosen = draw(split, &quotas, "proportions", seed);
    let kept: Vec<usize> = (0..split.len()).filter(|at| chosen[*at]).collect();
    let split = split.select(&kept)?;
    dataset.splits.insert(from.to_owned(), split);
    Ok(())
}

/// The largest number of images whose shares by `weights` are at most `counts`.
fn largest_total(counts: &[usize], weights: &[usize]) -> usize {
    let all: u128 = weights.iter().map(|weight| *weight as u128).sum();
    let pairs = counts.iter().zip(weights).filter(|(_, weight)| **weight > 0);
    let most = pairs.map(|(count, weight)| *count as u128 * all / *weight as u128).min();
    // It is at most all images: the sum of shares none of which is above its count.
    most.map_or(0, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::data::{Images, Split};

    /// So many images of each class, mixed; image i has the single pixel i. `test` is the same.
    fn set(counts: [usize; 3]) -> Dataset {
        let mut left = counts;
        let mut labels: Vec<u32> = Vec::new();
        while left != [0; 3] {
            for (label, left) in (0..).zip(&mut left) {
                if *left > 0 {
                    labels.push(label);
                    *left -= 1;
                }
            }
        }
        let pixels = (0..labels.len()).map(|at| u8::try_from(at).unwrap()).collect::<Vec<u8>>();
        let split = Split { images: Images::same(1, (1, 1), pixels), labels };
        let splits = IndexMap::from([("train".into(), split.clone()), ("test".into(), split)]);
        Dataset::plain(vec!["ant".into(), "bee".into(), "cat".into()], 1, splits, Vec::new())
    }

    fn each(weights: [f64; 3]) -> Proportions {
        Proportions::Each(weights.map(|weight| ClassWeight::new(weight).unwrap()).to_vec())
    }

    /// The classes that are left of `counts`.
    fn left(counts: [usize; 3], proportions: &Proportions) -> Vec<usize> {
        let mut set = set(counts);
        keep_proportions(&mut set, "train", proportions, 0).unwrap();
        set.splits["train"].class_counts(3)
    }

    #[test]
    fn the_class_that_is_scarcest_for_its_weight_decides_how_many_stay() {
        assert_eq!(left([30, 30, 30], &each([1.0, 1.0, 1.0])), [30, 30, 30]);
        assert_eq!(left([30, 20, 10], &each([1.0, 1.0, 1.0])), [10, 10, 10]);
        assert_eq!(left([30, 20, 10], &each([3.0, 2.0, 1.0])), [30, 20, 10]);
        // The first class allows floor(30 * 1.2 / 1) = 36 images, the others 240 and 120.
        assert_eq!(left([30, 20, 10], &each([1.0, 0.1, 0.1])), [30, 3, 3]);
        assert_eq!(left([30, 20, 10], &each([0.0, 2.0, 2.0])), [0, 10, 10]);
        // 7 * 2.2 / 1 = 15.4, so 15 images: 6.82, 6.82 and 1.36 of them.
        assert_eq!(left([7, 9, 9], &each([1.0, 1.0, 0.2])), [7, 7, 1]);
        let few = Proportions::Named(vec![("cat".into(), ClassWeight::new(0.5).unwrap())]);
        assert_eq!(left([10, 10, 10], &few), [10, 10, 5]);
    }

    #[test]
    fn no_larger_number_of_images_has_shares_that_are_there() {
        for counts in [[31, 17, 5], [9, 40, 22], [1, 1, 60]] {
            for weights in [[1.0, 1.0, 1.0], [0.3, 0.6, 0.1], [5.0, 1.0, 1.0], [0.7, 0.0, 0.3]] {
                let shares = weights.map(|weight: f64| weight / weights.iter().sum::<f64>());
                let fits = |total: i32| {
                    shares.iter().zip(counts).all(|(share, count)| {
                        let count = f64::from(u32::try_from(count).unwrap());
                        share * f64::from(total) <= count + 1e-9
                    })
                };
                let largest = (0..200).rev().find(|total| fits(*total)).unwrap();
                let weights = each(weights).weights(&set(counts).classes).unwrap();
                let weights: Vec<usize> = weights.iter().map(|weight| weight.0).collect();
                let found = largest_total(&counts, &weights);
                assert_eq!(i32::try_from(found), Ok(largest), "{counts:?} {shares:?}");
                let kept = quotas(&weights, found);
                assert!(kept.iter().zip(counts).all(|(kept, count)| *kept <= count));
            }
        }
    }

    #[test]
    fn images_keep_their_order_and_the_seed_decides_which_stay() {
        let kept = |seed| {
            let mut set = set([30, 30, 30]);
            keep_proportions(&mut set, "train", &each([1.0, 0.5, 0.0]), seed).unwrap();
            assert_eq!(set.splits["test"].len(), 90, "the other splits stay as they are");
            set.splits["train"].images.pixels.clone()
        };
        assert_eq!(kept(0), kept(0));
        assert_ne!(kept(0), kept(1));
        assert!(kept(0).len() == 45 && kept(0).is_sorted());
    }

    #[test]
    fn weights_that_fit_no_class_or_leave_none_are_errors() {
        let message = |counts, proportions: &Proportions| {
            let error = keep_proportions(&mut set(counts), "train", proportions, 0).unwrap_err();
            error.to_string()
        };
        let two = Proportions::Each(vec![ClassWeight::ONE; 2]);
        assert_eq!(message([1, 1, 1], &two), "2 proportions for 3 classes");
        assert!(message([1, 1, 1], &each([0.0; 3])).contains("of all classes are 0"));
        let cow = Proportions::Named(vec![("cow".into(), ClassWeight::ONE)]);
        assert_eq!(message([1, 1, 1], &cow), "the data set has no class `cow`");
        let none = message([5, 0, 5], &each([1.0, 1.0, 1.0]));
        assert!(none.starts_with("class `bee` would keep none of its 0 images"), "{none}");
        let rare = message([5, 5, 5], &each([1.0, 1.0, 0.01]));
        assert!(rare.starts_with("class `cat` would keep none of its 5 images"), "{rare}");
        for number in [-0.1, 1e-10, 2e9, f64::NAN, f64::INFINITY] {
            assert_eq!(ClassWeight::new(number), None, "{number}");
        }
        assert_eq!(ClassWeight::new(0.1), Some(ClassWeight(100_000_000)));
    }
}
