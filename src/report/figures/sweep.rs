//! The pictures of a sweep: scores against each axis, heat maps for pairs of axes, and parallel coordinates.

use std::collections::HashSet;
use std::hash::Hash;

use indexmap::IndexMap;

use super::figure::{Figure, Topic, spread};
use super::shape::Shape;
use crate::metrics::{TrainingRow, TrainingSplit, number};
use crate::report::csv::CsvRows;
use crate::report::measured::MeasuredRun;
use crate::report::stats::mean_and_deviation;

/// A number that each trial has, such as a score.
struct Response {
    name: String,
    /// How much it depends on settings other than seeds: the standard deviation between the means of
    /// different settings; 0 where no setting affects it.
    effect: f64,
    values: Vec<Option<f64>>,
}

/// The value that trials are selected by. It has another unit than the scores, so it is drawn apart.
const OBJECTIVE: &str = "objective";

/// At most this many scores are drawn: those that depend most on the settings.
const SCORES: usize = 6;

/// An axis with more values than this gets no heat map.
const CELLS: usize = 14;

pub(super) fn figures(run: &MeasuredRun) -> Vec<Figure> {
    if run.axes.is_empty() || run.trials.len() < 2 {
        return Vec::new();
    }
    let responses = responses(run);
    if responses.is_empty() {
        return Vec::new();
    }
    let varies =
        |axis: usize| run.trials.iter().any(|it| it.labels[axis] != run.trials[0].labels[axis]);
    let axes: Vec<usize> = (0..run.axes.len()).filter(|axis| varies(*axis)).collect();
    let (objective, scores): (Vec<&Response>, Vec<&Response>) =
        responses.iter().partition(|it| it.name == OBJECTIVE);
    let mut figures = Vec::new();
    for (word, shown) in [("score", &scores), (OBJECTIVE, &objective)] {
        if !shown.is_empty() {
            figures.extend(axes.iter().map(|axis| against(run, *axis, word, shown)));
        }
    }
    for (at, first) in axes.iter().enumerate() {
        for second in &axes[at + 1..] {
            let seeds = run.is_seed(*first) || run.is_seed(*second);
            if axes.len() > 2 && seeds {
                continue;
            }
            let map = |it| heat(run, (*first, *second), it);
            figures.extend(touched(&responses).take(4).filter_map(map));
        }
    }
    figures.push(parallel(run, &axes, &responses));
    figures
}

/// The scores of the table's metric that differ between trials, and the value that trials are selected by.
/// The one that depends most on settings other than seeds comes first.
fn responses(run: &MeasuredRun) -> Vec<Response> {
    let metric = run.metric();
    let mut by_stage = IndexMap::new();
    for trial in 0..run.trials.len() {
        for (stage, _) in &run.stages {
            for row in run.scores(trial, stage).iter().filter(|row| row.metric == metric) {
                let name = (format!("{} on {}", row.model, row.dataset), stage.as_str());
                put(&mut by_stage, run, name, trial, row.value);
            }
        }
        if let Some(value) = run.trials[trial].objective {
            put(&mut by_stage, run, (OBJECTIVE.into(), ""), trial, value);
        }
    }
    let mut found = by_name(&by_stage);
    if found.is_empty() {
        found = validation(run);
    }
    let mut responses: Vec<Response> =
        found.into_iter().map(|(name, values)| response(run, name, values)).collect();
    responses.retain(|it| {
        let mut known = it.values.iter().flatten();
        let first = known.next();
        known.any(|value| Some(value) != first)
    });
    responses.sort_by(|a, b| b.effect.total_cmp(&a.effect));
    responses.truncate(SCORES);
    responses
}

type ValuesByName = IndexMap<String, Vec<Option<f64>>>;

