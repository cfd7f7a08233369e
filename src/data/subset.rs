//! Cuts data sets down: to some classes, to a few images per class, or into a held-out split. Also
//! renames classes.

use indexmap::{IndexMap, IndexSet};

use super::classes::{listed, value, written};
use super::dataset::{Dataset, Split};
use super::error::DataError;
use super::statistics::grouped;
use crate::random;

/// How many images to hold out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// This many.
    Count(usize),
    /// This share of them, above 0 and below 1; at least one image.
    Fraction(f64),
}

impl Amount {
    /// The number of images out of `all`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number of images"
    )]
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Fraction(fraction) => ((all as f64 * fraction).round() as usize).max(1),
        }
    }
}

/// A class by its number or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// The class that is called by this number, as the folders `0` to `11`; where none is, the place in the
    /// list of classes, from 0.
    Number(usize),
    /// Name.
    Name(String),
}

/// Keeps the images of `classes` in every split; the first of them becomes class 0, and so on.
///
/// # Errors
/// When a class is not there, is named twice, or a split has no image of any of them.
pub fn keep_classes(dataset: &mut Dataset, classes: &[Class]) -> Result<(), DataError> {
    let (new_labels, names) = numbered(&dataset.classes, classes)?;
    for (name, split) in &mut dataset.splits {
        let new_label = |at: &usize| new_labels[split.labels[*at] as usize];
        let kept: Vec<usize> = (0..split.len()).filter(|at| new_label(at).is_some()).collect();
        if kept.is_empty() {
            return Err(DataError::rejected(format!(
                "the split `{name}` has no image of the classes {}",
                names.join(", ")
            )));
        }
        let labels = kept.iter().filter_map(new_label).collect();
        *split = Split { images: split.images.select(&kept)?, labels };
    }
    dataset.classes = names;
    Ok(())
}

/// Numbers `classes` in their order, as [`keep_classes`] does, and puts the images of all other classes into one
/// class called `others`. That is the last one, and is there also where no image is of it. All classes stay
/// as they are where `classes` is `None`.
///
/// # Errors
/// When a class is not there, is named twice, or is called as the others are to be.
pub fn gather_others(
    dataset: &mut Dataset,
    classes: Option<&[Class]>,
    others: &str,
) -> Result<(), DataError> {
    let (new_labels, mut names) = match classes {
        Some(classes) => numbered(&dataset.classes, classes)?,
        None => {
            let all = (0..).take(dataset.classes.len()).map(Some);
            (all.collect(), dataset.classes.clone())
        }
    };
    if names.iter().any(|name| name == others) {
        return Err(DataError::rejected(called_as_others(others)).advise(OTHER_NAME));
    }
    let last = u32::try_from(names.len()).unwrap_or(u32::MAX);
    for label in dataset.splits.values_mut().flat_map(|split| &mut split.labels) {
        *label = new_labels[*label as usize].unwrap_or(last);
    }
    names.push(others.to_owned());
    dataset.classes = names;
    Ok(())
}

/// What to do where a class that stays has the name of the others.
pub const OTHER_NAME: &str = "give `others` a name that no class has";

/// What is wrong where a class that stays is called `others`.
pub fn called_as_others(others: &str) -> String {
    format!("a class that stays is called `{others}`, too")
}

/// The new number of each of the classes `known` when `classes` are numbered in their order, and the names of
/// these.
fn numbered(
    known: &[String],
    classes: &[Class],
) -> Result<(Vec<Option<u32>>, Vec<String>), DataError> {
    let mut numbers = vec![None; known.len()];
    let mut names = Vec::new();
    for class in classes {
        let old = find_class(known, class)?;
        if numbers[old].is_some() {
            let name = &known[old];
            return Err(DataError::rejected(format!("the class `{name}` is named twice")));
        }
        numbers[old] = u32::try_from(names.len()).ok();
        names.push(known[old].clone());
    }
    Ok((numbers, names))
}

