//! Pivots scores into cells: which rows and columns there are, which scores belong to a cell, and why a cell
//! has none. Compares no cell with another but to mark the best.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use indexmap::{IndexMap, IndexSet};

use super::error::TableError;
use super::model::{
    ColumnKind, Gap, Missing, PublishedCell, ResultTable, Sample, TableCell, TableColumn, TableRow,
};
use crate::config::diagnostic::suggest;
use crate::config::sweep::PAIR;
use crate::exec::Ending;
use crate::metrics::rounding;
use crate::metrics::scores::{self as metric, Better};
use crate::plan::table_spec::{self, AVERAGE, Best, Columns, TableSpec, Which};
use crate::plan::tables::FACTS;
use crate::report::scores::RunScores;
use crate::report::trial_score::{ScoredPair, TrialScore};
use crate::report::trials::TrialState;

/// The scores that belong to a cell, and the trials that have none for it.
#[derive(Default)]
struct Meeting<'a> {
    scores: Vec<&'a TrialScore>,
    without: Vec<Gap>,
}

/// The table without comparisons between its cells.
pub(super) fn build(spec: &TableSpec, scores: &RunScores) -> Result<ResultTable, TableError> {
    known(spec, scores)?;
    let over = over(spec, scores);
    let (rows, heads, mut meetings) = meet(spec, scores);
    if spec.trials == Which::Selected && !scores.trials.iter().any(|it| it.selected == Some(true)) {
        return Err(TableError::Selected);
    }
    if rows.is_empty() {
        return Err(TableError::Nothing);
    }
    let mut table = Vec::new();
    for row in &rows {
        let mut cells = Vec::new();
        for column in heads.keys() {
            let meeting = meetings.swap_remove(&(row.clone(), column.clone()));
            cells.push(cell(spec, &over, scores, (row, column), meeting)?);
        }
        table.push(TableRow { name: row.clone(), cells });
    }
    let columns = heads.into_iter().map(|(name, label)| TableColumn {
        label,
        ..TableColumn::plain(&name, ColumnKind::Scores)
    });
    let mut table = ResultTable {
        name: spec.name.clone(),
        caption: spec.caption.clone(),
        rows_by: spec.rows.clone(),
        columns_by: spec.columns.text(),
        metric: spec.value.clone(),
        percent: metric::in_percent(&spec.value),
        over,
        spread: spec.spread,
        trials: spec.trials,
        oracle: scores.oracle,
        columns: columns.collect(),
        rows: table,
        comparison: None,
        notes: Vec::new(),
        doubts: Vec::new(),
        mark_in_markdown: spec.best.is_some(),
    };
    drop_what_nobody_scores(&mut table);
    Ok(table)
}

/// Checks that the scores have what the table names.
fn known(spec: &TableSpec, scores: &RunScores) -> Result<(), TableError> {
    let labels = scores.trials.iter().flat_map(|trial| &trial.labels);
    let mut known: IndexSet<&str> = FACTS.into_iter().collect();
    known.extend(labels.map(|(key, _)| key.as_str()));
    let columns = spec.columns.0.iter().map(|name| ("columns", name));
    for (key, name) in std::iter::once(("rows", &spec.rows)).chain(columns) {
        if !known.contains(name.as_str()) {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(TableError::Column { key, name: name.clone(), known: known.join(", ") });
        }
    }
    if scores.scores.iter().any(|score| score.metric == spec.value) {
        return Ok(());
    }
    let names = scores.scores.iter().map(|score| score.metric.as_str());
    // The entries of confusion matrices would bury the other names.
    let names = names.filter(|name| !name.starts_with("confusion."));
    let help = suggest(&spec.value, names).unwrap_or_else(|| "it reported none".into());
    Err(TableError::Metric { name: spec.value.clone(), help })
}

/// The keys that cells aggregate over. A plain run has none.
fn over(spec: &TableSpec, scores: &RunScores) -> Vec<String> {
    let swept = |key: &String| {
        scores.axes.contains(key) || scores.sweep && scores.domains.is_some() && key == PAIR
    };
    let free = |key: &String| *key != spec.rows && !spec.columns.has(key);
    spec.aggregated().into_iter().map(str::to_owned).filter(swept).filter(free).collect()
}

