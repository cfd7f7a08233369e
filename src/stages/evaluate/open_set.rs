//! The scores of open sets, where one of a model's classes is that of images of none of the others.

use crate::config::diagnostic::suggest;
use crate::metrics::ScoreRow;
use crate::metrics::confusion::Confusion;
use crate::metrics::open_set::OpenSet;
use crate::stages::Problem;

/// Why the model of the stage `model`, of the classes `known`, has none called `unknown`.
pub(super) fn no_unknown(unknown: &str, model: &str, known: &[String]) -> Option<Problem> {
    if known.iter().any(|class| class == unknown) {
        return None;
    }
    let message = format!("model `{model}`: it has no class `{unknown}`");
    let mut problem = Problem::at("unknown", message);
    problem.help.extend(suggest(unknown, known.iter().map(String::as_str)));
    Some(problem.help("leave `unknown` out where every class of the model is a known one"))
}

/// `os_star`, `unk` and `hos` of a model with the classes `known` on a data set, as far as it has images
/// of these classes.
pub(super) fn open_set_rows(
    unknown: &str,
    known: &[String],
    (model, dataset): (&str, &str),
    confusion: &Confusion,
) -> Vec<ScoreRow> {
    let place = known.iter().position(|class| class == unknown);
    let Some(unknown) = place.and_then(|at| u32::try_from(at).ok()) else { return Vec::new() };
    let scores = OpenSet::of(confusion, unknown);
    let row = |(metric, value): (&str, Option<f64>)| {
        let (model, dataset, metric) = (model.to_owned(), dataset.to_owned(), metric.to_owned());
        Some(ScoreRow { model, dataset, metric, value: value? })
    };
    let named = [("os_star", scores.os_star), ("unk", scores.unk), ("hos", scores.hos())];
    named.into_iter().filter_map(row).collect()
}
