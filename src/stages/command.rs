//! `command`: runs a program of the user's own, such as a PyTorch script, as a stage like any other.
//!
//! The program runs in a private folder that holds copies of the files that it declares and nothing else, finds its inputs
//! as folders in open formats, and writes what it makes to a folder of its own. All three are a part of what is thrown
//! away unless the program ends well and everything that it declared is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::Duration;

use super::{
    Context, Defaults, Described, Failure, Halt, Kind, Measures, Outcome, Problem, Product, Stage,
};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted, Reference, Wants, words};
use crate::data::DataError;
use crate::data::outside::{Files, Known};
use crate::progress::Unit;

mod files;
mod handed;
mod output;
mod process;
mod program;
mod taken;
mod template;

use files::DeclaredFiles;
use output::{NamedInput, Output, no_input};
use process::{Ended, Patience};
use program::Program;
use template::{Placeholder, Template};

/// The kind of stages that run programs of the user's.
pub const PROGRAMS: &str = "command";

pub(super) const KIND: Kind = Kind {
    name: PROGRAMS,
    about: "run a program of your own, such as a PyTorch script",
    measures: Measures::Nothing,
    parse,
};

words! {
    /// Whose labels the program sees.
    enum Labels {
        /// Those of every input but the target.
        Source = "source",
        /// Those of the target, too.
        Target = "target",
    }
}

/// How long a program that is asked to stop has until it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Variables of this process that a program gets without asking: where programs and the user's own files are, and the
/// language.
const ALWAYS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// Variables by which libraries of mathematics are told how many threads they may use.
const THREADS: [&str; 4] =
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"];

#[derive(Debug)]
struct Command {
    program: Program,
    files: DeclaredFiles,
    /// As a program reads them.
    params: Vec<(String, String)>,
    inputs: Vec<NamedReference>,
    output: Output,
    environment: Vec<(String, Template)>,
    pass_environment: Vec<String>,
    labels: Labels,
    seed: u64,
    threads: Option<usize>,
    time_limit: Option<Duration>,
}

/// An input and its name.
#[derive(Debug)]
struct NamedReference {
    name: String,
    reference: Reference,
}

impl NamedReference {
    /// Whether its labels are those of a target: it is called so.
    fn is_target(&self) -> bool {
        self.name == "target" || self.name.starts_with("target_")
    }
}

/// Whether an input holds what was made with labels, whatever it is called.
fn is_of_scores(product: Option<&Product>) -> bool {
    matches!(product, Some(Product::Scores | Product::Pictures))
}

fn named(inputs: &[NamedReference]) -> Vec<NamedInput<'_>> {
    let mut all = Vec::new();
    for NamedReference { name, reference } in inputs {
        all.push((name.as_str(), reference.stage.as_str(), reference.split.as_deref()));
    }
    all
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("command", "the program and its arguments; a string is a line for `sh`"),
        ("files", "files and folders that the program reads, below the folder of the pipeline file"),
        ("params", "parameters of your own, for `{params.NAME}`"),
        ("inputs", "stages whose results the program reads, by a name for each: `{input.NAME}`"),
        ("output", "what the program makes"),
        ("environment", "variables of the program's environment"),
        (
            "pass_environment",
            "names of variables that the program gets as they are here; their values are no part of the fingerprint",
        ),
        ("labels", "whether the program also sees the labels of inputs that are called `target`"),
        ("threads", "threads that the program may use, whatever else runs; those that are free when left out"),
        ("time_limit", "seconds after which the program is stopped; no part of the fingerprint"),
        ("version", "text of your own that is a part of the fingerprint, such as the version of a library"),
    ]);
    let program = Program::read(keys);
    let files = DeclaredFiles::read(keys);
    let params = keys.words("params", param);
    let inputs = keys.words("inputs", |keys, name, node| {
        let reference = keys.reference_at(name.to_owned(), node, Wants::Artifact)?;
        keys.record(name, reference.text());
        Ok(reference)
    });
    let inputs = inputs.map(|all| {
        let named = |(name, reference)| NamedReference { name, reference };
        all.into_iter().map(named).collect::<Vec<_>>()
    });
    let output = match &inputs {
        Ok(inputs) => Output::read(keys, &named(inputs)),
        // What names an input cannot be checked.
        Err(noted) => {
            keys.node("output");
            Err(*noted)
        }
    };
    let environment = read_environment(keys);
    let pass_environment = keys
        .strings("pass_environment")
        .such_that("names of variables", |names| names.iter().all(|it| is_variable(it)))
        .or(Vec::new());
    let labels = keys.choice("labels").or(Labels::Source);
    let threads = keys.count("threads", 1..=4096).optional();
    let time_limit = keys
        .float("time_limit")
        .such_that("a number of seconds, above 0 and at most 31536000", |it| {
            *it > 0.0 && *it <= 31_536_000.0
        })
        .optional();
    let version = keys.string("version").optional();
    let templates: Vec<&Template> = (program.iter().flat_map(Program::templates))
        .chain(environment.iter().flatten().map(|(_, it)| it))
        .collect();
    let draws = keys.is_describing()
        || templates.iter().any(|it| it.placeholders().any(|it| *it == Placeholder::Seed));
    let seed = defaults.seed_if(keys, draws);
    let (params, inputs) = (params?, inputs?);
    let used: Vec<Placeholder> =
        templates.iter().flat_map(|it| it.placeholders()).cloned().collect();
    version?;
    let command = Command {
        program: program?,
        files: files?,
        params,
        inputs,
        output: output?,
        environment: environment?,
        pass_environment: pass_environment?,
        labels: labels?,
        seed: seed?,
        threads: threads?,
        time_limit: time_limit?.map(Duration::from_secs_f64),
    };
    keys.no_problems(command.contradictions(keys, &used))?;
    Ok(Box::new(command))
}

