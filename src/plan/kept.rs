//! Reads the pipeline that a run kept as text, for what the record of an older runner does not say. It is
//! never used for a run whose record is complete.

use super::pipeline::Pipeline;
use super::resolve;
use super::table_spec::TableSpec;
use super::tables::{self, Swept};
use crate::config::node::{Node, Value};
use crate::config::source::Sources;
use crate::config::sweep::{self, Sweep};
use crate::config::{Diagnostic, Keys, Report, document, reuse};
use crate::stages::KINDS;

/// The kept text of a resolved pipeline, parsed as TOML.
pub struct KeptPipeline {
    name: String,
    sources: Sources,
    root: Node,
}

impl KeptPipeline {
    /// Reads `text`, which messages call `name`.
    ///
    /// # Errors
    /// When it is not TOML.
    pub fn read(name: &str, text: &str) -> Result<Self, Report> {
        let mut sources = Sources::default();
        let source = sources.add(name, text);
        let opened = document::parse(source, text)
            .and_then(|mut root| reuse::open(&mut root, &mut [], &mut sources).map(|()| root));
        match opened {
            Ok(root) => Ok(Self { name: name.to_owned(), sources, root }),
            Err(problems) => Err(Report::new(name, sources, problems)),
        }
    }

    /// The resolved pipeline, without its sweep and its tables, which are read apart: what is wrong with them
    /// says nothing about its stages.
    ///
    /// # Errors
    /// When this runner does not accept what an older one accepted.
    pub fn pipeline(&self) -> Result<Pipeline, Report> {
        let mut root = self.root.clone();
        if let Value::Table(table) = &mut root.value {
            table.entries.retain(|name, _| !["sweep", "table"].contains(&name.as_str()));
        }
        let path = self.name.as_ref();
        let resolved = resolve::resolve(path, &self.sources, (&root, &[]), KINDS, false);
        resolved.pipeline.map_err(|_| self.report(resolved.problems))
    }

    /// The tables of the run. They can be read even where this runner does not accept the rest.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tables(&self) -> Result<Vec<TableSpec>, Report> {
        let Value::Table(table) = &self.root.value else {
            unreachable!("a TOML document is a table")
        };
        let mut keys = Keys::new(table, self.root.span);
        // The sweep is not read here, so a table may name any key.
        let drafts =
            tables::read(&mut keys, Swept { keys: &[], pairs: None, wrong: true, selects: true });
        // The rest of the file is not read here.
        keys.leave_open();
        let found = keys.finish().problems;
        if !found.is_empty() {
            return Err(self.report(found));
        }
        Ok(tables::specs(drafts))
    }

    /// Its `[sweep]`, if it has one.
    ///
    /// # Errors
    /// When this runner does not accept what an older one accepted.
    pub fn sweep(&self) -> Result<Option<Sweep>, Report> {
        let Value::Table(root) = &self.root.value else { return Ok(None) };
        let node = root.entries.get("sweep").map(|entry| &entry.node);
        let Some(Node { value: Value::Table(table), span }) = node else { return Ok(None) };
        let mut keys = Keys::new(table, *span);
        let sweep = sweep::read(&mut keys);
        let found = keys.finish().problems;
        match sweep {
            Ok(sweep) if found.is_empty() => Ok(Some(sweep)),
            _ => Err(self.report(found)),
        }
    }

    fn report(&self, problems: Vec<Diagnostic>) -> Report {
        Report::new(&*self.name, self.sources.clone(), problems)
    }
}
