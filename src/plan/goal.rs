//! What makes one trial of a sweep better than another: `[sweep.select]`, checked against the stages
//! that it names. Reads no results.

use super::domains::Lineage;
use super::pipeline::{Pipeline, PlannedStage};
use crate::config::diagnostic::suggest;
use crate::config::sweep::SelectBy;
use crate::config::{Diagnostic, Reference, Word, sweep};
use crate::metrics::label_free::{LabelFreeScore, diversity};
use crate::metrics::scores::{Better, WITHOUT_LABELS, better};
use crate::metrics::{Metrics, TrainingRow, TrainingSplit};
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
    /// Whether it is `by = "auto"`, which also looks at an [`AutoCheck`].
    pub auto: bool,
}

/// What a trial shows to a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merit {
    /// The goal's value.
    pub value: f64,
    /// What `by = "auto"` looks at besides.
    pub check: Option<AutoCheck>,
}

impl From<f64> for Merit {
    fn from(value: f64) -> Self {
        Self { value, check: None }
    }
}

/// What `by = "auto"` looks at besides the validation accuracy. It needs no labels of the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AutoCheck {
    /// Whether the predicted classes collapse on the target: such a trial comes after all others.
    pub collapsed: bool,
    /// Of trials that are equally accurate, the one with the higher value is better.
    pub class_ami: f64,
}

impl AutoCheck {
    /// That of a training of a model with so many `classes`, in the epoch that [`Goal::value`] is of. `None` where
    /// it did not measure it.
    pub fn of(metrics: &Metrics, epoch: Option<usize>, classes: usize) -> Option<Self> {
        let Metrics::Training(rows) = metrics else { return None };
        let target = TrainingSplit::Target.word();
        let [diversity, class_ami] =
            AUTO_SCORES.map(|score| TrainingRow::of_model(rows, target, score.word(), epoch));
        let collapsed = diversity::is_collapsed(diversity?, classes);
        Some(Self { collapsed, class_ami: class_ami? })
    }
}

