//! Features of images in two dimensions, before and after adaptation, coloured once by domain and once by
//! class. A sweep shows those of one trial that stands for all.

use indexmap::IndexMap;

use super::figure::{Figure, Topic};
use super::shape::Shape;
use crate::report::csv::CsvRows;
use crate::report::error::Error;
use crate::report::measured::{ClassNames, MeasuredRun};

/// More points than this in one plane are thinned out evenly.
const POINTS: usize = 4000;

pub(super) fn figures(run: &MeasuredRun) -> Result<Vec<Figure>, Error> {
    let mut figures = Vec::new();
    let trial = run.shown();
    for (stage, _) in &run.stages {
        let Some(rows) = run.extra(trial, stage, "embedding.csv")? else { continue };
        let columns = ["model", "dataset", "method", "label", "x", "y"];
        let places: Option<Vec<usize>> =
            columns.iter().map(|name| rows.header.iter().position(|it| it == name)).collect();
        let Some(places) = places else { continue };
        let mut classes: IndexMap<(String, String), ClassNames> = IndexMap::new();
        let mut planes: IndexMap<(String, String), Vec<Vec<String>>> = IndexMap::new();
        for row in rows.rows {
            let pick = |at: usize| row[places[at]].clone();
            let plane = planes.entry((pick(2), pick(0))).or_default();
            let (model, dataset) = (pick(0), pick(1));
            let known = classes.entry((model.clone(), dataset.clone()));
            let known = known.or_insert_with(|| run.classes(trial, stage, &model, &dataset));
            let class = known.name(&pick(3));
            plane.push(vec![dataset, class, pick(4), pick(5)]);
        }
        for by_class in [false, true] {
            for ((method, model), points) in &planes {
                figures.push(figure(method, model, points, by_class));
            }
        }
    }
    // The planes of a method belong side by side: first by domain, then by class.
    figures.sort_by_key(|it| it.name.contains("-tsne-"));
    Ok(figures)
}

fn figure(method: &str, model: &str, points: &[Vec<String>], by_class: bool) -> Figure {
    let every = points.len().div_ceil(POINTS).max(1);
    let rows: Vec<Vec<String>> = points.iter().step_by(every).cloned().collect();
    let named = match method {
        "pca" => "PCA",
        "tsne" => "t-SNE",
        other => other,
    };
    let by = if by_class { "class" } else { "domain" };
    Figure {
        topic: Topic::Embedding,
        of: model.to_owned(),
        name: format!("embedding-{method}-{model}-{by}"),
        title: format!("{model}: {named} by {by}"),
        about: format!(
            "Features of {} images in the plane of {named}, coloured by {by}. The axes have no unit.",
            rows.len()
        ),
        rows: CsvRows { header: ["domain", "class", "x", "y"].map(str::to_owned).to_vec(), rows },
        shape: Shape::Scatter { by_class },
    }
}
