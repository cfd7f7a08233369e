//! Tables of features as text: a line for each sample, its numbers and its label between commas, semicolons, tabs or spaces.
//!
//! Without names of the columns the label comes last, as in the tables of ResNet-50 features that go with Office-31. With names
//! the label is the column that is called so, or the one that the user says.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

use super::{FeatureNames, FeatureTable, Marks};
use crate::data::error::DataError;
use crate::data::readers::columns::{is_label, plain};
use crate::data::readers::gzip::inflate;
use crate::data::readers::names::text_of;
use crate::progress::Watch;

/// Lines between two looks at whether the user asked to stop.
const TOGETHER: usize = 1000;

/// What stands between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Byte(u8),
    /// Any number of spaces.
    Spaces,
}

/// Which columns hold what.
#[derive(Debug, PartialEq)]
struct Places {
    features: Vec<usize>,
    label: usize,
    group: Option<usize>,
    /// A column without a name that must hold the numbers of the rows, and is left out.
    row_numbers: Option<usize>,
    /// Values in every line.
    width: usize,
    /// The names of the columns, where the first line has them.
    names: Option<Vec<String>>,
}

impl Places {
    /// A column for people, who count from 1.
    fn shown(&self, column: usize) -> String {
        match &self.names {
            Some(names) => format!("column {} (`{}`)", column + 1, names[column]),
            None => format!("column {}", column + 1),
        }
    }
}

