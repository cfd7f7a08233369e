//! What a reader wants to see first: the facts and tables of the run, what failed, and the trials of a sweep.

use indexmap::IndexMap;

use super::section::Section;
use super::table::{HtmlCell, sortable};
use crate::exec::Ending;
use crate::metrics::{rounded, rounding};
use crate::report::figures::words;
use crate::report::measured::MeasuredRun;
use crate::report::plot::escape;
use crate::report::scores::RunScores;
use crate::report::stats::mean_and_deviation;
use crate::report::table::{TableError, TableFormat, signs};
use crate::report::tables::Tables;
use crate::report::target_labels::dependents;
use crate::report::trial_score::TrialScore;
use crate::report::trials::TrialState;

/// The facts below the title, such as state, trials and time.
pub(super) fn facts(run: &MeasuredRun) -> String {
    let provenance = &run.record.provenance;
    let mut facts = vec![("State", run.record.state().word().to_owned())];
    if run.is_sweep() {
        let done = run.trials.iter().filter(|it| it.state == TrialState::Done).count();
        facts.push(("Trials", format!("{done} of {} done", run.trials.len())));
    }
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok();
    if let (Some(start), Some(end)) = (time(&provenance.start), time(&provenance.end)) {
        facts.push(("Began", start.format("%Y-%m-%d %H:%M UTC").to_string()));
        let seconds = (end - start).as_seconds_f64();
        facts.push(("Took", words(seconds)));
    }
    facts.push(("Device", provenance.device.clone()));
    let items: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value)))
        .collect();
    format!("<dl class=\"facts\">{items}</dl>")
}

pub(super) fn section(run: &MeasuredRun) -> Option<Section> {
    let html = tables(run) + &failures(run);
    (!html.is_empty()).then_some(Section { id: "results", title: "Results", html })
}

/// The tables of the run as HTML. Where one of them cannot be built, all scores are shown as well.
fn tables(run: &MeasuredRun) -> String {
    let oracle = if run.is_oracle() { " (oracle: selected by target labels)" } else { "" };
    let instead = |error: String, known: &RunScores| {
        format!(
            "<p class=\"note\">A table of the pipeline cannot be made: {}. All scores instead:</p>{}",
            escape(&error),
            scores(run, known, oracle)
        )
    };
    match Tables::of(run) {
        Ok(tables) => {
            let html: String =
                tables.good().map(|table| table.render(TableFormat::Html, false)).collect();
            let wrong = tables.tables.iter().find_map(|(_, table)| table.as_ref().err());
            let instead = |error: &TableError| instead(error.to_string(), &tables.scores);
            html + &wrong.map(instead).unwrap_or_default()
        }
        Err(error) => {
            let label_users = run.record.trials.iter().map(|it| dependents(it)).collect();
            instead(error.to_string(), &RunScores { label_users, ..RunScores::default() })
        }
    }
}

/// A cell with mean, deviation and count.
fn cell(mean: f64, sd: Option<f64>, n: usize, percent: bool) -> HtmlCell {
    let text = |value: f64| {
        if percent { format!("{:.1}", value * 100.0) } else { rounded(value) }
    };
    let text = match sd {
        Some(sd) => format!("{} ± {} (n={n})", text(mean), text(sd)),
        None => text(mean),
    };
    HtmlCell { text, value: Some(mean), best: false }
}

fn caption(metric: &str, oracle: &str) -> String {
    let unit = if metric == "accuracy" { ", %" } else { "" };
    format!("{}{unit}{oracle}", metric.replace('_', " "))
}

/// Marks the highest value of each column, for metrics where higher is better.
fn mark_best(rows: &mut [Vec<HtmlCell>], metric: &str) {
    if !["accuracy", "macro_f1"].contains(&metric) || rows.len() < 2 {
        return;
    }
    for column in 1..rows.first().map_or(0, Vec::len) {
        let values = rows.iter().filter_map(|row| row.get(column)?.value);
        let best = values.fold(f64::NEG_INFINITY, f64::max);
        for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            cell.best = cell.value.is_some_and(|value| rounding::equal(value, best));
        }
    }
}

/// The scores of a cell, and of how many of them what the signs say.
#[derive(Default)]
struct Met {
    values: Vec<f64>,
    collapsed: usize,
    target_labels: usize,
}

