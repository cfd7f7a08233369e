//! Which class of one data set or model is which class of another: by name, as far as both sides
//! have names. Numbers are compared only where a side has nothing else.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

/// How the classes of one side stand among those of another, the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// Both lists are the same.
    Same,
    /// Every class was found by its name: its number among the known ones; `None` for one without images
    /// that is not there.
    ByName(Vec<Option<u32>>),
    /// By number, since this side has only numbers for its classes.
    ByNumber(Nameless),
}

/// A side without names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nameless {
    /// The classes that others are matched with.
    Known,
    /// The classes that are matched.
    Found,
}

/// Why classes cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Classes without a counterpart of the same name, by their number.
    Names(Vec<usize>),
    /// One side has only numbers, and not as many as the other has classes.
    Count,
    /// A name that a list has twice.
    Twice(String),
}

impl Matched {
    /// The number among the known classes of a class with this number; each that has images has one.
    pub fn number(&self, class: u32) -> Option<u32> {
        match self {
            Self::ByName(numbers) => numbers[class as usize],
            Self::Same | Self::ByNumber(_) => Some(class),
        }
    }
}

/// Finds every class of `found` among those of `known`, which may be more.
///
/// Names that are whole numbers are compared as such: `00012` is `12`. A list that only counts (`0`,
/// `1`, ...) names nothing: beside real names, none of which it has, it is matched with as many of them
/// by number, beside a longer list of the kind with its first ones.
///
/// The classes at `empty`, in order, have no image: labels 2 and 3 make a class `0` as well, and that
/// needs no counterpart.
///
/// # Errors
/// When a class has no counterpart.
pub fn match_classes(
    known: &[String],
    found: &[String],
    empty: &[usize],
) -> Result<Matched, Mismatch> {
    if known == found {
        return Ok(Matched::Same);
    }
    if only_counts(known) && only_counts(found) && found.len() < known.len() {
        return Ok(Matched::ByNumber(Nameless::Found));
    }
    let (known_names, found_names) = compared(known, found);
    let mismatch = match places(&known_names, &found_names, empty) {
        Ok(numbers) => return Ok(Matched::ByName(numbers)),
        Err(mismatch) => mismatch,
    };
    // One name that both have says that the numbers of the others are names as well.
    let nameless = match (values(known), values(found)) {
        (Some(_), Some(_)) => None,
        _ if shares_a_name(&known_names, &found_names) => None,
        _ if only_counts(known) => Some(Nameless::Known),
        _ => only_counts(found).then_some(Nameless::Found),
    };
    match nameless {
        None => Err(mismatch),
        Some(_) if known.len() != found.len() => Err(Mismatch::Count),
        Some(nameless) => Ok(Matched::ByNumber(nameless)),
    }
}

/// Two lists as their names are compared: those of digits by their value, as long as that leaves the
/// names of a list apart that has others as well.
fn compared(known: &[String], found: &[String]) -> (Vec<String>, Vec<String>) {
    let by_value = |names: &[String]| -> Vec<String> {
        let plain = |name: &String| value(name).map_or_else(|| name.clone(), |it| it.to_string());
        names.iter().map(plain).collect()
    };
    let (plain_known, plain_found) = (by_value(known), by_value(found));
    let all_digits = values(known).is_some() && values(found).is_some();
    if all_digits || (twice(&plain_known).is_none() && twice(&plain_found).is_none()) {
        (plain_known, plain_found)
    } else {
        (known.to_vec(), found.to_vec())
    }
}

fn shares_a_name(known: &[String], found: &[String]) -> bool {
    let known: HashSet<&String> = known.iter().collect();
    found.iter().any(|name| known.contains(name))
}

/// A name that a list has twice.
fn twice(names: &[String]) -> Option<&String> {
    let mut seen = HashSet::with_capacity(names.len());
    names.iter().find(|name| !seen.insert(*name))
}

/// Where each of `found` stands in `known`, those at `empty` if they do.
fn places(
    known: &[String],
    found: &[String],
    empty: &[usize],
) -> Result<Vec<Option<u32>>, Mismatch> {
    if let Some(name) = twice(known).or_else(|| twice(found)) {
        return Err(Mismatch::Twice(name.clone()));
    }
    let at: HashMap<&String, u32> = known.iter().zip(0..).collect();
    let numbers: Vec<Option<u32>> = found.iter().map(|name| at.get(name).copied()).collect();
    let is_missing = |at: &usize| numbers[*at].is_none() && empty.binary_search(at).is_err();
    let missing: Vec<usize> = (0..found.len()).filter(is_missing).collect();
    if missing.is_empty() { Ok(numbers) } else { Err(Mismatch::Names(missing)) }
}

/// The values of names that are all whole numbers.
pub fn values(names: &[String]) -> Option<Vec<u64>> {
    names.iter().map(|name| value(name)).collect()
}

