//! The ranking of scores as tables: how each score correlates with the accuracy on the target, and how accurate the
//! model is that it selects.

use super::build;
use super::model::{
    ColumnKind, Missing, Note, ResultTable, Sample, TableCell, TableColumn, TableRow,
};
use super::notes::{ORACLE, collapsed, target_labels};
use crate::plan::table_spec::{Best, Spread, Which};
use crate::report::ranking::{RankedBy, RankedChoice, RankedGroup, RankedScore, Ranking};
use crate::report::scores::RunScores;

/// The row of the most accurate models.
const BEST: &str = "best (oracle)";

impl ResultTable {
    /// The two tables of a ranking: correlations, and accuracies of the selected models.
    pub fn of_ranking(ranking: &Ranking, scores: &RunScores) -> [Self; 2] {
        [correlations(ranking, scores), selected(ranking, scores)]
    }
}

fn correlations(ranking: &Ranking, scores: &RunScores) -> ResultTable {
    let cell = |by: RankedBy, group: &RankedGroup| match group.score(by) {
        Some(score) => TableCell {
            n: score.models,
            mean: score.correlation,
            missing: score.correlation.is_none().then_some(Missing::Undefined),
            ..TableCell::default()
        },
        None => without(Missing::NoSuchPair),
    };
    let caption = format!("Weighted Spearman correlation with the accuracy on {}", ranking.on());
    let mut table = bare(ranking, scores, caption, "weighted_spearman");
    put_rows(&mut table, ranking, cell);
    build::mark_best(&mut table, Some(Best::Max));
    let counts = ranking.groups.iter().map(|it| format!("{} of {}", it.models, it.name));
    note(&mut table, format!("Models: {}; one that trials share counts once.", listed(counts)));
    let fewer = ranking.groups.iter().flat_map(|group| {
        let fewer = group.scores.iter().filter(move |it| it.models < group.models);
        fewer.map(move |it| format!("{} for {} of {}", it.models, it.by.text(), group.name))
    });
    let fewer = listed(fewer);
    if !fewer.is_empty() {
        note(&mut table, format!("Not all of them have every score: {fewer}."));
    }
    if scores.models.iter().any(|it| it.diversity().is_some() && it.classes.is_none()) {
        let text = "It is not recorded how many classes the models tell apart, and so not known whether \
            predicted ones collapse.";
        note(&mut table, text.to_owned());
    }
    table
}

fn selected(ranking: &Ranking, scores: &RunScores) -> ResultTable {
    let cell = |by: RankedBy, group: &RankedGroup| match group.score(by) {
        Some(RankedScore { chosen: Some(chosen), .. }) => accuracy(chosen, scores),
        Some(RankedScore { chosen: None, .. }) => without(Missing::Undefined),
        None => without(Missing::NoSuchPair),
    };
    let caption = format!("Accuracy (%) on {} of the model that a score selects", ranking.on());
    let mut table = bare(ranking, scores, caption, "accuracy");
    table.percent = true;
    put_rows(&mut table, ranking, cell);
    let best = ranking.groups.iter().map(|group| accuracy(&group.oracle, scores));
    table.rows.push(row(BEST, ranking, best));
    let text = "the most accurate model, which takes labels of the target to know";
    note(&mut table, format!("{BEST}: {text}."));
    let ties = ranking.groups.iter().flat_map(|group| {
        let ties = group.scores.iter().filter(|it| it.tied > 1);
        ties.map(move |it| format!("{} of {} ({})", it.by.text(), group.name, it.tied))
    });
    let ties = listed(ties);
    if !ties.is_empty() {
        let text = "Several models have the best value of a score, and the first is taken";
        note(&mut table, format!("{text}: {ties}."));
    }
    let marked = collapsed(&table, scores).into_iter().chain(target_labels(&table));
    let marked: Vec<Note> = marked.collect();
    table.notes.extend(marked);
    table
}

/// A cell with the accuracy of a model that was selected.
fn accuracy(chosen: &RankedChoice, scores: &RunScores) -> TableCell {
    let sample = Sample {
        trial: scores.trials[chosen.trial].name.clone(),
        over: Vec::new(),
        value: chosen.accuracy,
        stage: chosen.stage.clone(),
        model: chosen.model.clone(),
        at: chosen.trial,
    };
    let collapsed = usize::from(chosen.collapsed == Some(true));
    let target_labels = usize::from(scores.saw_labels(chosen.trial, &chosen.model, ""));
    TableCell { collapsed, target_labels, ..TableCell::of("", "", vec![sample]) }
}

/// A cell without a number.
fn without(missing: Missing) -> TableCell {
    TableCell { missing: Some(missing), ..TableCell::default() }
}

/// A table with a column for each group, and without rows.
fn bare(ranking: &Ranking, scores: &RunScores, caption: String, metric: &str) -> ResultTable {
    let column = |name: &str| TableColumn::plain(name, ColumnKind::Scores);
    let columns = ranking.groups.iter().map(|group| column(&group.name));
    let mut table = ResultTable {
        name: None,
        caption: Some(caption),
        rows_by: "score".to_owned(),
        columns_by: "model".to_owned(),
        metric: metric.to_owned(),
        percent: false,
        over: Vec::new(),
        spread: Spread::None,
        trials: Which::All,
        oracle: scores.oracle,
        columns: columns.collect(),
        rows: Vec::new(),
        comparison: None,
        notes: Vec::new(),
        doubts: Vec::new(),
        mark_in_markdown: true,
    };
    if scores.oracle {
        note(&mut table, ORACLE.to_owned());
    }
    table
}

/// Adds a row for each score.
fn put_rows(
    table: &mut ResultTable,
    ranking: &Ranking,
    cell: impl Fn(RankedBy, &RankedGroup) -> TableCell,
) {
    for by in ranking.scores() {
        let cells = ranking.groups.iter().map(|group| cell(by, group));
        table.rows.push(row(&by.text(), ranking, cells));
    }
}

/// A row with a cell for each group.
fn row(name: &str, ranking: &Ranking, cells: impl Iterator<Item = TableCell>) -> TableRow {
    let named = |(group, cell): (&RankedGroup, TableCell)| TableCell {
        row: name.to_owned(),
        column: group.name.clone(),
        ..cell
    };
    TableRow { name: name.to_owned(), cells: ranking.groups.iter().zip(cells).map(named).collect() }
}

fn note(table: &mut ResultTable, text: String) {
    table.notes.push(Note { mark: None, text });
}

fn listed(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
