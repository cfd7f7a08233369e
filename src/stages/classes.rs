//! Where the classes of a data set meet those of a model or of another data set: they are matched by
//! name, and what does not match is a problem that shows both lists.

use super::{Failure, Problem};
use crate::data::Dataset;
use crate::data::classes::{
    Matched, Mismatch, Nameless, listed, match_classes, only_counts, quoted, renaming, values,
    written,
};

/// What of a data set is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uses {
    /// Images and labels: every class needs its counterpart.
    Labels,
    /// Images alone, of the same classes. Images that were never sorted into classes are no
    /// contradiction: all in one class, or classes without names.
    Images,
}

/// Why the classes `found` of the data set at `key` are not among those of the model, `known`.
///
/// Of `found` go along those without images, which need no counterpart.
pub(super) fn clash(
    key: &str,
    known: &[String],
    (found, empty): (&[String], &[usize]),
    uses: Uses,
) -> Option<Problem> {
    let unsorted = found.len() == 1 || only_counts(found) || only_counts(known);
    if uses == Uses::Images && unsorted {
        return None;
    }
    let mismatch = match match_classes(known, found, empty) {
        Ok(Matched::ByNumber(_)) if key == "train" && are_many(known.len(), found.len()) => {
            Mismatch::Count
        }
        Ok(_) => return None,
        Err(mismatch) => mismatch,
    };
    let message = match &mismatch {
        Mismatch::Names(missing) => {
            let names: Vec<&String> = missing.iter().map(|at| &found[*at]).collect();
            format!("the model has no class {}", quoted(names.into_iter()))
        }
        Mismatch::Count => format!(
            "the model has {} classes, this data set has {}, and {} only numbers for them: nothing says \
             which is which",
            known.len(),
            found.len(),
            if only_counts(found) { "the data set has" } else { "the model has" }
        ),
        Mismatch::Twice(name) => {
            format!("two classes are called `{name}`, so that their name does not tell them apart")
        }
    };
    let mut problem = Problem::at(key, message)
        .help(format!("the classes of the model: {}", listed(known)))
        .help(format!("the classes of this data set: {}", listed(found)));
    for line in advice(known, (found, empty), &mismatch) {
        problem = problem.help(line);
    }
    if key == "train" {
        problem = problem.help("`head = []` gives the model a new classifier for other classes");
    }
    Some(problem)
}

/// Whether a model of this many numbers may well have been made for other things than the few classes of
/// which only the numbers are known, as ImageNet's 1000: 0 to 2 of ten digits are digits, ten numbers are
/// not the first of a thousand things.
fn are_many(known: usize, found: usize) -> bool {
    known > found && (known > 100 || known >= 10 * found)
}

/// Longer lists would be for a file, not for a line of advice.
const LINE: usize = 20;

/// How to bring the classes together.
fn advice(
    known: &[String],
    (found, empty): (&[String], &[usize]),
    mismatch: &Mismatch,
) -> Vec<String> {
    let pair = |(from, to): (&String, &String)| format!("{} = {}", written(from), written(to));
    let naming = || {
        let there = (0..found.len()).filter(|at| empty.binary_search(at).is_err());
        let there = there.map(|at| &found[at]);
        let pairs: Vec<String> = there.zip(known).take(LINE).map(pair).collect();
        format!(
            "a `split` stage in front gives them names: `classes = {{ {} }}`, each with the name that is \
             right",
            pairs.join(", ")
        )
    };
    match mismatch {
        // Numbers that begin elsewhere: none is like a name, and each of them needs one.
        Mismatch::Names(missing)
            if values(found).is_some()
                && missing.len() == known.len()
                && missing.len() + empty.len() == found.len() =>
        {
            vec![naming()]
        }
        Mismatch::Names(missing) => {
            let free = known.iter().find(|name| !found.contains(name));
            let example = || Some(format!("{{ {} }}", pair((&found[*missing.first()?], free?))));
            let table = renaming(known, found, missing).or_else(example);
            let rename = table.map(|table| {
                format!(
                    "if the same things have other names here, a `split` stage in front renames them: \
                     `classes = {table}`"
                )
            });
            let shared = found.iter().enumerate().filter(|(at, _)| !missing.contains(at));
            let shared: Vec<String> = shared.map(|(_, name)| written(name)).collect();
            let keep = (!shared.is_empty() && shared.len() <= LINE)
                .then(|| format!("`classes = [{}]` there keeps what both have", shared.join(", ")));
            rename.into_iter().chain(keep).collect()
        }
        Mismatch::Count if only_counts(found) && !only_counts(known) => vec![naming()],
        Mismatch::Count if only_counts(found) && (2..=LINE).contains(&found.len()) => {
            let last_first: Vec<String> = found.iter().rev().map(|name| written(name)).collect();
            vec![format!(
                "if they are the model's classes of these numbers, a `split` stage in front says so with a \
                 list that does not just count: `classes = [{}]`",
                last_first.join(", ")
            )]
        }
        Mismatch::Count => Vec::new(),
        Mismatch::Twice(_) => {
            vec!["a `split` stage in front keeps some classes (`classes = [...]`)".to_owned()]
        }
    }
}

