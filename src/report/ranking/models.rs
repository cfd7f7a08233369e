//! Models that were trained for a target, with the scores that need no labels of it: what a selection without such
//! labels could go by. Reads records and CSVs, and computes nothing but whether predicted classes collapse.

use std::collections::HashSet;

use indexmap::IndexMap;
use serde_json::Value;

use crate::config::Word;
use crate::digest::Fingerprint;
use crate::exec::Ending;
use crate::metrics::label_free::{LabelFreeScore, diversity};
use crate::metrics::scores::{Better, WITHOUT_LABELS, better};
use crate::metrics::{Metrics, TrainingRow, TrainingSplit};
use crate::plan::domains::{Lineage, Link};
use crate::report::error::Error;
use crate::report::finished::FinishedRun;
use crate::report::record::StageRecord;
use crate::report::trial_score::TrialScore;
use crate::stages::handed_on;

/// The keys of the target of a training: the images that it scores without their labels, or those that its method
/// adapts to.
const TARGETS: [&str; 2] = ["target_scores.on", "method.target"];

/// The setting by which an evaluation measures the distance of its other images to its first, and that metric.
const DISTANCE: &str = "proxy_a_distance";

/// The setting by which an evaluation measures the metrics that begin with this word.
const MIXES: &str = "mixval";

/// The swept settings, but for seeds, of the images that a model learned from and is scored on, with their values
/// in its trial: what makes two models answers to one question or to two.
pub type Task = Vec<(String, String)>;

/// A number that models can be selected by without labels of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankedBy {
    /// The accuracy on `validate`, which is of the source.
    SourceAccuracy,
    /// A score of the target that the training measured.
    LabelFree(LabelFreeScore),
    /// A score of the target that an evaluation measured, one of [`WITHOUT_LABELS`].
    Evaluated(&'static str),
}

impl RankedBy {
    /// The score of an evaluation with this name, where it needs no labels.
    pub fn evaluated(metric: &str) -> Option<Self> {
        WITHOUT_LABELS.into_iter().find(|it| *it == metric).map(Self::Evaluated)
    }

    /// The name, as `[sweep.select]` has it: `target.info_max`, `mixval`.
    pub fn text(self) -> String {
        match self {
            Self::SourceAccuracy => "validate.accuracy".to_owned(),
            Self::LabelFree(score) => format!("target.{}", score.word()),
            Self::Evaluated(metric) => metric.to_owned(),
        }
    }

    /// Whether models are better the higher it is.
    pub fn higher_is_better(self) -> bool {
        match self {
            Self::SourceAccuracy => true,
            Self::LabelFree(score) => score.higher_is_better(),
            Self::Evaluated(metric) => better(metric) == Some(Better::Higher),
        }
    }
}

/// A model of a trial that was trained for a target, where that trial has scores without labels.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedModel {
    /// The number of its trial.
    pub trial: usize,
    /// The stage that trained it.
    pub model: String,
    /// The kind of its method, and those that it adds: `cdan+mcc`.
    pub method: String,
    /// The name of its artifact.
    pub fingerprint: Option<Fingerprint>,
    /// How many classes it tells apart, where the record says so.
    pub classes: Option<usize>,
    /// The splits of the target that a stage scored it on, or should have, each with what the model has to do
    /// there.
    pub targets: IndexMap<String, Task>,
    /// What its training measured that it can be selected by, in the epoch whose weights it has.
    pub values: Vec<(RankedBy, f64)>,
}