/// Gives classes other names: of each pair, the class called as the first is called as the second from
/// now on. Classes of the same name become one, in the place of the first of them.
///
/// # Errors
/// When a class is not there.
pub fn rename_classes(dataset: &mut Dataset, pairs: &[(String, String)]) -> Result<(), DataError> {
    let (names, numbers) = renamed(&dataset.classes, pairs)?;
    for split in dataset.splits.values_mut() {
        split.labels.iter_mut().for_each(|label| *label = numbers[*label as usize]);
    }
    dataset.classes = names;
    Ok(())
}

/// The classes as [`rename_classes`] renames them, and the new number of each.
///
/// # Errors
/// When a class is not there.
pub fn renamed(
    classes: &[String],
    pairs: &[(String, String)],
) -> Result<(Vec<String>, Vec<u32>), DataError> {
    let mut names = classes.to_vec();
    for (from, to) in pairs {
        names[find_class(classes, &Class::Name(from.clone()))?].clone_from(to);
    }
    let mut all: IndexSet<String> = IndexSet::new();
    let numbers = names.into_iter().map(|name| all.insert_full(name).0);
    let numbers = numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX)).collect();
    Ok((all.into_iter().collect(), numbers))
}

/// The place of a class among `classes`.
///
/// # Errors
/// When it is not there; the advice lists those that are.
pub fn find_class(classes: &[String], class: &Class) -> Result<usize, DataError> {
    let called = |name: &str| classes.iter().position(|known| known == name);
    let found = match class {
        Class::Number(number) => {
            let by_value = || classes.iter().position(|name| value(name) == Some(*number as u64));
            // The place of a class that is called by another number is not what was meant.
            let at = || classes.get(*number).filter(|name| value(name).is_none()).map(|_| *number);
            called(&number.to_string()).or_else(by_value).or_else(at)
        }
        Class::Name(name) => called(name),
    };
    found.ok_or_else(|| {
        let wanted = match class {
            Class::Number(number) => number.to_string(),
            Class::Name(name) => format!("`{name}`"),
        };
        let error = DataError::rejected(format!("the data set has no class {wanted}"))
            .advise(format!("its classes are {}", listed(classes)));
        let in_its_place = match class {
            Class::Number(number) => classes.get(*number),
            Class::Name(_) => None,
        };
        match in_its_place {
            Some(name) => error.advise(format!(
                "where classes are called by numbers, a number is a name; the class at this place is {}",
                written(name)
            )),
            None => error,
        }
    })
}

/// Moves images of the split `from` to a new split `name`, right behind it. Images keep their
/// order. Stratified, each class gives in proportion, the last places going to the largest
/// remainders.
///
/// # Errors
/// When `name` is taken, or too few images are there.
pub fn hold_out(
    dataset: &mut Dataset,
    from: &str,
    name: &str,
    amount: Amount,
    stratified: bool,
    seed: u64,
) -> Result<(), DataError> {
    let split = dataset.split(from)?;
    if dataset.splits.contains_key(name) {
        return Err(DataError::rejected(format!("the data set has a split `{name}` already"))
            .advise("give the held-out images another `name`"));
    }
    let (all, wanted) = (split.len(), amount.of(split.len()));
    if wanted >= all {
        return Err(DataError::rejected(format!(
            "cannot hold out {} of the {} images of `{from}`",
            grouped(wanted),
            grouped(all)
        ))
        .advise("leave at least one image to train on"));
    }
    let held: Vec<bool> = if stratified {
        let counts = split.class_counts(dataset.classes.len());
        let quotas = quotas(&counts, wanted);
        if let Some(class) =
            (0..counts.len()).find(|at| counts[*at] > 0 && quotas[*at] == counts[*at])
        {
            return Err(DataError::rejected(format!(
                "holding out {} images would take all {} of class `{}`",
                grouped(wanted),
                counts[class],
                dataset.classes[class]
            ))
            .advise("hold out fewer, or write `stratified = false`"));
        }
        let chosen = draw(split, &quotas, "hold out", seed);
        (0..all).map(|at| chosen[at]).collect()
    } else {
        let mut order: Vec<usize> = (0..all).collect();
        random::stream(seed, "hold out", 0, 0).shuffle(&mut order);
        let mut held = vec![false; all];
        order[..wanted].iter().for_each(|at| held[*at] = true);
        held
    };
    let (out, kept): (Vec<usize>, Vec<usize>) = (0..all).partition(|at| held[*at]);
    let (out, kept) = (split.select(&out)?, split.select(&kept)?);
    let mut splits = IndexMap::new();
    for (old, split) in std::mem::take(&mut dataset.splits) {
        if old == from {
            splits.insert(old, kept.clone());
            splits.insert(name.to_owned(), out.clone());
        } else {
            splits.insert(old, split);
        }
    }
    dataset.splits = splits;
    Ok(())
}

