//! `runner diff RUN_A RUN_B`: prints the settings and metrics in which two runs differ, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::process::ExitCode;

use indexmap::IndexMap;

use super::Error;
use super::columns::columns;
use crate::cli::DiffArgs;
use crate::metrics;
use crate::report::finished::FinishedRun;
use crate::report::measured::named_values;
use crate::report::record::Record;

/// Prints what differs. The exit code is 0 also when something does.
///
/// # Errors
/// When a run is not found or cannot be read.
pub fn run(args: &DiffArgs) -> Result<ExitCode, Error> {
    let [a, b] = [&args.a, &args.b].map(|run| super::find_numbers(&args.results, run));
    let (a, b) = (a?, b?);
    for run in [&a, &b] {
        super::say_doubts(run);
    }
    let name = |run: &FinishedRun| {
        run.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let header = |what: &str| [what.to_owned(), name(&a), name(&b)];
    let width = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten();
    let width = width.map_or(usize::MAX, |(width, _)| width.0.into());
    let mut text = String::new();
    let settings = both_settings([&a, &b]);
    let metrics = [final_metrics(&a)?, final_metrics(&b)?];
    for (what, [a, b]) in [("setting", settings), ("metric", metrics)] {
        let lines = differing(&a, &b);
        if lines.is_empty() {
            text += &format!("{what}s: no difference in {} of them\n", a.len());
        } else {
            let lines: Vec<[String; 3]> = std::iter::once(header(what)).chain(lines).collect();
            text += &fitted(&lines, width);
        }
        text += "\n";
    }
    super::print(format!("{}\n", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
}

/// `lines` side by side where a terminal is `width` letters wide enough for that, and else the two values of each below its
/// name, in as many lines as they need: what differs may be at their ends.
fn fitted(lines: &[[String; 3]], width: usize) -> String {
    let beside = columns(lines);
    if beside.lines().all(|line| line.chars().count() <= width) {
        return beside;
    }
    let [what, a, b] = &lines[0];
    let gap = a.chars().count().max(b.chars().count()) + 4;
    let mut text = format!("{what}s that differ, each with its value in both runs:\n");
    for [name, of_a, of_b] in &lines[1..] {
        text += &wrapped("", name, width);
        for (run, value) in [(a, of_a), (b, of_b)] {
            text += &wrapped(&format!("{:<gap$}", format!("  {run}")), value, width);
        }
    }
    text
}

/// `value` behind `start`, in lines of at most `width` letters that begin below its beginning.
fn wrapped(start: &str, value: &str, width: usize) -> String {
    let indent = start.chars().count();
    let room = width.saturating_sub(indent).max(8);
    let letters: Vec<char> = value.chars().collect();
    let mut text = String::new();
    for (at, part) in letters.chunks(room).enumerate() {
        let begin = if at == 0 { start.to_owned() } else { " ".repeat(indent) };
        text += &format!("{begin}{}\n", part.iter().collect::<String>());
    }
    if letters.is_empty() { format!("{}\n", start.trim_end()) } else { text }
}

fn differing(a: &IndexMap<String, String>, b: &IndexMap<String, String>) -> Vec<[String; 3]> {
    let gone = || "–".to_owned();
    let mut lines = Vec::new();
    for (key, value) in a {
        match b.get(key) {
            Some(other) if other == value => {}
            other => lines.push([key.clone(), value.clone(), other.cloned().unwrap_or_else(gone)]),
        }
    }
    for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
        lines.push([key.clone(), gone(), value.clone()]);
    }
    lines
}

/// Every setting of two runs by its dotted key, and everything else that decides their numbers. Settings name files outside
/// the store, but do not say what is in them: one line says so for all trials of both, or one for each where their files
/// differ.
fn both_settings(runs: [&FinishedRun; 2]) -> [IndexMap<String, String>; 2] {
    let outside = runs.map(|run| outside(&run.record));
    let mut all = runs.map(settings);
    let names: BTreeSet<&str> = outside.iter().flat_map(|it| it.keys().copied()).collect();
    for name in names {
        let of = |at: usize| outside[at].get(name).map(Vec::as_slice).unwrap_or_default();
        let is_one = |trials: &[(usize, &str)]| trials.iter().all(|it| it.1 == trials[0].1);
        let together = is_one(of(0)) && is_one(of(1));
        for (at, all) in all.iter_mut().enumerate() {
            for (trial, digest) in of(at) {
                let key = match together {
                    true => format!("(files of {name})"),
                    false => format!("(files of {name}[{trial:03}])"),
                };
                all.insert(key, (*digest).to_owned());
            }
        }
    }
    all
}

/// The digest of the files outside the store that a stage read, in every trial in which it read some.
fn outside(record: &Record) -> BTreeMap<&str, Vec<(usize, &str)>> {
    let mut found: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
    for (trial, stages) in record.trials.iter().enumerate() {
        for stage in stages {
            if let Some(external) = &stage.external {
                found.entry(&stage.name).or_default().push((trial, external));
            }
        }
    }
    found
}

/// Every setting of a run by its dotted key, and what it was made by.
fn settings(run: &FinishedRun) -> IndexMap<String, String> {
    let mut all = IndexMap::new();
    flatten("", &toml::Value::Table(run.pipeline.clone()), &mut all);
    let provenance = &run.record.provenance;
    all.insert("(runner)".into(), provenance.runner.clone());
    all.insert("(backend)".into(), provenance.backend.clone());
    all
}

/// Every metric of a run by name, such as `score: dann, target.test, accuracy`. A metric with a value for each
/// epoch has its last value.
fn final_metrics(run: &FinishedRun) -> Result<IndexMap<String, String>, Error> {
    let mut all = IndexMap::new();
    for (number, stages) in run.record.trials.iter().enumerate() {
        for stage in stages {
            let Some(found) = run.read_metrics(number, &stage.name)? else { continue };
            for (words, value) in named_values(&found) {
                let trial = match run.trials.len() {
                    1 => String::new(),
                    _ => format!("[{number:03}]"),
                };
                let name = format!("{}{trial}: {}", stage.name, words.join(", "));
                all.insert(name, metrics::number(value));
            }
        }
    }
    Ok(all)
}

fn flatten(key: &str, value: &toml::Value, all: &mut IndexMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(&key, value, all);
            }
        }
        value => {
            all.insert(key.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_do_not_fit_beside_each_other_are_below_each_other_and_whole() {
        let long = |end: &str| format!("{}{end}", "x".repeat(70));
        let name = |text: &str| text.to_owned();
        let lines = [
            [name("setting"), name("20260101T000000Z-aaaaaa"), name("20260102T000000Z-bbbbbb")],
            [name("stages.net.epochs"), name("3"), long("end")],
        ];
        let narrow = fitted(&lines, 60);
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        let pressed: String = narrow.split_whitespace().collect();
        assert!(pressed.contains(&long("end")), "nothing is cut: {narrow}");
        assert_eq!(fitted(&lines, usize::MAX), columns(&lines));
        assert_eq!(wrapped("  a  ", "", 20), "  a\n");
    }
}
