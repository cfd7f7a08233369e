//! `include = ["office.toml"]`: the keys of other files, under those of the file that names them. Knows no key but this
//! one and the name of the pipeline, which every file has for itself.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::Diagnostic;
use super::super::document;
use super::super::node::{KeyValue, Node, Table, Value};
use super::super::source::{Sources, Span};
use super::merge::{is_of_other_kind, put_over, says_its_kind};
use super::size::Size;
use super::variables::Variables;
use crate::system::at_home;

/// The key that names the files.
pub(super) const INCLUDE: &str = "include";

/// More files than this are taken for a mistake.
const MOST_FILES: usize = 100;

/// Reads the pipeline file at `path` with everything that it includes.
///
/// # Errors
/// Every problem of a file that cannot be read or is not TOML, of files that do not go together, and of variables that
/// there are not or that nothing uses.
pub fn read(path: &Path, sources: &mut Sources) -> Result<Node, Vec<Diagnostic>> {
    let mut root = document::read(path, sources)?;
    // What is no file, such as a pipe, is in no folder of the user's.
    let is_file = fs::metadata(path).is_ok_and(|it| it.is_file());
    let folder = path.parent().filter(|_| is_file && !document::is_input(path));
    let folder = folder.unwrap_or(Path::new("")).to_owned();
    let first = Opened { name: document::name(path), real: fs::canonicalize(path).ok() };
    let mut reader = Reader { sources, chain: vec![first], files: 0, size: Size::default() };
    reader.complete(&mut root, &folder)?;
    let problems = match Variables::of(&root)? {
        Some(variables) => variables.misuses(&root, sources),
        None => Vec::new(),
    };
    if problems.is_empty() { Ok(root) } else { Err(problems) }
}

/// A file that is being read.
struct Opened {
    name: String,
    /// Its path without links; `None` of what is no file.
    real: Option<PathBuf>,
}

struct Reader<'s> {
    sources: &'s mut Sources,
    /// The file that is being read, after those that include it.
    chain: Vec<Opened>,
    /// Files that were included so far.
    files: usize,
    size: Size,
}

impl Reader<'_> {
    /// Puts the keys of `root`, whose file is in `folder`, over those of the files that it includes.
    fn complete(&mut self, root: &mut Node, folder: &Path) -> Result<(), Vec<Diagnostic>> {
        let Value::Table(own) = &mut root.value else { return Ok(()) };
        let Some(KeyValue { node, .. }) = own.entries.shift_remove(INCLUDE) else { return Ok(()) };
        let (mut all, mut disputes, mut problems) = (Table::default(), Vec::new(), Vec::new());
        for (name, span) in names(&node)? {
            match self.included(name, span, folder) {
                Ok(table) => join(&mut all, table, &mut Vec::new(), &mut disputes),
                Err(found) => problems.extend(found),
            }
        }
        let file = self.chain.last().map(|it| it.name.as_str()).unwrap_or_default();
        for dispute in disputes {
            if !is_settled(own, &dispute) {
                problems.push(dispute.problem(file));
            } else if dispute.is_of_kinds {
                remove(&mut all, &dispute.path);
            }
        }
        let clashes = put_over(&mut all, std::mem::take(own), "");
        problems.extend(clashes.into_iter().map(|clash| {
            clash.told(|problem, key| {
                problem.help(format!("write `{key}` in the same form in both files"))
            })
        }));
        *own = all;
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The keys of the file that is called `name` at `span` of a file in `folder`.
    fn included(
        &mut self,
        name: &str,
        span: Span,
        folder: &Path,
    ) -> Result<Table, Vec<Diagnostic>> {
        let wrong = |problem: Diagnostic| Err(vec![problem]);
        if name.contains("${") {
            let message = format!("`{INCLUDE}` cannot use a variable");
            return wrong(
                Diagnostic::at(span, message, "read before variables have values")
                    .help("write the path"),
            );
        }
        let path = folder.join(at_home(Path::new(name)));
        let opened = Opened { name: document::name(&path), real: fs::canonicalize(&path).ok() };
        if fs::metadata(&path).is_ok_and(|it| !it.is_file() && !it.is_dir()) {
            let message = format!("`{}` is no file that can be included", opened.name);
            return wrong(Diagnostic::at(span, message, "included here"));
        }
        let again = self.chain.iter().position(|it| it.real.is_some() && it.real == opened.real);
        if let Some(first) = again {
            let chain = self.chain[first..].iter().chain([&opened]);
            let names: Vec<&str> = chain.map(|it| it.name.as_str()).collect();
            let message = format!("files include each other in a cycle: {}", names.join(" -> "));
            return wrong(
                Diagnostic::at(span, message, "included again here")
                    .help("leave this file out of `include`"),
            );
        }
        self.files += 1;
        if self.files > MOST_FILES {
            let message = format!("the pipeline includes more than {MOST_FILES} files");
            return wrong(Diagnostic::at(span, message, "one too many"));
        }
        let mut root = document::read_included(&path, span, self.sources)?;
        self.size.add(&root, span).map_err(|problem| vec![problem])?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        self.chain.push(opened);
        let complete = self.complete(&mut root, &folder);
        self.chain.pop();
        complete?;
        let Value::Table(mut table) = root.value else { return Ok(Table::default()) };
        // Two pipelines of one name would write their results into one folder. Whoever looks for the name is sent to the
        // file that must have it.
        if let Some(KeyValue { node, .. }) = table.entries.get_mut("pipeline")
            && let Value::Table(head) = &mut node.value
        {
            head.entries.shift_remove("name");
            node.span = span;
        }
        Ok(table)
    }
}

