//! The section of stages: their graph, and for each its settings, metrics and logs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use indexmap::IndexMap;
use serde_json::Value;

use super::section::{Section, about, grid, id};
use super::table::{HtmlCell, pairs, sortable};
use crate::report::error::Error;
use crate::report::figures::{Figure, Topic, words};
use crate::report::measured::{MeasuredRun, Variant, named_values};
use crate::report::plot::{Chart, draw, escape};
use crate::report::stats::mean_and_deviation;

/// The most bytes that all logs together, and one log, may take.
const LOGS: usize = 300_000;
const LOG: usize = 12_000;

/// With at most this many variants of a stage, each has its own column of metrics.
const COLUMNS: usize = 8;

pub(super) fn section(run: &MeasuredRun, figures: &[Figure]) -> Result<Option<Section>, Error> {
    let Some(figure) = about(figures, Topic::Graph).next() else { return Ok(None) };
    let mut chart = figure.chart();
    if let Chart::Graph(graph) = &mut chart {
        for node in &mut graph.nodes {
            node.link = Some(format!("#stage-{}", node.name));
        }
    }
    let svg = draw(&chart).inline(&id(figure), &figure.title, &figure.about);
    let mut html = format!(
        "<p>A click on a stage, or Enter, opens its settings, metrics and log below.</p>\
         <div class=\"dag scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Graph of the stages\">{svg}</div>"
    );
    let mut room = LOGS;
    let logs = logs(run)?;
    for (stage, _) in &run.stages {
        html += &details(run, stage, &logs, &mut room);
    }
    html += &grid(about(figures, Topic::Times));
    Ok(Some(Section { id: "stages", title: "Stages", html }))
}

fn details(run: &MeasuredRun, stage: &str, logs: &[(String, String)], room: &mut usize) -> String {
    let tasks = run.tasks(stage);
    let Some((_, first)) = tasks.first() else { return String::new() };
    let seconds: f64 = tasks.iter().map(|it| it.1.work()).sum();
    let states: BTreeSet<&str> = tasks.iter().map(|it| it.1.state.word()).collect();
    let states: Vec<&str> = states.into_iter().collect();
    let count = if tasks.len() > 1 { format!("{} times, ", tasks.len()) } else { String::new() };
    let mut html = format!(
        "<details class=\"stage\" id=\"stage-{name}\"><summary><span class=\"stage-name\">{name}</span> \
         <span class=\"quiet\">{}, {count}{}, {}</span></summary>",
        escape(&first.kind),
        escape(&states.join(" and ")),
        words(seconds),
        name = escape(stage),
    );
    let settings = settings(&tasks.iter().map(|it| &it.1.settings).collect::<Vec<_>>());
    if !settings.is_empty() {
        html += &pairs(&format!("Settings of {stage}"), &settings);
    }
    html += &metrics(run, stage);
    for (trial, task) in &tasks {
        let Some(message) = task.message() else { continue };
        let which = if run.is_sweep() { format!("Trial {trial:03}: ") } else { String::new() };
        let _ = write!(html, "<p class=\"failed\">{which}{}</p>", escape(message));
    }
    html += &logs_of(stage, logs, room);
    html + "</details>\n"
}

/// The logs of a stage; many logs stand behind one heading.
fn logs_of(stage: &str, logs: &[(String, String)], room: &mut usize) -> String {
    let mut html = String::new();
    let mut count = 0;
    for (name, text) in logs.iter().filter(|it| log_of(&it.0, stage)) {
        if text.len() > *room {
            html += "<p class=\"quiet\">More logs are in the run’s folder.</p>";
            break;
        }
        *room -= text.len();
        count += 1;
        let name = escape(name);
        let _ = write!(
            html,
            "<details class=\"log\"><summary>Log: {name}</summary>\
             <pre tabindex=\"0\" aria-label=\"Log: {name}\">{}</pre></details>",
            escape(text)
        );
    }
    if count > 3 {
        html = format!("<details class=\"log\"><summary>Logs ({count})</summary>{html}</details>");
    }
    html
}

