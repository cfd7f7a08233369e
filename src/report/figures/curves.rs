//! Learning curves: each metric of each training over its epochs. A sweep has one line per setting: the mean
//! over its seeds, with a band of one standard deviation.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::figure::{Figure, Topic, spread};
use super::shape::Shape;
use crate::metrics::TrainingSplit;
use crate::report::csv::CsvRows;
use crate::report::measured::MeasuredRun;

/// The lines of a picture, by variant and what is measured: the values of all seeds in each epoch.
type Curves = IndexMap<(String, String), BTreeMap<usize, Vec<f64>>>;

/// What a training minimises for the right answers: the cross-entropy of the labelled images of its steps.
const TRAINED: &str = "class_loss";

/// The same for the images that it is validated on.
const VALIDATED: &str = "loss";

pub(super) fn figures(run: &MeasuredRun) -> Vec<Figure> {
    run.stages.iter().flat_map(|(stage, _)| of_stage(run, stage)).collect()
}

fn of_stage(run: &MeasuredRun, stage: &str) -> Vec<Figure> {
    let mut metrics: IndexMap<String, Curves> = IndexMap::new();
    for variant in run.variants(stage) {
        for trial in &variant.trials {
            let is_oracle = is_validated_by_target(run, *trial, stage);
            for row in run.training(*trial, stage) {
                let lines = metrics.entry(row.metric.clone()).or_default();
                let split = match (&row.split, is_oracle) {
                    (TrainingSplit::Validate, true) => "validate (oracle)",
                    (split, _) => split.word(),
                };
                let line = lines.entry((variant.label.clone(), split.to_owned())).or_default();
                line.entry(row.epoch).or_default().push(row.value);
            }
        }
    }
    both_losses(&mut metrics);
    metrics.into_iter().map(|(metric, lines)| figure(stage, &metric, &lines)).collect()
}

/// Whether the images that a training is validated on have labels of a target.
fn is_validated_by_target(run: &MeasuredRun, trial: usize, stage: &str) -> bool {
    let inputs = run.stage(trial, stage).map(|it| it.inputs.as_slice()).unwrap_or_default();
    inputs.iter().any(|it| it.key == "validate" && it.oracle)
}

/// Puts the loss of training and that of validation into one picture, each line with the name of its metric: where they
/// part, a network learns what holds for its training images alone.
fn both_losses(metrics: &mut IndexMap<String, Curves>) {
    if !metrics.contains_key(VALIDATED) {
        return;
    }
    let Some(place) = metrics.get_index_of(TRAINED) else { return };
    let [trained, validated] =
        [TRAINED, VALIDATED].map(|metric| metrics.shift_remove(metric).unwrap_or_default());
    let named = |lines: Curves, metric: &'static str| {
        lines.into_iter().map(move |((variant, split), line)| {
            ((variant, format!("{split} {}", metric.replace('_', " "))), line)
        })
    };
    let both = named(trained, TRAINED).chain(named(validated, VALIDATED)).collect();
    // In the place of the first, so that the loss comes before what follows from it.
    metrics.shift_insert(place.min(metrics.len()), VALIDATED.to_owned(), both);
}

fn figure(stage: &str, metric: &str, lines: &Curves) -> Figure {
    let header = ["series", "split", "epoch", "mean", "low", "high", "n"];
    let mut rows = Vec::new();
    let mut seeds = 1;
    for ((label, split), epochs) in lines {
        for (epoch, values) in epochs {
            seeds = seeds.max(values.len());
            let cells = [label.clone(), split.clone(), epoch.to_string()];
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