/// Gives the labels of a split the numbers that a model with the classes `known` has for them.
///
/// # Errors
/// [`clash`], as a failure that names `key`.
pub(super) fn renumber(
    dataset: &mut Dataset,
    split: &str,
    key: &str,
    known: &[String],
) -> Result<Matched, Failure> {
    let empty = dataset.empty_classes();
    let matched = meet((&dataset.classes, &empty), key, known)?;
    if let (Matched::ByName(_), Some(split)) = (&matched, dataset.splits.get_mut(split)) {
        let number = |label| matched.number(label).expect("a class with images has a counterpart");
        split.labels.iter_mut().for_each(|label| *label = number(*label));
    }
    Ok(matched)
}

/// How the classes `found` of the data set at `key`, with those of them that have no images, stand among
/// those of a model.
///
/// # Errors
/// [`clash`], as a failure that names `key`.
pub(super) fn meet(
    (found, empty): (&[String], &[usize]),
    key: &str,
    known: &[String],
) -> Result<Matched, Failure> {
    match clash(key, known, (found, empty), Uses::Labels) {
        Some(problem) => Err(named(problem, key)),
        None => Ok(match_classes(known, found, empty).expect("no clash was found")),
    }
}

/// The failure of a problem, with the key that it hangs on in its message.
pub(super) fn named(mut problem: Problem, key: &str) -> Failure {
    problem.message = format!("`{key}`: {}", problem.message);
    problem.into()
}

/// What to say of classes that were not matched name by name in the same order.
pub(super) fn note(
    matched: &Matched,
    key: &str,
    known: &[String],
    found: &[String],
) -> Option<String> {
    match matched {
        Matched::Same => None,
        Matched::ByName(_) => Some(format!(
            "`{key}`: its classes are numbered otherwise than the model's; they were matched by name"
        )),
        Matched::ByNumber(nameless) => {
            let (who, names) = match nameless {
                Nameless::Known => ("the model", found),
                Nameless::Found => ("the data set", known),
            };
            Some(format!(
                "`{key}`: classes were matched by number, because {who} has no names for them: {}",
                listed(names)
            ))
        }
    }
}

