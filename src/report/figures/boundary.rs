//! Which class each model takes every point of a plane for, with the samples in it. A sweep shows those of one trial that
//! stands for all.

use indexmap::IndexMap;

use super::figure::{Figure, Topic};
use super::shape::Shape;
use crate::report::csv::CsvRows;
use crate::report::error::Error;
use crate::report::measured::MeasuredRun;

/// More samples than this in one plane are thinned out evenly.
const POINTS: usize = 4000;

/// The cells of each row that belong to a model.
type ByModel = IndexMap<String, Vec<Vec<String>>>;

pub(super) fn figures(run: &MeasuredRun) -> Result<Vec<Figure>, Error> {
    let mut figures = Vec::new();
    let trial = run.shown();
    for (stage, _) in &run.stages {
        let Some(plane) = run.extra(trial, stage, "boundary.csv")? else { continue };
        let Some(points) = run.extra(trial, stage, "points.csv")? else { continue };
        let (Some(plane), Some(points)) = (
            by_model(&plane, ["x", "y", "predicted"]),
            by_model(&points, ["dataset", "label", "x", "y"]),
        ) else {
            continue;
        };
        for (model, cells) in &plane {
            let points = points.get(model).map_or(&[][..], Vec::as_slice);
            let dataset = points.first().map_or("", |row| &row[0]);
            let classes = run.classes(trial, stage, model, dataset);
            let cell = |row: &Vec<String>| {
                let [x, y, class] = [&row[0], &row[1], &row[2]];
                vec!["plane".into(), String::new(), classes.name(class), x.clone(), y.clone()]
            };
            let mut rows: Vec<Vec<String>> = cells.iter().map(cell).collect();
            let every = points.len().div_ceil(POINTS).max(1);
            let shown = points.iter().step_by(every).map(|row| {
                let names = run.classes(trial, stage, model, &row[0]);
                let class = names.name(&row[1]);
                vec!["sample".into(), row[0].clone(), class, row[2].clone(), row[3].clone()]
            });
            rows.extend(shown);
            figures.push(figure(model, rows));
        }
    }
    Ok(figures)
}

/// The cells of some columns, by the model that they are of; `None` where a column is not there.
fn by_model<const N: usize>(rows: &CsvRows, columns: [&str; N]) -> Option<ByModel> {
    let place = |name: &str| rows.header.iter().position(|it| it == name);
    let model = place("model")?;
    let places: Vec<usize> = columns.iter().map(|name| place(name)).collect::<Option<_>>()?;
    let mut found = ByModel::new();
    for row in &rows.rows {
        let cells = places.iter().map(|at| row[*at].clone()).collect();
        found.entry(row[model].clone()).or_default().push(cells);
    }
    Some(found)
}

fn figure(model: &str, rows: Vec<Vec<String>>) -> Figure {
    let samples = rows.iter().filter(|row| row[0] == "sample").count();
    Figure {
        topic: Topic::Boundary,
        of: model.to_owned(),
        name: format!("boundary-{model}"),
        title: format!("{model}: decision boundary"),
        about: format!(
            "Which class the model takes every point of the plane for, as the ground, and {samples} samples, \
             coloured by their own class. The axes are the two features, both in one scale."
        ),
        rows: CsvRows {
            header: ["kind", "domain", "class", "x", "y"].map(str::to_owned).to_vec(),
            rows,
        },
        shape: Shape::Boundary,
    }
}
