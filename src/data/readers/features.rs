//! Files of features with labels: `.npz`, `.npy`, `.csv`, `.mat` and safetensors, as other programs write them.
//!
//! A file holds a row of numbers for each sample, its label and, if the user says so, the group that it is of. Groups become
//! the splits of the data set; without them names of files, folders and arrays say which split they are of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::same::bare_name;
use super::{ReadSplits, split_word, visible_files};
use crate::data::dataset::{Images, Split};
use crate::data::disk::is_file_name;
use crate::data::error::DataError;
use crate::progress::Watch;

mod arrays;
mod columns;

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
pub(super) enum FeatureFile {
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
    pub(super) fn is_part(self, file: &Path) -> bool {
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

    fn words(&self) -> Vec<String> {
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

    /// Marks that are written as texts: numbers where all of them are whole numbers.
    fn of_texts(texts: Vec<String>) -> Result<Self, String> {
        let numbers: Option<Vec<f64>> =
            texts.iter().map(|text| text.parse().ok().filter(|it: &f64| it.is_finite())).collect();
        match numbers {
            Some(numbers) => Self::of_numbers(&numbers),
            None => Ok(Self::Words(texts)),
        }
    }

    /// Marks that are written as numbers with fractions, which must be whole.
    fn of_numbers(numbers: &[f64]) -> Result<Self, String> {
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
    fn check(&self) -> Result<(), DataError> {
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
    fn by_group(self) -> Result<IndexMap<String, Self>, DataError> {
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

/// Reads the file at `path`, or those below the folder there. What people should know of it goes to `watch`.
///
/// # Errors
/// When there is none, or one does not hold what it should.
pub(super) fn read(
    path: &Path,
    kind: FeatureFile,
    names: &FeatureNames,
    watch: &Watch,
) -> Result<ReadSplits, DataError> {
    let files: Vec<PathBuf> = match path.is_file() {
        true => vec![path.to_owned()],
        false => visible_files(path)?.into_iter().filter(|it| kind.is_part(it)).collect(),
    };
    if files.is_empty() {
        return Err(DataError::rejected(format!("no feature files in {}", path.display()))
            .advise("`source` may also name the file itself: `source = \"file:FOLDER/FILE\"`"));
    }
    let tables = match kind {
        FeatureFile::Csv => of_files(&files, |file| columns::read(file, names, watch))?,
        FeatureFile::Npz | FeatureFile::Npy | FeatureFile::Mat | FeatureFile::Safetensors => {
            arrays::read(path, &files, kind, names)?
        }
    };
    let tables = into_splits(tables, names)?;
    watch.check()?;
    classified(tables, path)
}

/// The table of each file by the split that its name says, which a single file need not.
fn of_files(
    files: &[PathBuf],
    read: impl Fn(&Path) -> Result<FeatureTable, DataError>,
) -> Result<IndexMap<String, FeatureTable>, DataError> {
    let mut tables = IndexMap::new();
    for file in files {
        let name = bare_name(file).into_owned();
        let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
        let split = match split_word(stem) {
            Some(split) => split,
            None if files.len() == 1 => "train",
            None => {
                return Err(DataError::rejected(format!(
                    "{}: its name says neither train, valid nor test",
                    file.display()
                ))
                .advise("of several data sets in one folder, `source` names the file of one"));
            }
        };
        if tables.insert(split.to_owned(), read(file)?).is_some() {
            let reason = format!("a second file for the split `{split}`");
            return Err(DataError::malformed(file, reason));
        }
    }
    Ok(tables)
}

/// The splits: those that names say, or one for each group.
fn into_splits(
    tables: IndexMap<String, FeatureTable>,
    names: &FeatureNames,
) -> Result<IndexMap<String, FeatureTable>, DataError> {
    tables.values().try_for_each(FeatureTable::check)?;
    if names.groups.is_none() {
        return Ok(tables);
    }
    if tables.len() > 1 {
        let named: Vec<String> = tables.keys().map(|name| format!("`{name}`")).collect();
        let message =
            format!("names say the splits {}, and `groups` says others", named.join(", "));
        return Err(DataError::rejected(message)
            .advise("leave `groups` out, or let `source` name one file"));
    }
    match tables.into_values().next() {
        Some(table) => table.by_group(),
        None => Ok(IndexMap::new()),
    }
}

/// The splits with the classes that their labels make together.
fn classified(
    tables: IndexMap<String, FeatureTable>,
    path: &Path,
) -> Result<ReadSplits, DataError> {
    let mut widths = tables.iter().map(|(name, table)| (name, table.width));
    if let Some((first, width)) = widths.next()
        && let Some((name, other)) = widths.find(|(_, other)| *other != width)
    {
        let reason = format!("`{first}` has {width} features a row, `{name}` has {other}");
        return Err(DataError::malformed(path, reason));
    }
    let is_number = |table: &FeatureTable| matches!(table.labels, Marks::Numbers(_));
    if tables.values().all(is_number) {
        let mut splits = IndexMap::new();
        for (name, table) in tables {
            let Marks::Numbers(labels) = &table.labels else { unreachable!("all are numbers") };
            let label = |(row, label): (usize, &i64)| {
                u32::try_from(*label).map_err(|_| {
                    let place = table.place.display();
                    let message = format!("{place}: row {row} (from 0) has the label {label}");
                    DataError::rejected(message).advise(
                        "numbers of classes count from 0 or from 1; words are taken as names",
                    )
                })
            };
            let labels = labels.iter().enumerate().map(label).collect::<Result<_, _>>()?;
            splits.insert(name, split(&table, labels));
        }
        return ReadSplits::with_numbered_classes(splits, path);
    }
    // One word among the labels makes all of them names.
    let words: IndexMap<String, Vec<String>> =
        tables.iter().map(|(name, table)| (name.clone(), table.labels.words())).collect();
    let classes: BTreeSet<&String> = words.values().flatten().collect();
    let classes: Vec<String> = classes.into_iter().cloned().collect();
    if let Some(empty) = classes.iter().find(|name| name.is_empty()) {
        return Err(DataError::malformed(path, format!("a label is empty: `{empty}`")));
    }
    let number = |word: &String| {
        let at = classes.binary_search(word).expect("it is one of them");
        u32::try_from(at).expect("fewer than rows")
    };
    let splits = tables.iter().map(|(name, table)| {
        let labels = words[name].iter().map(number).collect();
        (name.clone(), split(table, labels))
    });
    let splits = splits.collect();
    Ok(ReadSplits { classes, splits })
}

fn split(table: &FeatureTable, labels: Vec<u32>) -> Split {
    Split { images: Images::features(table.width, &table.values), labels }
}