/// Keeps `count` images of each class in the split `from`, drawn at random, in their order.
///
/// # Errors
/// When a class has fewer.
pub fn keep_per_class(
    dataset: &mut Dataset,
    from: &str,
    count: usize,
    seed: u64,
) -> Result<(), DataError> {
    let split = dataset.split(from)?;
    let counts = split.class_counts(dataset.classes.len());
    if let Some(class) = counts.iter().position(|there| *there < count) {
        return Err(DataError::rejected(format!(
            "class `{}` has {} images in `{from}`, fewer than `per_class = {count}`",
            dataset.classes[class], counts[class]
        ))
        .advise("keep fewer a class, or leave that class out with `classes`"));
    }
    let chosen = draw(split, &vec![count; counts.len()], "per class", seed);
    let kept: Vec<usize> = (0..split.len()).filter(|at| chosen[*at]).collect();
    let split = split.select(&kept)?;
    dataset.splits.insert(from.to_owned(), split);
    Ok(())
}

/// Draws `quotas[c]` images of each class c.
pub(super) fn draw(split: &Split, quotas: &[usize], purpose: &str, seed: u64) -> Vec<bool> {
    let mut chosen = vec![false; split.len()];
    let mut classes: Vec<Vec<usize>> = vec![Vec::new(); quotas.len()];
    for (at, label) in split.labels.iter().enumerate() {
        classes[*label as usize].push(at);
    }
    for (class, (quota, mut members)) in quotas.iter().zip(classes).enumerate() {
        random::stream(seed, purpose, 0, class as u64).shuffle(&mut members);
        members[..*quota].iter().for_each(|at| chosen[*at] = true);
    }
    chosen
}

