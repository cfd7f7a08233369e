//! `scores.csv`: every score of a run in one table for other programs, a row each with the values of the swept keys
//! beside it. Cells of confusion matrices are not in it: those are in the CSVs of the stages.

use super::csv::CsvRows;
use super::measured::MeasuredRun;
use crate::config::sweep::PAIR;
use crate::metrics::{Metrics, number};

/// Its name in a run's folder.
pub const NAME: &str = "scores.csv";

/// The scores of `run` as CSV: in a sweep the trial, the folder of its files and its axes, with a column for the pair of domains
/// after theirs, then [`COLUMNS`]. Nothing where no
/// stage scored anything.
pub fn text(run: &MeasuredRun) -> Option<String> {
    let mut rows = Vec::new();
    let pairs = run.record.pairs.as_ref();
    for (trial, stages) in run.record.trials.iter().enumerate() {
        let sweep: Vec<String> = match run.is_sweep() {
            false => Vec::new(),
            true => {
                let trial = &run.trials[trial];
                let values = trial.labels.iter().map(|(_, value)| value.clone());
                [trial.name.clone(), format!("trials/{}", trial.name)]
                    .into_iter()
                    .chain(values)
                    .chain(trial.pair(pairs))
                    .collect()
            }
        };
        for stage in stages {
            let Some(Metrics::Scores(scores)) = run.metrics(trial, &stage.name) else { continue };
            let mut classes = None;
            for score in scores {
                let (metric, class) = match score.metric.split_once('.') {
                    Some(("confusion", _)) => continue,
                    Some((metric, class)) => (metric, class),
                    None => (score.metric.as_str(), ""),
                };
                let name = match class {
                    "" => String::new(),
                    class => {
                        let pair = (&score.model, &score.dataset);
                        if classes.as_ref().is_none_or(|(of, _)| *of != pair) {
                            let names = run.classes(trial, &stage.name, pair.0, pair.1);
                            classes = Some((pair, names));
                        }
                        classes.as_ref().expect("they were just found").1.name(class)
                    }
                };
                let own = [&stage.name, &score.model, &score.dataset, metric, class, &name];
                let own = own.map(str::to_owned).into_iter().chain([number(score.value)]);
                rows.push(sweep.iter().cloned().chain(own).collect());
            }
        }
    }
    let sweep = run.is_sweep().then(|| {
        ["trial", "folder"]
            .map(str::to_owned)
            .into_iter()
            .chain(run.axes.iter().cloned())
            .chain(pairs.map(|_| PAIR.to_owned()))
    });
    let header = sweep.into_iter().flatten().chain(COLUMNS.map(str::to_owned)).collect();
    (!rows.is_empty()).then(|| CsvRows { header, rows }.text())
}

/// The columns of a score. `class` is the number of a class, for a score of one class, and `class_name` what the data set
/// calls it.
pub const COLUMNS: [&str; 7] =
    ["stage", "model", "dataset", "metric", "class", "class_name", "value"];
