//! Which file of a crate names what of which other file, read from the text of the sources.
//!
//! Names are followed through `use` and `pub use` to the file that defines them. Code that is only compiled for
//! tests does not count, and neither does a folder's `mod.rs` that names what is in its own folder: that is how
//! registries and faces are written. Methods are not followed: they come with a type that was named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// One file names something that another defines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    /// Path below `src`.
    pub from: String,
    /// Path below `src`.
    pub to: String,
    names: BTreeSet<String>,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        write!(f, "src/{} -> src/{}: {}", self.from, self.to, names.join(", "))
    }
}

/// The files of a crate and the arrows between them.
pub struct House {
    pub files: Vec<String>,
    pub arrows: Vec<Arrow>,
}

type Module = Vec<String>;

/// A file's module as far as its names matter.
#[derive(Default)]
struct Room {
    file: String,
    defined: BTreeSet<String>,
    /// What `use` brings in: the local name and the path as written.
    imported: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Every path in the code besides `pub use`.
    paths: Vec<Vec<String>>,
    /// Modules that only tests have.
    of_tests: BTreeSet<String>,
}

impl House {
    /// The house below the folder `root`.
    pub fn read(root: &Path) -> Self {
        let mut texts = Vec::new();
        collect(root, root, &mut texts);
        Self::of(texts.iter().map(|(file, text)| (file.as_str(), text.as_str())))
    }