/// The values of the trials by name. Stages that give the same scores are one; where they differ, as `ensv` does that
/// is relative to a stage's `models`, the name says which stage it is.
fn by_name(by_stage: &IndexMap<(String, &str), Vec<Option<f64>>>) -> ValuesByName {
    let differ = |one: &[Option<f64>], other: &[Option<f64>]| {
        one.iter().zip(other).any(|(one, other)| one.is_some() && other.is_some() && one != other)
    };
    let several: HashSet<&str> = by_stage
        .iter()
        .filter(|((name, _), values)| {
            by_stage.iter().any(|((other, _), others)| name == other && differ(values, others))
        })
        .map(|((name, _), _)| name.as_str())
        .collect();
    let mut found = ValuesByName::new();
    for ((name, stage), values) in by_stage {
        let name = match several.contains(name.as_str()) {
            true => format!("{name} ({stage})"),
            false => name.clone(),
        };
        let known = found.entry(name).or_insert_with(|| vec![None; values.len()]);
        known.iter_mut().zip(values).for_each(|(known, value)| *known = known.or(*value));
    }
    found
}

fn put<Name: Hash + Eq>(
    found: &mut IndexMap<Name, Vec<Option<f64>>>,
    run: &MeasuredRun,
    name: Name,
    trial: usize,
    value: f64,
) {
    let values = found.entry(name).or_insert_with(|| vec![None; run.trials.len()]);
    values[trial] = Some(value).filter(|it| it.is_finite());
}

/// The validation accuracies of the models that trainings gave, for sweeps without scores.
fn validation(run: &MeasuredRun) -> ValuesByName {
    let mut found = ValuesByName::new();
    let split = TrainingSplit::Validate;
    for trial in 0..run.trials.len() {
        for (stage, _) in &run.stages {
            let rows = run.training(trial, stage);
            if let Some(value) = TrainingRow::of_model(rows, split.word(), "accuracy", None) {
                put(&mut found, run, format!("{stage} validation accuracy"), trial, value);
            }
        }
    }
    found
}

fn response(run: &MeasuredRun, name: String, values: Vec<Option<f64>>) -> Response {
    let model = name.split(" on ").next().unwrap_or_default();
    let known = run.stages.iter().any(|it| it.0 == model);
    // Missing trials make means differ although the model is the same.
    let effect = if known && run.variants(model).len() < 2 { 0.0 } else { effect(run, &values) };
    Response { name, effect, values }
}

fn effect(run: &MeasuredRun, values: &[Option<f64>]) -> f64 {
    let mut groups: IndexMap<String, Vec<f64>> = IndexMap::new();
    for (trial, value) in values.iter().enumerate() {
        if let Some(value) = value {
            groups.entry(run.label(trial, false)).or_default().push(*value);
        }
    }
    let means = groups.values().filter_map(|values| Some(mean_and_deviation(values)?.0));
    let means: Vec<f64> = means.collect();
    if means.len() < 2 {
        return 0.0;
    }
    mean_and_deviation(&means).and_then(|it| it.1).unwrap_or(0.0)
}

/// The scores that settings other than seeds affect; all scores where there are none.
fn touched(responses: &[Response]) -> impl Iterator<Item = &Response> {
    let any = responses.iter().any(|it| it.effect > 1e-9);
    responses.iter().filter(move |it| !any || it.effect > 1e-9)
}

fn against(run: &MeasuredRun, axis: usize, word: &str, responses: &[&Response]) -> Figure {
    let mut rows = Vec::new();
    let mut repeated = false;
    let mut places = 0;
    for response in responses {
        let mut groups: IndexMap<&str, Vec<f64>> = IndexMap::new();
        for (trial, value) in response.values.iter().enumerate() {
            if let Some(value) = value {
                groups.entry(&run.trials[trial].labels[axis].1).or_default().push(*value);
            }
        }
        places = places.max(groups.len());
        for (label, values) in groups {
            repeated |= values.len() > 1;
            let cells = [response.name.clone(), String::new(), label.to_owned()];
            rows.push(cells.into_iter().chain(spread(&values)).collect());
        }
    }
    let header = ["series", "split", run.axis(axis), "mean", "low", "high", "n"];
    let name = run.axis(axis).to_owned();
    let (file, title, of) = if word == OBJECTIVE {
        (format!("sweep-{word}-{name}"), "Objective", "what trials are selected by")
    } else {
        (format!("sweep-{name}"), "Scores", "each score")
    };
    Figure {
        topic: Topic::Sweep,
        of: String::new(),
        name: file,
        title: format!("{title} by {name}"),
        about: format!(
            "Mean of {of} over the trials with the same {name}, with a band of one standard deviation."
        ),
        rows: CsvRows { header: header.map(str::to_owned).to_vec(), rows },
        shape: Shape::Lines {
            x: name,
            y: word.into(),
            axis: true,
            joined: repeated || places <= 8,
        },
    }
}