/// The names in `include` with their places.
fn names(node: &Node) -> Result<Vec<(&str, Span)>, Vec<Diagnostic>> {
    let wrong = |node: &Node| {
        let found = format!("found {}", node.value.type_name());
        vec![
            Diagnostic::at(node.span, format!("`{INCLUDE}` must be an array of paths"), found)
                .help(format!("for example `{INCLUDE} = [\"office.toml\"]`")),
        ]
    };
    let Value::Array(items) = &node.value else { return Err(wrong(node)) };
    let name = |item| match item {
        &Node { value: Value::String(ref name), span } => Ok((name.as_str(), span)),
        other => Err(wrong(other)),
    };
    items.iter().map(name).collect()
}

/// A key to which two included files give other values.
struct Dispute {
    path: Vec<String>,
    first: Span,
    again: Span,
    /// Whether they are tables of different kinds, of which neither has keys for the other.
    is_of_kinds: bool,
}

impl Dispute {
    fn problem(&self, file: &str) -> Diagnostic {
        let key = self.path.join(".");
        let message = format!("two included files give `{key}` different values");
        let problem =
            Diagnostic::at(self.again, message, "this one").related(self.first, "and this one");
        match self.is_of_kinds {
            true => problem
                .help(format!("write all keys of `{key}` in `{file}`: they alone count then")),
            false => problem.help(format!("write `{key}` in `{file}`, which counts over both")),
        }
    }
}

/// Adds the keys of `next` to `all`.
fn join(all: &mut Table, next: Table, way: &mut Vec<String>, disputes: &mut Vec<Dispute>) {
    for (key, entry) in next.entries {
        let Some(there) = all.entries.get_mut(&key) else {
            all.entries.insert(key, entry);
            continue;
        };
        way.push(key);
        let (first, again) = (there.node.span, entry.node.span);
        let mut dispute = |way: &[String], is_of_kinds| {
            disputes.push(Dispute { path: way.to_vec(), first, again, is_of_kinds });
        };
        match (&mut there.node.value, entry.node.value) {
            (Value::Table(below), Value::Table(next))
                if is_of_other_kind(&way.join("."), below, &next) =>
            {
                dispute(way, true);
            }
            (Value::Table(below), Value::Table(next)) => join(below, next, way, disputes),
            (_, value) => {
                if !there.node.is_same(&Node { span: again, value }) {
                    dispute(way, false);
                }
            }
        }
        way.pop();
    }
}

/// Whether `own` says what counts in a dispute: the value of the key, one of something that the key is in, or of which kind
/// its table is.
fn is_settled(own: &Table, dispute: &Dispute) -> bool {
    let mut table = own;
    for part in &dispute.path {
        match table.entries.get(part).map(|entry| &entry.node.value) {
            Some(Value::Table(below)) => table = below,
            Some(_) => return true,
            None => return false,
        }
    }
    !dispute.is_of_kinds || says_its_kind(table)
}

/// Takes the key at `path` out of `table`.
fn remove(table: &mut Table, path: &[String]) {
    let Some((last, tables)) = path.split_last() else { return };
    let mut at = table;
    for part in tables {
        match at.entries.get_mut(part).map(|entry| &mut entry.node.value) {
            Some(Value::Table(below)) => at = below,
            _ => return,
        }
    }
    at.entries.shift_remove(last);
}