/// The value of a name of digits.
pub fn value(name: &str) -> Option<u64> {
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok() } else { None }
}

/// Whether the names are `0`, `1`, `2` and so on: what classes are called that have no names.
pub fn only_counts(names: &[String]) -> bool {
    names.iter().enumerate().all(|(number, name)| *name == number.to_string())
}

/// The names of `count` classes without names.
pub fn counted(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

/// Names in a list are not more than fit a line or two.
const SHOWN: usize = 20;

/// The classes by number and name, not more than fit a line or two.
pub fn listed(classes: &[String]) -> String {
    let plain = values(classes).is_some();
    let names = classes
        .iter()
        .enumerate()
        .map(|(number, name)| if plain { name.clone() } else { format!("{number} `{name}`") });
    short(names, classes.len())
}

/// Names in quotes, not more than fit a line or two.
pub fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = names.len();
    short(names.map(|name| format!("`{name}`")), count)
}

fn short(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut names: Vec<String> = names.take(SHOWN).collect();
    if count > SHOWN {
        names.push(format!("and {} more", count - SHOWN));
    }
    names.join(", ")
}

/// Below this likeness two names are not taken for the same class.
const ALIKE: f64 = 0.75;

/// The table that renames the classes at `missing` to those of `known` that they are most like:
/// `{ "touring-bike" = "bike" }`. `None` when none is like any that is still free.
pub fn renaming(known: &[String], found: &[String], missing: &[usize]) -> Option<String> {
    let free: Vec<&String> = known.iter().filter(|name| !found.contains(name)).collect();
    // A guess for very many would take long and fill screens.
    if missing.len() * free.len() > 1_000_000 {
        return None;
    }
    let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
    for at in missing {
        for (to, name) in free.iter().enumerate() {
            let likeness = likeness(&found[*at], name);
            if likeness >= ALIKE {
                pairs.push((likeness, *at, to));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut chosen: Vec<(usize, usize)> = Vec::new();
    for (_, at, to) in pairs {
        if !chosen.iter().any(|pair| pair.0 == at || pair.1 == to) {
            chosen.push((at, to));
        }
    }
    chosen.sort_unstable();
    let mut table = String::new();
    for (at, to) in chosen {
        let comma = if table.is_empty() { "" } else { ", " };
        let (from, to) = (written(&found[at]), written(free[to]));
        let _ = write!(table, "{comma}{from} = {to}");
    }
    (!table.is_empty()).then(|| format!("{{ {table} }}"))
}

/// A string of TOML.
pub fn written(name: &str) -> String {
    toml::Value::from(name).to_string()
}

/// From 0 to 1: how alike two names are, spelling and added words aside.
fn likeness(one: &str, other: &str) -> f64 {
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|letter| letter.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let first = |name: &str| -> String {
        let mut words = name.split(|letter: char| !letter.is_alphanumeric());
        words.find(|word| word.len() > 2).unwrap_or_default().to_lowercase()
    };
    let begin = [one, other].map(first);
    let (one, other) = (plain(one), plain(other));
    let within = |long: &str, short: &str| short.len() > 2 && long.contains(short);
    let likeness = strsim::jaro_winkler(&one, &other);
    if within(&one, &other) || within(&other, &one) {
        likeness.max(0.9)
    } else if !begin[0].is_empty() && begin[0] == begin[1] {
        likeness.max(0.8)
    } else {
        likeness
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn matched(known: &[&str], found: &[&str]) -> Result<Matched, Mismatch> {
        match_classes(&names(known), &names(found), &[])
    }

    fn by_name(numbers: &[u32]) -> Result<Matched, Mismatch> {
        Ok(Matched::ByName(numbers.iter().copied().map(Some).collect()))
    }

    #[test]
    fn classes_are_found_by_name_in_any_order_and_number() {
        assert_eq!(matched(&["cat", "dog"], &["cat", "dog"]), Ok(Matched::Same));
        assert_eq!(matched(&["cat", "dog"], &["dog", "cat"]), by_name(&[1, 0]));
        let some = matched(&["ant", "bee", "cat"], &["cat", "bee"]).unwrap();
        assert_eq!([some.number(0), some.number(1)], [Some(2), Some(1)]);
    }

    #[test]
    fn a_class_of_another_name_is_never_taken_for_one_of_the_same_number() {
        assert_eq!(matched(&["cat", "dog"], &["dog", "wolf"]), Err(Mismatch::Names(vec![1])));
        let more = matched(&["cat"], &["cat", "dog"]);
        assert_eq!(more, Err(Mismatch::Names(vec![1])), "more classes than are known");
        assert_eq!(matched(&["cat", "cat"], &["cat", "dog"]), Err(Mismatch::Twice("cat".into())));
    }

    #[test]
    fn names_that_are_numbers_are_compared_as_numbers() {
        let folders = ["0", "1", "10", "11", "2"];
        let list: Vec<String> = counted(12);
        let matched = match_classes(&list, &names(&folders), &[]);
        assert_eq!(matched, by_name(&[0, 1, 10, 11, 2]));
        let padded = match_classes(&list, &names(&["00001", "00011"]), &[]);
        assert_eq!(padded, by_name(&[1, 11]));
        let digits = match_classes(&counted(5), &names(&["5", "6", "7", "8", "9"]), &[]);
        assert_eq!(digits, Err(Mismatch::Names(vec![0, 1, 2, 3, 4])));
        let twice = match_classes(&counted(5), &names(&["1", "01"]), &[]);
        assert_eq!(twice, Err(Mismatch::Twice("1".into())));
    }

    #[test]
    fn numbers_count_only_where_a_side_has_nothing_else() {
        let known = matched(&["0", "1"], &["cat", "dog"]);
        assert_eq!(known, Ok(Matched::ByNumber(Nameless::Known)));
        let found = matched(&["cat", "dog"], &["0", "1"]);
        assert_eq!(found, Ok(Matched::ByNumber(Nameless::Found)));
        assert_eq!(matched(&["cat", "dog", "eel"], &["0", "1"]), Err(Mismatch::Count));
        let fewer = match_classes(&counted(10), &counted(8), &[]);
        assert_eq!(fewer, Ok(Matched::ByNumber(Nameless::Found)));
        assert_eq!(match_classes(&counted(2), &counted(3), &[]), Err(Mismatch::Names(vec![2])));
        // Part of a numbering that begins elsewhere says nothing of which is which.
        assert_eq!(matched(&["cat", "dog"], &["1", "2"]), Err(Mismatch::Names(vec![0, 1])));
    }

    #[test]
    fn where_one_name_is_in_both_lists_no_other_is_matched_by_number() {
        let bg = Err(Mismatch::Names(vec![2]));
        assert_eq!(matched(&["0", "1", "2"], &["1", "2", "bg"]), bg);
        assert_eq!(matched(&["0", "1", "2"], &["01", "02", "bg"]), bg);
        assert_eq!(matched(&["1", "2", "bg"], &["0", "1", "2"]), Err(Mismatch::Names(vec![0])));
        let more = matched(&["0", "1", "2"], &["1", "2", "bg", "fg"]);
        assert_eq!(more, Err(Mismatch::Names(vec![2, 3])), "its number says nothing either");
        assert_eq!(
            matched(&["0", "1", "bg"], &["bg", "001"]),
            by_name(&[2, 1]),
            "digits beside names are numbers too"
        );
        assert_eq!(
            matched(&["1", "01", "bg"], &["01", "1"]),
            by_name(&[1, 0]),
            "but for those that only zeros tell apart"
        );
    }

    #[test]
    fn a_class_that_only_fills_a_gap_between_labels_needs_no_counterpart() {
        let matched = |known: &[&str], found: &[String], empty: &[usize]| {
            match_classes(&names(known), found, empty)
        };
        // Labels 2 and 3 beside a list whose labels count from 1.
        let part = matched(&["1", "2", "3"], &counted(4), &[0, 1]);
        assert_eq!(part, Ok(Matched::ByName(vec![None, Some(0), Some(1), Some(2)])));
        // Labels 1, 2 and 4 beside folders of these names.
        let list = names(&["1", "2", "3", "4"]);
        let sparse = matched(&["1", "2", "4"], &list, &[2]);
        assert_eq!(sparse, Ok(Matched::ByName(vec![Some(0), Some(1), None, Some(2)])));
        assert_eq!(matched(&["1", "2", "4"], &list, &[0]), Err(Mismatch::Names(vec![2])));
        // Once the others have their names.
        let renamed = names(&["0", "1", "b", "c"]);
        let named = matched(&["a", "b", "c"], &renamed, &[0, 1]);
        assert_eq!(named, Ok(Matched::ByName(vec![None, None, Some(1), Some(2)])));
    }

    #[test]
    fn the_renaming_pairs_each_class_with_the_one_that_it_is_most_like() {
        let office = names(&["back_pack", "bike", "calculator", "laptop_computer", "mug"]);
        let caltech =
            names(&["backpack", "touring-bike", "calculator", "laptop-101", "coffee-mug"]);
        let table = renaming(&office, &caltech, &[0, 1, 3, 4]).unwrap();
        assert_eq!(
            table,
            "{ \"backpack\" = \"back_pack\", \"touring-bike\" = \"bike\", \
             \"laptop-101\" = \"laptop_computer\", \"coffee-mug\" = \"mug\" }"
        );
        assert_eq!(renaming(&names(&["cat"]), &names(&["zebra"]), &[0]), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let text = listed(&counted(345));
        assert!(text.starts_with("0, 1, 2, ") && text.ends_with("and 325 more"), "{text}");
        assert_eq!(listed(&names(&["ant", "bee"])), "0 `ant`, 1 `bee`");
    }
}
