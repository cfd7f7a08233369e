//! Changes single values of a pipeline: `--set KEY=VALUE` and the trials of a sweep.
//!
//! Never decides whether a value fits its key: whoever reads the key does.

use super::diagnostic::{Diagnostic, suggest};
use super::document;
use super::node::{KeyValue, Node, Table, Value};
use super::source::{Sources, Span};
use super::spelling::{Meant, meant};

/// The table of variables.
pub const VARIABLES: &str = "vars";

/// The tables of a pipeline file.
pub const TABLES: &[&str] = &["pipeline", VARIABLES, "stages", "sweep", "table"];

/// One value for one key.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// The parts of the dotted key.
    pub path: Vec<String>,
    /// Where the key stands.
    pub span: Span,
    /// The new value.
    pub value: Node,
}

impl Assignment {
    /// Reads one `--set` argument; it becomes a source of its own.
    ///
    /// # Errors
    /// When it is not `KEY=VALUE` in TOML.
    pub fn parse(argument: &str, sources: &mut Sources) -> Result<Self, Vec<Diagnostic>> {
        let source = sources.add("--set", argument);
        let whole = Span::new(source, 0..argument.len());
        let Some(at) = equals(argument) else {
            return Err(vec![
                Diagnostic::at(whole, "`--set` needs a key and a value", "no `=` in it")
                    .help("write `--set KEY=VALUE`, for example `--set pipeline.seed=1`"),
            ]);
        };
        let (key, value) = (&argument[..at], argument[at + 1..].trim());
        let span = Span::new(source, 0..key.trim_end().len());
        if value.is_empty() {
            return Err(vec![
                Diagnostic::at(whole, "`--set` needs a value after the `=`", "nothing after it")
                    .help("for example `--set pipeline.seed=1`"),
            ]);
        }
        let Some(path) = dotted(key) else {
            return Err(vec![
                Diagnostic::at(span, "`--set` needs a dotted key before the `=`", "not a key")
                    .help("for example `--set pipeline.seed=1`"),
            ]);
        };
        let mut node = match document::parse(source, argument) {
            Ok(node) => node,
            Err(mut problems) => {
                if !value.contains(['"', '\'', '{', '[', '\n']) {
                    let place = Span::new(source, at + 1..argument.len());
                    return Err(vec![not_a_value(key.trim(), value, place)]);
                }
                for problem in &mut problems {
                    problem.help.push("write `--set KEY=VALUE` with VALUE as in TOML".into());
                }
                return Err(problems);
            }
        };
        for part in &path {
            let Value::Table(table) = node.value else { break };
            if table.entries.len() > 1 {
                let message = "`--set` takes one key at a time";
                return Err(vec![
                    Diagnostic::at(whole, message, "several keys")
                        .help("repeat `--set` for each key"),
                ]);
            }
            let Some(entry) = table.entries.into_iter().find(|(name, _)| name == part) else {
                unreachable!("the key of the argument was read from the same text")
            };
            node = entry.1.node;
        }
        Ok(Self { path, span, value: node })
    }

    /// Puts the value in its place below `root`.
    ///
    /// # Errors
    /// When the key leads nowhere.
    pub fn apply(&self, root: &mut Node) -> Result<(), Diagnostic> {
        self.apply_below(0, root)
    }

    /// As [`Assignment::apply`], where `root` is what the first `parts` of the key lead to.
    ///
    /// # Errors
    /// When the rest of the key leads nowhere.
    pub fn apply_below(&self, parts: usize, root: &mut Node) -> Result<(), Diagnostic> {
        let mut node = root;
        for (depth, part) in self.path.iter().enumerate().skip(parts) {
            let last = depth + 1 == self.path.len();
            let so_far = self.path[..depth].join(".");
            let place = node.span;
            node = match &mut node.value {
                Value::Table(table) => {
                    if !table.entries.contains_key(part) {
                        self.may_create(depth, table)?;
                    }
                    let empty = Value::Table(Table::default());
                    let entry = table.entries.entry(part.clone()).or_insert_with(|| KeyValue {
                        key: self.span,
                        node: Node { span: self.span, value: empty },
                    });
                    if last {
                        entry.key = self.span;
                    }
                    &mut entry.node
                }
                Value::Array(items) => {
                    let count = items.len();
                    // One spelling only: `00` would be another path to the element that `0` leads to.
                    let at = part.parse::<usize>().ok().filter(|at| *part == at.to_string());
                    let found = at.and_then(|at| items.get_mut(at));
                    found.ok_or_else(|| {
                        Diagnostic::at(
                            self.span,
                            format!("`{so_far}` has no element `{part}`"),
                            "leads nowhere",
                        )
                        .related(place, format!("an array of {count}"))
                        .help("elements are counted from 0")
                    })?
                }
                other => {
                    let problem = Diagnostic::at(
                        self.span,
                        format!("`{so_far}` has no keys: it is {}", other.type_name()),
                        format!("`{part}` leads nowhere"),
                    )
                    .related(place, format!("`{so_far}` is written here"));
                    return Err(match other {
                        Value::String(_) => {
                            problem.help("where it may be a table, write one in place of the word")
                        }
                        _ => problem,
                    });
                }
            };
        }
        *node = self.value.clone();
        Ok(())
    }