/// The scores that `by = "auto"` looks at.
const AUTO_SCORES: [LabelFreeScore; 2] = [LabelFreeScore::Diversity, LabelFreeScore::ClassAmi];

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
        let lineage = Lineage::of(pipeline);
        let (rows, metric) = match (stage.measures, &given.by) {
            (Measures::Scores, SelectBy::Metric(by)) => of_scores(given, by, stage)?,
            (Measures::Training, SelectBy::Metric(by)) => of_training(given, by, stage)?,
            (Measures::Training, SelectBy::Auto) => by_auto(given, stage, &lineage)?,
            (Measures::Scores, SelectBy::Auto) => {
                let message =
                    format!("`by = \"auto\"` goes by a training, and `{}` evaluates", stage.name);
                return Err(Diagnostic::at(given.stage_span, message, "not a training")
                    .help("name a training stage with `validate` and `target_scores`"));
            }
            (Measures::Nothing, _) => {
                let message = format!(
                    "`sweep.select.stage` names `{}`, which neither trains nor evaluates",
                    stage.name
                );
                let label = format!("a `{}` stage", stage.stage.kind());
                return Err(Diagnostic::at(given.stage_span, message, label)
                    .help("name a stage that trains or evaluates"));
            }
        };
        let sees = match &rows {
            // `target` rows are of images without labels, but for what goes by labels of validation.
            GoalRows::Training { split } => {
                let by_validation = split == "target"
                    && LabelFreeScore::named(&metric).is_some_and(LabelFreeScore::wants_held_out);
                let key = if by_validation { "validate" } else { split };
                let input = stage.inputs.iter().find(|input| input.key == key);
                // `auto` takes what is scored for the target, also where no method adapts to it.
                let of_scored = |images: &str, split: &str| {
                    let key = "target_scores.on";
                    (given.by == SelectBy::Auto || by_validation)
                        && lineage.is_of_domain(&stage.name, key, images, split)
                };
                input.is_some_and(|it| {
                    let split = it.split.as_deref().unwrap_or_default();
                    is_test(split)
                        || lineage.is_hidden(&it.stage, split)
                        || of_scored(&it.stage, split)
                })
            }
            GoalRows::Scores { dataset, .. } => {
                let (name, split) = dataset.split_once('.').unwrap_or((dataset, ""));
                let hides_labels = !WITHOUT_LABELS.contains(&metric.as_str());
                is_test(split) || hides_labels && lineage.is_hidden(name, split)
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
                let auto = given.by == SelectBy::Auto;
                Ok(Self { stage: stage.name.clone(), rows, metric, rises, auto })
            }
        }
    }

    /// For people: `adapted: validate.accuracy`.
    pub fn text(&self) -> String {
        match &self.rows {
            GoalRows::Training { .. } if self.auto => format!("{}: auto", self.stage),
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
                TrainingRow::of_model(rows, split, &self.metric, epoch)?
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

/// Validation accuracy, of a training that measures what `by = "auto"` looks at besides.
fn by_auto(
    given: &sweep::Select,
    stage: &PlannedStage,
    lineage: &Lineage,
) -> Result<(GoalRows, String), Diagnostic> {
    if given.rises.is_some() {
        let message = "`mode` does not go with `by = \"auto\"`";
        return Err(Diagnostic::at(given.span, message, "in this table")
            .help("leave `mode` out: the rule says which values are better"));
    }
    let found = of_training(given, "validate.accuracy", stage)?;
    let scored = target_scores(stage);
    let missing = AUTO_SCORES.map(|score| score.word()).into_iter();
    let missing: Vec<&str> = missing.filter(|score| !scored.contains(score)).collect();
    if missing.is_empty() {
        let input = |key: &str| {
            let input = stage.inputs.iter().find(|input| input.key == key)?;
            Some((lineage.origin(&input.stage), input.split.as_deref().unwrap_or_default()))
        };
        // Labels that must stay unseen are a mistake of their own.
        let is_seen = |it: &(&str, &str)| !is_test(it.1) && !lineage.is_hidden(it.0, it.1);
        let on = input("target_scores.on").filter(is_seen);
        let same = ["train", "validate"].into_iter().find(|key| on.is_some() && input(key) == on);
        let Some(same) = same else { return Ok(found) };
        let message = "`by = \"auto\"` would look for collapsed classes on the source";
        let label =
            format!("`target_scores` of stage `{}` is on the images of `{same}`", stage.name);
        return Err(Diagnostic::at(given.by_span, message, label)
            .help("let `target_scores.on` name images of the target"));
    }
    let quoted: Vec<String> = missing.iter().map(|score| format!("\"{score}\"")).collect();
    let (name, quoted, missing) = (&stage.name, quoted.join(", "), missing.join("` and `"));
    let message = format!("`by = \"auto\"` also goes by `{missing}` of the target");
    let label = format!("stage `{name}` does not score the target by this");
    let problem = Diagnostic::at(given.by_span, message, label);
    Err(match stage.settings.contains_key("target_scores") {
        true => problem.help(format!(
            "add `{quoted}` to the `metrics` of `target_scores` in `[stages.{name}]`"
        )),
        false => problem.help(format!(
            "add `target_scores = {{ on = \"...\", metrics = [{quoted}] }}` to `[stages.{name}]`"
        )),
    })
}

/// The scores of the target that a training measures.
pub(super) fn target_scores(stage: &PlannedStage) -> Vec<&str> {
    (stage.settings.get("target_scores"))
        .and_then(|it| it.get("metrics")?.as_array())
        .map(|words| words.iter().filter_map(toml::Value::as_str).collect())
        .unwrap_or_default()
}

fn of_training(
    given: &sweep::Select,
    by: &str,
    stage: &PlannedStage,
) -> Result<(GoalRows, String), Diagnostic> {
    let wrong = |message: String, label: &str| Diagnostic::at(given.by_span, message, label);
    for (key, word) in [("model", &given.model), ("on", &given.on)] {
        if word.is_some() {
            let message = format!("`sweep.select.{key}` is for stages that evaluate");
            return Err(wrong(message, "a training has one model and its own splits"));
        }
    }
    let Some((split, metric)) = by.split_once('.') else {
        let message = format!("`sweep.select.by = {by:?}` names no split");
        return Err(wrong(message, "expected `split.metric`").help(
            "for example `\"validate.accuracy\"`, `\"validate.loss\"` or `\"target.info_max\"`",
        ));
    };
    let has = |key: &str| stage.inputs.iter().any(|input| input.key == key);
    let scored = target_scores(stage);
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
    by: &str,
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
    if by == "ensv" {
        let message = "`ensv` compares the models of one trial, and says nothing of other trials";
        return Err(Diagnostic::at(given.by_span, message, "cannot set trials apart")
            .help("go by a score of each model alone, such as `mixval`"));
    }
    let model = named("model", &given.model, "models.")?;
    let dataset = named("on", &given.on, "on.")?;
    Ok((GoalRows::Scores { model, dataset }, by.to_owned()))
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

/// Whether a split is one to report on, not to choose by.
fn is_test(split: &str) -> bool {
    split == "test"
}
