//! Tables of features as text: a line for each sample, its numbers and its label between commas, semicolons, tabs or spaces.
//!
//! Without names of the columns the label comes last, as in the tables of ResNet-50 features that go with Office-31. With names
//! the label is the column that is called so, or the one that the user says.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

use super::table::{FeatureNames, FeatureTable, Marks};
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
    let (comments, bytes) = without_comments(bytes);
    if comments > 0 {
        let what = match comments {
            1 => "line 1 is a comment and is left out".to_owned(),
            several => format!("the first {several} lines are comments and are left out"),
        };
        watch.progress.note(&format!("{}: {what}", file.display()));
    }
    // `numpy.savetxt` writes the names behind a hash.
    let (bytes, is_header) = match bytes.strip_prefix(b"#") {
        Some(rest) => (rest.trim_ascii_start(), true),
        None => (bytes, false),
    };
    let mut table = TableReader { file, names, is_header, places: None, found: Found::default() };
    let mut line = 0;
    let result = lines(bytes, |number, values| {
        let number = number + comments;
        line = number;
        if table.found.rows.is_multiple_of(TOGETHER) {
            watch.check()?;
        }
        table.add(number, values)
    });
    result?;
    table.finish(watch)
}

/// How many lines a table begins with that hold neither values nor names of columns, and what comes after them. A line behind
/// a hash has names where it has as many words as the next one has values.
fn without_comments(bytes: &[u8]) -> (usize, &[u8]) {
    let mut rest = bytes;
    for comments in 0.. {
        let Some(line) = rest.strip_prefix(b"#") else { return (comments, rest) };
        let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
        let (line, after) = line.split_at(end);
        let after = after.strip_prefix(b"\n").unwrap_or(after);
        let mut next = after.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let Some(next) = next.find(|it| !it.is_empty()) else { return (comments, rest) };
        let separator = separator(next);
        if !next.starts_with(b"#") && count(line.trim_ascii(), separator) == count(next, separator)
        {
            return (comments, rest);
        }
        rest = after;
    }
    unreachable!("a file has an end")
}

