//! A folder with a pipeline file in which something is wrong, and how advice about it is found in what
//! the program says and followed. Knows nothing of what the advice is about.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::binary::{runner, text};

/// A folder of its own with a pipeline file, `p.toml`.
pub struct Scene {
    folder: TempDir,
    file: String,
}

impl Scene {
    pub fn new(file: impl Into<String>) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), file: file.into() }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the pipeline file. Every `$0` stands for the first of `words`, and so on.
    pub fn edit(&mut self, (from, to): (&str, &str), words: &[String]) {
        let filled = |text: &str| {
            let numbered = words.iter().enumerate().rev();
            let all =
                numbered.fold(text.to_owned(), |all, (at, it)| all.replace(&format!("${at}"), it));
            assert!(!all.contains('$'), "no advice has the words of `{text}`: {words:?}");
            all
        };
        let (from, to) = (filled(from), filled(to));
        self.put((&from, &to));
    }

    /// Changes the pipeline file, in which a `$` stands for itself.
    pub fn put(&mut self, (from, to): (&str, &str)) {
        assert!(self.file.contains(from), "`{from}` is not in {}", self.file);
        self.file = self.file.replacen(from, to, 1);
    }

    /// The exit code, and all that the program says on both streams.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        fs::write(self.root().join("p.toml"), &self.file).unwrap();
        let output = runner(self.root(), arguments);
        let said = text(&output.stderr) + &text(&output.stdout);
        (output.status.code().unwrap_or(-1), said)
    }

    /// Runs the program, which must give `advice`; what that has in backticks.
    pub fn advised(&self, arguments: &[&str], advice: &str) -> Vec<String> {
        let (code, said) = self.run(arguments);
        let found = found(&said, advice)
            .unwrap_or_else(|| panic!("{arguments:?} does not say `{advice}`, but {code}: {said}"));
        code_in(found)
    }

    /// Runs the program, which must do what it is asked to and no longer give `advice`.
    pub fn done(&self, arguments: &[&str], advice: &str) -> String {
        let (code, said) = self.run(arguments);
        let file = &self.file;
        assert_eq!(
            code, 0,
            "`{advice}` was followed, but {arguments:?} fails: {said}\nwith {file}"
        );
        assert_eq!(found(&said, advice), None, "it was followed, but is still said: {said}");
        said
    }

    /// Provokes `advice`, as it is written in the source, and follows it by `edits` of the pipeline file.
    pub fn follow(&mut self, arguments: &[&str], advice: &str, edits: &[(&str, &str)]) {
        let words = self.advised(arguments, advice);
        for edit in edits {
            self.edit(*edit, &words);
        }
        self.done(arguments, advice);
    }
}

/// As [`Scene::follow`], of a file that is `base` with one thing wrong.
pub fn follow(base: &str, wrong: &[(&str, &str)], advice: &str, edits: &[(&str, &str)]) {
    let mut scene = Scene::new(base);
    for edit in wrong {
        scene.edit(*edit, &[]);
    }
    scene.follow(&["check", "p.toml"], advice, edits);
}

/// The place in `said` that says `advice`, which has placeholders in braces. Advice of one line is in one.
pub fn found<'a>(said: &'a str, advice: &str) -> Option<&'a str> {
    let parts = parts(advice);
    let places: Vec<&str> = if advice.contains('\n') { vec![said] } else { said.lines().collect() };
    places.into_iter().find_map(|place| {
        let first = parts.iter().find(|part| !part.is_empty())?;
        let begin = if parts[0].is_empty() { 0 } else { place.find(first.as_str())? };
        let mut end = begin;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            end += place[end..].find(part.as_str())? + part.len();
        }
        let is_open = parts.last().is_some_and(String::is_empty);
        Some(&place[begin..if is_open { place.len() } else { end }])
    })
}

/// The text of a format string between its placeholders.
fn parts(format: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = parts.last_mut().expect("there is one from the beginning");
        match letter {
            '{' | '}' if letters.peek() == Some(&letter) => last.extend(letters.next()),
            '{' => {
                letters.by_ref().take_while(|it| *it != '}').for_each(drop);
                parts.push(String::new());
            }
            _ => last.push(letter),
        }
    }
    parts
}

/// The words of a text between backticks.
pub fn code_in(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn advice_is_found_by_its_text_around_the_placeholders() {
    let said = "error: no\n  = help: write `a = {}` for `b`\nmore";
    assert_eq!(found(said, "write `{}` for `{wrong}`"), Some("write `a = {}` for `b`"));
    assert_eq!(found(said, "write `a = {{}}` for {}"), Some("write `a = {}` for `b`"));
    assert_eq!(found(said, "{} for `b`"), Some("  = help: write `a = {}` for `b`"));
    assert_eq!(found(said, "write `{}` and `{}`"), None);
    assert_eq!(code_in("write `a = {}` for `b`"), ["a = {}", "b"]);
}