impl RankedModel {
    /// The models of a run, in the order of its trials and stages. A training that did not come to its end has
    /// none, nor has one whose CSV does not have its form: a sentence says so.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn all(run: &FinishedRun) -> Result<(Vec<Self>, Vec<String>), Error> {
        let (mut all, mut unread) = (Vec::new(), Vec::new());
        for (trial, stages) in run.record.trials.iter().enumerate() {
            let lineage = lineage(stages);
            let evaluated = stages.iter().any(measures_without_labels);
            for stage in stages {
                let key = TARGETS.into_iter().find(|it| lineage.link(&stage.name, it).is_some());
                let Some(key) = key else { continue };
                let scored = evaluated || !stage.target_scores().is_empty();
                if !scored || !matches!(stage.state, Ending::Built | Ending::Cached) {
                    continue;
                }
                let metrics = match run.read_metrics(trial, &stage.name) {
                    Err(error @ Error::Malformed { .. }) => {
                        unread.push(format!("A model was not looked at: {error}."));
                        continue;
                    }
                    metrics => metrics?,
                };
                if let Some(Metrics::Training(rows)) = metrics {
                    let is_target = |images: &str, split: &str| {
                        lineage.is_of_domain(&stage.name, key, images, split)
                    };
                    let of_any = |images: &str, split: &str| {
                        is_of_target(&lineage, &stage.name, images, split)
                    };
                    let values = values(stage, of_any, &rows);
                    let mut model = Self::new((trial, stage), stages, is_target, values);
                    let learned = [lineage.link(&stage.name, key), lineage.labelled(&stage.name)];
                    let learned = learned.into_iter().flatten();
                    let learned: HashSet<&str> =
                        learned.flat_map(|link| lineage.images_behind(link.stage)).collect();
                    for (dataset, task) in &mut model.targets {
                        let images = dataset.split_once('.').map_or(dataset.as_str(), |it| it.0);
                        let scored = lineage.images_behind(images);
                        *task =
                            task_of(run, trial, |it| learned.contains(it) || scored.contains(it));
                    }
                    all.push(model);
                }
            }
        }
        Ok((all, unread))
    }

    fn new(
        (trial, stage): (usize, &StageRecord),
        stages: &[StageRecord],
        is_target: impl Fn(&str, &str) -> bool,
        values: Vec<(RankedBy, f64)>,
    ) -> Self {
        let mut targets = IndexMap::new();
        for pair in stages.iter().flat_map(|it| &it.scores).filter(|it| it.model == stage.name) {
            let (images, split) = pair.dataset.split_once('.').unwrap_or((&pair.dataset, ""));
            if is_target(images, split) {
                targets.insert(pair.dataset.clone(), Task::new());
            }
        }
        Self {
            trial,
            model: stage.name.clone(),
            method: method(stage),
            fingerprint: stage.fingerprint,
            classes: stage.classes,
            targets,
            values,
        }
    }

    /// One of its values.
    pub fn value(&self, by: RankedBy) -> Option<f64> {
        self.values.iter().find(|it| it.0 == by).map(|it| it.1)
    }

    /// How diverse its predicted classes are on the target, in nats.
    pub fn diversity(&self) -> Option<f64> {
        self.value(RankedBy::LabelFree(LabelFreeScore::Diversity))
    }

    /// Whether its predicted classes collapse on the target; `None` where it is not recorded how diverse they
    /// are, or how many classes there are.
    pub fn collapsed(&self) -> Option<bool> {
        Some(diversity::is_collapsed(self.diversity()?, self.classes?))
    }
}

/// The kind of the method of a training, and those that it adds.
fn method(stage: &StageRecord) -> String {
    let kind = |it: &Value| it.get("kind").unwrap_or(it).as_str().map(str::to_owned);
    let Some(method) = stage.settings.get("method") else { return stage.kind.clone() };
    let added = method.get("plus").and_then(Value::as_array).into_iter().flatten();
    let kinds: Vec<String> = kind(method).into_iter().chain(added.filter_map(kind)).collect();
    if kinds.is_empty() { stage.kind.clone() } else { kinds.join("+") }
}

/// The swept settings, but for seeds, of the stages that `is_behind` names; the domains of a pair as one.
fn task_of(run: &FinishedRun, trial: usize, is_behind: impl Fn(&str) -> bool) -> Task {
    let of_images = |(at, (key, _)): &(usize, &(String, String))| {
        // A name of a stage has no dots.
        let stage = key.strip_prefix("stages.").map(|it| it.split('.').next().unwrap_or_default());
        stage.is_some_and(&is_behind) && !run.is_seed(*at)
    };
    let labels = run.trials[trial].labels.iter().enumerate();
    let task: Task = labels.filter(of_images).map(|(_, label)| label.clone()).collect();
    match &run.record.pairs {
        Some(pairs) => pairs.joined(task),
        None => task,
    }
}

/// Whether images are of the target of a training, by any of its keys.
fn is_of_target(lineage: &Lineage, stage: &str, images: &str, split: &str) -> bool {
    TARGETS.into_iter().any(|key| lineage.is_of_domain(stage, key, images, split))
}