/// Reads the table in `file`, plain or gzipped.
///
/// # Errors
/// When it does not hold what it should, with the line and the column.
pub(super) fn read(
    file: &Path,
    names: &FeatureNames,
    watch: &Watch,
) -> Result<FeatureTable, DataError> {
    let bytes = fs::read(file).map_err(|error| DataError::io(file, error))?;
    let bytes = inflate(bytes).map_err(|reason| DataError::malformed(file, reason))?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(DataError::malformed(file, "the file is UTF-16; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    // `numpy.savetxt` writes the names behind a hash.
    let (bytes, is_header) = match bytes.strip_prefix(b"#") {
        Some(rest) => (rest.trim_ascii_start(), true),
        None => (bytes, false),
    };
    let mut table = TableReader { file, names, is_header, places: None, found: Found::default() };
    let mut line = 0;
    let result = lines(bytes, |number, values| {
        line = number;
        if table.found.rows.is_multiple_of(TOGETHER) {
            watch.check()?;
        }
        table.add(number, values)
    });
    result?;
    table.finish(watch)
}

/// That a line is not as it should be.
fn refused(file: &Path, line: usize, reason: impl std::fmt::Display) -> DataError {
    DataError::rejected(format!("{}: line {line}: {reason}", file.display()))
}

/// Calls `each` with the number of every line that holds something, from 1, and its values.
fn lines(
    bytes: &[u8],
    mut each: impl FnMut(usize, &[&[u8]]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let separator = separator(bytes);
    let mut text = bytes;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let count = text.read_until(b'\n', &mut line).unwrap_or_default();
        if count == 0 {
            break;
        }
        let content = line.trim_ascii();
        if content.is_empty() {
            continue;
        }
        match separator {
            Separator::Spaces => {
                let words = content.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty());
                each(number, &words.collect::<Vec<_>>())?;
            }
            // Tabs at the ends of a line stand for empty values.
            Separator::Byte(byte) if content.contains(&b'"') => {
                let record = quoted(content, byte);
                each(number, &record.iter().map(<[u8]>::trim_ascii).collect::<Vec<_>>())?;
            }
            Separator::Byte(byte) => {
                let end = line.strip_suffix(b"\n").unwrap_or(&line);
                let end = end.strip_suffix(b"\r").unwrap_or(end);
                let values = end.split(|it| *it == byte).map(<[u8]>::trim_ascii);
                each(number, &values.collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

/// The values of a line some of which are in quotes.
fn quoted(line: &[u8], separator: u8) -> csv::ByteRecord {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(io::Cursor::new(line));
    let mut record = csv::ByteRecord::new();
    // A line in memory can be read, whatever is in it.
    let _ = reader.read_byte_record(&mut record);
    record
}

/// What separates the values of the first line.
fn separator(bytes: &[u8]) -> Separator {
    let line = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let line = line.unwrap_or_default();
    [b'\t', b',', b';']
        .into_iter()
        .find(|byte| line.contains(byte))
        .map_or(Separator::Spaces, Separator::Byte)
}

/// What was read so far.
#[derive(Default)]
struct Found {
    rows: usize,
    values: Vec<f32>,
    labels: Vec<String>,
    groups: Vec<String>,
    /// The number of the first row, where a column counts rows.
    first_number: Option<i64>,
}

/// Reads line by line.
struct TableReader<'a> {
    file: &'a Path,
    names: &'a FeatureNames,
    /// Whether the first line is marked as names of columns.
    is_header: bool,
    /// Known from the first line on.
    places: Option<Places>,
    found: Found,
}

impl TableReader<'_> {
    fn at(&self, line: usize, reason: impl std::fmt::Display) -> DataError {
        refused(self.file, line, reason)
    }

    fn add(&mut self, line: usize, values: &[&[u8]]) -> Result<(), DataError> {
        if self.places.is_none() {
            let texts: Vec<String> = values.iter().map(|it| text_of(it)).collect();
            let places = match self.is_header || self.names_columns(&texts, line)? {
                true => self.by_name(texts, line)?,
                false => self.label_last(texts.len(), line)?,
            };
            let is_named = places.names.is_some();
            self.places = Some(places);
            if is_named {
                return Ok(());
            }
        }
        let places = self.places.take().expect("since the first line");
        let added = self.row(&places, line, values);
        self.places = Some(places);
        added
    }

    /// Whether the first line is names of columns, and not numbers with a label.
    fn names_columns(&self, texts: &[String], line: usize) -> Result<bool, DataError> {
        let FeatureNames { features, labels, groups } = self.names;
        if !features.is_empty() || labels.is_some() || groups.is_some() {
            return Ok(true);
        }
        let is_number = |text: &String| text.parse::<f64>().is_ok();
        let counts = |texts: &[String]| {
            texts.len() > 1 && texts.iter().enumerate().all(|(at, text)| *text == at.to_string())
        };
        let (last, before) = texts.split_last().expect("a line that holds something");
        // pandas numbers columns that have no names.
        if texts.len() > 2 && counts(texts) {
            let error = self
                .at(line, "0, 1, 2, ...: numbers of columns, and none of them is called a label");
            return Err(error.advise(format!("say which is the label: `labels = \"{last}\"`")));
        }
        let is_named = texts.iter().any(String::is_empty) || !texts.iter().any(is_number);
        Ok((is_named && texts.len() > 1) || counts(before) && !is_number(last))
    }

    /// The columns without names: the label is the last.
    fn label_last(&self, width: usize, line: usize) -> Result<Places, DataError> {
        if width < 2 {
            let error = self.at(line, "one value, where a row is numbers and a label");
            return Err(error.advise("between the values stand commas, semicolons, tabs or spaces"));
        }
        let (features, label) = ((0..width - 1).collect(), width - 1);
        Ok(Places { features, label, group: None, row_numbers: None, width, names: None })
    }

    /// The columns with these names.
    fn by_name(&self, texts: Vec<String>, line: usize) -> Result<Places, DataError> {
        let shown = || {
            let mut names: Vec<String> = texts.iter().map(|it| format!("`{it}`")).collect();
            let more = names.len() > 20;
            names.truncate(20);
            names.join(", ") + if more { ", ..." } else { "" }
        };
        let place = |name: &str| {
            let mut places = (0..texts.len()).filter(|at| texts[*at] == name);
            match (places.next(), places.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => {
                    Err(self.at(line, format!("two columns are called `{name}`")))
                }
                (None, _) => Err(self
                    .at(line, format!("no column is called `{name}`"))
                    .advise(format!("its columns are {}", shown()))
                    .advise(
                        "of a file without names of columns the label is the last: leave `labels`, \
                         `groups` and `features` out",
                    )),
            }
        };
        let label = match &self.names.labels {
            Some(name) => place(name)?,
            None => {
                let called: Vec<usize> =
                    (0..texts.len()).filter(|at| is_label(&plain(texts[*at].as_bytes()))).collect();
                match called[..] {
                    [only] => only,
                    _ => {
                        let what =
                            if called.is_empty() { "no column is" } else { "several columns are" };
                        let last = texts.last().map_or("NAME", String::as_str);
                        let error = self
                            .at(line, format!("{what} called as labels usually are: {}", shown()));
                        return Err(
                            error.advise(format!("say which is the label: `labels = \"{last}\"`"))
                        );
                    }
                }
            }
        };
        let group = self.names.groups.as_deref().map(place).transpose()?;
        let is_other = |at: &usize| *at != label && Some(*at) != group;
        let (mut features, mut row_numbers) = (Vec::new(), None);
        if self.names.features.is_empty() {
            for at in (0..texts.len()).filter(is_other) {
                // pandas writes the numbers of the rows in front, without a name.
                match texts[at].is_empty() || texts[at] == "Unnamed: 0" {
                    true if row_numbers.is_none() => row_numbers = Some(at),
                    true => return Err(self.at(line, "two columns have no name")),
                    false => features.push(at),
                }
            }
        } else {
            for name in &self.names.features {
                let at = place(name)?;
                if !is_other(&at) {
                    let error = self.at(
                        line,
                        format!("`{name}` is named as a feature and as a label or group"),
                    );
                    return Err(error.advise("name each column once"));
                }
                features.push(at);
            }
        }
        if features.is_empty() {
            return Err(self.at(line, format!("no column of features: {}", shown())));
        }
        let width = texts.len();
        Ok(Places { features, label, group, row_numbers, width, names: Some(texts) })
    }

    /// A line of numbers with its label.
    fn row(&mut self, places: &Places, line: usize, values: &[&[u8]]) -> Result<(), DataError> {
        if values.len() != places.width {
            let (found, wanted) = (values.len(), places.width);
            return Err(self.at(line, format!("{found} values where {wanted} were expected")));
        }
        let file = self.file;
        let of = |column: usize, what: &str| {
            let (shown, text) = (places.shown(column), text_of(values[column]));
            let reason = match text.is_empty() {
                true => format!("{shown} is empty, where {what} was expected"),
                false => format!("{shown}: `{text}` is not {what}"),
            };
            refused(file, line, reason)
        };
        if let Some(column) = places.row_numbers {
            let number: Option<i64> = text_of(values[column]).parse().ok();
            let row = i64::try_from(self.found.rows).unwrap_or(i64::MAX);
            let first = self.found.first_number.or(number.filter(|it| (0..=1).contains(it)));
            if number.is_none() || number != first.map(|first| first + row) {
                let error = of(column, "the number of the row");
                return Err(error.advise(
                    "a column without a name is left out if it counts the rows; give any other one a name",
                ));
            }
            self.found.first_number = first;
        }
        for column in &places.features {
            let number = std::str::from_utf8(values[*column]).ok().and_then(|it| it.parse().ok());
            let number: f32 = number
                .filter(|it: &f32| it.is_finite())
                .ok_or_else(|| of(*column, "a finite number in single precision"))?;
            self.found.values.push(number);
        }
        for (column, what) in [(Some(places.label), "a label"), (places.group, "a group")] {
            let Some(column) = column else { continue };
            if values[column].is_empty() {
                return Err(of(column, what));
            }
        }
        self.found.labels.push(text_of(values[places.label]));
        self.found.groups.extend(places.group.map(|column| text_of(values[column])));
        self.found.rows += 1;
        Ok(())
    }

    fn finish(self, watch: &Watch) -> Result<FeatureTable, DataError> {
        let Self { file, places, found, .. } = self;
        let Some(places) = places else {
            return Err(DataError::malformed(file, "it is empty"));
        };
        if places.row_numbers.is_some() {
            watch.progress.note(&format!(
                "{}: the column without a name counts the rows and is left out",
                file.display()
            ));
        }
        let marks = |texts: Vec<String>, column: usize| {
            Marks::of_texts(texts).map_err(|reason| {
                DataError::malformed(file, format!("{}: {reason}", places.shown(column)))
            })
        };
        let labels = marks(found.labels, places.label)?;
        let groups = places.group.map(|column| marks(found.groups, column)).transpose()?;
        let (place, width) = (file.to_owned(), places.features.len());
        Ok(FeatureTable { place, width, values: found.values, labels, groups })
    }
}