/// Every score of the run's metric, with a row for each model and setting and a column for each split, and below them what
/// the signs say that are after some.
fn scores(run: &MeasuredRun, known: &RunScores, oracle: &str) -> String {
    let metric = run.metric();
    let mut columns: Vec<String> = Vec::new();
    let mut lines: IndexMap<(String, String), IndexMap<String, Met>> = IndexMap::new();
    for (stage, _) in &run.stages {
        for model in run.models(stage) {
            for variant in run.scored(stage, &model) {
                let of = |trial: &usize| TrialScore::all(*trial, stage, run.scores(*trial, stage));
                let rows = variant.trials.iter().flat_map(of);
                for row in rows.filter(|row| row.model == model && row.metric == metric) {
                    if !columns.contains(&row.dataset) {
                        columns.push(row.dataset.clone());
                    }
                    let line = lines.entry((model.clone(), variant.label.clone())).or_default();
                    let met = line.entry(row.dataset.clone()).or_default();
                    met.values.push(row.value);
                    met.collapsed += usize::from(known.is_collapsed(&row));
                    let saw_labels = known.saw_labels(row.trial, &row.model, &row.dataset);
                    met.target_labels += usize::from(saw_labels);
                }
            }
        }
    }
    let header: Vec<String> =
        ["model", "settings"].map(str::to_owned).into_iter().chain(columns.clone()).collect();
    let sum = |count: fn(&Met) -> usize| lines.values().flat_map(IndexMap::values).map(count).sum();
    let notes: String = signs(sum(|it| it.collapsed), sum(|it| it.target_labels))
        .map(|(sign, says)| format!("<p class=\"note\">{sign}: {says}.</p>\n"))
        .collect();
    let mut cells: Vec<Vec<HtmlCell>> = lines
        .into_iter()
        .map(|((model, label), found)| {
            let rest = columns.iter().map(|column| {
                let met = found.get(column);
                let values = met.map(|it| it.values.as_slice()).unwrap_or_default();
                let (Some(met), Some((mean, sd))) = (met, mean_and_deviation(values)) else {
                    return HtmlCell::of("–");
                };
                let mut cell = cell(mean, sd, values.len(), metric == "accuracy");
                cell.text.extend(signs(met.collapsed, met.target_labels).map(|it| it.0));
                cell
            });
            let names = [model, label].map(|text| HtmlCell { text, ..HtmlCell::default() });
            names.into_iter().chain(rest).collect()
        })
        .collect();
    mark_best(&mut cells, metric);
    sortable(&caption(metric, oracle), &header, &cells) + &notes
}

/// The stages that failed, each once.
fn failures(run: &MeasuredRun) -> String {
    let mut rows = Vec::new();
    for (stage, _) in &run.stages {
        for (trial, task) in run.tasks(stage).into_iter().filter(|it| it.1.state == Ending::Failed)
        {
            let message = task.message().unwrap_or_default();
            let label = if run.is_sweep() { format!("{trial:03}") } else { String::new() };
            rows.push([stage.clone(), label, message.to_owned()].map(HtmlCell::of).to_vec());
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["stage", "trial", "why"].map(str::to_owned);
    sortable("What failed", &header, &rows)
}

/// The trials of a sweep with their settings and how they ended.
pub(super) fn trials(run: &MeasuredRun) -> String {
    let selects = run.trials.iter().any(|it| it.objective.is_some() || it.selected == Some(true));
    let reasons = run.trials.iter().any(|it| !it.reason.is_empty());
    let mut header = vec!["trial".to_owned()];
    header.extend((0..run.axes.len()).map(|at| run.axis(at).to_owned()));
    header.push("state".into());
    if selects {
        header.extend(["objective".to_owned(), "selected".to_owned()]);
    }
    let checks = run.trials.iter().any(|it| it.collapsed.is_some());
    if checks {
        header.push("collapsed".into());
    }
    if reasons {
        header.push("reason".into());
    }
    let rows: Vec<Vec<HtmlCell>> = run
        .trials
        .iter()
        .enumerate()
        .map(|(at, trial)| {
            let mut row = vec![HtmlCell { text: format!("{at:03}"), value: None, best: false }];
            row.extend(trial.labels.iter().map(|it| HtmlCell::of(it.1.clone())));
            row.push(HtmlCell::of(trial.state.word()));
            if selects {
                let text = trial.objective.map(rounded).unwrap_or_default();
                let selected = trial.selected == Some(true);
                row.push(HtmlCell { text, value: trial.objective, best: selected });
                row.push(HtmlCell::of(if selected { "yes" } else { "" }));
            }
            if checks {
                row.push(HtmlCell::of(if trial.collapsed == Some(true) { "yes" } else { "" }));
            }
            if reasons {
                row.push(HtmlCell::of(trial.reason.clone()));
            }
            row
        })
        .collect();
    sortable("Trials", &header, &rows)
}