/// What evaluations measured of a model on `dataset` that needs no labels of the target, by their `measured` scores
/// of it. A distance from images of the target is no score of it. A `mixval` that no pair of images shows is not
/// a number: the model has it, and is never chosen by it.
pub(super) fn evaluated(
    model: &RankedModel,
    dataset: &str,
    measured: &[&TrialScore],
    stages: &[StageRecord],
) -> Vec<(RankedBy, f64)> {
    let lineage = lineage(stages);
    let is_from_source = |score: &TrialScore| {
        let stage = stages.iter().find(|it| it.name == score.stage);
        let from = stage.and_then(|it| it.inputs.iter().find(|input| input.key == "on.0"));
        from.is_some_and(|it| {
            let split = it.split.as_deref().unwrap_or_default();
            !is_of_target(&lineage, &model.model, &it.stage, split)
        })
    };
    let mut found: Vec<(RankedBy, f64)> = Vec::new();
    let mut add = |by: RankedBy, value: f64| {
        if found.iter().all(|it| it.0 != by) {
            found.push((by, value));
        }
    };
    for score in measured {
        let Some(by) = RankedBy::evaluated(&score.metric) else { continue };
        if score.metric != DISTANCE || is_from_source(score) {
            add(by, score.value);
        }
    }
    let mixes = |stage: &StageRecord| {
        is_set(stage, MIXES)
            && matches!(stage.state, Ending::Built | Ending::Cached)
            && stage.scores.iter().any(|it| it.model == model.model && it.dataset == dataset)
    };
    if stages.iter().any(mixes) {
        for metric in WITHOUT_LABELS.into_iter().filter(|it| it.starts_with(MIXES)) {
            add(RankedBy::Evaluated(metric), f64::NAN);
        }
    }
    found
}

/// What the stages of a trial read. Those that built one artifact are one origin.
fn lineage(stages: &[StageRecord]) -> Lineage<'_> {
    let all = stages.iter().map(|stage| {
        let links = stage.inputs.iter().map(|input| Link {
            key: &input.key,
            stage: &input.stage,
            split: input.split.as_deref(),
        });
        (stage.name.as_str(), links.collect::<Vec<Link>>())
    });
    let built = stages.iter().filter_map(|it| Some((it.name.as_str(), it.fingerprint?)));
    let handed = stages.iter().filter_map(|it| {
        Some((it.name.as_str(), handed_on(&it.kind, |key| it.settings.get(key).cloned())?))
    });
    all.collect::<Lineage>().with_twins(built).with_handed(handed)
}

/// Whether a stage scores models by something that needs no labels.
fn measures_without_labels(stage: &StageRecord) -> bool {
    [DISTANCE, MIXES].into_iter().any(|key| is_set(stage, key))
}

fn is_set(stage: &StageRecord, key: &str) -> bool {
    stage.settings.get(key).and_then(Value::as_bool) == Some(true)
}

