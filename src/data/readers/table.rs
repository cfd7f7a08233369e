//! Rows of text files that list things: separated by commas, semicolons, tabs or spaces, with quotes
//! where a value holds the separator (RFC 4180), with or without a byte order mark.
//!
//! Knows that one value of a row is the name of an image, as that tells the separators apart; never
//! looks whether there is such a file.

use std::path::Path;

use super::decode::has_image_ending;
use super::names::{Says, says, text_of};

/// A line of the file.
#[derive(Debug, PartialEq)]
pub(super) struct TextRow {
    /// Its number, from 1.
    pub line: usize,
    /// Its values, without the spaces around them and without their quotes.
    pub values: Vec<Vec<u8>>,
}

/// A line that cannot be read, and why.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl Fault {
    pub(super) fn at(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// What stands between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    Byte(u8),
    /// Spaces or tabs; the name of an image may hold some itself.
    Space,
}

/// From the one that is least likely to be a part of a value.
const SEPARATORS: [Separator; 4] =
    [Separator::Byte(b'\t'), Separator::Byte(b','), Separator::Byte(b';'), Separator::Space];

/// Lines that the separator is told by.
const SAMPLE: usize = 200;

/// The rows of a file. Lines without anything are none.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<TextRow>, Fault> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Fault::at(1, "the file is UTF-16; save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match separator(bytes) {
        Separator::Byte(byte) => separated(bytes, byte),
        Separator::Space => {
            let rows = spaced(bytes)?;
            refuse_more_columns(&rows)?;
            Ok(rows)
        }
    }
}

/// Refuses lines separated by spaces in which more than a label follows the name of the image: all that
/// follows is one value, so that further columns would make classes of their own.
fn refuse_more_columns(rows: &[TextRow]) -> Result<(), Fault> {
    let after = |row: &TextRow| match row.values.as_slice() {
        [name, label] if names_image(name) => {
            let words = text_of(label).split_whitespace().map(str::to_owned).collect();
            Some((row.line, words))
        }
        _ => None,
    };
    let labels: Vec<(usize, Vec<String>)> = rows.iter().filter_map(after).collect();
    let is_number = |word: &String| word.parse::<f64>().is_ok_and(f64::is_finite);
    let fault = |(line, words): &(usize, Vec<String>), what: &str| {
        let text = words.join(" ");
        Err(Fault::at(
            *line,
            format!(
                "{what} where one label was expected: `{text}`; keep the name and the label of each \
                 image, or put a comma between the two if all of it is the label"
            ),
        ))
    };
    // The four numbers of a box behind the label are several, those in `Boeing 737` are not.
    let numbers = |words: &[String]| words.iter().rev().take_while(|it| is_number(it)).count();
    if let Some(found) = labels.iter().find(|(_, it)| it.len() > 1 && it.iter().all(is_number)) {
        return fault(found, "several numbers");
    }
    let Some(first) = labels.first() else { return Ok(()) };
    let all = |is: &dyn Fn(&[String]) -> bool| labels.iter().all(|(_, it)| it.len() > 1 && is(it));
    if all(&|words| numbers(words) > 1) {
        return fault(first, "a word and several numbers");
    }
    let is_split =
        |word: Option<&String>| word.is_some_and(|word| matches!(says(word), Says::Split(_)));
    if all(&|words| is_split(words.last())) || all(&|words| is_split(words.first())) {
        return fault(first, "a label and a split");
    }
    Ok(())
}

/// Whether a value is the name of an image.
pub(super) fn names_image(value: &[u8]) -> bool {
    has_image_ending(Path::new(&text_of(value)))
}

/// The separator by which most lines are an image and something else; if no line names an image, the
/// one that gives most lines as many values as the first.
fn separator(bytes: &[u8]) -> Separator {
    let sample: Vec<&[u8]> = lines(bytes).map(|(_, line)| line).take(SAMPLE).collect();
    let sample_bytes = sample.join(&b'\n');
    let rows = SEPARATORS.map(|separator| {
        let rows = match separator {
            Separator::Byte(byte) => separated(&sample_bytes, byte),
            Separator::Space => spaced(&sample_bytes),
        };
        rows.unwrap_or_default()
    });
    let images = |rows: &Vec<TextRow>| {
        let is =
            |row: &&TextRow| row.values.len() > 1 && row.values.iter().any(|it| names_image(it));
        rows.iter().filter(is).count()
    };
    let alike = |rows: &Vec<TextRow>| {
        let width = rows.first().map_or(0, |row| row.values.len());
        rows.iter().filter(|row| width > 1 && row.values.len() == width).count()
    };
    // Of equals the first; `max_by_key` would take the last.
    let scores = rows.iter().map(|rows| (images(rows), alike(rows)));
    let best = scores.clone().max().unwrap_or_default();
    let at = scores.into_iter().position(|score| score == best).unwrap_or_default();
    SEPARATORS[at]
}