fn heat(run: &MeasuredRun, axes: (usize, usize), response: &Response) -> Option<Figure> {
    let mut cells: IndexMap<(&str, &str), Vec<f64>> = IndexMap::new();
    for (trial, value) in response.values.iter().enumerate() {
        let labels = &run.trials[trial].labels;
        if let Some(value) = value {
            cells.entry((&labels[axes.0].1, &labels[axes.1].1)).or_default().push(*value);
        }
    }
    let count = |pick: fn(&(&str, &str)) -> String| {
        cells.keys().map(pick).collect::<std::collections::BTreeSet<_>>().len()
    };
    let (rows, columns) = (count(|it| it.0.to_owned()), count(|it| it.1.to_owned()));
    // Randomly drawn values do not fill a grid.
    if rows < 2
        || columns < 2
        || rows > CELLS
        || columns > CELLS
        || cells.len() * 2 < rows * columns
    {
        return None;
    }
    let (first, second) = (run.axis(axes.0), run.axis(axes.1));
    let rows = cells.iter().filter_map(|((row, column), values)| {
        let mean = number(mean_and_deviation(values)?.0);
        Some(vec![(*row).to_owned(), (*column).to_owned(), mean, values.len().to_string()])
    });
    let header = [first, second, &response.name, "n"].map(str::to_owned).to_vec();
    Some(Figure {
        topic: Topic::Sweep,
        of: String::new(),
        name: format!("heat-{first}-{second}-{}", response.name),
        title: response.name.clone(),
        about: format!("{} for each pair of {first} and {second}: means of trials.", response.name),
        rows: CsvRows { header, rows: rows.collect() },
        shape: Shape::Heat { row: first.to_owned(), column: second.to_owned() },
    })
}

fn parallel(run: &MeasuredRun, axes: &[usize], responses: &[Response]) -> Figure {
    let mut shown: Vec<&Response> = touched(responses).take(3).collect();
    shown.reverse();
    let settings = axes.iter().map(|axis| run.axis(*axis).to_owned());
    let scores = shown.iter().map(|it| it.name.clone());
    let header = std::iter::once("trial".to_owned()).chain(settings).chain(scores);
    let rows = run.trials.iter().enumerate().map(|(at, trial)| {
        let settings = axes.iter().map(|axis| trial.labels[*axis].1.clone());
        let scores = shown.iter().map(|it| it.values[at].map(number).unwrap_or_default());
        std::iter::once(format!("{at:03}")).chain(settings).chain(scores).collect()
    });
    let last = shown.last().map_or("", |it| it.name.as_str());
    Figure {
        topic: Topic::Sweep,
        of: String::new(),
        name: "parallel".into(),
        title: "All trials".into(),
        about: format!(
            "A line for each of {} trials over its settings and scores; brighter is a higher {last}.",
            run.trials.len()
        ),
        rows: CsvRows { header: header.collect(), rows: rows.collect() },
        shape: Shape::Parallel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_that_score_a_model_differently_are_told_apart_and_others_are_one() {
        let all = [
            (("a on x", "first"), vec![Some(0.5), None, Some(0.75)]),
            (("b on x", "first"), vec![Some(0.25), Some(0.5), None]),
            (("a on x", "second"), vec![Some(0.5), Some(0.125), None]),
            (("b on x", "second"), vec![Some(0.25), Some(0.75), None]),
        ];
        let all = all.map(|((name, stage), values)| ((name.to_owned(), stage), values));
        let found: Vec<_> = by_name(&all.into_iter().collect()).into_iter().collect();
        let expected = [
            ("a on x", vec![Some(0.5), Some(0.125), Some(0.75)]),
            ("b on x (first)", vec![Some(0.25), Some(0.5), None]),
            ("b on x (second)", vec![Some(0.25), Some(0.75), None]),
        ];
        assert_eq!(found, expected.map(|(name, values)| (name.to_owned(), values)));
    }
}
