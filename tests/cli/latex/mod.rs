//! A strict reader of the LaTeX that tables are written in: everything that it does not know, and
//! everything that TeX would stumble over, is an error.

/// Commands that need no package but booktabs.
const COMMANDS: &[&str] = &[
    "begin",
    "end",
    "toprule",
    "midrule",
    "bottomrule",
    "textbf",
    "emph",
    "pm",
    "Delta",
    "lambda",
    "times",
    "textbackslash",
    "textasciitilde",
    "textasciicircum",
    "textless",
    "textgreater",
    "textbar",
    "smallskip",
    "footnotesize",
    "raggedright",
    "noindent",
    "par",
    "cite",
];

/// The number of columns and of rows of each tabular.
pub fn tabulars(text: &str) -> Result<Vec<(usize, usize)>, String> {
    let mut reader = Reader { rest: text, depth: 0, math: false };
    let mut found = Vec::new();
    let mut open: Option<Open> = None;
    while let Some(token) = reader.next()? {
        match (token, &mut open) {
            (Token::Begin(name), None) if name == "tabular" => {
                let spec = reader.group()?;
                if !spec.chars().all(|letter| "lcr".contains(letter)) {
                    return Err(format!("columns `{spec}`"));
                }
                open = Some(Open { columns: spec.len(), cells: 1, rows: 0, depth: reader.depth });
            }
            (Token::End(name), Some(table)) if name == "tabular" => {
                if table.cells != 1 || table.depth != reader.depth {
                    return Err("a row is not ended".into());
                }
                found.push((table.columns, table.rows));
                open = None;
            }
            (Token::Begin(name) | Token::End(name), _) => return Err(format!("`{name}` here")),
            (Token::And, Some(table)) if table.depth == reader.depth => table.cells += 1,
            (Token::Row, Some(table)) if table.depth == reader.depth => {
                if table.cells != table.columns {
                    return Err(format!("{} cells in {} columns", table.cells, table.columns));
                }
                (table.cells, table.rows) = (1, table.rows + 1);
                let next = reader.rest.trim_start();
                if next.starts_with('[') || next.starts_with('*') {
                    return Err("the next cell would be an argument of `\\\\`".into());
                }
            }
            (Token::And | Token::Row, _) => return Err("`&` or `\\\\` outside of a table".into()),
            (Token::Rule, Some(table)) if table.cells == 1 => {}
            (Token::Rule, _) => return Err("a rule within a row".into()),
            (Token::Other, _) => {}
        }
        if reader.math && reader.rest.starts_with("\n\n") {
            return Err("a paragraph ends in mathematics".into());
        }
    }
    if reader.depth != 0 || reader.math || open.is_some() {
        return Err("something is not closed".into());
    }
    Ok(found)
}

struct Open {
    columns: usize,
    cells: usize,
    rows: usize,
    depth: usize,
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
    math: bool,
}

enum Token {
    Begin(String),
    End(String),
    And,
    Row,
    Rule,
    Other,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Option<Token>, String> {
        let Some(letter) = self.rest.chars().next() else { return Ok(None) };
        self.rest = &self.rest[letter.len_utf8()..];
        match letter {
            '%' => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            }
            '{' => self.depth += 1,
            '}' => self.depth = self.depth.checked_sub(1).ok_or("a brace too many")?,
            '$' => self.math = !self.math,
            '&' => return Ok(Some(Token::And)),
            '^' if self.math => {}
            '#' | '_' | '^' | '~' | '"' | '<' | '>' | '|' => {
                return Err(format!("`{letter}` before {:?}", self.head()));
            }
            '-' if self.rest.starts_with("--") => return Err("three hyphens".into()),
            '\\' => return self.command().map(Some),
            letter if letter.is_control() && letter != '\n' => return Err(format!("{letter:?}")),
            _ => {}
        }
        Ok(Some(Token::Other))
    }

    fn command(&mut self) -> Result<Token, String> {
        let letters = self.rest.find(|it: char| !it.is_ascii_alphabetic());
        let name: String = self.rest[..letters.unwrap_or(self.rest.len())].to_owned();
        if name.is_empty() {
            let sign = self.rest.chars().next().ok_or("a backslash at the end")?;
            self.rest = &self.rest[sign.len_utf8()..];
            return match sign {
                '\\' => Ok(Token::Row),
                '&' | '%' | '$' | '#' | '_' | '{' | '}' => Ok(Token::Other),
                other => Err(format!("`\\{other}`")),
            };
        }
        self.rest = &self.rest[name.len()..];
        if !COMMANDS.contains(&name.as_str()) {
            return Err(format!("`\\{name}`"));
        }
        if ["pm", "Delta", "lambda", "times"].contains(&name.as_str()) && !self.math {
            return Err(format!("`\\{name}` outside of mathematics"));
        }
        Ok(match name.as_str() {
            "begin" => Token::Begin(self.group()?),
            "end" => Token::End(self.group()?),
            "toprule" | "midrule" | "bottomrule" => Token::Rule,
            _ => Token::Other,
        })
    }

    fn group(&mut self) -> Result<String, String> {
        let inner = self.rest.strip_prefix('{').ok_or("no argument")?;
        let (group, rest) = inner.split_once('}').ok_or("an argument is not closed")?;
        self.rest = rest;
        Ok(group.to_owned())
    }

    fn head(&self) -> String {
        self.rest.chars().take(20).collect()
    }
}
