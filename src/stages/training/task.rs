//! Whether the settings of a training go together: what contradicts itself is told before anything runs.

use super::network::ModelSource;
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Reference, Word};
use crate::metrics::label_free::LabelFreeScore;
use crate::nn::Part;
use crate::train::{EpochLength, Method, TargetScores, TrainingSettings};

/// What to do where the data set comes without the split `valid`.
const HOLDS_OUT: &str = "where there is no such split, a `split` stage makes it: `holdout = 0.1`";

/// Why a method makes no use of a new classifier.
const CLASSIFIER_STAYS: &str = "the classifier stays as it comes in";

/// What is learned and how, wherever the network comes from.
pub(super) struct TrainingTask {
    pub settings: TrainingSettings,
    pub method: Box<dyn Method>,
    pub train: Option<Reference>,
    pub validate: Option<Reference>,
}

impl TrainingTask {
    /// Why a length of epochs that goes by a domain cannot be had without it.
    pub(super) fn one_domain(&self, span: Span) -> Option<Diagnostic> {
        let needs = self.method.needs();
        let (missing, left) = match (needs.source, needs.target) {
            (true, None) => ("target", "train"),
            (false, _) => ("source", "method.target"),
            (true, Some(_)) => return None,
        };
        let why = match self.settings.epoch? {
            EpochLength::Shorter | EpochLength::Longer => "compares two domains",
            EpochLength::Target if missing == "target" => "is a pass over the target",
            EpochLength::Source if missing == "source" => "is a pass over the source",
            EpochLength::Source | EpochLength::Target | EpochLength::Steps(_) => return None,
        };
        let message = format!("`epoch` {why}, but there is no {missing} domain");
        Some(
            Diagnostic::at(span, message, format!("only `{left}`"))
                .help(format!("leave `epoch` out: an epoch is then a pass over `{left}`")),
        )
    }

    /// Why a method that goes on from a trained network cannot begin with a new one.
    pub(super) fn untrained(&self, span: Span) -> Option<Diagnostic> {
        self.method.needs().comes_in.then(|| {
            let message = "this method goes on from a trained network, but `model` is a new one";
            Diagnostic::at(span, message, "with fresh weights it learns nothing")
                .help("train the network in a stage of its own, and name that stage in `model`")
        })
    }

    /// Why the classifier or the features cannot be made new where the method keeps them as they are, or writes a
    /// classifier of its own.
    pub(super) fn never_trained(
        &self,
        keys: &Keys,
        network: Option<&ModelSource>,
    ) -> Option<Diagnostic> {
        let needs = self.method.needs();
        let Some(ModelSource::Stage(new)) = network else { return None };
        // Without labelled images these keys are of no use either way, which is said already.
        if !needs.source {
            return None;
        }
        let [keeps_classifier, keeps_features] =
            [Part::CLASSIFIER, Part::FEATURES].map(|part| needs.keeps.contains(&part));
        if let Some(head) = &new.head
            && !needs.steps
            && !head.is_empty()
        {
            let span = keys.peek("head").map_or(keys.span(), |node| node.span);
            let message = "`head` has layers, but this method ends in one linear layer";
            let label = "these would be thrown away";
            return Some(Diagnostic::at(span, message, label).help("write `head = []`"));
        }
        let (key, made, label) = match (&new.head, &new.bottleneck) {
            (Some(_), _) if keeps_classifier => ("head", "a new classifier", CLASSIFIER_STAYS),
            (_, Some(_)) if keeps_classifier => {
                ("bottleneck", "a new classifier", CLASSIFIER_STAYS)
            }
            (_, Some(_)) if keeps_features => {
                ("bottleneck", "new features", "the features stay as they come in")
            }
            _ => return None,
        };
        let span = keys.peek(key).map_or(keys.span(), |node| node.span);
        let message = format!("`{key}` makes {made}, which this method would not train");
        Some(Diagnostic::at(span, message, label).help(without_key(key)))
    }

    /// Why the method cannot treat batch norm in the way that was asked for.
    pub(super) fn other_batch_norm(&self, span: Span) -> Option<Diagnostic> {
        let (family, needs) = (self.settings.batch_norm, self.method.needs());
        if needs.batch_norm.contains(&family) {
            return None;
        }
        let known: Vec<String> =
            needs.batch_norm.iter().map(|it| format!("\"{}\"", it.word())).collect();
        let message = format!("this method does not go with `batch_norm = \"{}\"`", family.word());
        let label = match needs.target {
            None => "there is no second domain",
            Some(_) => "it makes its passes in another way",
        };
        Some(
            Diagnostic::at(span, message, label)
                .help(format!("leave `batch_norm` out, or choose one of {}", known.join(", "))),
        )
    }