/// The number of values in a line that has no white space around them.
fn count(line: &[u8], separator: Separator) -> usize {
    match separator {
        Separator::Spaces => {
            line.split(u8::is_ascii_whitespace).filter(|it| !it.is_empty()).count()
        }
        Separator::Byte(byte) if line.contains(&b'"') => quoted(line, byte).len(),
        Separator::Byte(byte) => line.split(|it| *it == byte).count(),
    }
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

/// The values of a line some of which are in quotes; none where a quote is not closed.
fn quoted(line: &[u8], separator: u8) -> csv::ByteRecord {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(io::Cursor::new(line));
    let mut record = csv::ByteRecord::new();
    if !line.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2) {
        return record;
    }
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

/// Whether a column has no name, or the one that pandas makes up for such a column.
fn is_unnamed(text: &str) -> bool {
    text.is_empty() || text == "Unnamed: 0"
}

/// The names of these columns as an array of TOML's; `None` where they are none or too many to be read.
fn listed(texts: &[String], columns: &[usize]) -> Option<String> {
    const MOST: usize = 20;
    let is_short = !columns.is_empty() && columns.len() <= MOST;
    is_short.then(|| {
        toml::Value::from(columns.iter().map(|at| texts[*at].clone()).collect::<Vec<_>>())
            .to_string()
    })
}

impl TableReader<'_> {
    fn at(&self, line: usize, reason: impl std::fmt::Display) -> DataError {
        refused(self.file, line, reason)
    }

    fn add(&mut self, line: usize, values: &[&[u8]]) -> Result<(), DataError> {
        if values.is_empty() {
            return Err(self.at(line, "a quote is opened and not closed"));
        }
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
                let called = self.called_labels(&texts);
                match called[..] {
                    [only] => only,
                    [] => {
                        let last = texts.last().map_or("NAME", String::as_str);
                        let what = "no column is called as labels usually are";
                        let error = self.at(line, format!("{what}: {}", shown()));
                        return Err(
                            error.advise(format!("say which is the label: `labels = \"{last}\"`"))
                        );
                    }
                    [.., last] => return Err(self.several_labels(&texts, &called, last, line)),
                }
            }
        };
        let group = self.names.groups.as_deref().map(place).transpose()?;
        let is_other = |at: &usize| *at != label && Some(*at) != group;
        let (mut features, mut row_numbers) = (Vec::new(), None);
        if self.names.features.is_empty() {
            let others: Vec<usize> = (0..texts.len()).filter(is_other).collect();
            self.refuse_labels_as_features(&texts, &others, line)?;
            for at in (0..texts.len()).filter(is_other) {
                // pandas writes the numbers of the rows in front, without a name.
                match is_unnamed(&texts[at]) {
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

    /// The columns that are called as labels usually are, but for those that the user says are something else.
    fn called_labels(&self, texts: &[String]) -> Vec<usize> {
        let FeatureNames { features, groups, .. } = self.names;
        let is_free = |text: &String| !features.contains(text) && groups.as_ref() != Some(text);
        let called = texts.iter().enumerate().filter(|(_, text)| is_free(text));
        called.filter(|(_, text)| is_label(&plain(text.as_bytes()))).map(|(at, _)| at).collect()
    }

    /// Fails where one of `columns`, which would all be features, is called as labels usually are.
    fn refuse_labels_as_features(
        &self,
        texts: &[String],
        columns: &[usize],
        line: usize,
    ) -> Result<(), DataError> {
        let is_label = |at: &usize| is_label(&plain(texts[*at].as_bytes()));
        let Some(at) = columns.iter().copied().find(is_label) else { return Ok(()) };
        let error = self.at(
            line,
            format!(
                "the column `{}` is called as labels usually are, and would be a feature",
                texts[at]
            ),
        );
        let is_feature = |at: &usize| !is_label(at) && !is_unnamed(&texts[*at]);
        let others: Vec<usize> = columns.iter().copied().filter(is_feature).collect();
        Err(match listed(texts, &others) {
            Some(names) => error.advise(format!(
                "`features = {names}` leaves it out; if it is a feature, name it there as well"
            )),
            None => {
                error.advise("name the features in `features`, or take that column out of the file")
            }
        })
    }

    /// That several columns may be the label, of which `called` are called so. The others would be features that tell it.
    fn several_labels(
        &self,
        texts: &[String],
        called: &[usize],
        last: usize,
        line: usize,
    ) -> DataError {
        let shown: Vec<String> = called.iter().map(|at| format!("`{}`", texts[*at])).collect();
        let reason =
            format!("several columns are called as labels usually are: {}", shown.join(", "));
        let last = &texts[last];
        if !self.names.features.is_empty() {
            let error = self.at(line, reason);
            return error.advise(format!("say which is the label: `labels = \"{last}\"`"));
        }
        let group = self.names.groups.as_ref();
        let is_feature = |at: &usize| {
            let text = &texts[*at];
            !called.contains(at) && Some(text) != group && !is_unnamed(text)
        };
        let features: Vec<usize> = (0..texts.len()).filter(is_feature).collect();
        let error = self.at(line, reason);
        match listed(texts, &features) {
            Some(names) => error.advise(format!(
                "say which is the label, and which columns are features: `labels = \"{last}\"` and `features = {names}`"
            )),
            None => error.advise(format!(
                "say which is the label, `labels = \"{last}\"`, and take the other ones out of the file or name the features in `features`"
            )),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::progress::Silent;

    fn try_read(text: &str, names: [&str; 3]) -> Result<FeatureTable, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let names = FeatureNames {
            features: names[0].split(' ').filter_map(some).collect(),
            labels: some(names[1]),
            groups: some(names[2]),
        };
        let cancel = AtomicBool::new(false);
        read(file.path(), &names, &Watch { progress: &Silent, cancel: &cancel })
    }

    const USUAL: [&str; 3] = ["", "", ""];

    /// Width, values and labels.
    fn found(text: &str, names: [&str; 3]) -> (usize, Vec<f32>, Marks) {
        let table = try_read(text, names).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        (table.width, table.values, table.labels)
    }

    fn reason(text: &str, names: [&str; 3]) -> String {
        let error = try_read(text, names).unwrap_err();
        let text = error.to_string();
        text.split_once(": ").map_or("", |(_, reason)| reason).to_owned()
    }

    #[test]
    fn the_label_is_last_without_names_whatever_separates_the_values() {
        let expected = (2, vec![0.5, -1.0, 3.0, 4.0], Marks::Numbers(vec![1, 0]));
        for separator in [",", ";", "\t", " ", ", ", "   "] {
            for end in ["\n", "\r\n", "\n\n"] {
                let text =
                    format!("0.5{separator}-1{separator}1{end}3{separator}4e0{separator}0{end}");
                assert_eq!(found(&text, USUAL), expected, "{text:?}");
                assert_eq!(found(&format!("\u{feff}{text}"), USUAL), expected);
            }
        }
        let words = found("0.5,1,\"alarm, clock\"\n3,4,lamp\n", USUAL);
        assert_eq!(words.2, Marks::Words(vec!["alarm, clock".into(), "lamp".into()]));
        // numpy.savetxt writes labels as it writes features.
        assert_eq!(found("0.5,1,2.000e+00\n", USUAL).2, Marks::Numbers(vec![2]));
    }

    #[test]
    fn labels_are_numbers_only_where_no_two_texts_become_one() {
        let labels = |texts: &[&str]| {
            let lines = texts.iter().map(|text| format!("0.5,1,{text}\n"));
            found(&lines.collect::<String>(), USUAL).2
        };
        for (texts, numbers) in [
            (&["10", "0", "-3"][..], [10, 0, -3]),
            (&["1.0", "10.0", "0.0"], [1, 10, 0]),
            (&["2.00e+00", "1.10e+01", "0.00e+00"], [2, 11, 0]),
            (&["1.20e+01", "1.23e+02", "-4.00e+00"], [12, 123, -4]),
        ] {
            assert_eq!(labels(texts), Marks::Numbers(numbers.to_vec()), "{texts:?}");
        }
        assert_eq!(labels(&["9007199254740993"]), Marks::Numbers(vec![9_007_199_254_740_993]));
        for texts in [
            &["1e1", "10", "010"][..],
            &["1e1", "2e1"],
            &["01", "02"],
            &["+1", "2"],
            &["1", "1.0"],
            &["1.0", "1.00"],
            &["-0", "0"],
            &["0.0", "-0.0"],
            &["1.00e+01", "10.00"],
            &["1.00e+01", "0.10e+02"],
            &["0.00e+00", "0.00e-00"],
            &["0.00e+00", "0.00e+05"],
            &["1.00e+01", "1.00E+01"],
            &["1.00e+01", "1.00e+001"],
            &["10000000000000000000000", "10000000000000000000001"],
            &["inf", "1"],
        ] {
            let words = texts.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(labels(texts), Marks::Words(words), "{texts:?}");
        }
        // A quantity is no class, however its numbers are written.
        for text in ["1,2,10\n1,2,10.5\n", "1,2,1.0\n1,2,1.25\n", "1,2,1\n1,2,5e-1\n"] {
            assert!(reason(text, USUAL).contains("which is not a whole number"), "{text:?}");
        }
    }

    #[test]
    fn names_of_columns_say_which_is_the_label() {
        let expected = (2, vec![0.5, 1.0], Marks::Words(vec!["cat".into()]));
        for text in [
            "a,b,label\n0.5,1,cat\n",
            "Class;a;b\ncat;0.5;1\n",
            "# a b y\n0.5 1 cat\n",
            ",a,target,b\n0,0.5,cat,1\n",
            "0,1,species\n0.5,1,cat\n",
            "\"a\",\"b\",\"label\"\n0.5,1,cat\n",
        ] {
            let named = if text.contains("species") { ["", "species", ""] } else { USUAL };
            assert_eq!(found(text, named), expected, "{text:?}");
        }
        // Numbers of columns before a word are names also where nobody says so.
        assert_eq!(found("0,1,label\n0.5,1,cat\n", USUAL), expected);
        let chosen = found("a,b,kind\n0.5,1,cat\n", ["b a", "kind", ""]);
        assert_eq!((chosen.0, chosen.1), (2, vec![1.0, 0.5]));
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        let of = |text| reason(text, USUAL);
        assert_eq!(
            of("1,2,0\n1,x,0\n"),
            "line 2: column 2: `x` is not a finite number in single precision"
        );
        assert_eq!(
            of("1,2,0\n\n1,,0\n"),
            "line 3: column 2 is empty, where a finite number in single precision was expected"
        );
        assert_eq!(
            of("1,2,0\n1,nan,0\n"),
            "line 2: column 2: `nan` is not a finite number in single precision"
        );
        assert_eq!(
            of("1,2,0\n1,1e40,0\n"),
            "line 2: column 2: `1e40` is not a finite number in single precision"
        );
        assert_eq!(of("a,label\n1,0\n1,2,0\n"), "line 3: 3 values where 2 were expected");
        assert_eq!(
            of("a,label\n1,\n"),
            "line 2: column 2 (`label`) is empty, where a label was expected"
        );
        assert!(
            of("a,b,kind\n1,2,x\n")
                .starts_with("line 1: no column is called as labels usually are")
        );
        assert_eq!(
            of("a,class,label\n1,2,x\n"),
            "line 1: several columns are called as labels usually are: `class`, `label`"
        );
        assert_eq!(
            reason("a,class,label\n1,2,x\n", ["", "label", ""]),
            "line 1: the column `class` is called as labels usually are, and would be a feature"
        );
        assert!(of("0,1,2\n1,2,0\n").starts_with("line 1: 0, 1, 2, ...: numbers of columns"));
        assert_eq!(of("1,2,0\n1,\"2,0\n"), "line 2: a quote is opened and not closed");
        assert!(
            of("1,2,0.5\n").contains(
                "column 3: row 0 (from 0) has the label 0.5, which is not a whole number"
            )
        );
        assert!(
            of(",a,label\n0,1,x\n5,1,x\n")
                .starts_with("line 3: column 1 (``): `5` is not the number of the row")
        );
        assert_eq!(of("7\n"), "line 1: one value, where a row is numbers and a label");
        assert_eq!(of(""), "it is empty");
        let named = |names| reason("a,b,a\n1,2,3\n", names);
        assert_eq!(named(["", "a", ""]), "line 1: two columns are called `a`");
        assert_eq!(named(["", "c", ""]), "line 1: no column is called `c`");
        assert_eq!(
            named(["b", "b", ""]),
            "line 1: `b` is named as a feature and as a label or group"
        );
    }

    #[test]
    fn a_second_column_that_may_be_the_label_is_a_feature_only_where_it_is_named() {
        let text = "x,y,label\n0.5,1,cat\n";
        assert!(try_read(text, ["", "label", ""]).is_err());
        assert_eq!(found(text, ["x y", "label", ""]).1, [0.5, 1.0]);
        assert_eq!(found(text, ["x", "label", ""]).1, [0.5]);
        // What the user says is a feature is no label, so that one is left.
        assert_eq!(found(text, ["x y", "", ""]).1, [0.5, 1.0]);
        let both = try_read("x,class,label\n1,0,0\n", ["x", "", ""]).unwrap_err();
        assert_eq!(both.help(), ["say which is the label: `labels = \"label\"`"]);
        let pandas = try_read(",x,class,label\n0,1,0,0\n", USUAL).unwrap_err();
        assert!(pandas.help()[0].ends_with("`features = [\"x\"]`"), "{pandas:?}");
        // A group may be called like a label.
        assert_eq!(found("x,class,label\n0.5,a,cat\n", ["", "label", "class"]).1, [0.5]);
        // More columns than a line of advice can name.
        let wide: String = (0..30).map(|at| format!("f{at},")).collect();
        let row = "0,".repeat(30);
        let error = try_read(&format!("{wide}class,label\n{row}1,x\n"), USUAL).unwrap_err();
        assert!(error.help()[0].contains("take the other ones out"), "{error:?}");
        let error = try_read(&format!("{wide}class,label\n{row}1,x\n"), ["", "label", ""]);
        assert!(error.unwrap_err().help()[0].starts_with("name the features in `features`"));
    }

    #[test]
    fn a_line_behind_a_hash_is_names_only_where_it_has_as_many_words_as_there_are_values() {
        let expected = (2, vec![0.5, 1.0], Marks::Words(vec!["cat".into()]));
        for text in [
            "# made by me\na,b,label\n0.5,1,cat\n",
            "# made by me, and by you\n#\n# on Monday\r\na,b,label\r\n0.5,1,cat\r\n",
            "# made by hand\n0.5,1,cat\n",
            "# two features\n# a b label\n0.5 1 cat\n",
        ] {
            assert_eq!(found(text, USUAL), expected, "{text:?}");
        }
        // Lines are counted as an editor counts them.
        assert!(reason("# made by me\na,label\nx,0\n", USUAL).starts_with("line 3: column 1"));
        assert_eq!(reason("# made by me\n", USUAL).split(':').next(), Some("line 1"));
    }

    #[test]
    fn a_column_of_row_numbers_may_count_from_one() {
        for first in [0, 1] {
            let text = format!(",a,label\n{first},7,0\n{},8,1\n", first + 1);
            assert_eq!(found(&text, USUAL).1, [7.0, 8.0]);
        }
    }
}
