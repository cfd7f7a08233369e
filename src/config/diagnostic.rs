//! A problem in a pipeline file: what is wrong, where, and what to do.

use super::source::Span;

/// One problem. Rendered with a snippet of the file by [`super::report`].
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// The place and what to say under it.
    pub place: Option<(Span, String)>,
    /// Other places that explain it (the first definition of a duplicate, the steps of a cycle).
    pub related: Vec<(Span, String)>,
    /// What to do: suggestions, each one line.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A problem at `span`; `label` is printed under the place.
    pub fn at(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: Some((span, label.into())),
            related: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A problem of the whole file.
    pub fn general(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, related: Vec::new(), help: Vec::new() }
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

/// `did you mean ...?` for the nearest of `known`, or the list of all when none is near.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|name| (strsim::jaro_winkler(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if known.is_empty() => None,
        None => Some(format!(
            "expected one of {}",
            known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        )),
    }
}
