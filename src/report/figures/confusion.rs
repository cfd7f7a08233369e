//! Confusion matrices of every model on every split; in a sweep, means over the seeds of each setting.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::figure::{Figure, Topic};
use super::shape::Shape;
use crate::metrics::number;
use crate::report::csv::CsvRows;
use crate::report::measured::{ClassNames, MeasuredRun};

/// Counts by true and predicted class.
type ConfusionCounts = BTreeMap<(u32, u32), f64>;

/// The settings of a matrix, one trial that has them, and its counts.
type Matrix = (String, usize, ConfusionCounts);

/// With more settings than this, only the matrix of the shown trial is drawn.
const SETTINGS: usize = 8;

pub(super) fn figures(run: &MeasuredRun) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for figure in run.stages.iter().flat_map(|(stage, _)| of_stage(run, stage)) {
        // Several stages may score the same model on the same split.
        let same = |it: &Figure| it.title == figure.title && it.rows.rows == figure.rows.rows;
        if !figures.iter().any(same) {
            figures.push(figure);
        }
    }
    figures
}

fn of_stage(run: &MeasuredRun, stage: &str) -> Vec<Figure> {
    run.models(stage).iter().flat_map(|model| of_model(run, stage, model)).collect()
}

fn of_model(run: &MeasuredRun, stage: &str, model: &str) -> Vec<Figure> {
    let mut variants = run.scored(stage, model);
    let mut only = String::new();
    if variants.len() > SETTINGS {
        let shown = run.shown();
        variants.retain(|it| it.has(shown));
        only = format!(" Only the settings of trial {shown:03}.");
    }
    let mut found: IndexMap<String, Vec<Matrix>> = IndexMap::new();
    for variant in variants {
        let mut sums: IndexMap<String, (ConfusionCounts, BTreeSet<usize>)> = IndexMap::new();
        for trial in &variant.trials {
            for row in run.scores(*trial, stage).iter().filter(|row| row.model == model) {
                let Some(cell) = cell(&row.metric) else { continue };
                let sum = sums.entry(row.dataset.clone()).or_default();
                *sum.0.entry(cell).or_insert(0.0) += row.value;
                sum.1.insert(*trial);
            }
        }
        for (dataset, (mut counts, trials)) in sums {
            let trials = f64::from(u32::try_from(trials.len()).unwrap_or(1));
            counts.values_mut().for_each(|it| *it /= trials);
            let matrix = (variant.label.clone(), variant.trials[0], counts);
            found.entry(dataset).or_default().push(matrix);
        }
    }
    let mut figures = Vec::new();
    for (dataset, matrices) in found {
        for (label, trial, counts) in matrices {
            let label = if label.is_empty() { label } else { format!(" ({label})") };
            let classes = run.classes(trial, stage, model, &dataset);
            figures.push(Figure {
                topic: Topic::Confusion,
                of: model.to_owned(),
                name: format!("confusion-{model}-{dataset}{label}"),
                title: format!("{model} on {dataset}{label}"),
                about: format!("{}{only}", about(&counts, &classes)),
                rows: rows(&counts, &classes),
                shape: Shape::Confusion,
            });
        }
    }
    figures
}

/// Parses `confusion.3.5`: an image of class 3 that was taken for class 5.
fn cell(metric: &str) -> Option<(u32, u32)> {
    let (true_class, predicted) = metric.strip_prefix("confusion.")?.split_once('.')?;
    Some((true_class.parse().ok()?, predicted.parse().ok()?))
}

fn about(counts: &ConfusionCounts, classes: &ClassNames) -> String {
    let class = |number: &u32| classes.name(&number.to_string());
    let whole: f64 = counts.values().sum();
    let right: f64 = counts.iter().filter(|it| it.0.0 == it.0.1).map(|it| it.1).sum();
    let worst = counts
        .iter()
        .filter(|it| it.0.0 != it.0.1 && *it.1 > 0.0)
        .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
    let worst = worst.map_or(String::new(), |((true_class, predicted), _)| {
        format!(" Most often, {} is taken for {}.", class(true_class), class(predicted))
    });
    let share = if whole > 0.0 { right / whole * 100.0 } else { 0.0 };
    format!("{share:.1} % of the images are on the diagonal.{worst}")
}

fn rows(counts: &ConfusionCounts, classes: &ClassNames) -> CsvRows {
    let class = |number: &u32| classes.name(&number.to_string());
    let rows = counts.iter().map(|((true_class, predicted), count)| {
        vec![class(true_class), class(predicted), number(*count)]
    });
    CsvRows {
        header: ["true", "predicted", "count"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}
