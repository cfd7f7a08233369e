//! The section of scores that need no labels of the target: how they order models, and whose predicted classes
//! collapse.

use super::section::{Section, about, grid};
use super::table::{HtmlCell, sortable};
use crate::metrics::label_free::diversity::LEAST_SHARE;
use crate::metrics::rounded;
use crate::report::error::Error;
use crate::report::figures::{Figure, Topic};
use crate::report::measured::MeasuredRun;
use crate::report::ranking::RankedModel;
use crate::report::table::TableFormat;
use crate::report::tables::Tables;

pub(super) fn section(run: &MeasuredRun, figures: &[Figure]) -> Result<Option<Section>, Error> {
    let (models, _) = RankedModel::all(run)?;
    if models.is_empty() {
        return Ok(None);
    }
    let tables = Tables::of_rankings(run)?;
    let mut html: String =
        tables.iter().map(|table| table.render(TableFormat::Html, false)).collect();
    html += &grid(about(figures, Topic::Ranking));
    html += &collapsed(run, &models);
    Ok((!html.is_empty()).then_some(Section { id: "ranking", title: "Ranking of scores", html }))
}

/// The models whose predicted classes collapse on the target.
fn collapsed(run: &MeasuredRun, models: &[RankedModel]) -> String {
    let collapsed = models.iter().filter(|it| it.collapsed() == Some(true));
    let row = |model: &RankedModel| {
        let diversity = model.diversity().unwrap_or_default();
        let text = |text: &str| HtmlCell { text: text.to_owned(), ..HtmlCell::default() };
        let number = HtmlCell { value: Some(diversity), ..text(&rounded(diversity)) };
        let classes = model.classes.map(|it| it.to_string()).unwrap_or_default();
        let trial = &run.trials[model.trial].name;
        let trial = if trial.is_empty() { "the run" } else { trial };
        vec![text(trial), text(&model.model), text(&model.method), number, HtmlCell::of(classes)]
    };
    let rows: Vec<Vec<HtmlCell>> = collapsed.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["trial", "model", "method", "diversity", "classes"].map(str::to_owned);
    let caption = format!(
        "Models whose predicted classes collapse on the target: diversity below {LEAST_SHARE} ln K of K classes"
    );
    sortable(&caption, &header, &rows)
}
