//! A site's file, `.runner/NAME.toml` or `~/.config/runner/NAME.toml`: which queue there is and which classes of workers
//! it is to start. Nothing in it enters a fingerprint.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ENGINES;
use super::classes::{IDLE, WorkerClass};
use super::engine::{DRIVER, Engine};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::source::Sources;
use crate::config::{Diagnostic, Keys, Noted, Report, amount, document};
use crate::plan::resources::Resources;

/// A queue and its classes of workers.
#[derive(Debug)]
pub struct Site {
    /// The queue.
    pub engine: Box<dyn Engine>,
    /// What every machine computes by; nothing where the first worker says it.
    pub backend: Option<String>,
    /// Lines of shell before every worker.
    pub setup: Vec<String>,
    /// The classes, in the order of the file.
    pub classes: Vec<WorkerClass>,
    /// What a driver in the queue gets: `[driver]`.
    pub driver: WorkerClass,
    /// The text of the file.
    pub text: String,
    /// What the file is called in messages.
    pub name: String,
}

/// Where the file of a site of this name may be.
fn places(store: &Path, name: &str) -> Vec<PathBuf> {
    let file = format!("{}.toml", name.strip_suffix(".toml").unwrap_or(name));
    let home = crate::system::at_home(&Path::new("~/.config/runner").join(&file));
    vec![store.join(&file), home]
}

/// The text for a site whose name is that of an engine that needs no settings.
const SLURM: &str = "\
engine = \"slurm\"

[workers.cpu]

[workers.gpu]
gpus = 1
";

impl Site {
    /// The site that is called `name` on the command line: the file of this name, in the store or at home. `slurm` works
    /// without one.
    ///
    /// # Errors
    /// When there is no such file, with the places where it was looked for, or everything that is wrong with it.
    pub fn find(store: &Path, name: &str) -> Result<Self, Box<Report>> {
        let places = places(store, name);
        if let Some(file) = places.iter().find(|file| file.is_file()) {
            let mut sources = Sources::default();
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let root = document::read(file, &mut sources);
            return Self::read(&document::name(file), text, sources, root);
        }
        if name == "slurm" {
            return Self::parse("slurm without a file", SLURM);
        }
        let looked: Vec<String> = places.iter().map(|it| format!("`{}`", it.display())).collect();
        let mut problem = Diagnostic::general(format!(
            "there is no site `{name}`: neither {} is there",
            looked.join(" nor ")
        ))
        .help("write one of them, as docs/clusters.md shows; `--on slurm` needs none");
        let mut known = vec!["slurm".to_owned()];
        for place in &places {
            let files = place.parent().and_then(|folder| std::fs::read_dir(folder).ok());
            let files = files.into_iter().flatten().flatten().map(|it| it.path());
            let files = files.filter(|it| it.extension().is_some_and(|ending| ending == "toml"));
            known.extend(files.filter_map(|it| Some(it.file_stem()?.to_str()?.to_owned())));
        }
        problem.help.extend(suggest(name, known.iter().map(String::as_str)));
        Err(Box::new(Report::new(format!("--on {name}"), Sources::default(), vec![problem])))
    }

    /// The site of this `text`, which is called `name` in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Box<Report>> {
        let mut sources = Sources::default();
        let source = sources.add(name.to_owned(), text.to_owned());
        let root = document::parse(source, text);
        Self::read(name, text.to_owned(), sources, root)
    }

    fn read(
        name: &str,
        text: String,
        sources: Sources,
        root: Result<Node, Vec<Diagnostic>>,
    ) -> Result<Self, Box<Report>> {
        let wrong = |sources, problems| Box::new(Report::new(name, sources, problems));
        let root = match root {
            Ok(root) => root,
            Err(problems) => return Err(wrong(sources, problems)),
        };
        let Value::Table(table) = &root.value else { unreachable!("a TOML document is a table") };
        let mut keys = Keys::new(table, root.span);
        let site = read(&mut keys, text, name);
        let problems = keys.finish().problems;
        match site {
            Ok(site) if problems.is_empty() => Ok(site),
            _ => Err(wrong(sources, problems)),
        }
    }

    /// The class of this name.
    pub fn class(&self, name: &str) -> Option<&WorkerClass> {
        self.classes.iter().find(|class| class.name == name)
    }
}

fn read(keys: &mut Keys, text: String, name: &str) -> Result<Site, Noted> {
    keys.about(&[
        ("engine", "the kind of queue"),
        (
            "backend",
            "what every machine computes by; that of the first worker where it is left out",
        ),
        ("setup", "lines of shell before every worker"),
        ("workers", "the classes of workers; the first one that has room for a stage builds it"),
        ("driver", "what the job of `--detach` gets"),
    ]);
    let engine = engine(keys);
    let queue = engine.as_deref().ok();
    let backend = keys.string("backend").optional();
    let setup = keys.strings("setup").or(Vec::new());
    let classes = keys.words("workers", |keys, name, node| {
        let legal = |it: char| it.is_ascii_alphanumeric() || "_-".contains(it);
        if name.is_empty() || !name.chars().all(legal) || name == DRIVER {
            let message = format!("`{name}` is not a name for a class of workers");
            let label = "expected letters, digits, `_`, `-`, and not `driver`";
            return Err(keys.problem(Diagnostic::at(node.span, message, label)));
        }
        let Value::Table(table) = &node.value else {
            let message = format!("`workers.{name}` must be a table");
            let found = format!("found {}", node.value.type_name());
            return Err(keys.problem(Diagnostic::at(node.span, message, found)));
        };
        keys.descend(name, table, node.span, |keys| class(keys, name, queue))
    });
    let driver = keys.optional_nested(DRIVER, |keys| class(keys, DRIVER, queue));
    let classes: Vec<WorkerClass> = classes?.into_iter().map(|(_, class)| class).collect();
    if classes.is_empty() && !keys.is_describing() {
        let problem = Diagnostic::general("a site has at least one class of workers");
        return Err(keys.problem(problem.help("add `[workers.cpu]`")));
    }
    let driver =
        driver?.unwrap_or_else(|| WorkerClass { lives: 8, ..WorkerClass::plain(DRIVER, 0) });
    let driver = WorkerClass { at_once: 1, ..driver };
    let (backend, setup, name) = (backend?, setup?, name.to_owned());
    Ok(Site { engine: engine?, backend, setup, classes, driver, text, name })
}

