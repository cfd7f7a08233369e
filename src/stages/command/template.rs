//! Texts with placeholders: `{input.source}`, `{params.lr}`. What looks like a placeholder and is none is told apart from
//! other braces, so that a misspelled one is never handed to a program as it stands.

use std::borrow::Cow;

/// A text in which placeholders stand for what is known when the program is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// What stands in braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// `{input}`: the folder in which every input has a folder of its name.
    Inputs,
    /// `{input.NAME}`: the folder of an input.
    Input(String),
    /// `{out}`: the folder for what the program makes.
    Out,
    /// `{state}`: the folder that outlives a program that was killed.
    State,
    /// `{params.NAME}`: a parameter.
    Param(String),
    /// `{seed}`.
    Seed,
    /// `{threads}`: how many threads the program may use.
    Threads,
    /// `{device}`: the device of the pipeline.
    Device,
}

/// Every form of placeholder, for messages.
pub(super) const FORMS: [&str; 8] =
    ["input", "input.NAME", "out", "state", "params.NAME", "seed", "threads", "device"];

/// Why a text is none with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// In braces stands what is no placeholder: `{params.lr` without its dot, `{lr}`.
    Unknown(String),
    /// In a line for a shell a placeholder stands in quotes or after a backslash.
    Quoted(String),
}

impl Placeholder {
    fn read(word: &str) -> Option<Self> {
        Some(match word.split_once('.') {
            None => match word {
                "input" => Self::Inputs,
                "out" => Self::Out,
                "state" => Self::State,
                "seed" => Self::Seed,
                "threads" => Self::Threads,
                "device" => Self::Device,
                _ => return None,
            },
            Some(("input", name)) => Self::Input(name.to_owned()),
            Some(("params", name)) => Self::Param(name.to_owned()),
            Some(_) => return None,
        })
    }
}

impl Template {
    /// Reads a text of its own, which no shell looks at.
    pub(super) fn plain(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, |_| false)
    }

    /// Reads a line for a shell, in which the values of placeholders will be quoted.
    pub(super) fn shell(text: &str) -> Result<Self, TemplateError> {
        Self::read(text, is_quoted)
    }

    fn read(text: &str, is_quoted: impl Fn(&str) -> bool) -> Result<Self, TemplateError> {
        let (mut pieces, mut plain, mut at) = (Vec::new(), String::new(), 0);
        while let Some(open) = text[at..].find('{').map(|found| at + found) {
            plain.push_str(&text[at..open]);
            let Some(word) = word_in_braces(text, open) else {
                plain.push('{');
                at = open + 1;
                continue;
            };
            let found =
                Placeholder::read(word).ok_or_else(|| TemplateError::Unknown(word.into()))?;
            if is_quoted(&text[..open]) {
                return Err(TemplateError::Quoted(word.into()));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Placeholder(found));
            at = open + word.len() + 2;
        }
        plain.push_str(&text[at..]);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// What stands in braces, in order.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(found) => Some(found),
            Piece::Text(_) => None,
        })
    }

    /// The text where it has no placeholders.
    pub(super) fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text with the values of its placeholders.
    pub(super) fn fill(&self, value: impl Fn(&Placeholder) -> String) -> String {
        self.filled(|it| value(it))
    }

    /// The line for a shell with the values of its placeholders, each one word of it whatever is in it.
    pub(super) fn fill_quoted(&self, value: impl Fn(&Placeholder) -> String) -> String {
        self.filled(|it| crate::system::as_typed(&[value(it)]))
    }

    fn filled(&self, value: impl Fn(&Placeholder) -> String) -> String {
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Cow::Borrowed(text.as_str()),
            Piece::Placeholder(found) => Cow::Owned(value(found)),
        });
        texts.collect()
    }
}

/// The word in the braces that open at `open`, if that is one: `{ print $1 }` of awk, `{"a": 1}` of JSON and `${HOME}` of a
/// shell are other braces.
fn word_in_braces(text: &str, open: usize) -> Option<&str> {
    if text[..open].ends_with('$') {
        return None;
    }
    let (word, _) = text[open + 1..].split_once('}')?;
    let fits = |it: char| it.is_ascii_alphanumeric() || "._-".contains(it);
    let begins = word.chars().next()?.is_ascii_lowercase();
    (begins && word.chars().all(fits)).then_some(word)
}

/// Whether what comes after `before`, in a line for a shell, stands in quotes, after a backslash, or in a comment.
fn is_quoted(before: &str) -> bool {
    let (mut quote, mut is_escaped, mut last) = (None, false, '\n');
    for letter in before.chars() {
        match (quote, letter) {
            _ if is_escaped => is_escaped = false,
            (None | Some('"'), '\\') => is_escaped = true,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '#') if last.is_whitespace() => quote = Some('\n'),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        last = letter;
    }
    is_escaped || quote.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(placeholder: &Placeholder) -> String {
        match placeholder {
            Placeholder::Input(name) => format!("/in put/{name}"),
            Placeholder::Param(name) => format!("it's {name}"),
            Placeholder::Out => "/out".into(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let fill = |text: &str| Template::plain(text).unwrap().fill(value);
        assert_eq!(fill("--lr={params.lr}"), "--lr=it's lr");
        assert_eq!(fill("{input.a}/x{out}"), "/in put/a/x/out");
        for same in ["{ print $1 }", "{\"a\": 1}", "${out}", "{}", "{A}", "a{1,2}", "{", "x}"] {
            assert_eq!(fill(same), same);
        }
        assert_eq!(Template::plain("x").unwrap().fixed(), Some("x"));
        assert_eq!(Template::plain("{out}").unwrap().fixed(), None);
    }

    #[test]
    fn what_looks_like_a_placeholder_and_is_none_is_an_error() {
        for wrong in ["lr", "inputs.a", "param.lr", "print", "out.x", "seed.a"] {
            let error = Template::plain(&format!("a {{{wrong}}} b")).unwrap_err();
            assert_eq!(error, TemplateError::Unknown(wrong.into()));
        }
    }

    #[test]
    fn values_in_a_line_for_a_shell_are_one_word_and_stand_in_no_quotes() {
        let fill = |text: &str| Template::shell(text).map(|it| it.fill_quoted(value));
        assert_eq!(fill("a {input.x} > {out}/b").unwrap(), "a '/in put/x' > /out/b");
        assert_eq!(fill("a 'b c' {params.x}").unwrap(), r"a 'b c' 'it'\''s x'");
        assert_eq!(fill("a # it's a comment\nb {out}").unwrap(), "a # it's a comment\nb /out");
        assert_eq!(fill("a \\' {out}").unwrap(), "a \\' /out");
        for wrong in ["'{out}'", "\"{out}\"", "\"a\\\" {out}", "\\{out}", "# {out}"] {
            assert_eq!(fill(wrong), Err(TemplateError::Quoted("out".into())), "{wrong}");
        }
    }

    /// A shell takes each value for what it is, whatever signs it has.
    #[cfg(unix)]
    #[test]
    fn no_value_is_a_command_to_a_shell() {
        let odd = "$(touch x) `touch x` \"; touch x; ' \n * \\";
        let line = Template::shell("printf %s {params.x}").unwrap().fill_quoted(|_| odd.into());
        let folder = tempfile::tempdir().unwrap();
        let said = std::process::Command::new("sh")
            .args(["-c", &line])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), odd);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
