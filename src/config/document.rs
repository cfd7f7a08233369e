//! Reads a pipeline file's text into a tree of values that know their place.
//!
//! Finds everything that is wrong with the text as TOML, all at once. Never asks what a key means.

use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use indexmap::map::Entry as Slot;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, suggest};
use super::node::{KeyValue, Node, Table, Value};
use super::source::{Note, SourceId, Sources, Span};
use super::spelling;

/// A file of weights named by mistake, or a device without end, must not fill the memory.
const MOST_BYTES: u64 = 16 << 20;

/// What an empty file is told.
const MINIMAL: &str = "a pipeline has a name and at least one stage:

[pipeline]
name = \"digits\"

[stages.mnist]
kind = \"download\"
dataset = \"mnist-10k\"";

/// Reads the file at `path` as the next of `sources`.
///
/// # Errors
/// When the file cannot be read, is not UTF-8, holds nothing, or is not TOML: every problem.
pub fn read(path: &Path, sources: &mut Sources) -> Result<Node, Vec<Diagnostic>> {
    let root = load(path, None, sources)?;
    match is_empty(&root) {
        true => {
            let message = format!("`{}` is empty", name(path));
            Err(vec![Diagnostic::general(message).help(MINIMAL)])
        }
        false => Ok(root),
    }
}

/// Reads the file at `path`, which another file includes at `span`. Problems in it show that place too.
///
/// # Errors
/// As [`read`].
pub fn read_included(
    path: &Path,
    span: Span,
    sources: &mut Sources,
) -> Result<Node, Vec<Diagnostic>> {
    const HERE: &str = "included here";
    let here = |mut problem: Diagnostic| {
        problem.place.get_or_insert((span, HERE.to_owned()));
        problem
    };
    let loaded = load(path, Some(&(span, HERE.to_owned())), sources);
    let root = loaded.map_err(|problems| problems.into_iter().map(here).collect::<Vec<_>>())?;
    match is_empty(&root) {
        true => Err(vec![Diagnostic::at(span, format!("`{}` is empty", name(path)), HERE)]),
        false => Ok(root),
    }
}

fn is_empty(root: &Node) -> bool {
    matches!(&root.value, Value::Table(table) if table.entries.is_empty())
}

/// Reads the file at `path`; what is found at places in it shows `note`, too.
fn load(path: &Path, note: Option<&Note>, sources: &mut Sources) -> Result<Node, Vec<Diagnostic>> {
    let name = name(path);
    let mut add = |text: String| {
        let source = sources.add(name.clone(), text);
        note.map_or(source, |note| sources.lend(source, note.clone()))
    };
    let bytes = bytes(path).map_err(|error| vec![unreadable(path, &error)])?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            let byte = bytes[at];
            let source = add(String::from_utf8_lossy(&bytes).into_owned());
            let span = Span::new(source, at..at + '\u{fffd}'.len_utf8());
            let line = sources.line_column(span).0;
            return Err(vec![
                Diagnostic::at(
                    span,
                    format!("`{name}` is not UTF-8 text"),
                    format!("byte 0x{byte:02x} at line {line}, offset {at} of the file"),
                )
                .help("save the file as UTF-8"),
            ]);
        }
    };
    let source = add(text.clone());
    parse(source, &text)
}

/// Whether `path` stands for standard input.
pub fn is_input(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin")
}

/// What messages call the file at `path`.
pub fn name(path: &Path) -> String {
    if is_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Every byte of a file, a pipe or standard input: a pipe can be read but once.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = MOST_BYTES + 1;
    if is_input(path) {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 == most {
        let reason = format!("it has more than {} MB, which no pipeline has", MOST_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let name = name(path);
    if path.is_dir() {
        return Diagnostic::general(format!("`{name}` is a folder, not a pipeline file"))
            .help("name a TOML file in it");
    }
    if error.kind() != io::ErrorKind::NotFound {
        return Diagnostic::general(format!("cannot read `{name}`: {error}"));
    }
    let mut problem = Diagnostic::general(format!("there is no file `{name}`"));
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match std::fs::read_dir(folder) {
        Err(_) => problem.help.push(format!("the folder `{}` cannot be read", folder.display())),
        Ok(found) => {
            let mut names: Vec<String> = found
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "toml"))
                .collect();
            names.sort();
            let wrong = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            problem.help.extend(suggest(&wrong, names.iter().map(String::as_str)));
        }
    }
    problem
}

/// Reads `text`, which is that of `source`.
///
/// # Errors
/// Everything that is not TOML, keys written twice included.
pub fn parse(source: SourceId, text: &str) -> Result<Node, Vec<Diagnostic>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut problems = Vec::new();
    let table = convert_table(source, document.get_ref(), &mut problems);
    let mut table_again = None;
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let span = Span::new(source, range.clone());
        if error.message() != "duplicate key" {
            let message = format!("invalid TOML: {}", error.message());
            let mut problem = Diagnostic::at(span, message, "here");
            problem.help.extend(spelling::advice(text, range.start));
            problems.push(problem);
            continue;
        }
        let key = text.get(range.clone()).unwrap_or_default();
        let header = line_of(text, range.start).trim_start().starts_with('[');
        // The keys of a table that is written twice are not worth a problem each.
        if !header
            && table_again.is_some_and(|at| {
                text.get(at..range.start).is_some_and(|between| !between.contains("\n["))
            })
        {
            continue;
        }
        if header {
            table_again = Some(range.end);
        }
        let what = if header { "table" } else { "key" };
        let mut problem =
            Diagnostic::at(span, format!("{what} `{key}` is written twice"), "again here");
        if let Some(first) = first_definition(text, &table, &range) {
            problem = problem.related(first, "first here");
        }
        problems.push(problem.help(format!("keep one, or rename this {what}")));
    }
    if problems.is_empty() {
        Ok(Node { span: Span::new(source, document.span()), value: Value::Table(table) })
    } else {
        Err(problems)
    }
}