/// Whether `log` is a log of `stage`: `name` or `name.000-002`, or `name[000,002]` in older runs.
fn log_of(log: &str, stage: &str) -> bool {
    log.strip_prefix(stage).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// All logs by name. Long ones lose their beginning.
fn logs(run: &MeasuredRun) -> Result<Vec<(String, String)>, Error> {
    let folder = run.folder.join("logs");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
    let mut logs = Vec::new();
    for path in entries.flatten().map(|it| it.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".log") else { continue };
        let bytes = fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        let text = String::from_utf8_lossy(&bytes);
        let mut start = text.len().saturating_sub(LOG);
        while !text.is_char_boundary(start) {
            start += 1;
        }
        let text = if start > 0 {
            let start = text[start..].find('\n').map_or(start, |it| start + it + 1);
            format!("… the beginning is in logs/{name}.log\n{}", &text[start..])
        } else {
            text.into_owned()
        };
        logs.push((name.to_owned(), text));
    }
    logs.sort();
    Ok(logs)
}

/// The settings by dotted key. A setting that differs between trials shows all its values.
fn settings(all: &[&Value]) -> Vec<(String, String)> {
    let mut found: IndexMap<String, Vec<String>> = IndexMap::new();
    for value in all {
        flatten("", value, &mut |key, text| {
            let texts = found.entry(key.to_owned()).or_default();
            if !texts.contains(&text) {
                texts.push(text);
            }
        });
    }
    found.into_iter().map(|(key, texts)| (key, texts.join(" | "))).collect()
}

fn flatten(prefix: &str, value: &Value, put: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                flatten(&format!("{prefix}{dot}{key}"), value, put);
            }
        }
        Value::Object(_) if prefix.is_empty() => {}
        Value::String(text) => put(prefix, text.clone()),
        other => put(prefix, other.to_string()),
    }
}

/// The last value of every metric of a stage, with a column for each of its variants.
fn metrics(run: &MeasuredRun, stage: &str) -> String {
    let mut variants = run.variants(stage);
    let left_out = variants.len() > COLUMNS;
    if left_out {
        let shown = run.shown();
        variants.retain(|it| it.has(shown));
    }
    let mut lines: IndexMap<String, Vec<Vec<f64>>> = IndexMap::new();
    for (column, variant) in variants.iter().enumerate() {
        for trial in &variant.trials {
            for (name, value) in last_values(run, *trial, stage) {
                let line = lines.entry(name).or_insert_with(|| vec![Vec::new(); variants.len()]);
                line[column].push(value);
            }
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<HtmlCell>> = lines
        .into_iter()
        .map(|(name, columns)| {
            let cells = columns.iter().map(|values| value_cell(values));
            std::iter::once(HtmlCell { text: name, ..HtmlCell::default() }).chain(cells).collect()
        })
        .collect();
    let header: Vec<String> =
        std::iter::once("metric".to_owned()).chain(variants.iter().map(column_name)).collect();
    let shown = if left_out { " in the shown trial" } else { "" };
    sortable(&format!("Metrics of {stage}{shown}, the last of each"), &header, &rows)
}

fn column_name(variant: &Variant) -> String {
    if variant.label.is_empty() { "value".into() } else { variant.label.clone() }
}

fn value_cell(values: &[f64]) -> HtmlCell {
    let Some((mean, sd)) = mean_and_deviation(values) else { return HtmlCell::of("–") };
    let text = |value: f64| {
        if value.fract() == 0.0 && value.abs() < 1e9 {
            format!("{value}")
        } else if value.abs() < 1e-3 {
            // Such as a learning rate, or a deviation that is only rounding.
            format!("{value:.2e}")
        } else {
            format!("{value:.4}")
        }
    };
    let text = match sd {
        Some(sd) if sd > mean.abs() * 1e-9 => format!("{} ± {}", text(mean), text(sd)),
        _ => text(mean),
    };
    HtmlCell { text, value: Some(mean), best: false }
}

/// The last value of each metric of a stage by name. Confusion matrices have their own section.
fn last_values(run: &MeasuredRun, trial: usize, stage: &str) -> IndexMap<String, f64> {
    let mut found = IndexMap::new();
    let Some(metrics) = run.metrics(trial, stage) else { return found };
    for (words, value) in named_values(metrics) {
        let name = words.join(" ");
        if !name.contains("confusion.") {
            found.insert(name, value);
        }
    }
    found
}
