//! Any other way to start workers: a line of shell with places to fill in. A worker that pulls its work needs no status
//! and no dependencies from whoever starts it, so a line is enough for PBS, LSF, SGE, HTCondor, Kubernetes and ssh.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::call::call;
use super::engine::{DRIVER, Engine, JobCounts, Order, Which, job_name};
use super::script;
use crate::config::{Diagnostic, Keys, Noted};
use crate::system::{self, as_typed};

/// What a line may have in braces. A test shows each in docs/clusters.md.
const PLACES: &[&str] = &[
    "work",
    "name",
    "run",
    "class",
    "lives",
    "at_once",
    "life",
    "host",
    "cpus",
    "gpus",
    "memory_mb",
    "minutes",
    "log",
    "logs",
    "folder",
    "options",
];

/// What lines that count or end workers may have in braces.
const NAMING: &[&str] = &["name", "run", "class"];

/// A line that starts workers.
#[derive(Debug)]
struct ShellLine {
    submit: String,
    /// A line that prints how many workers are waiting and running.
    count: Option<String>,
    cancel: Option<String>,
    /// Where to start workers, in turn.
    hosts: Vec<String>,
    /// Whose turn it is.
    next: AtomicUsize,
}

/// What there is to say where all hosts are excluded.
const NO_HOST: &str = "none of its `hosts` computes by the backend of the run";

pub(super) fn read(keys: &mut Keys) -> Result<Box<dyn Engine>, Noted> {
    keys.about(&[
        ("submit", "a line of shell that starts workers"),
        ("count", "a line of shell that prints how many workers wait and run"),
        ("cancel", "a line of shell that ends workers"),
        ("hosts", "machines for `{host}`, in turn"),
    ]);
    let submit = line(keys, "submit", PLACES);
    let submit = submit.and_then(|it| it.ok_or_else(|| keys.missing("submit", "a line of shell")));
    let (count, cancel) = (line(keys, "count", NAMING), line(keys, "cancel", NAMING));
    let hosts = keys.strings("hosts").or(Vec::new());
    let at = keys.node("submit").map_or(keys.span(), |node| node.span);
    let (submit, hosts) = (submit?, hosts?);
    let wrong = |message: &str, help: &str| Diagnostic::at(at, message, "in this line").help(help);
    if !submit.contains("{work}") && !keys.is_describing() {
        let problem = wrong("`submit` starts no worker", "put `{work}` where the command goes");
        return Err(keys.problem(problem));
    }
    if submit.contains("{host}") && hosts.is_empty() {
        let problem = wrong("there are no hosts for `{host}`", "add `hosts = [\"node1\"]`");
        return Err(keys.problem(problem));
    }
    if let Some(node) = keys.node("hosts").filter(|_| !names_in(&submit).any(|it| it == "host")) {
        let problem = Diagnostic::at(node.span, "`submit` has no place for `hosts`", "not used");
        return Err(keys.problem(
            problem.help("put `{host}` where the name of a machine goes, or leave out `hosts`"),
        ));
    }
    let next = AtomicUsize::new(0);
    Ok(Box::new(ShellLine { submit, count: count?, cancel: cancel?, hosts, next }))
}

/// A line of which nothing but `places` is in braces.
fn line(keys: &mut Keys, key: &'static str, places: &[&str]) -> Result<Option<String>, Noted> {
    let Some(line) = keys.string(key).optional()? else { return Ok(None) };
    let unknown = names_in(&line).find(|name| !places.contains(name)).map(str::to_owned);
    let Some(unknown) = unknown else { return Ok(Some(line)) };
    let at = keys.node(key).map_or(keys.span(), |node| node.span);
    let all: Vec<String> = places.iter().map(|it| format!("`{{{it}}}`")).collect();
    let message = format!("nothing is called `{{{unknown}}}` in `{key}`");
    let problem = Diagnostic::at(at, message, "in this line");
    Err(keys.problem(
        problem.help(format!("expected {}; `${{...}}` is left to the shell", all.join(", "))),
    ))
}

/// What stands in braces, and is no variable of the shell.
fn names_in(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |name: &str| {
        name.starts_with(|it: char| it.is_ascii_alphabetic())
            && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
    };
    line.match_indices('{').filter_map(move |(at, _)| {
        let name = line[at + 1..].split('}').next()?;
        let is_place = is_name(name) && line[at + 1 + name.len()..].starts_with('}');
        (is_place && !line[..at].ends_with('$')).then_some(name)
    })
}

/// `line` with the `values` of its places.
fn filled(line: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text += before;
        let value = values.iter().find(|(name, _)| {
            !before.ends_with('$')
                && from[1..].strip_prefix(name).is_some_and(|it| it.starts_with('}'))
        });
        match value {
            Some((name, value)) => {
                text += value;
                rest = &from[name.len() + 2..];
            }
            None => {
                text.push('{');
                rest = &from[1..];
            }
        }
    }
    text + rest
}

impl ShellLine {
    /// Whether one line starts all lives, and the queue has them follow each other.
    fn is_for_all(&self) -> bool {
        names_in(&self.submit).any(|name| name == "lives")
    }

    /// The hosts that an order does not exclude, as they are or as their machine calls itself, which may be longer.
    fn hosts_for(&self, order: &Order) -> Vec<&String> {
        let short = |name: &str| {
            name.rsplit('@').next().unwrap_or(name).split('.').next().map(str::to_owned)
        };
        let is_excluded = |host: &&String| order.exclude.iter().any(|it| short(it) == short(host));
        self.hosts.iter().filter(|host| !is_excluded(host)).collect()
    }