fn engine(keys: &mut Keys) -> Result<Box<dyn Engine>, Noted> {
    let names = || ENGINES.iter().map(|kind| kind.name);
    let Some(node) = keys.node("engine") else {
        let all: Vec<String> = names().map(|it| format!("\"{it}\"")).collect();
        return Err(keys.missing("engine", &format!("one of {}", all.join(", "))));
    };
    let Value::String(word) = &node.value else {
        let found = format!("found {}", node.value.type_name());
        return Err(keys.problem(Diagnostic::at(node.span, "`engine` must be a string", found)));
    };
    match ENGINES.iter().find(|kind| kind.name == word) {
        Some(kind) => (kind.read)(keys),
        None => {
            let message = format!("`{word}` is no kind of queue");
            let mut problem = Diagnostic::at(node.span, message, "unknown engine");
            let all: Vec<String> = names().map(|it| format!("\"{it}\"")).collect();
            problem.help.push(format!("write one of {}", all.join(", ")));
            problem.help.extend(suggest(word, names()));
            keys.leave_open();
            Err(keys.problem(problem))
        }
    }
}

fn class(keys: &mut Keys, name: &str, queue: Option<&dyn Engine>) -> Result<WorkerClass, Noted> {
    keys.about(&[
        ("options", "options for the queue, as they are"),
        ("cpus", "processors of a worker"),
        ("memory", "memory of a worker"),
        ("gpus", "GPUs of a worker"),
        ("time", "how long a worker may live"),
        ("at_once", "how many workers at a time at most"),
        ("lives", "how many workers may follow each other"),
        ("idle", "how long a worker waits without work before it leaves"),
        (
            "tasks",
            "how many stages a worker builds before it leaves; as many as there are when left out",
        ),
    ]);
    let plain = WorkerClass::plain(name, 0);
    let options = options(keys, queue);
    let cpus = keys.count("cpus", 1..=4096).optional();
    let memory = keys.string("memory");
    let memory = memory.such_that(amount::MEMORY, |it| amount::memory(it).is_some()).optional();
    let gpus = keys.count("gpus", 0..=64).or(0_usize);
    let time = keys.string("time");
    let holds = |it: &String| amount::time(it).is_some_and(|time| !time.is_zero());
    let time = time.such_that(format!("{}, and more than 0", amount::TIME), holds).optional();
    let is_driver = name == DRIVER;
    let at_once = match is_driver {
        true => Ok(1),
        false => keys.count("at_once", 1..=10_000).or(plain.at_once as usize),
    };
    let lives =
        keys.count("lives", 1..=1_000_000).or(if is_driver { 8 } else { plain.lives as usize });
    let idle = if is_driver { Ok(None) } else { idle(keys) };
    let tasks = if is_driver { Ok(None) } else { keys.count("tasks", 1..=1_000_000).optional() };
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(WorkerClass {
        name: name.to_owned(),
        options: options?,
        has: Resources {
            gpus: small(gpus?),
            cpus: small(cpus?.unwrap_or(0)),
            memory: memory?.and_then(|it| amount::memory(&it)).unwrap_or(0),
            time: time?.and_then(|it| amount::time(&it)).unwrap_or_default(),
        },
        at_once: small(at_once?),
        lives: small(lives?),
        idle: idle?.unwrap_or(IDLE),
        tasks: tasks?.map(small),
    })
}

fn idle(keys: &mut Keys) -> Result<Option<Duration>, Noted> {
    let time = keys.string("idle").such_that(amount::TIME, |it| amount::time(it).is_some());
    Ok(time.optional()?.and_then(|it| amount::time(&it)))
}

/// Options that the queue takes as they are.
fn options(keys: &mut Keys, queue: Option<&dyn Engine>) -> Result<Vec<String>, Noted> {
    let options = keys.strings("options").or(Vec::new())?;
    let Some(queue) = queue.filter(|_| !keys.is_describing()) else { return Ok(options) };
    let at = |keys: &mut Keys, key| keys.node(key).map_or(keys.span(), |node| node.span);
    // What follows a line break would be a line of a script.
    let broken = options.iter().any(|it| it.contains(char::is_control));
    if broken {
        let problem =
            Diagnostic::at(at(keys, "options"), "an option has a line break", "found one");
        return Err(
            keys.problem(problem.help("write each option as a text of its own, in one line"))
        );
    }
    if let Some(why) = options.iter().find_map(|it| queue.refuses(it)) {
        let problem = Diagnostic::at(at(keys, "options"), why, "this option");
        return Err(keys.problem(problem));
    }
    if let Some((key, help)) = queue.ignores(&|key| keys.has(key)) {
        let message = format!("`submit` has no place for `{key}`");
        let problem = Diagnostic::at(at(keys, key), message, "not used").help(help);
        return Err(keys.problem(problem));
    }
    Ok(options)
}
