//! Which program a stage runs, and with which arguments.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use serde_json::json;

use super::files::DeclaredFiles;
use super::template::{FORMS, Placeholder, Template, TemplateError};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted};
use crate::system;

/// The shell of a line.
const SHELL: &str = "sh";

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct Program {
    form: Form,
    /// Where the program stands in the file.
    span: Span,
}

#[derive(Debug)]
enum Form {
    /// `["python3", "train.py", "{params.lr}"]`.
    Program { name: String, arguments: Vec<(Template, Span)> },
    /// `"python3 train.py {params.lr} | tee log"`.
    Shell(Template, Span),
}

/// Why a text with placeholders cannot be read.
pub(super) fn unread(error: &TemplateError, span: Span) -> Diagnostic {
    match error {
        TemplateError::Unknown(word) => {
            let message = format!("`{{{word}}}` is not a placeholder");
            let mut problem = Diagnostic::at(span, message, "nothing takes its place");
            problem.help.extend(suggest(word, FORMS));
            problem.help(format!("write `{{ {word} }}` for braces that are no placeholder"))
        }
        TemplateError::Quoted(word) => {
            let message =
                format!("`{{{word}}}` stands in quotes or in a comment of the line for the shell");
            Diagnostic::at(span, message, "its value is quoted where it is put in")
                .help(format!("write `{{{word}}}` outside of the quotes"))
        }
    }
}

impl Program {
    /// Reads `command`.
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.must_be("command", || {
            let argument = json!({ "type": "string" });
            json!({
                "anyOf": [
                    { "type": "array", "items": argument, "minItems": 1 },
                    { "type": "string", "minLength": 1 },
                ],
                "description": "a program and its arguments, or a line for `sh`",
            })
        });
        if keys.is_describing() {
            let span = keys.span();
            let form = Form::Program { name: "x".into(), arguments: Vec::new() };
            return Ok(Self { form, span });
        }
        const EXPECTED: &str =
            "a program with its arguments, `[\"python3\", \"train.py\", \"{out}\"]`";
        let Some(node) = keys.node("command") else {
            return Err(keys.missing("command", EXPECTED));
        };
        let form = match &node.value {
            Value::String(line) if !line.trim().is_empty() => {
                let template = Template::shell(line)
                    .map_err(|error| keys.problem(unread(&error, node.span)))?;
                Form::Shell(template, node.span)
            }
            Value::Array(items) if !items.is_empty() => arguments(keys, items)?,
            _ => {
                let message = format!("`command` must be {EXPECTED}, or a line for `sh`");
                let found = format!("found {}", node.shown());
                return Err(keys.problem(Diagnostic::at(node.span, message, found)));
            }
        };
        keys.record("command", node.to_toml());
        let span = match &node.value {
            Value::Array(items) => items[0].span,
            _ => node.span,
        };
        Ok(Self { form, span })
    }

    /// Its texts.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match &self.form {
            Form::Program { arguments, .. } => arguments.iter().map(|(it, _)| it).collect(),
            Form::Shell(line, _) => vec![line],
        }
    }

    /// Where a placeholder is written.
    pub(super) fn place_of(&self, placeholder: &Placeholder) -> Option<Span> {
        let uses = |template: &Template| template.placeholders().any(|it| it == placeholder);
        match &self.form {
            Form::Program { arguments, .. } => {
                arguments.iter().find(|(it, _)| uses(it)).map(|(_, span)| *span)
            }
            Form::Shell(line, span) => uses(line).then_some(*span),
        }
    }

    /// The program for messages.
    pub(super) fn name(&self) -> &str {
        match &self.form {
            Form::Program { name, .. } => name,
            Form::Shell(..) => SHELL,
        }
    }

    /// What runs, for the log: the words up to the first that has a placeholder.
    pub(super) fn shown(&self) -> String {
        match &self.form {
            Form::Program { name, arguments } => {
                let fixed = arguments.iter().map_while(|(it, _)| it.fixed());
                let words = std::iter::once(name.as_str()).chain(fixed);
                // The text of a program that stands in the command itself is no line of a log.
                let words = words.take_while(|it| !it.contains('\n')).map(str::to_owned);
                format!("run {}", system::as_typed(&words.collect::<Vec<_>>()))
            }
            Form::Shell(..) => format!("run {SHELL}"),
        }
    }

    /// What of it is not on this machine. `path` is the declared value of `PATH`.
    pub(super) fn absent(&self, path: Option<&str>, files: &DeclaredFiles) -> Option<Diagnostic> {
        let name = self.name();
        if name.contains('/') && !Path::new(name).is_absolute() {
            let below = Path::new(name).strip_prefix(".").unwrap_or(Path::new(name));
            if files.has(below) {
                return None;
            }
            let message = format!("the program `{name}` is not among `files`");
            let below = below.display();
            let problem =
                Diagnostic::at(self.span, message, "it runs in a folder that has nothing else");
            return Some(problem.help(format!("add it: `files = [\"{below}\"]`")));
        }
        if find(name, path).is_some() {
            return None;
        }
        let message = format!("there is no program `{name}`");
        let label = match name.contains('/') {
            true => "no such file that can be run",
            false => "in no folder of `PATH`",
        };
        let problem = Diagnostic::at(self.span, message, label);
        Some(problem.help("install it, or name one that is there, such as `/bin/sh`"))
    }

    /// The process, which runs in the folder `home`.
    pub(super) fn process(&self, home: &Path, value: impl Fn(&Placeholder) -> String) -> Process {
        match &self.form {
            Form::Program { name, arguments } => {
                let is_below = name.contains('/') && !Path::new(name).is_absolute();
                let program = if is_below { home.join(name) } else { PathBuf::from(name) };
                let mut process = Process::new(program);
                process.args(arguments.iter().map(|(it, _)| it.fill(&value)));
                process
            }
            Form::Shell(line, _) => {
                let mut process = Process::new(SHELL);
                process.args(["-c", &line.fill_quoted(value)]);
                process
            }
        }
    }
}

/// A program and its arguments.
fn arguments(keys: &mut Keys, items: &[Node]) -> Result<Form, Noted> {
    let mut read = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Value::String(text) = &item.value else {
            let message = format!("`command.{at}` must be a text");
            let found = format!("found {}", item.value.type_name());
            let problem = Diagnostic::at(item.span, message, found);
            read.push(Err(keys.problem(problem.help(format!("write `\"{}\"`", item.shown())))));
            continue;
        };
        let template = Template::plain(text);
        read.push(match template {
            Ok(template) => Ok((template, item.span)),
            Err(error) => Err(keys.problem(unread(&error, item.span))),
        });
    }
    let mut read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (program, span) = read.remove(0);
    match program.fixed() {
        Some(name) if !name.is_empty() => {
            Ok(Form::Program { name: name.to_owned(), arguments: read })
        }
        _ => {
            let message = "the program must be named without placeholders";
            let problem = Diagnostic::at(span, message, "the first word of `command`");
            Err(keys.problem(problem.help("write the program first: `[\"python3\", ...]`")))
        }
    }
}

/// Where a program is that a name without a folder, or an absolute path, stands for.
fn find(name: &str, path: Option<&str>) -> Option<PathBuf> {
    let runs = |path: &Path| {
        path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|it| runs(it));
    }
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = path.map_or(inherited.as_os_str(), OsStr::new);
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|it| runs(it))
}
