//! `runner diff RUN_A RUN_B`: settings and metrics that differ, side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use indexmap::IndexMap;

use super::Error;
use super::columns::columns;
use crate::cli::DiffArgs;
use crate::report::record::Record;
use crate::report::{self, results};

/// Prints what differs; exit code 0 also when something does.
///
/// # Errors
/// When a run is not found or cannot be read.
pub fn run(args: &DiffArgs) -> Result<ExitCode, Error> {
    let folders = [&args.a, &args.b].map(|run| super::find_numbers(&args.results, run));
    let [a, b] = folders;
    let (a, b) = (a?, b?);
    let name =
        |folder: &Path| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let header = |what: &str| [what.to_owned(), name(&a), name(&b)];
    let mut text = String::new();
    let settings = [settings(&a)?, settings(&b)?];
    let metrics = [results::final_metrics(&a)?, results::final_metrics(&b)?];
    for (what, [a, b]) in [("setting", settings), ("metric", metrics)] {
        let lines = differing(&a, &b);
        if lines.is_empty() {
            text += &format!("{what}s: no difference in {} of them\n", a.len());
        } else {
            let lines: Vec<[String; 3]> = std::iter::once(header(what)).chain(lines).collect();
            text += &columns(&lines);
        }
        text += "\n";
    }
    super::print(format!("{}\n", text.trim_end()))?;
    Ok(ExitCode::SUCCESS)
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

/// Every setting of a run's pipeline by dotted key, and what else decides its numbers.
fn settings(folder: &Path) -> Result<IndexMap<String, String>, Error> {
    let record = Record::read(folder)?;
    let pipeline: toml::Table = toml::from_str(&record.provenance.text).map_err(|error| {
        let path = folder.join("run.json");
        report::Error::Malformed { path, reason: error.to_string() }
    })?;
    let mut all = IndexMap::new();
    flatten("", &toml::Value::Table(pipeline), &mut all);
    let provenance = &record.provenance;
    all.insert("(runner)".into(), provenance.runner.clone());
    all.insert("(backend)".into(), provenance.backend.clone());
    // Files that no setting names by their bytes.
    let mut outside = BTreeMap::new();
    for stage in record.trials.iter().flatten() {
        if let Some(external) = &stage.external {
            outside.insert(format!("(files of {})", stage.name), external.clone());
        }
    }
    all.extend(outside);
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
