//! What makes one trial of a sweep better than another: `[sweep.select]`, checked against the stages
//! that it names. Reads no results.

use std::collections::HashSet;

use super::pipeline::{Pipeline, PlannedStage};
use crate::config::diagnostic::suggest;
use crate::config::{Diagnostic, Reference, Word, sweep};
use crate::metrics::label_free::LabelFreeScore;
use crate::metrics::scores::{Better, better};
use crate::metrics::{Metrics, TrainingSplit};
use crate::stages::Measures;

/// A number of a stage's CSV to go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The stage.
    pub stage: String,
    /// Which of its rows.
    pub rows: GoalRows,
    /// The metric in them.
    pub metric: String,
    /// Whether more is better.
    pub rises: bool,
}

/// GoalRows of a CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoalRows {
    /// Of a training: those of a split, one for each epoch.
    Training {
        /// `train`, `validate` or `target`.
        split: String,
    },
    /// Of an evaluation.
    Scores {
        /// The model, as the CSV names it.
        model: String,
        /// The data set, as the CSV names it.
        dataset: String,
    },
}

impl Goal {
    /// The goal `given` in a sweep, `pipeline` being one of its trials.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(given: &sweep::Select, pipeline: &Pipeline) -> Result<Self, Diagnostic> {
        let Some(stage) = pipeline.stages.iter().find(|it| it.name == given.stage) else {
            let message = format!("`sweep.select.stage` names `{}`", given.stage);
            let mut problem = Diagnostic::at(given.stage_span, message, "there is no such stage");
            let names = pipeline.stages.iter().map(|it| it.name.as_str());
            problem.help.extend(suggest(&given.stage, names));
            return Err(problem);
        };
        let (rows, metric) = match stage.measures {
            Measures::Scores => of_scores(given, stage)?,
            Measures::Training => of_training(given, stage)?,
            Measures::Nothing => {
                let message =
                    format!("`sweep.select.stage` names `{}`, which measures nothing", stage.name);
                let label = format!("a `{}` stage", stage.stage.kind());
                return Err(Diagnostic::at(given.stage_span, message, label)
                    .help("name a stage that trains or evaluates"));
            }
        };
        let sees = match &rows {
            // `target` rows are of images without labels.
            GoalRows::Training { split } => {
                let input = stage.inputs.iter().find(|input| input.key == *split);
                input.is_some_and(|it| {
                    let split = it.split.as_deref().unwrap_or_default();
                    is_test(split) || is_hidden(pipeline, &it.stage, split)
                })
            }
            GoalRows::Scores { dataset, .. } => {
                let (name, split) = dataset.split_once('.').unwrap_or((dataset, ""));
                is_test(split) || is_hidden(pipeline, name, split)
            }
        };
        match (sees, given.oracle) {
            (true, false) => Err(Diagnostic::at(
                given.by_span,
                "trials would be selected by labels that selection must not see",
                "of the target, or of a test split",
            )
            .help(
                "go by `validate.accuracy` of the source, or by a label-free score of the target: \
                   `by = \"target.snd\"` with `target_scores` in the stage",
            )
            .help("`oracle = true` allows it; every table and page then says so")),
            (false, true) => Err(Diagnostic::at(
                given.by_span,
                "`sweep.select.oracle` is set, but this sees no label that it should not",
                "an honest selection",
            )
            .help("leave `oracle` out: every table would carry a note that is not true")),
            _ => {
                let rises = given.rises.or_else(|| rises(&metric)).ok_or_else(|| {
                    let message = format!("whether more `{metric}` is better is not known");
                    Diagnostic::at(given.by_span, message, "this metric")
                        .help("add `mode = \"max\"` or `mode = \"min\"`")
                })?;
                Ok(Self { stage: stage.name.clone(), rows, metric, rises })
            }
        }
    }

    /// For people: `adapted: validate.accuracy`.
    pub fn text(&self) -> String {
        match &self.rows {
            GoalRows::Training { split } => format!("{}: {split}.{}", self.stage, self.metric),
            GoalRows::Scores { model, dataset } => {
                format!("{}: {} of {model} on {dataset}", self.stage, self.metric)
            }
        }
    }

    /// The value among what its stage measured: of a training in its last epoch, or in the last one up
    /// to `epoch`.
    pub fn value(&self, metrics: &Metrics, epoch: Option<usize>) -> Option<f64> {
        let value = match (&self.rows, metrics) {
            (GoalRows::Training { split }, Metrics::Training(rows)) => {
                // Where the best epoch's weights were kept, it is theirs that count.
                let best =
                    || Some(rows.iter().rfind(|row| row.split == TrainingSplit::Best)?.epoch);
                let epoch = epoch.or_else(best);
                rows.iter()
                    .filter(|row| row.metric == self.metric && row.split.word() == *split)
                    .rfind(|row| epoch.is_none_or(|epoch| row.epoch <= epoch))?
                    .value
            }
            (GoalRows::Scores { model, dataset }, Metrics::Scores(rows)) => {
                rows.iter()
                    .filter(|row| row.metric == self.metric)
                    .find(|row| row.model == *model && row.dataset == *dataset)?
                    .value
            }
            (GoalRows::Training { .. } | GoalRows::Scores { .. }, _) => return None,
        };
        Some(value).filter(|value| value.is_finite())
    }

    /// Whether any row is of its metric, and of its split.
    pub fn is_in(&self, metrics: &Metrics) -> bool {
        match (&self.rows, metrics) {
            (GoalRows::Training { split }, Metrics::Training(rows)) => {
                rows.iter().any(|row| row.metric == self.metric && row.split.word() == *split)
            }
            (GoalRows::Scores { .. }, Metrics::Scores(rows)) => {
                rows.iter().any(|row| row.metric == self.metric)
            }
            (GoalRows::Training { .. } | GoalRows::Scores { .. }, _) => false,
        }
    }
}