fn line_of(text: &str, at: usize) -> &str {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[start..].lines().next().unwrap_or_default()
}

/// Where the key that is written again at `again` was written first: under the header that
/// `again` stands in or under; failing that (inline tables) the last key of that name before it.
fn first_definition(text: &str, root: &Table, again: &Range<usize>) -> Option<Span> {
    let key = unquoted(text.get(again.clone())?);
    let mut table = Some(root);
    let own_line = line_of(text, again.start);
    if own_line.trim_start().starts_with('[') {
        let before = &text[..text[..again.start].rfind('\n').map_or(0, |newline| newline + 1)];
        let inside = |line: &str| line.trim().split(']').next().map(str::to_owned);
        let first = before.split_inclusive('\n').scan(0, |start, line| {
            *start += line.len();
            Some((*start - line.len(), line))
        });
        let mut same = first.filter(|(_, line)| inside(line) == inside(own_line));
        if let Some((start, line)) = same.next() {
            let source = root.entries.values().next()?.key.source;
            return Some(Span::new(source, start..start + line.trim_end().len()));
        }
    }
    let header =
        text[..again.start].lines().rev().map(str::trim).find(|line| {
            line.starts_with('[') && (line.ends_with(']') || own_line.starts_with(line))
        });
    if let Some(header) = header {
        let inside = header.trim_matches(['[', ']', ' ']);
        // On its own header line the text ends just before the key: `stages.`.
        for part in inside.split('.').map(str::trim).filter(|part| !part.is_empty()) {
            table = table.and_then(|table| match &table.entries.get(&unquoted(part))?.node.value {
                Value::Table(next) => Some(next),
                _ => None,
            });
        }
    }
    let found = table.and_then(|table| table.entries.get(&key)).map(|entry| entry.key);
    if let Some(first) = found.filter(|first| first.end <= again.start) {
        return Some(first);
    }
    let mut all = Vec::new();
    keys_named(root, &key, &mut all);
    all.into_iter().filter(|span| span.end <= again.start).max_by_key(|span| span.start)
}

fn unquoted(key: &str) -> String {
    key.trim_matches(['"', '\'']).to_owned()
}

fn keys_named(table: &Table, name: &str, found: &mut Vec<Span>) {
    for (key, entry) in &table.entries {
        if key == name {
            found.push(entry.key);
        }
        if let Value::Table(below) = &entry.node.value {
            keys_named(below, name, found);
        }
    }
}

fn convert_table(source: SourceId, table: &DeTable, problems: &mut Vec<Diagnostic>) -> Table {
    let mut converted = Table::default();
    for (key, value) in table {
        let node = convert(source, value, problems);
        let span = Span::new(source, key.span());
        if let Slot::Vacant(slot) = converted.entries.entry(key.get_ref().to_string()) {
            slot.insert(KeyValue { key: span, node });
        }
    }
    converted
}

fn convert(source: SourceId, value: &Spanned<DeValue>, problems: &mut Vec<Diagnostic>) -> Node {
    let span = Span::new(source, value.span());
    let value = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            if read.is_err() {
                problems.push(Diagnostic::at(span, "integer out of range", spelling::INTEGERS));
            }
            Value::Integer(read.unwrap_or_default())
        }
        DeValue::Float(number) => {
            let read = number.as_str().parse::<f64>().unwrap_or(f64::NAN);
            if read.is_infinite() && !number.as_str().contains("inf") {
                problems.push(Diagnostic::at(span, "float out of range", spelling::FLOATS));
            }
            Value::Float(read)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(time) => Value::Datetime(time.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| convert(source, item, problems)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(source, table, problems)),
    };
    Node { span, value }
}
