//! The notes below a table: how its trials were selected, what its signs mean, how much its tests can show,
//! and where its published numbers come from.

use std::collections::BTreeSet;

use indexmap::IndexSet;

use super::average;
use super::build::not_gone_through;
use super::grid::{COLLAPSED, SAW_LABELS};
use super::model::{BaselineComparison, Missing, Note, ResultTable, TableCell};
use crate::metrics::label_free::diversity::LEAST_SHARE;
use crate::plan::table_spec::{Published, Spread, TableSpec, Test, Which};
use crate::report::ranking::RankedModel;
use crate::report::scores::RunScores;
use crate::report::trial_score::ScoredPair;
use crate::report::trials::TrialResult;

/// The note of every table whose trials were selected by target labels.
pub const ORACLE: &str = "oracle: selected by target labels";

/// The number of names that a note lists before it stops.
const NAMED: usize = 5;

fn plain(text: impl Into<String>) -> Note {
    Note { mark: None, text: text.into() }
}

pub(super) fn of(table: &ResultTable, spec: &TableSpec, scores: &RunScores) -> Vec<Note> {
    let mut notes = Vec::new();
    if table.oracle {
        notes.push(plain(ORACLE));
    }
    if spec.trials == Which::Selected {
        let selection = scores.selection.as_deref().unwrap_or("selected by the sweep");
        notes.push(plain(format!("Only trials {selection}.")));
        notes.extend(selected_among_all(scores));
    }
    let over = table.over.join(", ");
    if table.spread == Spread::Ci95 && table.cells().any(|cell| cell.ci95.is_some()) {
        let text = format!(
            "±: half the width of the 95 % interval of the mean over {over}, by the t distribution."
        );
        notes.push(plain(text));
    }
    notes.extend(average::notes(table));
    if let Some(comparison) = &table.comparison {
        compared(comparison, &over, &mut notes);
    }
    if let Some(gap) = &spec.gap_closed {
        let (low, high, on) = (&gap.source_only, &gap.target_trained, &gap.on);
        notes.push(plain(format!(
            "Gap closed: (row − {low}) / ({high} − {low}) on {on}, of the means over the trials \
             that have all three."
        )));
    }
    notes.extend(of_classes(table, scores));
    notes.extend(collapsed(table, scores));
    notes.extend(target_labels(table));
    notes.extend(partial(table));
    notes.extend(shared(table, scores));
    let elsewhere = |one: &&Published| not_gone_through(table, (spec, scores.all_pairs), one);
    match spec.published.iter().filter(elsewhere).count() {
        0 => {}
        count => notes.push(plain(format!(
            "Left out: {count} published numbers of settings that this sweep did not go through."
        ))),
    }
    let mut cites: Vec<(usize, &str)> = table
        .cells()
        .filter_map(|cell| cell.published.as_ref())
        .map(|one| (one.note, one.cite.as_str()))
        .collect();
    cites.sort_unstable();
    cites.dedup();
    for (number, cite) in cites {
        notes.push(Note { mark: Some(format!("[{number}]")), text: cite.to_owned() });
    }
    notes
}

fn compared(comparison: &BaselineComparison, over: &str, notes: &mut Vec<Note>) {
    let BaselineComparison { baseline, comparisons, level, .. } = comparison;
    let Some([fewest, most]) = comparison.pairs else { return };
    let count =
        if fewest == most { format!("n = {most}") } else { format!("n = {fewest} to {most}") };
    let pairs = if over.is_empty() {
        "from one run".to_owned()
    } else {
        format!("paired over {over} ({count} pairs)")
    };
    notes.push(plain(format!("Δ: mean difference to {baseline} in the same column, {pairs}.")));
    if *comparisons == 0 {
        notes.push(plain("No p values: a paired test needs at least two pairs that differ."));
        return;
    }
    let test = match (comparison.test, comparison.drawn) {
        (Test::T, _) => "paired t test",
        (Test::Permutation, false) => "paired permutation test (every choice of signs)",
        (Test::Permutation, true) => "paired permutation test (100,000 drawn choices of signs)",
    };
    notes.push(plain(format!(
        "p: {test}, two-sided, {count}, after Holm's correction over {comparisons} comparisons; \
         * p < {level}."
    )));
    notes.extend(weak(comparison, most));
}

/// A note for tests that can show almost nothing with so few pairs.
fn weak(comparison: &BaselineComparison, most: usize) -> Option<Note> {
    let BaselineComparison { comparisons, level, .. } = comparison;
    if let Some(least) = comparison.least_p {
        let times = u32::try_from(*comparisons).map_or(f64::MAX, f64::from);
        if least * times < *level {
            return None;
        }
        let enough = (most..64).find(|n| {
            let n = i32::try_from(*n).unwrap_or(i32::MAX);
            times * 0.5_f64.powi(n - 1) < *level
        })?;
        return Some(plain(format!(
            "With {most} pairs the smallest p of this test is {least}, before Holm's correction \
             over {comparisons}: no difference can reach {level}, however large; it takes \
             {enough} pairs."
        )));
    }
    (most < 5).then(|| {
        plain(format!(
            "With {most} pairs the t test rests on the differences being normal, which so few \
             cannot show."
        ))
    })
}

