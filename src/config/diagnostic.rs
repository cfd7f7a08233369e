//! A problem in a pipeline file: what is wrong, where, and what to do.

use super::source::{Sources, Span};

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

    /// The problem where it was written, with the places that say why that counts where it was found: an `include`, a
    /// `like`, the use of a variable.
    #[must_use]
    pub fn as_written(mut self, sources: &Sources) -> Self {
        if let Some((span, _)) = &mut self.place {
            let (written, notes) = sources.written(*span);
            *span = written;
            for (place, label) in notes {
                let note = (sources.written(place).0, label);
                if !self.related.contains(&note) {
                    self.related.push(note);
                }
            }
        }
        for (span, _) in &mut self.related {
            *span = sources.written(*span).0;
        }
        self
    }
}

/// Proof that a problem was noted, which is what a reader has in place of a value. Noting a problem is
/// the only way to it, so that no reader can give up without telling the user why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted(());

impl Noted {
    /// Notes `problem` among `problems`.
    pub fn among(problems: &mut Vec<Diagnostic>, problem: Diagnostic) -> Self {
        problems.push(problem);
        Self(())
    }

    /// Notes all of `found` among `problems`.
    ///
    /// # Errors
    /// When there is one.
    pub fn all_among(problems: &mut Vec<Diagnostic>, found: Vec<Diagnostic>) -> Result<(), Self> {
        let before = problems.len();
        problems.extend(found);
        Self::none_in(&problems[before..])
    }

    /// Whether nothing is among these noted `problems`.
    ///
    /// # Errors
    /// When something is.
    pub fn none_in(problems: &[Diagnostic]) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(())) }
    }

    /// What a reader gives up with that describes itself: without a file there is nobody to tell.
    pub(super) fn without_file() -> Self {
        Self(())
    }
}

/// `did you mean ...?` for the nearest of `known`, or the list of all when none is near.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut all: Vec<&str> = Vec::new();
    for name in known {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    let near = all
        .iter()
        .map(|name| (likeness(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None if all.is_empty() => None,
        None => Some(one_of(&all)),
    }
}

/// As [`suggest`], and the list of all besides: the nearest word may be another thing than what was meant.
pub fn suggest_and_list<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> impl Iterator<Item = String> {
    let all: Vec<&str> = known.clone().into_iter().collect();
    let near = suggest(wrong, known);
    let all = Some(one_of(&all)).filter(|all| near.as_ref() != Some(all));
    near.into_iter().chain(all)
}

fn one_of(all: &[&str]) -> String {
    let all: Vec<String> = all.iter().map(|name| format!("`{name}`")).collect();
    format!("expected one of {}", all.join(", "))
}

/// From 0 to 1: by letters, or 0.9 for the initials (`lr` of `learning_rate`) either way round.
fn likeness(wrong: &str, name: &str) -> f64 {
    let initials = |words: &str| -> String {
        words.split(['_', '-']).filter_map(|word| word.chars().next()).collect()
    };
    let letters = strsim::jaro_winkler(wrong, name);
    let short = |a: &str, b: &str| a.len() > 1 && a == initials(b);
    if short(wrong, name) || short(name, wrong) { letters.max(0.9) } else { letters }
}

#[cfg(test)]
mod tests {
    use super::{suggest, suggest_and_list};

    #[test]
    fn suggests_near_names_and_initials_and_else_lists_all_once() {
        assert_eq!(suggest("epoch", ["epochs", "lr"]).unwrap(), "did you mean `epochs`?");
        assert_eq!(suggest("learning_rate", ["kind", "lr"]).unwrap(), "did you mean `lr`?");
        assert_eq!(suggest("zzz", ["a", "b", "a"]).unwrap(), "expected one of `a`, `b`");
        let both: Vec<String> = suggest_and_list("dannn", ["dann", "mdd"]).collect();
        assert_eq!(both, ["did you mean `dann`?", "expected one of `dann`, `mdd`"]);
        assert_eq!(suggest_and_list("x", ["mdd"]).count(), 1);
        assert_eq!(suggest("zzz", []), None);
    }
}