    /// Settings that ask for something that others do not give.
    pub(super) fn contradictions(&self, span: Span) -> Vec<Diagnostic> {
        let settings = &self.settings;
        let watching = [
            ("schedule", settings.schedule.watches()),
            ("early_stopping", settings.early_stopping.is_some()),
            ("keep_best", settings.keep_best.is_some()),
        ];
        let mut problems = Vec::new();
        for (key, _) in watching.iter().filter(|(_, watches)| *watches) {
            let Some(validate) = &self.validate else {
                problems.push(
                    Diagnostic::at(
                        span,
                        format!("`{key}` goes by validation, but there is no `validate`"),
                        "in this table",
                    )
                    .help(self.on_the_source("add"))
                    .help(HOLDS_OUT),
                );
                continue;
            };
            if let Some(target) = self.method.needs().target
                && self.shares_domain(validate, target)
            {
                problems.push(
                    Diagnostic::at(
                        validate.span,
                        format!("`{key}` would go by labels of the target domain"),
                        "the images that the method adapts to without labels",
                    )
                    .help(self.on_the_source("validate on the source:"))
                    .help(HOLDS_OUT),
                );
            }
        }
        problems
            .extend(settings.target_scores.as_ref().and_then(|it| self.without_source_labels(it)));
        if let Some(epoch) =
            settings.groups.thaw_at.iter().map(|it| it.0).find(|it| *it > settings.epochs)
        {
            problems.push(Diagnostic::at(
                span,
                format!("`thaw_at` names epoch {epoch}, but there are only {}", settings.epochs),
                "in this table",
            ));
        }
        if settings.schedule.moves_momentum() && !settings.optimizer.has_momentum() {
            problems.push(
                Diagnostic::at(
                    span,
                    "`schedule` moves the momentum, but the optimizer has none",
                    "in this table",
                )
                .help("add `momentum = 0.9` to `optimizer`")
                .help("or `cycle_momentum = false` to `schedule`"),
            );
        }
        if settings.stochastic_norm.is_some() && self.method.needs().target.is_some() {
            problems.push(
                Diagnostic::at(
                    span,
                    "`stochastic_norm` does not go with a method that adapts to a target",
                    "in this table",
                )
                .help(without_key("stochastic_norm")),
            );
        }
        if settings.label_smoothing > 0.0
            && let Some(unknown) = self.method.needs().unknown_class
        {
            let message = format!("`label_smoothing` gives a share of each label to `{unknown}`");
            let label = "a class that the source is to have no images of";
            problems
                .push(Diagnostic::at(span, message, label).help(without_key("label_smoothing")));
        }
        let decays = settings.optimizer.weight_decay() > 0.0;
        if settings.groups.l2_sp.is_some() && decays {
            problems.push(
                Diagnostic::at(
                    span,
                    "`l2_sp` and `optimizer.weight_decay` exclude each other",
                    "decay leads to where training began, or to zero",
                )
                .help("leave `weight_decay` out, or set it to 0"),
            );
        }
        problems
    }

    /// Whether `validate` is of the domain of `target`: its data set, or its split where both domains are
    /// of the data set that is trained on.
    fn shares_domain(&self, validate: &Reference, target: &Reference) -> bool {
        let of_both = self.train.as_ref().is_some_and(|train| train.stage == target.stage);
        let apart = of_both && validate.split != target.split;
        validate.stage == target.stage && !apart
    }

    /// How to validate on images like those of `train`, or like those that `model` was trained on.
    fn on_the_source(&self, words: &str) -> String {
        match &self.train {
            Some(train) => format!("{words} `validate = \"{}.valid\"`", train.stage),
            None => "let `validate` name labelled images like those that `model` learned from"
                .to_owned(),
        }
    }

    /// Why scores that look at labelled images of the source, or at its validation, cannot be had.
    fn without_source_labels(&self, scores: &TargetScores) -> Option<Diagnostic> {
        let on = &scores.on;
        if !self.method.needs().source {
            let score = scores.first(LabelFreeScore::wants_source)?.word();
            let message =
                format!("`{score}` needs labelled images, but this method learns without any");
            let label = "the images that are scored";
            return Some(Diagnostic::at(on.span, message, label).help(without_key(score)));
        }
        let score = scores.first(LabelFreeScore::wants_held_out)?.word();
        let (span, message, label) = match &self.validate {
            None => {
                let message = format!("`{score}` goes by validation, but there is no `validate`");
                (on.span, message, "the images that are scored")
            }
            Some(validate) if self.shares_domain(validate, on) => {
                let message = format!("`{score}` would go by labels of the target domain");
                (validate.span, message, "the images that `target_scores` are of")
            }
            Some(_) => return None,
        };
        let help = self.on_the_source("validate on the source:");
        Some(Diagnostic::at(span, message, label).help(help).help(HOLDS_OUT))
    }
}

/// What to do about something that is of no use.
pub(super) fn without_key(key: &str) -> String {
    format!("leave `{key}` out")
}
