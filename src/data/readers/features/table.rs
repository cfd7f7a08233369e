//! What is read of a file of features, before its labels have become classes, and the words for where it is.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::data::disk::is_file_name;
use crate::data::error::DataError;
use crate::data::readers::same::bare_name;

/// Which arrays or columns hold what: the keys `features`, `labels` and `groups`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureNames {
    /// The array of features; of a table, the columns. Empty where the user does not say.
    pub features: Vec<String>,
    /// That of the labels.
    pub labels: Option<String>,
    /// That of the groups, which become splits.
    pub groups: Option<String>,
}

/// A kind of file that features are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::data::readers) enum FeatureFile {
    /// Arrays of NumPy's, zipped together.
    Npz,
    /// One array of NumPy's.
    Npy,
    /// A table, an array of which is a column.
    Csv,
    /// Arrays of MATLAB's.
    Mat,
    /// Tensors.
    Safetensors,
}

impl FeatureFile {
    /// Whether a file is of this kind, by its name.
    pub(in crate::data::readers) fn is_part(self, file: &Path) -> bool {
        let name = bare_name(file).to_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match self {
            Self::Npz => ending == "npz",
            Self::Npy => ending == "npy",
            Self::Csv => ["csv", "tsv", "txt"].contains(&ending),
            Self::Mat => ending == "mat",
            Self::Safetensors => ending == "safetensors",
        }
    }
}

/// Labels or groups of rows, as a file has them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Marks {
    /// Whole numbers.
    Numbers(Vec<i64>),
    /// Words, at least one of which is no number.
    Words(Vec<String>),
}

impl Marks {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(all) => all.len(),
            Self::Words(all) => all.len(),
        }
    }

    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::Numbers(all) => all.iter().map(i64::to_string).collect(),
            Self::Words(all) => all.clone(),
        }
    }

    fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(all) => Self::Numbers(rows.iter().map(|at| all[*at]).collect()),
            Self::Words(all) => Self::Words(rows.iter().map(|at| all[*at].clone()).collect()),
        }
    }

    /// Marks that are written as texts: numbers where every text is a whole number in the usual form, or all are written
    /// with the same number of decimals, as `numpy.savetxt` and pandas do. Others are words, so that no two texts
    /// become one mark: `10`, `010` and `1e1` are three. A number with a fraction among nothing but numbers is an error.
    pub(super) fn of_texts(texts: Vec<String>) -> Result<Self, String> {
        let whole: Option<Vec<i64>> = texts.iter().map(|text| plain_integer(text)).collect();
        if let Some(numbers) = whole {
            return Ok(Self::Numbers(numbers));
        }
        let numbers: Option<Vec<f64>> =
            texts.iter().map(|text| text.parse().ok().filter(|it: &f64| it.is_finite())).collect();
        let form = texts.first().and_then(|text| decimal_form(text));
        let is_one_form = form.is_some() && texts.iter().all(|text| decimal_form(text) == form);
        match numbers {
            Some(numbers) if is_one_form || numbers.iter().any(|it| it.fract() != 0.0) => {
                Self::of_numbers(&numbers)
            }
            _ => Ok(Self::Words(texts)),
        }
    }

    /// Marks that are written as numbers with fractions, which must be whole.
    pub(super) fn of_numbers(numbers: &[f64]) -> Result<Self, String> {
        // Whole numbers beyond are not exact.
        const LARGEST: f64 = 9_007_199_254_740_992.0;
        let whole = |(row, number): (usize, &f64)| {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            let found = (number.fract() == 0.0 && number.abs() < LARGEST).then_some(*number as i64);
            found.ok_or_else(|| {
                format!("row {row} (from 0) has the label {number}, which is not a whole number")
            })
        };
        numbers.iter().enumerate().map(whole).collect::<Result<_, _>>().map(Self::Numbers)
    }
}

/// A whole number that is written as every such number is: without a plus, zeros in front, or an exponent.
fn plain_integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// How many decimals a number has, and whether it has an exponent: `2.000e+00` and `2.0`. In one form no two texts are
/// the same number. `None` for any other text, and for a zero with a minus.
fn decimal_form(text: &str) -> Option<(usize, bool)> {
    let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let positive = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, decimals) = positive.split_once('.')?;
    let is_zero = positive.bytes().all(|it| b"0.".contains(&it));
    let is_usual =
        are_digits(whole) && are_digits(decimals) && (whole == "0" || !whole.starts_with('0'));
    if !is_usual || (is_zero && positive.len() != mantissa.len()) {
        return None;
    }
    let Some(exponent) = exponent else { return Some((decimals.len(), false)) };
    // One digit in front of the point, which is 0 in a zero alone, and two of the exponent, or more where two do not do.
    let digits = exponent.strip_prefix(['+', '-'])?;
    let is_shortest = digits.len() == 2 || digits.len() > 2 && !digits.starts_with('0');
    let is_one = whole.len() == 1 && (whole != "0") != is_zero && (!is_zero || exponent == "+00");
    (is_one && is_shortest && are_digits(digits) && exponent != "-00")
        .then_some((decimals.len(), true))
}

/// What was found of one split, or of all of them where groups tell them apart.
#[derive(Debug)]
pub(super) struct FeatureTable {
    /// The file, for people.
    pub place: PathBuf,
    /// Numbers in a row.
    pub width: usize,
    /// `[N, width]`.
    pub values: Vec<f32>,
    pub labels: Marks,
    pub groups: Option<Marks>,
}

impl FeatureTable {
    fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Fails where there are not as many labels and groups as rows.
    pub(super) fn check(&self) -> Result<(), DataError> {
        if self.width == 0 || self.values.is_empty() {
            return Err(DataError::malformed(&self.place, "it holds no features"));
        }
        let rows = self.rows();
        let marks = [("labels", Some(&self.labels)), ("groups", self.groups.as_ref())];
        for (what, found) in marks {
            if let Some(found) = found.filter(|found| found.len() != rows) {
                let reason = format!("{rows} rows of features but {} {what}", found.len());
                return Err(DataError::malformed(&self.place, reason));
            }
        }
        Ok(())
    }

    /// A table for each group, by name, in the order of their first rows.
    pub(super) fn by_group(self) -> Result<IndexMap<String, Self>, DataError> {
        let Some(groups) = &self.groups else {
            return Ok(IndexMap::from([("train".to_owned(), self)]));
        };
        let mut rows: IndexMap<String, Vec<usize>> = IndexMap::new();
        for (row, group) in groups.words().into_iter().enumerate() {
            rows.entry(group).or_default().push(row);
        }
        let most = 1000;
        if rows.len() > most {
            let message = format!(
                "{}: {} groups, which would be as many splits",
                self.place.display(),
                rows.len()
            );
            return Err(DataError::rejected(message).advise(format!(
                "`groups` names what tells splits apart: at most {most} of them"
            )));
        }
        if let Some(name) = rows.keys().find(|name| !is_file_name(name)) {
            let message = format!(
                "{}: the group `{name}` cannot be the name of a split",
                self.place.display()
            );
            return Err(DataError::rejected(message).advise(
                "name groups by letters, digits, `-` and `_`: every group becomes a split",
            ));
        }
        let table = |(name, rows): (String, Vec<usize>)| {
            let row = |at: &usize| &self.values[at * self.width..(at + 1) * self.width];
            let table = Self {
                place: self.place.clone(),
                width: self.width,
                values: rows.iter().flat_map(row).copied().collect(),
                labels: self.labels.select(&rows),
                groups: None,
            };
            (name, table)
        };
        Ok(rows.into_iter().map(table).collect())
    }
}
