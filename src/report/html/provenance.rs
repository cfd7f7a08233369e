//! The section that says where the numbers come from: versions, machine, command, data with licences, hashes
//! and the pipeline.

use std::collections::BTreeSet;

use serde_json::Value;

use super::section::Section;
use super::table::{HtmlCell, pairs, sortable};
use crate::report::measured::MeasuredRun;
use crate::report::plot::escape;
use crate::system;

pub(super) fn section(run: &MeasuredRun) -> Option<Section> {
    let html = pairs("How it was run", &facts(run)) + &data(run) + &hashes(run);
    let text = &run.record.provenance.text;
    let html = format!(
        "{html}<details class=\"log\"><summary>The pipeline with all its settings</summary>\
         <pre tabindex=\"0\" aria-label=\"The pipeline\">{}</pre></details>",
        escape(text)
    );
    Some(Section { id: "provenance", title: "Provenance", html })
}

fn facts(run: &MeasuredRun) -> Vec<(String, String)> {
    let it = &run.record.provenance;
    let dirty = match it.git_dirty {
        Some(true) => " with changes",
        _ => "",
    };
    let commit = it.git_commit.as_ref().map_or("none".to_owned(), |it| format!("{it}{dirty}"));
    [
        ("pipeline file", it.file.clone()),
        ("command", system::as_typed(&it.command)),
        ("runner", it.runner.clone()),
        ("git commit", commit),
        ("device", it.device.clone()),
        ("backend", it.backend.clone()),
        ("processor", format!("{}, {}", it.architecture, it.instruction_set)),
        ("threads", it.threads.to_string()),
        ("host", it.host.clone().unwrap_or_else(|| "unknown".into())),
        ("began", it.start.clone()),
        ("ended", it.end.clone()),
        ("run", run.record.id.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The data sets and weights with their licences, each once.
fn data(run: &MeasuredRun) -> String {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let items = run.record.trials.iter().flatten().filter_map(|it| it.data.as_ref());
    for item in items.flat_map(|it| match it {
        Value::Array(items) => items.iter().collect::<Vec<_>>(),
        single => vec![single],
    }) {
        let word = |key: &str| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let row = ["title", "licence", "citation", "source"].map(word);
        if row.iter().any(|it| !it.is_empty()) && seen.insert(row.clone()) {
            rows.push(row.map(|text| HtmlCell { text, ..HtmlCell::default() }).to_vec());
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["title", "licence", "citation", "source"].map(str::to_owned);
    sortable("Data", &header, &rows)
}

/// The hashes of all artifacts behind the run.
fn hashes(run: &MeasuredRun) -> String {
    let mut rows = Vec::new();
    for (stage, _) in &run.stages {
        for (trial, task) in run.tasks(stage) {
            let text = |it: Option<String>| it.unwrap_or_else(|| "none".into());
            let name = if run.is_sweep() { format!("{stage} [{trial:03}]") } else { stage.clone() };
            let cells = [
                name,
                task.state.word().to_owned(),
                text(task.fingerprint.map(|it| it.to_string())),
                text(task.content.map(|it| it.0.to_string())),
            ];
            rows.push(cells.map(|text| HtmlCell { text, ..HtmlCell::default() }).to_vec());
        }
    }
    let header = ["stage", "state", "fingerprint", "content"].map(str::to_owned);
    let table = sortable("Artifacts: hashes of settings and of contents", &header, &rows);
    format!(
        "<details class=\"log hashes\"><summary>Hashes of {} artifacts</summary>{table}</details>",
        rows.len()
    )
}