/// The lines that hold something, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

fn separated(bytes: &[u8], separator: u8) -> Result<Vec<TextRow>, Fault> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(bytes);
    let (mut rows, mut record) = (Vec::new(), csv::ByteRecord::new());
    let (mut line, mut counted) = (1, 0);
    loop {
        // The reader's own count of lines stands before the empty ones that it passes over.
        let from = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX).min(bytes.len());
        let empty = bytes[from..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        line += bytes[counted..from + empty].iter().filter(|byte| **byte == b'\n').count();
        counted = from + empty;
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(rows),
            Err(error) => return Err(Fault::at(line, error.to_string())),
        }
        // A quote that nothing closes takes the lines after it into its value.
        if record.iter().any(|value| value.contains(&b'\n')) {
            return Err(Fault::at(line, "a quote is opened and not closed"));
        }
        let values: Vec<Vec<u8>> =
            record.iter().map(|value| value.trim_ascii().to_owned()).collect();
        if values.iter().any(|value| !value.is_empty()) {
            rows.push(TextRow { line, values });
        }
    }
}

fn spaced(bytes: &[u8]) -> Result<Vec<TextRow>, Fault> {
    let row = |(number, line)| Ok(TextRow { line: number, values: words(number, line)? });
    lines(bytes).map(row).collect()
}