/// A parameter, as text.
fn param(keys: &mut Keys, name: &str, node: &Node) -> Result<String, Noted> {
    let text = match &node.value {
        Value::String(text) | Value::Datetime(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        // The shortest text that is read as the same number; 1.0 stays a number with a fraction.
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(flag) => flag.to_string(),
        other @ (Value::Array(_) | Value::Table(_)) => {
            let message = format!("`params.{name}` must be a text, a number, `true` or `false`");
            let found = format!("found {}", other.type_name());
            return Err(keys.problem(Diagnostic::at(node.span, message, found)));
        }
    };
    keys.record(name, node.to_toml());
    Ok(text)
}

fn is_variable(name: &str) -> bool {
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '_';
    name.chars().all(fits) && name.starts_with(|it: char| !it.is_ascii_digit())
}

fn read_environment(keys: &mut Keys) -> Result<Vec<(String, Template)>, Noted> {
    keys.words("environment", |keys, name, node| {
        let Value::String(text) = &node.value else {
            let message = format!("`environment.{name}` must be a text");
            let found = format!("found {}", node.value.type_name());
            return Err(keys.problem(Diagnostic::at(node.span, message, found)));
        };
        if !is_variable(name) && !keys.is_describing() {
            let message = format!("`{name}` is not a name for a variable");
            let label = "expected letters, digits and `_`, and no digit first";
            return Err(keys.problem(Diagnostic::at(node.span, message, label)));
        }
        let template = Template::plain(text)
            .map_err(|error| keys.problem(program::unread(&error, node.span)))?;
        keys.record(name, text.clone());
        Ok(template)
    })
}

impl Command {
    /// Settings that do not go together: placeholders of what is not there, and what no placeholder stands for.
    fn contradictions(&self, keys: &Keys, used: &[Placeholder]) -> Vec<Diagnostic> {
        if keys.is_describing() {
            return Vec::new();
        }
        let mut problems = Vec::new();
        let place = |path: &str| {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            keys.peek(first).map_or(keys.span(), |node| node.nearest(rest).span)
        };
        let inputs = named(&self.inputs);
        for placeholder in used {
            let where_used = || self.place_of(placeholder, keys);
            match placeholder {
                Placeholder::Input(name) if !inputs.iter().any(|(known, ..)| known == name) => {
                    problems.push(no_input(name, &inputs, where_used()));
                }
                Placeholder::Param(name) if !self.params.iter().any(|(known, _)| known == name) => {
                    problems.push(self.no_param(name, where_used()));
                }
                _ => {}
            }
        }
        for (name, _) in &self.params {
            if !used.contains(&Placeholder::Param(name.clone())) {
                let message = format!("`params.{name}` is used nowhere");
                let label = "the program never gets it";
                problems.push(
                    Diagnostic::at(place(&format!("params.{name}")), message, label).help(format!(
                        "write `{{params.{name}}}` in `command` or `environment`, or leave it out"
                    )),
                );
            }
        }
        for input in &self.inputs {
            let name = &input.name;
            let is_named = used.contains(&Placeholder::Input(name.clone()))
                || used.contains(&Placeholder::Inputs)
                || self.output.inputs().any(|it| it == name);
            if !is_named {
                let message = format!("the input `{name}` is used nowhere");
                let label = "the program does not know where it is";
                problems.push(Diagnostic::at(input.reference.span, message, label).help(format!(
                    "write `{{input.{name}}}` in `command` or `environment`, or leave it out"
                )));
            }
        }
        if !used.contains(&Placeholder::Out) {
            let message = "the program does not know where to write what it makes";
            problems.push(
                Diagnostic::at(place("command"), message, "`{out}` is missing")
                    .help("hand it the folder as an argument: `\"--out\", \"{out}\"`"),
            );
        }
        problems
    }

    /// Where a placeholder is written.
    fn place_of(&self, placeholder: &Placeholder, keys: &Keys) -> Span {
        let in_program = self.program.place_of(placeholder);
        let in_environment = || {
            let uses = |it: &&(String, Template)| it.1.placeholders().any(|it| it == placeholder);
            let (name, _) = self.environment.iter().find(uses)?;
            Some(keys.peek("environment")?.nearest(name).span)
        };
        in_program.or_else(in_environment).unwrap_or(keys.span())
    }

    fn no_param(&self, name: &str, span: Span) -> Diagnostic {
        let message = format!("there is no parameter `{name}`");
        let mut problem = Diagnostic::at(span, message, "names it");
        let known = self.params.iter().map(|(known, _)| known.as_str());
        problem.help.extend(suggest(name, known));
        problem.help(format!("or give it a value: `{name} = ...` in `params`"))
    }

    /// Whether the labels of an input are kept from the program.
    fn hides(&self, input: &NamedReference) -> bool {
        input.is_target() && self.labels == Labels::Source
    }
}

impl Stage for Command {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    /// What a program is handed and how its output is read; the program itself is among the settings. An input of which a
    /// split is named is a data set; any other one may be a model, with which fewer files are handed over than before.
    fn revision(&self) -> u32 {
        let are_data = self.inputs.iter().all(|input| input.reference.split.is_some());
        if are_data { 1 } else { 2 }
    }

    fn external(&self, known: &Known, home: &Path) -> Result<Option<String>, Halt> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let home = std::path::absolute(home).map_err(|error| DataError::io(home, error))?;
        let name = format!("{}\ncommand {:?}", home.display(), self.files.names());
        let find = || Ok(Files::new(&home, self.files.all(&home)?));
        Ok(Some(known.digest(&name, find)?))
    }

    fn absent(&self, home: &Path) -> Vec<Diagnostic> {
        let path = self.environment.iter().find(|(name, _)| name == "PATH");
        let path = path.and_then(|(_, template)| template.fixed());
        self.files.absent(home).into_iter().chain(self.program.absent(path, &self.files)).collect()
    }

    fn apart(&self) -> &'static [&'static str] {
        &["time_limit"]
    }

    fn hands_labels_of(&self) -> Vec<&Reference> {
        match self.labels {
            Labels::Source => {
                let open = self.inputs.iter().filter(|input| !self.hides(input));
                open.map(|input| &input.reference).collect()
            }
            // The tables say so.
            Labels::Target => Vec::new(),
        }
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let mut problems = Vec::new();
        let keeps = |it: &&NamedReference| is_of_scores(inputs.product(&it.reference.key));
        if self.labels == Labels::Source {
            for input in self.inputs.iter().filter(keeps) {
                let message = format!(
                    "the input `{}` holds scores, which are made with the labels of what is scored",
                    input.name
                );
                problems.push(
                    Problem::at(&input.reference.key, message)
                        .help("`labels = \"target\"` hands it over; every table then says so"),
                );
            }
        } else if !self.inputs.iter().any(|it| it.is_target() || keeps(&it)) {
            let message = "`labels = \"target\"` is set, but no input is called `target`";
            problems.push(
                Problem::at("labels", message)
                    .help("leave `labels` out: every table would carry a note that is not true"),
            );
        }
        match self.output.describe(inputs, &named(&self.inputs)) {
            Ok(product) if problems.is_empty() => Ok(product),
            Ok(_) => Err(problems),
            Err(found) => {
                problems.extend(found);
                Err(problems)
            }
        }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let place = WorkingPlace::make(context)?;
        self.files.copy(&context.environment.home, &place.run, context.external)?;
        for input in &self.inputs {
            context.check_cancelled()?;
            let found = context.input(&input.reference.key);
            let (split, to) = (found.split.as_deref(), place.inputs.join(&input.name));
            handed::write(&found.path, split, !self.hides(input), &to)?;
        }
        let process = self.process(context, &place)?;
        context.progress.begin(&self.program.shown(), None, Unit::Steps);
        let patience = Patience { limit: self.time_limit, grace: GRACE };
        let program = self.program.name();
        let ended = process::run(process, patience, context.watch())
            .map_err(|error| Failure::new(format!("`{program}` cannot be started: {error}")))?;
        match ended {
            Ended::Well => {}
            Ended::Stopped => return Err(Halt::Interrupted),
            Ended::Badly { status, last } => {
                let message = format!("`{program}` {}", process::in_words(status));
                return Err(Failure::new(with_last(&message, &last)).into());
            }
            Ended::OutOfTime { last } => {
                let limit = self.time_limit.unwrap_or_default().as_secs_f64();
                let message =
                    format!("`{program}` was stopped after {limit} seconds, its `time_limit`");
                return Err(Failure::new(with_last(&message, &last))
                    .help("raise `time_limit`: what the program keeps in `{state}` is there when it begins again")
                    .into());
            }
        }
        context.check_cancelled()?;
        let outcome = self.output.take(&place.out, context)?;
        place.clear()?;
        Ok(outcome)
    }
}

