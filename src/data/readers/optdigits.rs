//! `digits.csv`: the test part of UCI's "Optical recognition of handwritten digits" as scikit-learn ships it.
//!
//! A line is an image and its label: 64 values from 0 (paper) to 16 (ink), which are the pixels of 8x8 row by
//! row, and a digit.

use std::path::Path;

use indexmap::IndexMap;

use super::{ReadSplits, same};
use crate::data::dataset::{Images, Split};
use crate::data::error::DataError;

const NAME: &str = "digits.csv";
const SIDE: usize = 8;
const MOST: u32 = 16;
const CLASSES: u32 = 10;

/// Whether a file is called like the one that [`read`] reads, plain or gzipped.
pub(super) fn is_part(file: &Path) -> bool {
    same::bare_name(file) == NAME
}

/// Reads the file at `path`, or the one anywhere below the folder there, as the split `train`.
///
/// # Errors
/// When it is not there, or does not hold what it should.
pub fn read(path: &Path) -> Result<ReadSplits, DataError> {
    let (file, bytes) = same::named(path, NAME)?;
    let train = parse(&bytes).map_err(|reason| DataError::malformed(&file, reason))?;
    let classes = (0..CLASSES).map(|class| class.to_string()).collect();
    Ok(ReadSplits { classes, splits: IndexMap::from([("train".to_owned(), train)]) })
}

fn parse(bytes: &[u8]) -> Result<Split, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not a text: {error}"))?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (line, row) in (1..).zip(text.lines()) {
        let mut values = row.split(',');
        for at in 0..SIDE * SIDE {
            let value = whole(values.next(), MOST)
                .ok_or_else(|| format!("line {line}: value {} is not from 0 to 16", at + 1))?;
            pixels.push(byte(value));
        }
        let label = whole(values.next(), CLASSES - 1)
            .ok_or_else(|| format!("line {line}: the label is not from 0 to 9"))?;
        labels.push(label);
        if values.next().is_some() {
            return Err(format!("line {line}: more than 64 values and a label"));
        }
    }
    Ok(Split { images: Images::same(1, (SIDE, SIDE), pixels), labels })
}

/// A whole number of at most `most`, also written as `5.0`.
fn whole(text: Option<&str>, most: u32) -> Option<u32> {
    let number: f64 = text?.trim().parse().ok()?;
    (0..=most).find(|whole| f64::from(*whole) == number)
}

/// A value as a byte, `round(value * 255 / 16)`.
fn byte(value: u32) -> u8 {
    u8::try_from((value * 255 + MOST / 2) / MOST).expect("at most 255")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of 64 values and a label.
    fn line(values: impl Fn(usize) -> u32, label: u32) -> String {
        let values: Vec<String> = (0..64).map(|at| values(at).to_string()).collect();
        format!("{},{label}\n", values.join(","))
    }

    #[test]
    fn lines_are_images_and_sixteen_is_white() {
        let text = line(|at| u32::try_from(at).unwrap() % 17, 3) + &line(|_| 8, 9);
        let split = parse(text.as_bytes()).unwrap();
        assert_eq!((split.images.size(), split.images.len()), (Some((8, 8)), 2));
        assert_eq!(split.labels, [3, 9]);
        let rounded = |value: u32| (f64::from(value) * 255.0 / 16.0).round();
        for (value, pixel) in (0..=16).zip(&*split.images.pixels) {
            assert_eq!(f64::from(*pixel), rounded(value));
        }
        assert_eq!(split.images.pixels[16], 255);
        // 127.5 is rounded up.
        assert!(split.images.pixels[64..].iter().all(|pixel| *pixel == 128));
        let floats = text.replace(',', ".0,");
        assert_eq!(parse(floats.as_bytes()).unwrap(), split);
    }

    #[test]
    fn what_is_no_such_line_is_named() {
        let good = line(|_| 1, 3);
        let reason = |text: &str| parse(format!("{good}{text}").as_bytes()).unwrap_err();
        assert_eq!(reason("1,17\n"), "line 2: value 2 is not from 0 to 16");
        assert_eq!(reason("1,2\n"), "line 2: value 3 is not from 0 to 16");
        assert_eq!(reason("-1\n"), "line 2: value 1 is not from 0 to 16");
        assert_eq!(reason("0.5\n"), "line 2: value 1 is not from 0 to 16");
        assert_eq!(reason("\n"), "line 2: value 1 is not from 0 to 16");
        assert_eq!(reason(&line(|_| 0, 10)), "line 2: the label is not from 0 to 9");
        let more = line(|_| 0, 9).replace('\n', ",1\n");
        assert_eq!(reason(&more), "line 2: more than 64 values and a label");
        assert!(parse(b"\xff").unwrap_err().contains("not a text"));
    }

    #[test]
    fn the_file_is_found_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read(folder.path()).unwrap_err().to_string();
        assert!(missing.ends_with("there is no digits.csv, plain or .gz"), "{missing}");
        std::fs::write(folder.path().join(NAME), line(|_| 1, 3)).unwrap();
        let found = read(folder.path()).unwrap();
        assert_eq!((found.classes.len(), &*found.splits["train"].labels), (10, &[3][..]));
    }
}