/// What a training measured of a model that needs no labels of the target. The accuracy on a `validate` of the
/// target does, and what is computed with that.
fn values(
    stage: &StageRecord,
    is_target: impl Fn(&str, &str) -> bool,
    rows: &[TrainingRow],
) -> Vec<(RankedBy, f64)> {
    let of_model = |split: TrainingSplit, metric: &str| {
        TrainingRow::of_model(rows, split.word(), metric, None)
    };
    let validate = stage.inputs.iter().find(|input| input.key == "validate");
    let is_honest = validate.is_some_and(|it| {
        let split = it.split.as_deref().unwrap_or_default();
        !is_target(&it.stage, split)
    });
    let accuracy = of_model(TrainingSplit::Validate, "accuracy").filter(|_| is_honest);
    let accuracy = accuracy.map(|value| (RankedBy::SourceAccuracy, value));
    let scores = stage.target_scores().into_iter();
    let scores = scores.filter(|it| is_honest || !it.wants_held_out()).filter_map(|score| {
        let value = of_model(TrainingSplit::Target, score.word())?;
        Some((RankedBy::LabelFree(score), value))
    });
    accuracy.into_iter().chain(scores).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A stage that came to its end, with what it reads as key, stage and split.
    fn stage(
        name: &str,
        inputs: &[[&str; 3]],
        settings: &Value,
        scores: &[[&str; 2]],
    ) -> StageRecord {
        let input = |it: &[&str; 3]| json!({ "key": it[0], "stage": it[1], "split": it[2] });
        let score = |it: &[&str; 2]| json!({ "model": it[0], "dataset": it[1] });
        let record = json!({
            "name": name, "kind": "finetune", "state": "ran", "seconds": 0.0, "settings": settings,
            "inputs": inputs.iter().map(input).collect::<Vec<Value>>(),
            "scores": scores.iter().map(score).collect::<Vec<Value>>(),
            "fingerprint": null, "content": null, "classes": 10,
        });
        serde_json::from_value(record).unwrap()
    }

    /// The model `adapted`, which validates on `validate`, with this diversity.
    fn adapted(validate: &str, diversity: f64) -> RankedModel {
        let settings =
            json!({ "method": { "kind": "dann" }, "target_scores": { "metrics": ["diversity"] } });
        let inputs = [
            ["train", "source", "train"],
            ["validate", validate, "valid"],
            ["target_scores.on", "target", "train"],
        ];
        let scored = [
            ["adapted", "source.test"],
            ["adapted", "target.test"],
            ["other", "target.valid"],
            ["adapted", "target.test"],
        ];
        let stages = [
            stage("source", &[], &json!({}), &[]),
            stage("target", &[], &json!({}), &[]),
            stage("adapted", &inputs, &settings, &[]),
            stage("score", &[], &json!({}), &scored),
        ];
        let row = |split, metric: &str, value| {
            let metric = metric.to_owned();
            TrainingRow { epoch: 1, step: 9, split, metric, value }
        };
        let rows = [
            row(TrainingSplit::Target, "diversity", diversity),
            row(TrainingSplit::Validate, "accuracy", 0.75),
        ];
        let lineage = lineage(&stages);
        let is_target =
            |images: &str, split: &str| is_of_target(&lineage, "adapted", images, split);
        let values = values(&stages[2], is_target, &rows);
        RankedModel::new((0, &stages[2]), &stages, is_target, values)
    }

    #[test]
    fn a_model_is_ranked_on_the_splits_of_its_target_and_only_source_validation_counts() {
        let model = adapted("source", 2.0);
        assert_eq!(model.method, "dann");
        assert_eq!(model.targets.keys().collect::<Vec<_>>(), ["target.test"]);
        assert_eq!(model.value(RankedBy::SourceAccuracy), Some(0.75));
        assert_eq!(model.values[1].0.text(), "target.diversity");
        assert_eq!(adapted("target", 2.0).value(RankedBy::SourceAccuracy), None);
    }

    #[test]
    fn scores_of_evaluations_count_where_they_need_no_labels_and_go_beyond_a_trial() {
        assert_eq!(RankedBy::evaluated("mixval").unwrap().text(), "mixval");
        assert!(!RankedBy::evaluated("proxy_a_distance").unwrap().higher_is_better());
        assert_eq!(["accuracy", "ensv"].map(RankedBy::evaluated), [None; 2]);
        let looks = |settings| measures_without_labels(&stage("looks", &[], &settings, &[]));
        assert!(looks(json!({ "proxy_a_distance": true, "mixval": false })));
        assert!(!looks(json!({ "proxy_a_distance": false })) && !looks(json!({})));
    }

    #[test]
    fn a_distance_counts_from_the_source_alone_and_a_mixval_without_pairs_is_no_number() {
        let model = adapted("source", 2.0);
        let inputs = [["train", "source", "train"], ["method.target", "target", "train"]];
        let measured = |first: &str, metric: &str| {
            let on = [["models.0", "adapted", ""], ["on.0", first, "test"]];
            let settings = json!({ "mixval": true, "proxy_a_distance": true });
            let stages = [
                stage("source", &[], &json!({}), &[]),
                stage("target", &[], &json!({}), &[]),
                stage("adapted", &inputs, &json!({}), &[]),
                stage("score", &on, &settings, &[["adapted", "target.test"]]),
            ];
            let score = TrialScore {
                trial: 0,
                stage: "score".into(),
                model: "adapted".into(),
                dataset: "target.test".into(),
                metric: metric.into(),
                value: 0.5,
            };
            let found = evaluated(&model, "target.test", &[&score], &stages);
            let finite = found.iter().filter(|it| it.1.is_finite()).count();
            (found.len(), finite, evaluated(&model, "target.valid", &[], &stages).len())
        };
        assert_eq!(measured("source", "proxy_a_distance"), (4, 1, 0));
        assert_eq!(measured("target", "proxy_a_distance"), (3, 0, 0));
        assert_eq!(measured("source", "mixval_intra"), (3, 1, 0));
    }

    #[test]
    fn methods_are_named_with_those_that_they_add() {
        let named = |settings: Value| method(&stage("adapted", &[], &settings, &[]));
        let plus = json!({ "method": { "kind": "cdan", "plus": ["mcc", { "kind": "bsp" }] } });
        assert_eq!(named(plus), "cdan+mcc+bsp");
        assert_eq!(named(json!({ "method": { "kind": "dann", "plus": [] } })), "dann");
        assert_eq!(named(json!({})), "finetune");
    }

    #[test]
    fn predicted_classes_collapse_by_what_is_recorded_and_otherwise_nothing_is_said() {
        assert_eq!(adapted("source", 2.0).collapsed(), Some(false));
        let mut model = adapted("source", 1.0);
        assert_eq!(model.collapsed(), Some(true));
        model.classes = None;
        assert_eq!(model.collapsed(), None);
    }
}