type Meetings<'a> = IndexMap<(String, String), Meeting<'a>>;

/// The name of every column, with what stands above it in its place.
type Heads = IndexMap<String, Option<String>>;

/// Every row and column that a trial has or should have, and the scores where they cross.
fn meet<'a>(spec: &TableSpec, scores: &'a RunScores) -> (IndexSet<String>, Heads, Meetings<'a>) {
    let mut found: HashMap<(usize, ScoredPair), Vec<&TrialScore>> = HashMap::new();
    let mut pairs = scores.pairs.clone();
    for score in scores.scores.iter().filter(|score| score.metric == spec.value) {
        found.entry((score.trial, score.pair())).or_default().push(score);
        pairs.insert(score.pair());
    }
    let (mut rows, mut columns) = (IndexSet::new(), Heads::new());
    let mut meetings = Meetings::new();
    for (number, trial) in scores.trials.iter().enumerate() {
        for pair in &pairs {
            let fact = |key: &str| scores.fact(key, number, pair).map(str::to_owned);
            let allowed = |(key, values): (&String, &Vec<String>)| {
                fact(key).is_some_and(|found| values.contains(&found))
            };
            if !spec.only.iter().all(allowed) {
                continue;
            }
            let values: Option<Vec<String>> = spec.columns.0.iter().map(|it| fact(it)).collect();
            let (Some(row), Some(values)) = (fact(&spec.rows), values) else { continue };
            let column = Columns::name(&values);
            rows.insert(row.clone());
            columns.entry(column.clone()).or_insert_with(|| {
                let domain = |name: &str| scores.domains.as_ref()?.domain(name);
                spec.column_label.as_ref()?.of(|name| fact(domain(name).unwrap_or(name)))
            });
            let meeting = meetings.entry((row, column)).or_default();
            let selected = spec.trials == Which::All || trial.selected == Some(true);
            match found.remove(&(number, pair.clone())) {
                _ if !selected && trial.state == TrialState::Done => {
                    let trial = trial.name.clone();
                    let reason = Missing::NotSelected;
                    meeting.without.push(Gap { trial, reason, detail: String::new() });
                }
                Some(found) if selected => meeting.scores.extend(found),
                _ => meeting.without.push(gap(scores, number, &pair.stage)),
            }
        }
    }
    (rows, columns, meetings)
}

/// Why a trial has no score of `stage`.
fn gap(scores: &RunScores, number: usize, stage: &str) -> Gap {
    let trial = &scores.trials[number];
    let stages = scores.stages.get(number).map(Vec::as_slice).unwrap_or_default();
    let failed = stages.iter().find(|stage| stage.state == Ending::Failed);
    let own = scores.stage(number, stage).map(|stage| stage.state);
    let reason = match (trial.state, own) {
        // The stage ran, so it scored other pairs, or other metrics of this one.
        (_, Some(Ending::Built | Ending::Cached)) | (TrialState::Done, None) => Missing::NoSuchPair,
        (TrialState::Pruned, _) => Missing::Pruned,
        (_, Some(Ending::Failed)) => Missing::Failed,
        // In a plain run only the stage's own ending says why; in a sweep the trial's does.
        (TrialState::Failed, _) if scores.sweep => Missing::Failed,
        (_, Some(Ending::Skipped)) if failed.is_some() => Missing::Failed,
        _ => Missing::NotRun,
    };
    let detail = trial.reason.clone();
    let detail = match failed {
        Some(failed) if reason == Missing::Failed && detail.is_empty() => {
            let message = failed.message().unwrap_or("no message");
            format!("{}: {message}", failed.name)
        }
        _ => detail,
    };
    Gap { trial: trial.name.clone(), reason, detail }
}

