//! The text of a Rust file, its strings apart from its code: enough to find calls and what they are given.

/// Stands in the code where a string is.
const STRING: char = '\u{e000}';

/// A file without comments.
pub struct SourceText {
    /// Each string is one [`STRING`].
    code: String,
    /// What the strings say, in their order.
    pub literals: Vec<String>,
}

/// A part of the code, and how many strings stand before it.
pub struct Part {
    pub code: String,
    strings_before: usize,
}

impl SourceText {
    /// The text of a file without the tests at its end.
    pub fn of_program(text: &str) -> Self {
        let tests = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        Self::new(&text[..tests])
    }

    pub fn new(text: &str) -> Self {
        let mut this = Self { code: String::new(), literals: Vec::new() };
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let raw = rest.strip_prefix('r').map(|it| it.trim_start_matches('#'));
            let is_raw =
                raw.is_some_and(|it| it.starts_with('"')) && !this.code.ends_with(is_of_word);
            rest = if rest.starts_with("//") {
                &rest[rest.find('\n').unwrap_or(rest.len())..]
            } else if is_raw {
                let hashes = rest.len() - 1 - raw.map_or(0, str::len);
                let inside = &rest[hashes + 2..];
                let end =
                    inside.find(&format!("\"{}", "#".repeat(hashes))).expect("a raw string ends");
                this.add(inside[..end].to_owned());
                &inside[end + 1 + hashes..]
            } else if letter == '"' {
                let (literal, rest) = string(&rest[1..]);
                this.add(literal);
                rest
            } else if letter == '\'' {
                let length = character(rest);
                this.code.push('\'');
                &rest[length..]
            } else {
                this.code.push(letter);
                &rest[letter.len_utf8()..]
            };
        }
        this
    }

    fn add(&mut self, literal: String) {
        self.code.push(STRING);
        self.literals.push(literal);
    }

    fn part(&self, range: std::ops::Range<usize>) -> Part {
        let strings_before = self.code[..range.start].matches(STRING).count();
        Part { code: self.code[range].to_owned(), strings_before }
    }

    /// What stands in the brackets of every `call`, which ends with the opening one.
    pub fn arguments(&self, call: &str) -> Vec<Part> {
        let places = self.code.match_indices(call).map(|(at, _)| at + call.len());
        places.map(|at| self.part(at..at + closing(&self.code[at..]))).collect()
    }

    /// What stands in the braces of every function whose head begins with `head`.
    pub fn bodies(&self, head: &str) -> Vec<Part> {
        let body = |(at, _)| {
            let begin = at + self.code[at..].find('{')? + 1;
            Some(self.part(begin..begin + closing(&self.code[begin..])))
        };
        self.code.match_indices(head).filter_map(body).collect()
    }

    /// The text that `part` is or is formatted by.
    pub fn literal_at_start(&self, part: &Part) -> Option<&str> {
        let code = part.code.trim_start();
        let code = code.strip_prefix("format!(").unwrap_or(code).trim_start();
        code.starts_with(STRING).then(|| self.literals[part.strings_before].as_str())
    }

    /// The strings of `part` that are more than a word.
    pub fn sentences(&self, part: &Part) -> Vec<String> {
        let count = part.code.matches(STRING).count();
        let all = &self.literals[part.strings_before..part.strings_before + count];
        all.iter().filter(|it| it.trim().contains(' ')).cloned().collect()
    }

    /// The sentences in a variable called `name`.
    pub fn sentences_of_variable(&self, name: &str) -> Vec<String> {
        self.sentences_after(&[format!("let {name} ="), format!("let {name}:")], Vec::new())
    }

    /// The sentences in a constant or a function called `name`.
    pub fn sentences_of(&self, name: &str) -> Vec<String> {
        self.sentences_after(&[format!("const {name}:")], self.bodies(&format!("fn {name}(")))
    }

    fn sentences_after(&self, heads: &[String], mut parts: Vec<Part>) -> Vec<String> {
        for head in heads {
            parts.extend(self.code.match_indices(head).map(|(at, _)| {
                let begin = at + head.len();
                self.part(begin..begin + end(&self.code[begin..], ';'))
            }));
        }
        parts.iter().flat_map(|part| self.sentences(part)).collect()
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// What a string says, and what comes after it.
fn string(text: &str) -> (String, &str) {
    let mut literal = String::new();
    let mut rest = text;
    loop {
        let letter = rest.chars().next().expect("a string ends");
        rest = &rest[letter.len_utf8()..];
        match letter {
            '"' => return (literal, rest),
            '\\' => {
                let escaped = rest.chars().next().expect("a string ends");
                rest = &rest[escaped.len_utf8()..];
                match escaped {
                    '\n' => rest = rest.trim_start(),
                    'n' => literal.push('\n'),
                    't' => literal.push('\t'),
                    other => literal.push(other),
                }
            }
            other => literal.push(other),
        }
    }
}

/// How long the character at the start of `text` is, or 1 for the mark of a lifetime.
fn character(text: &str) -> usize {
    let inside = &text[1..];
    let escaped = inside.starts_with('\\');
    let mut letters = inside.char_indices().skip(if escaped { 2 } else { 1 });
    match letters.find(|(_, letter)| *letter == '\'' || !escaped) {
        Some((at, '\'')) => at + 2,
        _ => 1,
    }
}

/// Where the bracket closes that is open before `code`.
fn closing(code: &str) -> usize {
    end(code, ')')
}

/// Where `code` leaves the brackets that it is in, or comes to `last` outside all that it opens itself.
fn end(code: &str, last: char) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            other if other == last && depth == 0 => return at,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn strings_comments_and_characters_are_told_apart() {
    let text = SourceText::new(
        "// .help(\"no\")\nerror.help(format!(\n  \"a \\\"b\\\" \\\n   c {x}\", '\"')).help(r#\"raw \"it\"\"#).help(NAME);\n\
         const NAME: &'static str = \"by name\";",
    );
    assert_eq!(text.literals, ["a \"b\" c {x}", "raw \"it\"", "by name"]);
    let given = text.arguments(".help(");
    assert_eq!(given.len(), 3);
    assert_eq!(text.literal_at_start(&given[0]), Some("a \"b\" c {x}"));
    assert_eq!(text.literal_at_start(&given[1]), Some("raw \"it\""));
    assert_eq!(text.literal_at_start(&given[2]), None);
    assert_eq!(text.sentences_of("NAME"), ["by name"]);
}