    /// The house of these files, each with its path below `src` and its text.
    pub fn of<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut rooms: BTreeMap<Module, Room> = texts
            .into_iter()
            .map(|(file, text)| (module_of(file), Room::read(file, text)))
            .collect();
        let of_tests: Vec<Module> = rooms
            .iter()
            .flat_map(|(module, room)| {
                room.of_tests
                    .iter()
                    .map(move |name| [module.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        rooms.retain(|module, _| !of_tests.iter().any(|test| module.starts_with(test)));
        let mut arrows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
        for (module, room) in &rooms {
            for path in &room.paths {
                let Some((to, name)) = resolve(&rooms, module, path, 0) else { continue };
                let face = room.file.ends_with("mod.rs") && to.starts_with(module);
                if to == *module || face || module.is_empty() {
                    continue;
                }
                let key = (room.file.clone(), rooms[&to].file.clone());
                arrows.entry(key).or_default().insert(name);
            }
        }
        let files = rooms.into_values().map(|room| room.file).collect();
        let arrows =
            arrows.into_iter().map(|((from, to), names)| Arrow { from, to, names }).collect();
        Self { files, arrows }
    }
}

fn collect(root: &Path, folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("the folder of the sources can be read") {
        let path = entry.expect("a file of the sources").path();
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let name =
                path.strip_prefix(root).expect("below the root").to_str().expect("an ASCII name");
            texts.push((
                name.to_owned(),
                fs::read_to_string(&path).expect("a source that can be read"),
            ));
        }
    }
}

/// The module of a file below `src`; the crate itself is the empty path.
fn module_of(file: &str) -> Module {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|it| it == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// The module that defines what `path` names in `module`, and the name.
fn resolve(
    rooms: &BTreeMap<Module, Room>,
    module: &[String],
    path: &[String],
    depth: usize,
) -> Option<(Module, String)> {
    // Two modules that import a name from each other would never end.
    if depth > 16 {
        return None;
    }
    let (mut at, rest): (Module, &[String]) = match path.first()?.as_str() {
        "crate" | "runner" => (Vec::new(), &path[1..]),
        "self" => (module.to_vec(), &path[1..]),
        "super" => (module.split_last()?.1.to_vec(), &path[1..]),
        first => {
            let mut child = module.to_vec();
            child.push(first.to_owned());
            if rooms.contains_key(&child) {
                (child, &path[1..])
            } else {
                let import = rooms.get(module)?.imported.get(first)?;
                let whole: Vec<String> = import.iter().chain(&path[1..]).cloned().collect();
                return (import.first().map(String::as_str) != Some(first))
                    .then(|| resolve(rooms, module, &whole, depth + 1))
                    .flatten();
            }
        }
    };
    let mut rest = rest.iter();
    while let Some(name) = rest.next() {
        if name == "super" {
            at.pop()?;
            continue;
        }
        let mut child = at.clone();
        child.push(name.clone());
        if rooms.contains_key(&child) {
            at = child;
            continue;
        }
        let room = rooms.get(&at)?;
        if room.defined.contains(name) {
            return Some((at, name.clone()));
        }
        let tail: Vec<String> = rest.cloned().collect();
        if let Some(import) = room.imported.get(name) {
            let whole: Vec<String> = import.iter().chain(&tail).cloned().collect();
            return resolve(rooms, &at, &whole, depth + 1);
        }
        let through = |glob: &Vec<String>| {
            let whole: Vec<String> = glob.iter().chain([name]).chain(&tail).cloned().collect();
            resolve(rooms, &at, &whole, depth + 1)
        };
        return room.globs.iter().find_map(through);
    }
    // The module itself was named, nothing of it.
    None
}

impl Room {
    fn read(file: &str, text: &str) -> Self {
        let tokens = tokens(text);
        let mut room = Self { file: file.to_owned(), ..Self::default() };
        let mut depth = 0;
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            let word = |offset: usize| tokens.get(at + offset).map_or("", String::as_str);
            if token == "#"
                && tokens[at..]
                    .iter()
                    .take(7)
                    .map(String::as_str)
                    .eq(["#", "[", "cfg", "(", "test", ")", "]"])
            {
                let end = item_end(&tokens, at + 7);
                let declared =
                    tokens[at + 7..end].iter().position(|it| it == "mod").map(|it| at + 7 + it);
                if let Some(declared) =
                    declared.filter(|it| tokens.get(it + 2).is_some_and(|it| it == ";"))
                {
                    room.of_tests.insert(tokens[declared + 1].clone());
                }
                at = end;
                continue;
            }
            match token {
                "{" => depth += 1,
                "}" => depth -= 1,
                "use" => {
                    let end = tokens[at..]
                        .iter()
                        .position(|it| it == ";")
                        .map_or(tokens.len(), |it| at + it);
                    let public = is_public(&tokens[..at]);
                    room.import(&tokens[at + 1..end], public);
                    at = end;
                }
                "struct" | "enum" | "trait" | "type" | "fn" | "const" | "static" | "union"
                    if depth == 0 =>
                {
                    room.defined.insert(word(1).to_owned());
                }
                "macro_rules" if depth == 0 => {
                    room.defined.insert(word(2).to_owned());
                }
                _ if is_name(token) && word(1) == "::" && (at == 0 || tokens[at - 1] != "::") => {
                    let mut path = vec![token.to_owned()];
                    while tokens.get(at + 1).is_some_and(|it| it == "::")
                        && tokens.get(at + 2).is_some_and(|it| is_name(it))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    room.paths.push(path);
                }
                _ => {}
            }
            at += 1;
        }
        room
    }

    /// `a::{b as c, d::*}` taken apart.
    fn import(&mut self, tokens: &[String], public: bool) {
        fn tree(
            tokens: &[String],
            at: &mut usize,
            before: &[String],
            found: &mut Vec<(Vec<String>, Option<String>)>,
        ) {
            let mut path = before.to_vec();
            while let Some(token) = tokens.get(*at) {
                *at += 1;
                match token.as_str() {
                    "::" => {}
                    "{" => {
                        while tokens.get(*at).is_some_and(|it| it != "}") {
                            tree(tokens, at, &path, found);
                            if tokens.get(*at).is_some_and(|it| it == ",") {
                                *at += 1;
                            }
                        }
                        *at += 1;
                        return;
                    }
                    "as" => {
                        found.push((path, tokens.get(*at).cloned()));
                        *at += 1;
                        return;
                    }
                    "," | "}" => {
                        *at -= 1;
                        break;
                    }
                    name => path.push(name.to_owned()),
                }
            }
            let alias = path.last().cloned();
            found.push((path, alias));
        }
        let mut found = Vec::new();
        tree(tokens, &mut 0, &[], &mut found);
        for (mut path, mut alias) in found {
            if path.last().is_some_and(|it| it == "self") {
                path.pop();
                alias = alias.filter(|it| it != "self").or_else(|| path.last().cloned());
            }
            if path.last().is_some_and(|it| it == "*") {
                path.pop();
                self.globs.push(path);
                continue;
            }
            if !public {
                self.paths.push(path.clone());
            }
            self.imported.extend(alias.map(|it| (it, path)));
        }
    }
}

/// Whether the item that begins after these tokens has a `pub`.
fn is_public(before: &[String]) -> bool {
    match before.last().map(String::as_str) {
        Some("pub") => true,
        Some(")") => before.iter().rev().take(6).any(|it| it == "pub"),
        _ => false,
    }
}

/// Where the item that begins at `at` ends: after its `;` or its braces.
fn item_end(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|it: char| it.is_alphabetic() || it == '_')
}

/// Names and signs, without comments, texts, characters and numbers.
fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let is = |at: usize, c: char| text.get(at) == Some(&c);
    while at < text.len() {
        let c = text[at];
        if c == '/' && is(at + 1, '/') {
            while at < text.len() && text[at] != '\n' {
                at += 1;
            }
        } else if c == '/' && is(at + 1, '*') {
            at += 2;
            while at < text.len() && !(text[at] == '*' && is(at + 1, '/')) {
                at += 1;
            }
            at += 2;
        } else if c == '"' {
            at += 1;
            while at < text.len() && text[at] != '"' {
                at += if text[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A lifetime has no quote after its name.
            if is(at + 1, '\\') || is(at + 2, '\'') {
                at += if is(at + 1, '\\') { 3 } else { 2 };
                while at < text.len() && text[at] != '\'' {
                    at += 1;
                }
            }
            at += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let from = at;
            while at < text.len() && (text[at].is_alphanumeric() || text[at] == '_') {
                at += 1;
            }
            let word: String = text[from..at].iter().collect();
            let hashes = text[at..].iter().take_while(|it| **it == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && is(at + hashes, '"') {
                let end: Vec<char> = [vec!['"'], vec!['#'; hashes]].concat();
                at += hashes + 1;
                while at < text.len() && !text[at..].starts_with(&end) {
                    at += 1;
                }
                at += end.len();
            } else if is_name(&word) {
                tokens.push(word);
            }
        } else if c == ':' && is(at + 1, ':') {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}
