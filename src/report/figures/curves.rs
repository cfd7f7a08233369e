//! Learning curves: each metric of each training over its epochs. A sweep has one line per setting: the mean
//! over its seeds, with a band of one standard deviation.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::figure::{Figure, Topic, spread};
use super::shape::Shape;
use crate::metrics::TrainingSplit;
use crate::report::csv::CsvRows;
use crate::report::measured::MeasuredRun;

/// The lines of a picture, by variant and split: the values of all seeds in each epoch.
type Curves = IndexMap<(String, TrainingSplit), BTreeMap<usize, Vec<f64>>>;

pub(super) fn figures(run: &MeasuredRun) -> Vec<Figure> {
    run.stages.iter().flat_map(|(stage, _)| of_stage(run, stage)).collect()
}

fn of_stage(run: &MeasuredRun, stage: &str) -> Vec<Figure> {
    let mut metrics: IndexMap<String, Curves> = IndexMap::new();
    for variant in run.variants(stage) {
        for row in variant.trials.iter().flat_map(|trial| run.training(*trial, stage)) {
            let lines = metrics.entry(row.metric.clone()).or_default();
            let line = lines.entry((variant.label.clone(), row.split)).or_default();
            line.entry(row.epoch).or_default().push(row.value);
        }
    }
    metrics.into_iter().map(|(metric, lines)| figure(stage, &metric, &lines)).collect()
}

fn figure(stage: &str, metric: &str, lines: &Curves) -> Figure {
    let header = ["series", "split", "epoch", "mean", "low", "high", "n"];
    let mut rows = Vec::new();
    let mut seeds = 1;
    for ((label, split), epochs) in lines {
        for (epoch, values) in epochs {
            seeds = seeds.max(values.len());
            let cells = [label.clone(), split.word().to_owned(), epoch.to_string()];
            rows.push(cells.into_iter().chain(spread(values)).collect());
        }
    }
    let word = metric.split(['.', '_']).next().unwrap_or_default();
    let schedule = ["lr", "lambda", "momentum"].contains(&word);
    let band = if seeds > 1 {
        format!(" Means of {seeds} seeds, bands of one standard deviation.")
    } else {
        String::new()
    };
    let count = match lines.len() {
        1 => "one line".to_owned(),
        many => format!("{many} lines"),
    };
    Figure {
        topic: if schedule { Topic::Schedules } else { Topic::Curves },
        of: stage.to_owned(),
        name: format!("{stage}-{metric}"),
        title: format!("{stage}: {}", metric.replace('_', " ")),
        about: format!("{metric} of {stage} by epoch, {count}.{band}"),
        rows: CsvRows { header: header.map(str::to_owned).to_vec(), rows },
        shape: Shape::Lines {
            x: "epoch".into(),
            y: metric.replace('_', " "),
            axis: false,
            joined: true,
        },
    }
}