/// Notes about classes: scores whose classes could only be matched by number, and whose numbers the metric of
/// a single class uses where model and data set number classes differently.
fn of_classes(table: &ResultTable, scores: &RunScores) -> Vec<Note> {
    let shown: BTreeSet<(&str, &str)> = table
        .cells()
        .flat_map(|cell| &cell.values)
        .map(|value| (value.stage.as_str(), value.model.as_str()))
        .collect();
    let named = |pairs: &IndexSet<ScoredPair>| -> Option<String> {
        let pairs: BTreeSet<String> = pairs
            .iter()
            .filter(|pair| shown.contains(&(pair.stage.as_str(), pair.model.as_str())))
            .map(|pair| format!("{} on {}", pair.model, pair.dataset))
            .collect();
        let mut named: Vec<&str> = pairs.iter().take(NAMED).map(String::as_str).collect();
        if pairs.len() > NAMED {
            named.push("...");
        }
        (!named.is_empty()).then(|| named.join(", "))
    };
    let by_number = named(&scores.by_number).map(|pairs| {
        plain(format!(
            "Classes were matched by number, not by name, as one side has no names for them: {pairs}."
        ))
    });
    let of_one_class = ["class_accuracy.", "confusion."];
    let of_one_class = of_one_class.iter().any(|start| table.metric.starts_with(start));
    let renumbered = named(&scores.renumbered).filter(|_| of_one_class).map(|pairs| {
        plain(format!(
            "The number of a class is the model's; data sets that number it otherwise, by `classes.csv` of \
             the stage: {pairs}."
        ))
    });
    by_number.into_iter().chain(renumbered).collect()
}

/// A note for trials that `by = "auto"` selected although predicted classes collapse, as those of every
/// configuration did that came to its end.
fn selected_among_all(scores: &RunScores) -> Option<Note> {
    let fell_back = |it: &&TrialResult| it.selected == Some(true) && it.collapsed == Some(true);
    let trials: Vec<&str> =
        scores.trials.iter().filter(fell_back).map(|it| it.name.as_str()).collect();
    (!trials.is_empty()).then(|| {
        plain(format!(
            "None of the candidates that came to their end passed that check where these trials were selected, so that \
             all of these were compared: {}.",
            trials.join(", ")
        ))
    })
}

/// The note that explains the sign after a number, and names the models that it stands for; `None` where no number
/// has it.
pub(super) fn collapsed(table: &ResultTable, scores: &RunScores) -> Option<Note> {
    let marked = table.cells().filter(|cell| cell.collapsed > 0);
    let shown: BTreeSet<(usize, &str)> = marked
        .flat_map(|cell| &cell.values)
        .map(|value| (value.at, value.model.as_str()))
        .collect();
    let behind = |it: &&RankedModel| {
        it.collapsed() == Some(true) && shown.contains(&(it.trial, it.model.as_str()))
    };
    let all: Vec<&RankedModel> = scores.models.iter().filter(behind).collect();
    if all.is_empty() {
        return None;
    }
    let name = |model: &&RankedModel| match scores.trials[model.trial].name.as_str() {
        "" => model.model.clone(),
        trial => format!("{} of {trial}", model.model),
    };
    let mut named: Vec<String> = all.iter().take(NAMED).map(name).collect();
    if all.len() > NAMED {
        named.push("...".into());
    }
    let text = format!(
        "The predicted classes of these collapse on the target, with a diversity below {LEAST_SHARE} ln K: {}.",
        named.join(", ")
    );
    Some(Note { mark: Some(COLLAPSED.to_owned()), text })
}

/// The note that explains the sign after a number that depends on a program which saw labels of the target; `None`
/// where no number has it.
pub(super) fn target_labels(table: &ResultTable) -> Option<Note> {
    let marked = table.cells().any(|cell| cell.target_labels > 0);
    let text = "A program that saw labels of the target is behind it: no result of an unsupervised method.".to_owned();
    marked.then(|| Note { mark: Some(SAW_LABELS.to_owned()), text })
}

/// A note that names the trials that are missing from means.
fn partial(table: &ResultTable) -> Option<Note> {
    let lost = |cell: &&TableCell| cell.n > 0;
    let trials: BTreeSet<(&str, &str)> = table
        .cells()
        .filter(lost)
        .flat_map(|cell| &cell.without)
        .filter(|gap| !matches!(gap.reason, Missing::NotSelected | Missing::NoSuchPair))
        .map(|gap| (gap.trial.as_str(), gap.reason.word()))
        .collect();
    if trials.is_empty() {
        return None;
    }
    let named = trials.iter().take(NAMED).map(|(trial, reason)| format!("{trial} ({reason})"));
    let mut named: Vec<String> = named.collect();
    if trials.len() > NAMED {
        named.push("...".into());
    }
    let count = trials.len();
    Some(plain(format!("Means leave out {count} trials without a score: {}.", named.join(", "))))
}

/// A note for means over trials that share a model, which are fewer independent values than they seem.
fn shared(table: &ResultTable, scores: &RunScores) -> Option<Note> {
    let shares = |cell: &&TableCell| {
        let models = cell
            .values
            .iter()
            .map(|value| scores.stage(value.at, &value.model).and_then(|stage| stage.fingerprint));
        let models: Option<IndexSet<_>> = models.collect();
        models.is_some_and(|models| models.len() < cell.values.len())
    };
    let rows: IndexSet<&str> = table.cells().filter(shares).map(|cell| cell.row.as_str()).collect();
    if rows.is_empty() {
        return None;
    }
    let rows: Vec<&str> = rows.into_iter().collect();
    let but = match table.comparison.is_some() || table.spread == Spread::Ci95 {
        true => "n counts trials, so intervals and p values are too small there",
        false => "mean, ± and n count every trial, and there are fewer models than that",
    };
    Some(plain(format!("Trials of {} share models: {but}.", rows.join(", "))))
}