fn of_training(
    given: &sweep::Select,
    stage: &PlannedStage,
) -> Result<(GoalRows, String), Diagnostic> {
    let wrong = |message: String, label: &str| Diagnostic::at(given.by_span, message, label);
    for (key, word) in [("model", &given.model), ("on", &given.on)] {
        if word.is_some() {
            let message = format!("`sweep.select.{key}` is for stages that evaluate");
            return Err(wrong(message, "a training has one model and its own splits"));
        }
    }
    let Some((split, metric)) = given.by.split_once('.') else {
        let message = format!("`sweep.select.by = {:?}` names no split", given.by);
        return Err(wrong(message, "expected `split.metric`").help(
            "for example `\"validate.accuracy\"`, `\"validate.loss\"` or `\"target.info_max\"`",
        ));
    };
    let has = |key: &str| stage.inputs.iter().any(|input| input.key == key);
    let scored: Vec<&str> = (stage.settings.get("target_scores"))
        .and_then(|it| it.get("metrics")?.as_array())
        .map(|words| words.iter().filter_map(toml::Value::as_str).collect())
        .unwrap_or_default();
    let name = &stage.name;
    match split {
        "validate" if !has("validate") => {
            return Err(wrong(format!("stage `{name}` does not validate"), "no such rows")
                .help(format!("add `validate = \"...\"` to `[stages.{name}]`")));
        }
        "validate" if !["accuracy", "loss"].contains(&metric) => {
            return Err(wrong(format!("validation has no metric `{metric}`"), "no such rows")
                .help("it has `accuracy` and `loss`"));
        }
        "target" if !scored.contains(&metric) => {
            let message = format!("stage `{name}` does not score the target by `{metric}`");
            return Err(wrong(message, "no such rows").help(format!(
                "add `target_scores = {{ on = \"...\", metrics = [\"{metric}\"] }}` to `[stages.{name}]`"
            )));
        }
        "validate" | "target" | "train" => {}
        _ => {
            let message = format!("`{split}` is not a split of a training's metrics");
            let mut problem = wrong(message, "no such rows");
            problem.help.extend(suggest(split, ["train", "validate", "target"]));
            return Err(problem);
        }
    }
    Ok((GoalRows::Training { split: split.to_owned() }, metric.to_owned()))
}