/// A message with the last lines that a program wrote to standard error.
fn with_last(message: &str, last: &[String]) -> String {
    match last {
        [] => format!("{message}; it wrote nothing to standard error"),
        last => format!("{message}; its last lines on standard error:\n  {}", last.join("\n  ")),
    }
}

/// The folders of a program that runs.
struct WorkingPlace {
    root: PathBuf,
    /// Where it runs: its files.
    run: PathBuf,
    /// A folder for each input.
    inputs: PathBuf,
    /// What it makes.
    out: PathBuf,
    /// For temporary files.
    temporary: PathBuf,
    /// What outlives it when it is killed.
    state: PathBuf,
}

impl WorkingPlace {
    /// Makes the folders, all but one of them within the artifact that is being built: they go with it when it is thrown
    /// away, whoever does that.
    fn make(context: &Context) -> Result<Self, DataError> {
        let out =
            std::path::absolute(context.out).map_err(|error| DataError::io(context.out, error))?;
        let root = out.join("work");
        let state = context.scratch.join("state");
        let state = std::path::absolute(&state).map_err(|error| DataError::io(&state, error))?;
        let below = |name: &str| root.join(name);
        let place = Self {
            run: below("run"),
            inputs: below("input"),
            out: below("out"),
            temporary: below("tmp"),
            state,
            root,
        };
        for folder in [&place.run, &place.inputs, &place.out, &place.temporary, &place.state] {
            fs::create_dir_all(folder).map_err(|error| DataError::io(folder, error))?;
        }
        Ok(place)
    }

