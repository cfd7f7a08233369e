//! How scores that need no labels of the target order models: a heat map of their correlations with the accuracy.

use super::figure::{Figure, Topic};
use super::shape::Shape;
use crate::metrics::number;
use crate::report::csv::CsvRows;
use crate::report::error::Error;
use crate::report::measured::MeasuredRun;
use crate::report::ranking::{RankedModel, Ranking};
use crate::report::scores::RunScores;

pub(super) fn figures(run: &MeasuredRun) -> Result<Vec<Figure>, Error> {
    // Most runs have no such scores, and theirs are not read again.
    if RankedModel::all(run)?.0.is_empty() {
        return Ok(Vec::new());
    }
    let mut figures: Vec<Figure> = Vec::new();
    for ranking in Ranking::all(&RunScores::of(run)?) {
        let mut figure = figure(&ranking);
        if figures.iter().any(|it| it.name == figure.name) {
            figure.name += &format!("-{}", figures.len() + 1);
        }
        figures.push(figure);
    }
    Ok(figures)
}

/// The name of the file of a picture: the split, and the values that make the task.
fn name(ranking: &Ranking) -> String {
    let mut name = format!("ranking-{}", ranking.dataset);
    for (_, value) in &ranking.task {
        let fits = |it: char| if it.is_ascii_alphanumeric() || it == '.' { it } else { '_' };
        // A whole table can be a value.
        name.push('-');
        name.extend(value.chars().take(24).map(fits));
    }
    name
}

fn figure(ranking: &Ranking) -> Figure {
    let (on, groups) = (ranking.on(), &ranking.groups);
    let task = ranking.task.iter().map(|(_, value)| format!(", {value}"));
    let rows = ranking.scores().into_iter().flat_map(|by| {
        groups.iter().filter_map(move |group| {
            let score = group.score(by)?;
            let correlation = score.correlation.map(number).unwrap_or_default();
            Some(vec![by.text(), group.name.clone(), correlation, score.models.to_string()])
        })
    });
    let header = ["score", "model", "weighted_spearman", "n"].map(str::to_owned).to_vec();
    Figure {
        topic: Topic::Ranking,
        of: String::new(),
        name: name(ranking),
        title: format!("Ranking of scores: {}{}", ranking.dataset, task.collect::<String>()),
        about: format!(
            "Weighted Spearman correlation of each score with the accuracy on {on}, a score of which less \
             is better being turned: 1 where it orders models as their accuracy does."
        ),
        rows: CsvRows { header, rows: rows.collect() },
        shape: Shape::Heat { row: "score".into(), column: "model".into() },
    }
}