/// Divides `wanted` places in proportion to `counts`: the whole parts first, then one each to the
/// largest remainders (to the lower class of equal ones).
pub(super) fn quotas(counts: &[usize], wanted: usize) -> Vec<usize> {
    let all: u128 = counts.iter().map(|count| *count as u128).sum();
    let exact = |count: usize| count as u128 * wanted as u128;
    let mut quotas: Vec<usize> =
        counts.iter().map(|count| usize::try_from(exact(*count) / all).expect("a share")).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|class| std::cmp::Reverse(exact(counts[*class]) % all));
    let left = wanted - quotas.iter().sum::<usize>();
    order[..left].iter().for_each(|class| quotas[*class] += 1);
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;

    /// Image i has the single pixel i.
    fn set(labels: &[u32]) -> Dataset {
        let pixels = (0..labels.len()).map(|at| u8::try_from(at).unwrap()).collect::<Vec<u8>>();
        let split = Split { images: Images::same(1, (1, 1), pixels), labels: labels.to_vec() };
        let splits = IndexMap::from([("train".into(), split.clone()), ("test".into(), split)]);
        let classes = vec!["ant".into(), "bee".into(), "cat".into()];
        Dataset::plain(classes, 1, splits, Vec::new())
    }

    fn many() -> Dataset {
        set(&(0..100)
            .map(|at| if at < 50 { 0 } else { 1 + u32::from(at >= 80) })
            .collect::<Vec<_>>())
    }

    #[test]
    fn places_go_by_whole_parts_then_by_largest_remainders() {
        assert_eq!(quotas(&[50, 30, 20], 10), [5, 3, 2]);
        assert_eq!(quotas(&[1, 1, 1], 2), [1, 1, 0]);
        assert_eq!(quotas(&[7, 2, 2], 4), [2, 1, 1]);
        assert_eq!(quotas(&[5, 0, 5], 3), [2, 0, 1]);
    }

    #[test]
    fn held_out_images_are_stratified_and_in_neither_split_twice() {
        let mut set = many();
        hold_out(&mut set, "train", "valid", Amount::Fraction(0.1), true, 0).unwrap();
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["train", "valid", "test"]);
        let (train, valid) = (&set.splits["train"], &set.splits["valid"]);
        assert_eq!(valid.class_counts(3), [5, 3, 2]);
        assert_eq!(train.class_counts(3), [45, 27, 18]);
        let mut all = [&train.images.pixels[..], &valid.images.pixels[..]].concat();
        assert!(train.images.pixels.is_sorted() && valid.images.pixels.is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
        assert_eq!(set.splits["test"], many().splits["test"]);
    }

    #[test]
    fn the_seed_decides_who_is_held_out() {
        let held = |seed, stratified| {
            let mut set = many();
            hold_out(&mut set, "train", "valid", Amount::Count(10), stratified, seed).unwrap();
            set.splits["valid"].images.pixels.clone()
        };
        for stratified in [false, true] {
            assert_eq!(held(0, stratified), held(0, stratified));
            assert_ne!(held(0, stratified), held(1, stratified));
            assert_eq!(held(0, stratified).len(), 10);
        }
    }

    #[test]
    fn nothing_is_held_out_that_is_not_there_to_give() {
        let hold = |name: &str, amount| hold_out(&mut many(), "train", name, amount, true, 0);
        let message = |result: Result<(), DataError>| result.unwrap_err().to_string();
        assert!(message(hold("test", Amount::Count(5))).contains("`test` already"));
        assert!(message(hold("valid", Amount::Count(100))).contains("cannot hold out 100"));
        assert!(message(hold("valid", Amount::Count(98))).contains("would take all"));
    }

    #[test]
    fn a_few_images_a_class_stay() {
        let mut few = many();
        keep_per_class(&mut few, "train", 4, 0).unwrap();
        assert_eq!(few.splits["train"].class_counts(3), [4, 4, 4]);
        assert_eq!(few.splits["test"].len(), 100);
        let error = keep_per_class(&mut many(), "train", 21, 0).unwrap_err().to_string();
        assert!(error.contains("class `cat` has 20 images"), "{error}");
    }

    #[test]
    fn chosen_classes_are_numbered_anew_in_the_order_given() {
        let mut chosen = set(&[0, 1, 2, 1]);
        keep_classes(&mut chosen, &[Class::Name("cat".into()), Class::Number(1)]).unwrap();
        assert_eq!(chosen.classes, ["cat", "bee"]);
        assert_eq!(chosen.splits["train"].labels, [1, 0, 1]);
        assert_eq!(chosen.splits["train"].images.pixels, [1, 2, 3]);
    }

    #[test]
    fn images_of_all_other_classes_are_of_one_class_which_is_the_last_one() {
        let mut gathered = set(&[0, 1, 2, 1]);
        let kept = [Class::Name("cat".into())];
        gather_others(&mut gathered, Some(&kept), "unknown").unwrap();
        assert_eq!(gathered.classes, ["cat", "unknown"]);
        assert_eq!(gathered.splits["train"].labels, [1, 1, 0, 1]);
        assert_eq!(gathered.splits["train"].images, set(&[0, 1, 2, 1]).splits["train"].images);
        // It is there also where no image is of it.
        let mut with_none = set(&[0, 1, 2, 1]);
        gather_others(&mut with_none, None, "unknown").unwrap();
        assert_eq!(with_none.classes, ["ant", "bee", "cat", "unknown"]);
        assert_eq!(with_none.splits, set(&[0, 1, 2, 1]).splits);
        assert_eq!(with_none.empty_classes(), [3]);
        // A class that goes may have had the name; one that stays may not.
        gather_others(&mut with_none, Some(&kept), "unknown").unwrap();
        assert_eq!(with_none.classes, ["cat", "unknown"]);
        let error = gather_others(&mut with_none, None, "unknown").unwrap_err();
        assert_eq!(error.to_string(), "a class that stays is called `unknown`, too");
        let twice = [Class::Number(1), Class::Name("bee".into())];
        assert!(gather_others(&mut set(&[0, 1]), Some(&twice), "unknown").is_err());
    }

    #[test]
    fn a_number_is_the_class_of_that_name_where_all_are_called_by_numbers() {
        let folders = |names: &[&str]| {
            let mut set = set(&[0, 1, 2, 1]);
            set.classes = names.iter().map(|name| (*name).to_owned()).collect();
            set
        };
        // The folders 0, 1, ..., 11 come in the order 0, 1, 10, 11, 2, ...
        let mut sorted = folders(&["0", "10", "2"]);
        keep_classes(&mut sorted, &[Class::Number(2)]).unwrap();
        assert_eq!(
            (&*sorted.classes, &*sorted.splits["train"].labels),
            (&["2".to_owned()][..], &[0][..])
        );
        assert_eq!(sorted.splits["train"].images.pixels, [2]);
        let mut padded = folders(&["00001", "00002", "00010"]);
        keep_classes(&mut padded, &[Class::Number(10)]).unwrap();
        assert_eq!(padded.classes, ["00010"]);
        let error = keep_classes(&mut folders(&["5", "6", "7"]), &[Class::Number(0)]).unwrap_err();
        assert_eq!(error.to_string(), "the data set has no class 0");
        assert_eq!(
            error.help(),
            [
                "its classes are 5, 6, 7",
                "where classes are called by numbers, a number is a name; the class at \
                 this place is \"5\""
            ]
        );
        // Of names, a number is the place.
        let mut named = folders(&["0", "cat", "dog"]);
        keep_classes(&mut named, &[Class::Number(2)]).unwrap();
        assert_eq!(named.classes, ["dog"]);
    }

    #[test]
    fn a_number_is_the_class_of_that_name_also_beside_classes_of_other_names() {
        let classes = ["0", "1", "10", "11", "2", "3", "bg"].map(str::to_owned);
        let place = |number| find_class(&classes, &Class::Number(number)).ok();
        assert_eq!([2, 3, 10, 11].map(place), [4, 5, 2, 3].map(Some));
        assert_eq!(place(6), Some(6), "no class is called 6, and that at this place has no number");
        let error = find_class(&classes, &Class::Number(4)).unwrap_err();
        assert_eq!(error.to_string(), "the data set has no class 4");
        assert!(error.help()[1].ends_with("at this place is \"2\""), "{:?}", error.help());
        let zeros = ["01", "1", "bg"].map(str::to_owned);
        assert_eq!(find_class(&zeros, &Class::Number(1)).unwrap(), 1, "spelled the same");
    }

    #[test]
    fn renamed_classes_keep_their_images_and_those_of_one_name_become_one() {
        let pair = |(from, to): (&str, &str)| (from.to_owned(), to.to_owned());
        let mut swapped = set(&[0, 1, 2, 1]);
        rename_classes(&mut swapped, &[("ant", "bee"), ("bee", "ant")].map(pair)).unwrap();
        assert_eq!(swapped.classes, ["bee", "ant", "cat"]);
        assert_eq!(swapped.splits["train"], set(&[0, 1, 2, 1]).splits["train"]);
        let mut insects = set(&[0, 1, 2, 1]);
        rename_classes(&mut insects, &[("ant", "insect"), ("bee", "insect")].map(pair)).unwrap();
        assert_eq!(insects.classes, ["insect", "cat"]);
        assert_eq!(insects.splits["test"].labels, [0, 0, 1, 0]);
        let error = rename_classes(&mut insects, &[pair(("bee", "insect"))]).unwrap_err();
        assert_eq!(error.to_string(), "the data set has no class `bee`");
    }

    #[test]
    fn a_class_that_is_not_there_is_an_error_that_lists_those_that_are() {
        let error = keep_classes(&mut many(), &[Class::Name("bea".into())]).unwrap_err();
        assert_eq!(error.to_string(), "the data set has no class `bea`");
        assert_eq!(error.help(), ["its classes are 0 `ant`, 1 `bee`, 2 `cat`"]);
        assert!(keep_classes(&mut many(), &[Class::Number(3)]).is_err());
        let twice = [Class::Number(1), Class::Name("bee".into())];
        assert!(keep_classes(&mut many(), &twice).is_err());
        let absent = keep_classes(&mut set(&[0, 0]), &[Class::Number(2)]).unwrap_err();
        assert!(absent.to_string().contains("no image of the classes cat"));
    }
}