/// The values of a line: those in quotes as they are; the name of an image with the spaces in it, and
/// all after it as one more; else word by word.
fn words(number: usize, line: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
    if line[0] == b'"' {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(b' ')
            .from_reader(line);
        let mut record = csv::ByteRecord::new();
        let closed = line.iter().filter(|byte| **byte == b'"').count().is_multiple_of(2);
        if !closed || !matches!(reader.read_byte_record(&mut record), Ok(true)) {
            return Err(Fault::at(number, "a quote is opened and not closed"));
        }
        let mut values = record.iter().filter(|value| !value.is_empty());
        let first = values.next().unwrap_or_default().to_owned();
        let rest: Vec<&[u8]> = values.collect();
        let rest = if rest.is_empty() { None } else { Some(rest.join(&b' ')) };
        return Ok(std::iter::once(first).chain(rest).collect());
    }
    let is_space = |at: &usize| line[*at].is_ascii_whitespace();
    let after_image = (0..line.len()).rev().filter(is_space).find(|at| names_image(&line[..*at]));
    Ok(match after_image {
        Some(at) => vec![line[..at].to_owned(), line[at..].trim_ascii().to_owned()],
        None => line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .map(<[u8]>::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line and values of each row.
    fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
        let rows = read(text.as_bytes()).unwrap();
        rows.into_iter()
            .map(|row| (row.line, row.values.iter().map(|value| text_of(value)).collect()))
            .collect()
    }

    fn values(text: &str) -> Vec<Vec<String>> {
        rows(text).into_iter().map(|(_, values)| values).collect()
    }

    #[test]
    fn every_separator_gives_the_same_rows() {
        for separator in [",", ";", "\t", " ", ", ", "   "] {
            for end in ["\n", "\r\n", "\n\n"] {
                let text = format!("a.png{separator}cat{end}b.JPG{separator}dog{end}");
                assert_eq!(values(&text), [["a.png", "cat"], ["b.JPG", "dog"]], "{text:?}");
                let marked = format!("\u{feff}{text}");
                assert_eq!(values(&marked), values(&text));
            }
        }
    }

    #[test]
    fn values_may_hold_other_separators_and_their_own_in_quotes() {
        assert_eq!(values("a.png,Alarm Clock\nb.png,x;y\n")[0], ["a.png", "Alarm Clock"]);
        assert_eq!(
            values("\"a, b.png\",\"dog, \"\"small\"\"\"\n"),
            [["a, b.png", "dog, \"small\""]]
        );
        assert_eq!(values("a b.png;x\nc.png;y z\n"), [["a b.png", "x"], ["c.png", "y z"]]);
        assert_eq!(values("a b.png Alarm Clock\n"), [["a b.png", "Alarm Clock"]]);
        assert_eq!(values("a, b.png 3\n"), [["a, b.png", "3"]]);
        assert_eq!(values("\"a b.png\" 3\nc.png 4\n"), [["a b.png", "3"], ["c.png", "4"]]);
        assert_eq!(values("5\" disk.png,x\n"), [["5\" disk.png", "x"]]);
    }

    #[test]
    fn more_columns_and_names_without_an_ending_are_rows_too() {
        let gtsrb = "Filename;Width;ClassId\n00000.png;29;3\n";
        assert_eq!(values(gtsrb)[1], ["00000.png", "29", "3"]);
        assert_eq!(values("image_id,label\nISIC_1,nv\nISIC_2,mel\n")[2], ["ISIC_2", "mel"]);
        assert_eq!(values("id label\n17 cat\n"), [["id", "label"], ["17", "cat"]]);
    }

    #[test]
    fn lines_with_spaces_and_more_than_a_label_are_faults_and_labels_of_words_are_not() {
        for (text, line) in [
            ("a.png 0 1\nb.png 1 0\n", 1),
            ("a.png 0 12 33\nb.png 1 5 9\n", 1),
            ("a.png 3\nb.png 3 7\n", 2),
            ("a.png 0.5 -1e3\n", 1),
            ("name label\na.png cat 12 33 40 50\nb.png dog 1 2 3 4\n", 2),
            ("\"a b.png\" 0 1\nc.png 2\n", 1),
            ("a.png cat train\nb.png dog test\n", 1),
            ("a.png train 0\nb.png val 1\n", 1),
        ] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert_eq!(fault.line, line, "{text:?}: {fault:?}");
            assert!(fault.reason.contains("one label was expected"), "{fault:?}");
        }
        assert_eq!(values("a.png Alarm Clock\nb.png Lamp\n")[0], ["a.png", "Alarm Clock"]);
        assert_eq!(values("a.png Boeing 737\nb.png Airbus 320\n")[1], ["b.png", "Airbus 320"]);
        assert_eq!(values("a.png steam train\nb.png tram\n")[0], ["a.png", "steam train"]);
        assert_eq!(values("a.png 7 up\nb.png 7 days\n")[0], ["a.png", "7 up"]);
        // A separator that says where the label begins.
        assert_eq!(values("a.png,0 1\nb.png,1 0\n")[0], ["a.png", "0 1"]);
    }

    #[test]
    fn a_name_without_an_ending_is_no_image_whatever_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(super::super::decode::is_image(&image));
        assert!(!names_image(image.as_os_str().as_encoded_bytes()));
    }

    #[test]
    fn rows_know_their_lines_also_after_empty_ones() {
        let lines = |text| rows(text).into_iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(lines("\n\na.png,1\n\n\nb.png,2\n"), [3, 6]);
        assert_eq!(lines("\r\na.png,1\r\n\r\nb.png,2"), [2, 4]);
        assert_eq!(lines("\na.png 1\n \nb.png 2\n"), [2, 4]);
        assert_eq!(lines("a.png;1\n;\nb.png;2\n"), [1, 3]);
    }

    #[test]
    fn a_quote_without_its_other_half_and_utf_16_are_faults_of_a_line() {
        for text in ["a.png,1\n\"b.png,2\nc.png,3\n", "a.png 1\n\"b.png 2\nc.png 3\n"] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert_eq!((fault.line, fault.reason.contains("quote")), (2, true), "{fault:?}");
        }
        let wide: Vec<u8> =
            "\u{feff}a.png\t1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(read(&wide).unwrap_err().reason.contains("UTF-16"));
        assert_eq!(read(b"").unwrap(), []);
        assert_eq!(read(b"\n \n").unwrap(), []);
    }

    #[test]
    fn bytes_that_are_not_utf_8_come_through() {
        let rows = read(b"K\xe4fer/1.png,K\xe4fer\n").unwrap();
        assert_eq!(rows[0].values, [b"K\xe4fer/1.png".to_vec(), b"K\xe4fer".to_vec()]);
    }
}
