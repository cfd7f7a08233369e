//! Shows problems with the lines of the file they stand in.
//!
//! Never finds a problem itself.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::diagnostic::Diagnostic;
use super::source::{Sources, Span};

/// Every problem of one pipeline file.
#[derive(Debug, Clone)]
pub struct Report {
    file: String,
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// A report on `file`, as the user named it, sorted by place; what says the same of the same
    /// place is kept once.
    pub fn new(file: impl Into<String>, sources: Sources, all: Vec<Diagnostic>) -> Self {
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        for one in all {
            let one = one.as_written(&sources);
            let same = |other: &Diagnostic| {
                other.message == one.message
                    && other.place.as_ref().map(|place| place.0)
                        == one.place.as_ref().map(|place| place.0)
            };
            if !diagnostics.iter().any(same) {
                diagnostics.push(one);
            }
        }
        diagnostics.sort_by_key(|one| {
            one.place.as_ref().map(|(span, _)| (span.source.0, span.start, span.end))
        });
        Self { file: file.into(), sources, diagnostics }
    }

    /// The problems in order.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The text for a terminal; with escape codes when `colour`.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for one in &self.diagnostics {
            text.push_str(&renderer.render(&[self.group(one)]));
            text.push_str("\n\n");
        }
        let count = match self.diagnostics.len() {
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        let last = Level::ERROR.primary_title(format!("{} has {count}", self.file));
        text.push_str(&renderer.render(&[Group::with_title(last)]));
        text
    }

    fn group<'a>(&'a self, one: &'a Diagnostic) -> Group<'a> {
        let mut group = Group::with_title(Level::ERROR.primary_title(one.message.as_str()));
        if let Some((place, label)) = &one.place {
            let (here, elsewhere): (Vec<_>, Vec<_>) =
                one.related.iter().partition(|(span, _)| span.source == place.source);
            let mut snippet = self.snippet(*place).annotation(self.annotation(
                AnnotationKind::Primary,
                *place,
                label,
            ));
            for (span, label) in here {
                snippet =
                    snippet.annotation(self.annotation(AnnotationKind::Context, *span, label));
            }
            group = group.element(snippet);
            for (span, label) in elsewhere {
                group = group.element(self.snippet(*span).annotation(self.annotation(
                    AnnotationKind::Context,
                    *span,
                    label,
                )));
            }
        }
        group.elements(one.help.iter().map(|help| Level::HELP.message(help.as_str())))
    }

    fn snippet(&self, span: Span) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let source = self.sources.get(span.source);
        Snippet::source(source.text.as_str()).path(source.name.as_str())
    }

    /// A table may span many lines; its first is enough to find it.
    fn annotation<'a>(
        &self,
        kind: AnnotationKind,
        span: Span,
        label: &'a str,
    ) -> annotate_snippets::Annotation<'a> {
        let text = &self.sources.get(span.source).text;
        let start = span.start.min(text.len());
        let end = span.end.clamp(start, text.len());
        let end = text[start..end].find('\n').map_or(end, |newline| start + newline);
        let annotation = kind.span(start..end);
        if label.is_empty() { annotation } else { annotation.label(label) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
