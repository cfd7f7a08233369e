//! What names of files and folders say: which split they hold, and the text that stands for a class.
//!
//! Never looks at a disk.

/// What a name says about splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// It is a spelling of this split and nothing else: `train`, `test_set`, `val2017`.
    Split(&'static str),
    /// It speaks of this split among other things: `seg_train`, `trainA`, `test tube`.
    Among(&'static str),
    /// Nothing.
    Nothing,
}

/// The spellings of each split, one word each.
const SPLITS: &[(&str, &[&str])] = &[
    ("train", &["train", "training", "trainval"]),
    ("valid", &["valid", "val", "validation"]),
    ("test", &["test", "testing"]),
];

/// Words that say nothing of their own beside that of a split, or at its end: `testset`.
const FILLERS: &[&str] = &[
    "set", "sets", "data", "dataset", "split", "list", "lists", "label", "labels", "image",
    "images", "img", "imgs", "file", "files", "folder", "photos", "pictures",
];

/// What the name of a folder or file, without its ending, says about splits.
pub(super) fn says(name: &str) -> Says {
    let (mut found, mut whole) = (None, true);
    for word in words(name) {
        match split_of(&word) {
            // `train_val` and the like are what is trained with.
            Some(split) => {
                whole &= found.is_none_or(|found| found == split);
                let earlier = |split| SPLITS.iter().position(|(name, _)| *name == split);
                found = found.filter(|found| earlier(*found) <= earlier(split)).or(Some(split));
            }
            None => {
                whole &=
                    FILLERS.contains(&word.as_str()) || word.chars().all(|c| c.is_ascii_digit());
            }
        }
    }
    match found {
        Some(split) if whole => Says::Split(split),
        Some(split) => Says::Among(split),
        None => Says::Nothing,
    }
}

/// The split that the name of a file, without its ending, stands for: a word of it must be that of a
/// split. A part of a word is none, or `latest` would be a test split.
pub(super) fn split_word(name: &str) -> Option<&'static str> {
    match says(name) {
        Says::Split(split) | Says::Among(split) => Some(split),
        Says::Nothing => None,
    }
}

fn split_of(word: &str) -> Option<&'static str> {
    let is = |spelling: &&str| {
        word.strip_prefix(*spelling).is_some_and(|rest| rest.is_empty() || FILLERS.contains(&rest))
    };
    SPLITS.iter().find(|(_, spellings)| spellings.iter().any(is)).map(|(name, _)| *name)
}

/// The words of a name in lower case: `trainLabels-2_set` is train, labels, 2, set.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    // MNIST's test files begin with it; a letter beside a digit would end a word.
    let name = name.replace("t10k", "test").replace("T10K", "test");
    for c in name.chars() {
        let new = !before.is_alphanumeric()
            || (before.is_lowercase() && c.is_uppercase())
            || before.is_ascii_digit() != c.is_ascii_digit();
        if c.is_alphanumeric() {
            if new {
                words.push(String::new());
            }
            let word = words.last_mut().expect("the first letter began one");
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

/// A name as text. Bytes that are not UTF-8 are written as `\xE4`, so that two names never become one
/// text by being shown.
pub(super) fn text_of(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_split_is_known() {
        for (split, names) in [
            (
                "train",
                "train Train TRAIN training training_set train-set trainset 01_train train2017",
            ),
            ("valid", "valid val validation Val validation_set valset val_images"),
            ("test", "test Testing test_set testset TestData images_test test1 t10k"),
        ] {
            for name in names.split(' ') {
                assert_eq!(says(name), Says::Split(split), "{name}");
            }
        }
    }

    #[test]
    fn a_split_among_other_words_is_told_apart_from_a_split() {
        for (split, names) in [
            ("train", "seg_train trainA mnist_m_train_labels emnist-letters-train- train_val"),
            ("test", "testB my.test.v"),
            ("valid", "sign_val"),
        ] {
            for name in names.split(' ') {
                assert_eq!(says(name), Says::Among(split), "{name}");
                assert_eq!(split_word(name), Some(split), "{name}");
            }
        }
        assert_eq!(says("test tube"), Says::Among("test"));
    }

    #[test]
    fn a_part_of_a_word_is_no_split() {
        for name in ["latest", "contest", "values", "interval", "restrain", "trainer", "", "2", "é"]
        {
            assert_eq!(split_word(name), None, "{name}");
        }
    }

    #[test]
    fn names_that_differ_stay_different_as_text() {
        assert_eq!(text_of("Käfer".as_bytes()), "Käfer");
        assert_eq!(text_of(b"K\xe4fer"), "K\\xE4fer");
        assert_ne!(text_of(b"K\xe4fer"), text_of(b"K\xf6fer"));
        assert_eq!(text_of(b"\xff"), "\\xFF");
    }
}