/// The names of a model's classes once it met those of a data set that it learns from: real ones, where
/// either has some.
pub(super) fn names_of_both(
    matched: &Matched,
    known: Vec<String>,
    found: &[String],
) -> Vec<String> {
    match matched {
        Matched::ByNumber(Nameless::Known) => found.to_vec(),
        Matched::Same | Matched::ByName(_) | Matched::ByNumber(Nameless::Found) => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::classes::counted;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_clash_shows_both_lists_and_how_to_rename_or_keep() {
        let problem = clash(
            "on.0",
            &names(&["bike", "mug"]),
            (&names(&["mug", "touring-bike"]), &[]),
            Uses::Labels,
        )
        .unwrap();
        assert_eq!(problem.message, "the model has no class `touring-bike`");
        assert_eq!(
            problem.help,
            [
                "the classes of the model: 0 `bike`, 1 `mug`",
                "the classes of this data set: 0 `mug`, 1 `touring-bike`",
                "if the same things have other names here, a `split` stage in front renames them: \
                 `classes = { \"touring-bike\" = \"bike\" }`",
                "`classes = [\"mug\"]` there keeps what both have",
            ]
        );
    }

    #[test]
    fn images_without_labels_need_no_names_but_may_not_contradict_them() {
        let known = names(&["cat", "dog"]);
        let clashes =
            |found: &[&str]| clash("t", &known, (&names(found), &[]), Uses::Images).is_some();
        assert!(!clashes(&["unsorted"]) && !clashes(&["0", "1", "2"]) && !clashes(&["dog"]));
        assert!(clashes(&["dog", "wolf"]));
        assert!(clash("t", &known, (&names(&["unsorted"]), &[]), Uses::Labels).is_some());
    }

    #[test]
    fn digits_are_no_classes_of_imagenet_to_go_on_learning() {
        let (digits, imagenet): (Vec<String>, Vec<String>) = (counted(10), counted(1000));
        let problem = clash("train", &imagenet, (&digits, &[]), Uses::Labels).unwrap();
        assert!(problem.message.contains("1000 classes, this data set has 10"), "{problem:?}");
        assert!(problem.help.last().unwrap().contains("`head = []`"), "{problem:?}");
        // A list for validation may lack the last classes; a note says what that rests on.
        let matched = meet((&digits, &[]), "validate", &counted(12)).unwrap();
        let note = note(&matched, "validate", &counted(12), &digits).unwrap();
        assert!(note.contains("by number"), "{note}");
    }

    #[test]
    fn the_first_few_of_the_numbers_that_a_model_learned_go_on_being_learned() {
        for (known, found) in [(5, 3), (10, 2), (10, 9), (100, 90)] {
            let matched = meet((&counted(found), &[]), "train", &counted(known)).unwrap();
            assert_eq!(matched, Matched::ByNumber(Nameless::Found), "{found} of {known}");
        }
        for (known, found) in [(1000, 345), (100, 10), (26, 2)] {
            let clash = clash("train", &counted(known), (&counted(found), &[]), Uses::Labels);
            assert!(clash.is_some(), "{found} of {known}");
        }
        // What the refusal advises is accepted.
        let problem = clash("train", &counted(26), (&counted(2), &[]), Uses::Labels).unwrap();
        assert!(problem.help[2].ends_with("`classes = [\"1\", \"0\"]`"), "{problem:?}");
        assert!(clash("train", &counted(26), (&names(&["1", "0"]), &[]), Uses::Labels).is_none());
    }

    #[test]
    fn numbers_that_begin_elsewhere_get_a_name_each() {
        let known = names(&["a", "b", "c"]);
        let problem = clash("on.0", &known, (&names(&["1", "2", "3"]), &[]), Uses::Labels).unwrap();
        assert_eq!(
            problem.help[2..],
            [
                "a `split` stage in front gives them names: `classes = { \"1\" = \"a\", \"2\" = \"b\", \
              \"3\" = \"c\" }`, each with the name that is right"
            ]
        );
    }

    #[test]
    fn classes_without_images_are_neither_missing_nor_given_a_name() {
        let list = (&*counted(4), &[0][..]);
        let known = names(&["a", "b", "c"]);
        let problem = clash("on.0", &known, list, Uses::Labels).unwrap();
        assert!(
            problem.help[2].contains("{ \"1\" = \"a\", \"2\" = \"b\", \"3\" = \"c\" }"),
            "{problem:?}"
        );
        let followed = (&*names(&["0", "a", "b", "c"]), &[0][..]);
        assert!(clash("on.0", &known, followed, Uses::Labels).is_none());
        assert!(clash("t", &names(&["2", "3"]), list, Uses::Labels).is_some(), "1 is missing");
        assert!(clash("t", &names(&["1", "2", "3"]), list, Uses::Labels).is_none());
    }

    #[test]
    fn a_model_without_names_takes_those_of_the_data_that_it_learns_from() {
        let (numbers, animals) = (names(&["0", "1"]), names(&["cat", "dog"]));
        let matched = meet((&animals, &[]), "train", &numbers).unwrap();
        let note = note(&matched, "train", &numbers, &animals).unwrap();
        assert!(note.contains("by number, because the model has no names"), "{note}");
        assert_eq!(names_of_both(&matched, numbers, &animals), animals);
    }
}