fn cell(
    spec: &TableSpec,
    over: &[String],
    scores: &RunScores,
    (row, column): (&str, &str),
    meeting: Option<Meeting>,
) -> Result<TableCell, TableError> {
    let crossing = meeting.is_some();
    let Meeting { scores: mut met, without } = meeting.unwrap_or_default();
    // Two stages that give a model the same score say one thing, and not two.
    let mut seen = HashSet::new();
    met.retain(|it| seen.insert((it.trial, &it.model, &it.dataset, it.value.to_bits())));
    accounted(spec, over, scores, (row, column), &met)?;
    let sample = |score: &&TrialScore| {
        let trial = &scores.trials[score.trial];
        Sample {
            trial: trial.name.clone(),
            over: over.iter().map(|key| trial.label(key).unwrap_or_default().to_owned()).collect(),
            value: score.value,
            stage: score.stage.clone(),
            model: score.model.clone(),
            at: score.trial,
        }
    };
    let mut cell = TableCell::of(row, column, met.iter().map(sample).collect());
    let saw = |it: &&&TrialScore| scores.saw_labels(it.trial, &it.model, &it.dataset);
    cell.target_labels = met.iter().filter(saw).count();
    cell.collapsed = met.iter().filter(|score| scores.is_collapsed(score)).count();
    if cell.n == 0 {
        let without = without.iter().map(|gap| gap.reason).min();
        cell.missing = Some(match without {
            Some(reason) => reason,
            None if !crossing && !is_scored(spec, scores, (row, column)) => Missing::NoSuchPair,
            // No trial has these axis values.
            None => Missing::NotRun,
        });
    }
    cell.without = without;
    Ok(cell)
}

/// Whether any stage scores what a row and a column are of, whatever the values of axes.
fn is_scored(spec: &TableSpec, scores: &RunScores, (row, column): (&str, &str)) -> bool {
    let mut named = spec.columns.values(column).unwrap_or_default();
    named.push((&spec.rows, row));
    let fits = |pair: &ScoredPair| {
        named.iter().all(|(word, name)| match *word {
            "model" => pair.model == *name,
            "stage" => pair.stage == *name,
            "dataset" => pair.dataset == *name,
            _ => true,
        })
    };
    scores.pairs.iter().any(fits)
}

/// Checks that the values of a cell differ only in the keys that are aggregated over. Selected trials may
/// also differ in the settings that they were selected for.
fn accounted(
    spec: &TableSpec,
    over: &[String],
    scores: &RunScores,
    (row, column): (&str, &str),
    met: &[&TrialScore],
) -> Result<(), TableError> {
    let Some(first) = met.first() else { return Ok(()) };
    let labels = |score: &TrialScore| -> Vec<&str> {
        let trial = &scores.trials[score.trial];
        over.iter().filter_map(|key| trial.label(key)).collect()
    };
    let facts =
        |score: &TrialScore| [score.model.clone(), score.stage.clone(), score.dataset.clone()];
    let mut axes: Vec<String> = Vec::new();
    for (at, fact) in FACTS.iter().enumerate() {
        if met.iter().any(|score| facts(score)[at] != facts(first)[at]) {
            axes.push(format!("`{fact}`"));
        }
    }
    let mut seen = IndexSet::new();
    let repeated = met.iter().any(|score| !seen.insert(labels(score)));
    let all_differ = spec.trials == Which::Selected && !repeated;
    // A pair stands for both of its keys.
    let paired = |key: &String| {
        let pairs = scores.domains.as_ref().filter(|_| over.iter().any(|it| it == PAIR));
        pairs.is_some_and(|pairs| pairs.has(key))
    };
    let free = |key: &&String| !over.contains(key) && !paired(key) && !all_differ;
    for key in scores.axes.iter().filter(free) {
        let label = |score: &TrialScore| scores.trials[score.trial].label(key);
        if met.iter().any(|score| label(score) != label(first)) {
            axes.push(format!("`{key}`"));
        }
    }
    if axes.is_empty() && !repeated {
        return Ok(());
    }
    let axes = if axes.is_empty() { "a repeated score".to_owned() } else { axes.join(", ") };
    Err(TableError::Several { row: row.to_owned(), column: column.to_owned(), axes })
}

/// Removes rows and columns in which no stage scores anything.
fn drop_what_nobody_scores(table: &mut ResultTable) {
    let nobodys =
        |cell: &TableCell| matches!(cell.missing, Some(Missing::NoSuchPair | Missing::NotSelected));
    table.rows.retain(|row| !row.cells.iter().all(nobodys));
    for at in (0..table.columns.len()).rev() {
        if table.rows.iter().all(|row| nobodys(&row.cells[at])) {
            table.columns.remove(at);
            table.rows.iter_mut().for_each(|row| drop(row.cells.remove(at)));
        }
    }
}