    /// The file with the script that becomes a worker of an order: on the file system that all share, so that the line
    /// needs no more than its name, in whatever quotes.
    fn script(&self, order: &Order) -> (PathBuf, String) {
        let cpus = order.class.has.cpus;
        // A driver computes nothing, and hands on what it is told to its workers.
        let of_the_class = (cpus > 0 && order.is_for_workers()).then_some(cpus);
        let threads = order.threads.map(u32::from).or(of_the_class);
        let life = match self.is_for_all() {
            true => format!("\"{}-$(uname -n)-$$\"", order.id),
            false => order.id.clone(),
        };
        let threads = threads.map(|count| count.to_string());
        let text = format!("#!/bin/sh\n{}", script::lines(order, &life, threads.as_deref()));
        (order.logs.join(format!("{}.sh", order.id)), text)
    }

    /// The line that starts the workers of an order.
    fn line(&self, order: &Order) -> String {
        let Order { class, lives, at_once, folder, logs, run, id, .. } = order;
        let (name, has) = (order.name(), class.has);
        let log = match (order.is_for_workers(), self.is_for_all()) {
            (true, false) => id.clone(),
            (true, true) => name.clone(),
            // No class has a dot in its name.
            (false, _) => format!("{DRIVER}.{id}"),
        };
        let path = |path: &Path| as_typed(&[path.display().to_string()]);
        let hosts = self.hosts_for(order);
        let host = match hosts.len() {
            0 => String::new(),
            count => hosts[self.next.fetch_add(1, Ordering::Relaxed) % count].clone(),
        };
        let values = [
            ("work", format!("/bin/sh {}", path(&self.script(order).0))),
            ("name", name),
            ("run", run.clone()),
            ("class", class.name.clone()),
            ("lives", lives.to_string()),
            ("at_once", at_once.to_string()),
            ("life", id.clone()),
            ("host", host),
            ("cpus", has.cpus.max(1).to_string()),
            ("gpus", has.gpus.to_string()),
            ("memory_mb", has.memory.div_ceil(1 << 20).to_string()),
            ("minutes", has.time.as_secs().div_ceil(60).to_string()),
            ("log", path(&logs.join(format!("{log}.log")))),
            ("logs", path(logs)),
            ("folder", path(folder)),
            ("options", class.options.join(" ")),
        ];
        filled(&self.submit, &values)
    }

    /// The lines of `template` for these jobs.
    fn naming(template: &str, names: &[String]) -> Vec<String> {
        let of = |name: &String| {
            // Neither an id nor a digest has a dash in it.
            let mut parts = name.splitn(4, '-').skip(1);
            let mut part = || parts.next().unwrap_or_default();
            let (run, store, class) = (part(), part(), part());
            debug_assert_eq!(&job_name(&format!("{run}-{store}"), class), name);
            let values =
                [("name", name.clone()), ("run", run.to_owned()), ("class", class.to_owned())];
            filled(template, &values)
        };
        names.iter().map(of).collect()
    }
}

fn shell(line: &str, folder: Option<&std::path::Path>) -> Result<String, String> {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    call(command, "").map_err(|said| format!("`{line}`: {said}"))
}

impl Engine for ShellLine {
    fn typed(&self, order: &Order) -> String {
        let ((script, text), line) = (self.script(order), self.line(order));
        let more = match (self.is_for_all(), order.at_once) {
            (true, _) | (false, 0 | 1) => String::new(),
            (false, count) => {
                format!("# and {} more like it, each with a script of its own\n", count - 1)
            }
        };
        format!("{line}\n{more}# {}:\n{text}", script.display())
    }

    fn submit(&self, order: &Order) -> Result<(), String> {
        if !self.hosts.is_empty() && self.hosts_for(order).is_empty() {
            return Err(NO_HOST.to_owned());
        }
        let (script, text) = self.script(order);
        system::write_file(&script, text.as_bytes())
            .map_err(|error| format!("`{}` cannot be written: {error}", script.display()))?;
        shell(&self.line(order), Some(&order.folder)).map(|_| ())
    }

    fn can_be_asked(&self) -> bool {
        self.count.is_some()
    }

    fn look(&self, names: &[String]) -> Result<Option<Vec<JobCounts>>, String> {
        let Some(line) = &self.count else { return Ok(None) };
        let count = |line: &String| -> Result<JobCounts, String> {
            let said = shell(line, None)?;
            // Warnings may stand before it.
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            let number = last.and_then(|line| line.trim().parse().ok());
            let running = number.ok_or_else(|| {
                format!(
                    "the last line that `{line}` prints must be a number, and it prints: {said}"
                )
            })?;
            Ok(JobCounts { running, ..JobCounts::default() })
        };
        Self::naming(line, names).iter().map(count).collect::<Result<_, String>>().map(Some)
    }

    fn cancel(&self, names: &[String], reach: Which) -> Result<(), String> {
        match (reach, &self.cancel) {
            (Which::All, Some(cancel)) => {
                // Some fail where there is nothing to end: then there may be something of the next class.
                let ended = Self::naming(cancel, names).into_iter().map(|line| shell(&line, None));
                ended.filter_map(Result::err).reduce(|first, _| first).map_or(Ok(()), Err)
            }
            // It may not tell those that wait from those that work.
            (Which::Pending, _) | (_, None) => Ok(()),
        }
    }

    fn ignores(&self, has: &dyn Fn(&str) -> bool) -> Option<(&'static str, String)> {
        let is_there = |place: &str| names_in(&self.submit).any(|it| it == place);
        // What a worker has decides which stages it builds, whether the line says it or not.
        let key = ["options", "lives"].into_iter().find(|key| has(key) && !is_there(key))?;
        Some((key, format!("put `{{{key}}}` into `submit`, or leave out `{key}`")))
    }

    fn can_exclude(&self) -> bool {
        !self.hosts.is_empty()
    }

    fn replaces(&self) -> bool {
        self.is_for_all()
    }
}