    /// Removes what is no part of the artifact.
    fn clear(self) -> Result<(), DataError> {
        fs::remove_dir_all(&self.root).map_err(|error| DataError::io(&self.root, error))
    }
}

impl Command {
    /// The program with its arguments and its environment.
    fn process(&self, context: &Context, place: &WorkingPlace) -> Result<Process, Failure> {
        let threads = self.threads.unwrap_or_else(rayon::current_num_threads);
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| {
                Failure::new(format!("the folder {} has a name that is not UTF-8", path.display()))
            })
        };
        let (inputs, out, state) = (text(&place.inputs)?, text(&place.out)?, text(&place.state)?);
        let value = |placeholder: &Placeholder| match placeholder {
            Placeholder::Inputs => inputs.clone(),
            Placeholder::Input(name) => format!("{inputs}/{name}"),
            Placeholder::Out => out.clone(),
            Placeholder::State => state.clone(),
            Placeholder::Param(name) => {
                let found = self.params.iter().find(|(known, _)| known == name);
                found.map_or_else(String::new, |(_, value)| value.clone())
            }
            Placeholder::Seed => self.seed.to_string(),
            Placeholder::Threads => threads.to_string(),
            Placeholder::Device => context.device.to_string(),
        };
        let mut process = self.program.process(&place.run, value);
        process.current_dir(&place.run).env_clear().env("TMPDIR", &place.temporary);
        // Python keeps what is printed until there is much of it, but people want to see it now.
        process.env("PYTHONUNBUFFERED", "1");
        let passed = ALWAYS.into_iter().chain(self.pass_environment.iter().map(String::as_str));
        for name in passed {
            if let Some(found) = std::env::var_os(name) {
                process.env(name, found);
            }
        }
        for name in THREADS {
            process.env(name, threads.to_string());
        }
        for (name, template) in &self.environment {
            process.env(name, template.fill(value));
        }
        Ok(process)
    }
}