fn of_scores(
    given: &sweep::Select,
    stage: &PlannedStage,
) -> Result<(GoalRows, String), Diagnostic> {
    let named = |key: &str, word: &Option<String>, prefix: &str| {
        let known: Vec<String> = stage
            .inputs
            .iter()
            .filter(|input| input.key.starts_with(prefix))
            .map(Reference::text)
            .collect();
        let word =
            match word {
                None if known.len() == 1 => return Ok(known[0].clone()),
                None => {
                    let message = format!("missing key `sweep.select.{key}`");
                    return Err(Diagnostic::at(given.span, message, "in this table")
                        .help(format!("stage `{}` has {}", stage.name, known.join(", "))));
                }
                Some(word) => word,
            };
        if known.contains(word) {
            return Ok(word.clone());
        }
        let message = format!("stage `{}` does not score `{word}`", stage.name);
        let mut problem = Diagnostic::at(given.span, message, format!("`{key}` in this table"));
        problem.help.extend(suggest(word, known.iter().map(String::as_str)));
        Err(problem)
    };
    let model = named("model", &given.model, "models.")?;
    let dataset = named("on", &given.on, "on.")?;
    Ok((GoalRows::Scores { model, dataset }, given.by.clone()))
}

/// Whether more of a metric is better; `None` for one that is not known or has no better value.
fn rises(metric: &str) -> Option<bool> {
    if let Some(score) = LabelFreeScore::named(metric) {
        return Some(score.higher_is_better());
    }
    match better(metric)? {
        Better::Higher => Some(true),
        Better::Lower => Some(false),
        Better::Neither => None,
    }
}

/// Whether a method adapts to the domain of a stage's images without labels. A domain is what its
/// images come from beyond what the source's come from as well; or a split, where both are of one.
fn is_hidden(pipeline: &Pipeline, images: &str, split: &str) -> bool {
    let come_from = |name: &str| ancestors(pipeline, name);
    let from = come_from(images);
    pipeline.stages.iter().any(|stage| {
        let named = |key: &str| stage.inputs.iter().find(|input| input.key == key);
        let Some(target) = named("method.target") else { return false };
        if target.stage == images && target.split.as_deref() == Some(split) {
            return true;
        }
        let source = labelled(pipeline, stage).map(|source| come_from(&source.stage));
        let source = source.unwrap_or_default();
        come_from(&target.stage).iter().any(|it| !source.contains(it) && from.contains(it))
    })
}

/// The labelled images that the model of a stage learned from: those of the stage itself, or of the
/// stage that its model comes from. `None` for a model that came in with its weights.
fn labelled<'a>(pipeline: &'a Pipeline, stage: &'a PlannedStage) -> Option<&'a Reference> {
    let mut stage = stage;
    loop {
        let named = |key: &str| stage.inputs.iter().find(|input| input.key == key);
        if let Some(train) = named("train") {
            return Some(train);
        }
        let model = &named("model")?.stage;
        stage = pipeline.stages.iter().find(|stage| stage.name == *model)?;
    }
}

/// Whether a split is one to report on, not to choose by.
fn is_test(split: &str) -> bool {
    split == "test"
}

/// A stage, and all stages that it is built from.
fn ancestors<'a>(pipeline: &'a Pipeline, name: &str) -> HashSet<&'a str> {
    let find = |name: &str| pipeline.stages.iter().find(|stage| stage.name == name);
    let mut found = HashSet::new();
    let mut left: Vec<&PlannedStage> = find(name).into_iter().collect();
    while let Some(stage) = left.pop() {
        if found.insert(stage.name.as_str()) {
            left.extend(stage.inputs.iter().filter_map(|input| find(&input.stage)));
        }
    }
    found
}
