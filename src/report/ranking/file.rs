//! `ranking.csv`: the rankings of a sweep, a line for each score of each group of models.

use super::{RankedChoice, RankedScore, Ranking};
use crate::metrics::number;
use crate::report::csv::CsvRows;
use crate::report::scores::RunScores;
use crate::report::table::ORACLE;

/// The name of the file.
pub const NAME: &str = "ranking.csv";

/// Its columns. `task` is empty where all models have the same. The most accurate model takes labels of the target to know, so that its columns say `oracle`.
const COLUMNS: [&str; 15] = [
    "dataset",
    "task",
    "models",
    "score",
    "better",
    "n",
    "weighted_spearman",
    "chosen_trial",
    "chosen_model",
    "chosen_accuracy",
    "tied",
    "collapsed",
    "oracle_trial",
    "oracle_model",
    "oracle_accuracy",
];

/// Its text; `None` where there is nothing to rank. Where labels of the target selected the trials, a last column
/// says so, as in the CSV of a table.
pub fn text(rankings: &[Ranking], scores: &RunScores) -> Option<String> {
    let note = || scores.oracle.then(|| ORACLE.to_owned());
    let mut rows = Vec::new();
    for ranking in rankings {
        for group in &ranking.groups {
            rows.extend(group.scores.iter().map(|score| {
                let mut row =
                    vec![ranking.dataset.clone(), ranking.task_text(), group.name.clone()];
                row.extend(cells(score, scores));
                row.extend(choice(&group.oracle, scores));
                row.extend(note());
                row
            }));
        }
    }
    let header = COLUMNS.into_iter().map(str::to_owned).chain(note().map(|_| "note".to_owned()));
    (!rows.is_empty()).then(|| CsvRows { header: header.collect(), rows }.text())
}

/// The columns from `score` to `collapsed`.
fn cells(score: &RankedScore, scores: &RunScores) -> Vec<String> {
    let better = if score.by.higher_is_better() { "higher" } else { "lower" };
    let mut cells = vec![score.by.text(), better.to_owned(), score.models.to_string()];
    cells.push(score.correlation.map(number).unwrap_or_default());
    let chosen = score.chosen.as_ref();
    cells.extend(chosen.map(|chosen| choice(chosen, scores)).unwrap_or_default());
    cells.push(score.tied.to_string());
    let collapsed = chosen.and_then(|chosen| chosen.collapsed);
    cells.push(collapsed.map(|it| it.to_string()).unwrap_or_default());
    cells
}

/// Trial, model and accuracy.
fn choice(chosen: &RankedChoice, scores: &RunScores) -> [String; 3] {
    let trial = scores.trials[chosen.trial].name.clone();
    [trial, chosen.model.clone(), number(chosen.accuracy)]
}
