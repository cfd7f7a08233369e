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
use crate::data::error::DataError;
use crate::progress::Watch;

mod arrays;
mod columns;
mod table;

pub(super) use table::FeatureFile;
pub use table::FeatureNames;
use table::{FeatureTable, Marks};

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