/// Marks the best cells of each column.
pub(super) fn mark_best(table: &mut ResultTable, best: Option<Best>) {
    // An easier split or a lucky seed is not better than another.
    let rivals = table.rows_by != "dataset" && !table.rows_by.ends_with("seed");
    for at in 0..table.columns.len() {
        let better = match (table.columns[at].kind, best.unwrap_or(Best::Auto)) {
            // The two rows that define the gap are 0 and 1 by definition.
            (_, Best::None) | (ColumnKind::GapClosed, _) => Better::Neither,
            (_, Best::Max) => Better::Higher,
            (_, Best::Min) => Better::Lower,
            (_, Best::Auto) if !rivals => Better::Neither,
            (_, Best::Auto) => metric::better(&table.metric).unwrap_or(Better::Neither),
        };
        let means: Vec<f64> = table.rows.iter().filter_map(|row| row.cells[at].mean).collect();
        // A single cell, or cells that are all equal, have no best.
        if means.iter().all(|mean| rounding::equal(*mean, means[0])) {
            continue;
        }
        for row in &mut table.rows {
            let cell = &mut row.cells[at];
            let Some(mean) = cell.mean.filter(|_| better != Better::Neither) else { continue };
            let is_better = |other: &f64| {
                better.compare(*other, mean) == Some(Ordering::Greater)
                    && !rounding::equal(*other, mean)
            };
            cell.best = mean.is_finite() && !means.iter().any(is_better);
        }
    }
}

/// Puts published numbers into their cells, but for those of [`not_gone_through`]. Citations are numbered in the order of first
/// use.
pub(super) fn put_published(
    table: &mut ResultTable,
    spec: &TableSpec,
    all_pairs: Option<usize>,
) -> Result<(), TableError> {
    let mut cites: IndexSet<&str> = IndexSet::new();
    for (at, one) in spec.published.iter().enumerate() {
        if not_gone_through(table, (spec, all_pairs), one) {
            continue;
        }
        let row = table.row(&format!("table.published.{at}.row"), &one.row)?;
        let column = table.column(&format!("table.published.{at}.column"), &one.column)?;
        let note = cites.insert_full(one.cite.as_str()).0 + 1;
        table.columns[column].published = true;
        table.rows[row].cells[column].published = Some(PublishedCell {
            value: one.value,
            cite: one.cite.clone(),
            key: one.key.clone(),
            note,
        });
    }
    Ok(())
}

/// Whether a published number is of a row or column of an axis that this sweep did not go through, as after `--set`; or
/// an average over columns of which some are none of this table, or over `all_pairs` where the table has other ones.
pub(super) fn not_gone_through(
    table: &ResultTable,
    (spec, all_pairs): (&TableSpec, Option<usize>),
    one: &table_spec::Published,
) -> bool {
    let swept = |axis: &String| !FACTS.contains(&axis.as_str());
    let is_column = |name: &str| table.columns.iter().any(|it| it.name == name);
    let of_average = || spec.average && one.column == AVERAGE;
    let is_of_fewer = || {
        let columns = table.columns.iter().filter(|it| it.kind == ColumnKind::Scores).count();
        spec.columns.0 == [PAIR] && all_pairs.is_some_and(|all| all != columns)
    };
    swept(&spec.rows) && table.rows.iter().all(|row| row.name != one.row)
        || spec.columns.0.iter().any(swept)
            && (!is_column(&one.column)
                || of_average()
                    && (is_of_fewer() || !spec.published.iter().all(|it| is_column(&it.column))))
}

/// Checks that no two columns look alike.
pub(super) fn columns_differ(table: &ResultTable) -> Result<(), TableError> {
    let alike = |of: fn(&TableColumn) -> &str| {
        let mut seen = HashSet::new();
        table.columns.iter().map(of).find(|it| !seen.insert(*it))
    };
    match alike(|it| &it.name).or_else(|| alike(TableColumn::shown)) {
        Some(name) => Err(TableError::Twice { name: name.to_owned() }),
        None => Ok(()),
    }
}
