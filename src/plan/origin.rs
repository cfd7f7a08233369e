//! Where the trials of a sweep come from: the file with its axes put in. Draws nothing and runs nothing.

use std::path::PathBuf;

use super::pipeline_file::report;
use super::resolve;
use super::trial::Trial;
use crate::config::node::Node;
use crate::config::source::Sources;
use crate::config::sweep::{Configuration, Point};
use crate::config::{Diagnostic, Report};
use crate::stages::Kind;

/// Where trials come from.
#[derive(Debug)]
pub(super) struct Origin {
    pub path: PathBuf,
    pub root: Node,
    pub sources: Sources,
    pub kinds: &'static [Kind],
}

/// Configurations and their points.
pub(super) type Drawn = (Vec<Configuration>, Vec<Point>);

impl Origin {
    /// The pipelines of `points`, and the resolved form of the first.
    pub fn resolve(&self, points: &[Point]) -> Result<(Vec<Trial>, Option<toml::Table>), Report> {
        let mut trials = Vec::new();
        let mut first = None;
        let mut problems = Vec::new();
        for point in points {
            let changed = (&self.root, point.assignments.as_slice());
            let resolved = resolve::resolve(&self.path, &self.sources, changed, self.kinds, true);
            problems.extend(resolved.problems);
            first.get_or_insert(resolved.whole);
            if let Ok(pipeline) = resolved.pipeline {
                trials.push(Trial { labels: point.overrides.clone(), pipeline });
            }
        }
        if problems.is_empty() { Ok((trials, first)) } else { Err(self.report(problems)) }
    }

    /// The problems as a report.
    pub fn report(&self, problems: Vec<Diagnostic>) -> Report {
        report(&self.path, self.sources.clone(), problems)
    }
}