    /// Whether the part at `depth`, which `table` lacks, may be added to it.
    fn may_create(&self, depth: usize, table: &Table) -> Result<(), Diagnostic> {
        let part = &self.path[depth];
        let (message, known): (_, Vec<&str>) = match depth {
            0 if TABLES.contains(&part.as_str()) => return Ok(()),
            0 if part == "include" => {
                let message = "`include` cannot be set: files are included before anything is set";
                return Err(Diagnostic::at(self.span, message, "too late")
                    .help("write it in the file, and set the keys that differ"));
            }
            0 => (format!("unknown table `{part}`"), TABLES.to_vec()),
            1 if self.path[0] == "stages" => (
                format!("there is no stage `{part}`"),
                table.entries.keys().map(String::as_str).collect(),
            ),
            1 if self.path[0] == VARIABLES => (
                format!("there is no variable `{part}`"),
                table.entries.keys().map(String::as_str).collect(),
            ),
            _ => return Ok(()),
        };
        let mut problem = Diagnostic::at(self.span, message, "leads nowhere");
        problem.help.extend(suggest(part, known));
        Err(problem)
    }
}

/// Puts every value in its place below `root`: a key inside another one's value comes after it, whatever
/// order they are in, so that none is lost. Gives what leads nowhere.
pub fn apply_all(values: &[Assignment], root: &mut Node) -> Vec<Diagnostic> {
    let mut outer_first: Vec<&Assignment> = values.iter().collect();
    outer_first.sort_by_key(|it| it.path.len());
    outer_first.iter().filter_map(|it| it.apply(root).err()).collect()
}

/// Why `value`, after `--set KEY=`, is none of TOML's, with what to write instead.
fn not_a_value(key: &str, value: &str, place: Span) -> Diagnostic {
    let message = format!("`{value}` is not a TOML value");
    let write = |value: &str| shell_word(&format!("{key}={value}"));
    match meant(value) {
        Meant::Value(known) => Diagnostic::at(place, message, format!("TOML writes it `{known}`"))
            .help(format!("write `--set {}`", write(&known))),
        Meant::Nothing => Diagnostic::at(place, message, "TOML has nothing like it")
            .help(format!("leave `{key}` out of the file to do without it")),
        Meant::OutOfRange(range) => {
            Diagnostic::at(place, format!("`{value}` is out of range"), range)
        }
        Meant::Text => {
            let label = "neither a number, `true`, `false` nor a quoted string";
            let quoted = write(&toml::Value::String(value.to_owned()).to_string());
            Diagnostic::at(place, message, label)
                .help(format!("for text, quote the value: `--set {quoted}`"))
        }
    }
}

/// `argument` as one word of a shell.
fn shell_word(argument: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "_-.=/:+,@%".contains(it);
    match argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// The parts of a dotted TOML key.
pub fn dotted(key: &str) -> Option<Vec<String>> {
    if key.contains(['\n', '\r', '#']) && !key.contains(['"', '\'']) {
        return None;
    }
    let mut table: toml::Table = format!("{key} = 0").parse().ok()?;
    let mut path = Vec::new();
    loop {
        if table.len() != 1 {
            return None;
        }
        let (part, value) = table.into_iter().next()?;
        path.push(part);
        match value {
            toml::Value::Table(next) => table = next,
            _ => return Some(path),
        }
    }
}

/// The first `=` outside quotes.
fn equals(argument: &str) -> Option<usize> {
    let mut quote = None;
    for (at, letter) in argument.char_indices() {
        match (quote, letter) {
            (None, '=') => return Some(at),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}
