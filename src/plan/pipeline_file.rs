//! A pipeline file as it was read, with the `--set` arguments put in. Never asks what its keys mean.

use std::path::Path;

use crate::config::node::{Node, Value};
use crate::config::overrides::Assignment;
use crate::config::source::Sources;
use crate::config::sweep::{self, Sweep};
use crate::config::{Diagnostic, Keys, Report, document, reuse};

/// A file that was read, once: it may be a pipe.
pub(super) struct PipelineFile {
    /// Its tree with `sets` put in, variables and `like` still open in its stages.
    pub root: Node,
    pub sources: Sources,
    /// The `--set` arguments.
    pub sets: Vec<Assignment>,
}

impl PipelineFile {
    /// Reads the file at `path` and puts the `--set` arguments in, in their order.
    pub fn open(path: &Path, sets: &[String]) -> Result<Self, Report> {
        let mut sources = Sources::default();
        let mut root = match reuse::read(path, &mut sources) {
            Ok(root) => root,
            Err(problems) => return Err(report(path, sources, problems)),
        };
        let mut problems = Vec::new();
        let mut put: Vec<Assignment> = Vec::new();
        for argument in sets {
            match Assignment::parse(argument, &mut sources) {
                Ok(set) => {
                    problems.extend(put.iter().find_map(|before| loses(&set, before)));
                    problems.extend(set.apply(&mut root).err());
                    put.push(set);
                }
                Err(wrong) => problems.extend(wrong),
            }
        }
        if problems.is_empty() {
            problems
                .extend(reuse::open(&mut root, &mut put, &mut sources).err().unwrap_or_default());
        }
        match problems.is_empty() {
            true => Ok(Self { root, sources, sets: put }),
            false => Err(report(path, sources, problems)),
        }
    }

    /// The sweep, if the file has one without problems of its own.
    pub fn sweep(&self) -> Option<Sweep> {
        let Value::Table(table) = &self.root.value else { return None };
        let Node { value: Value::Table(table), span } = &table.entries.get("sweep")?.node else {
            return None;
        };
        let mut keys = Keys::new(table, *span);
        let sweep = sweep::read(&mut keys);
        sweep.ok().filter(|_| keys.finish().problems.is_empty())
    }
}

/// Says so when `set` throws away what an argument before it put inside.
fn loses(set: &Assignment, before: &Assignment) -> Option<Diagnostic> {
    if before.path.len() <= set.path.len() || !before.path.starts_with(&set.path) {
        return None;
    }
    let (outer, inner) = (set.path.join("."), before.path.join("."));
    let message = format!("`--set {outer}` throws away what `--set {inner}` set before it");
    Some(
        Diagnostic::at(set.span, message, "the whole table is set anew")
            .related(before.span, "inside it")
            .help(format!("give `--set {inner}` after it, or leave it out")),
    )
}

/// The problems of the file at `path`.
pub(super) fn report(path: &Path, sources: Sources, problems: Vec<Diagnostic>) -> Report {
    Report::new(document::name(path), sources, problems)
}
