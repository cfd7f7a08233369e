//! The run of a training stage: opens the data sets, makes them fit the network, trains, and says what
//! came of it.

use super::network::{Start, fresh};
use super::{SCORED, Training};
use crate::data::classes::Matched;
use crate::metrics::{Metrics, TrainingRow, TrainingSplit};
use crate::nn::dispatch::{Job, backend};
use crate::nn::geometry::Chw;
use crate::nn::ops::Ops;
use crate::nn::placement::SpecError;
use crate::nn::{Model, Saved, Spec, head};
use crate::stages::classes::{Uses, clash, named, names_of_both, note};
use crate::stages::inputs::{Opened, unlike};
use crate::stages::{Context, Failure, Halt, Outcome};
use crate::train::activations::Caching;
use crate::train::{Data, Ended, RunOptions, coverage, fit, groups};

pub(super) struct Sets {
    pub train: Opened,
    pub validate: Option<Opened>,
    pub target: Option<Opened>,
    pub scored: Option<Opened>,
}

impl Sets {
    /// Fails where images do not fit the network or classes are not among those of the model, `known`;
    /// gives labels the model's numbers, and the model the names of its classes. `say` hears what
    /// people should know of how classes were matched.
    fn fit(
        &mut self,
        spec: &Spec,
        known: Vec<String>,
        mut say: impl FnMut(&Matched, &str),
    ) -> Result<Vec<String>, Failure> {
        self.train.check(spec, "train")?;
        let matched = self.train.renumber("train", &known)?;
        let found = &self.train.dataset.classes;
        if let Some(note) = note(&matched, "train", &known, found) {
            say(&matched, &note);
        }
        let known = names_of_both(&matched, known, found);
        if let Some(validate) = &mut self.validate {
            validate.check(spec, "validate")?;
            let matched = validate.renumber("validate", &known)?;
            if let Some(note) = note(&matched, "validate", &known, &validate.dataset.classes) {
                say(&matched, &note);
            }
        }
        for (set, key) in [(&self.target, "method.target"), (&self.scored, SCORED)] {
            let Some(set) = set else { continue };
            set.check(spec, key)?;
            let found = (&*set.dataset.classes, &*set.dataset.empty_classes());
            if let Some(problem) = clash(key, &known, found, Uses::Images) {
                return Err(named(problem, key));
            }
        }
        Ok(known)
    }
}

pub(super) struct Run<'a> {
    pub training: &'a Training,
    pub context: &'a Context<'a>,
    pub start: &'a Start,
    pub sets: Sets,
}

impl Job for Run<'_> {
    type Output = Result<Outcome, Halt>;

    fn run<D: Ops>(self, device: &D) -> Self::Output {
        let (Saved { mut model, classes }, mut new) = self.model(device)?;
        let Self { training, context, mut sets, .. } = self;
        let mut by_number = false;
        let classes = sets.fit(model.spec(), classes, |matched, note| {
            by_number |= matches!(matched, Matched::ByNumber(_));
            context.progress.note(note);
        })?;
        if training.method.is_adversarial() && !model.has_domain_classifier() {
            let before = model.parameters().len();
            model.attach_domain_classifier(training.settings.seed);
            new.extend(model.parameters()[before..].iter().map(|it| it.name.clone()));
        }
        let (learning, all) = groups::counts(&model, &training.settings.groups);
        if learning == 0 {
            return Err(Failure::new("every parameter of the model is frozen")
                .help("thaw some of it with a `freeze` stage: `thaw = [\"classifier.*\"]`")
                .into());
        }
        let data = Data {
            source: (&sets.train.dataset, sets.train.split()),
            target: sets.target.as_ref().map(|set| set.split().unlabelled(&set.dataset)),
            validate: sets.validate.as_ref().map(|set| (&set.dataset, set.split())),
            scored: sets.scored.as_ref().map(|set| set.split().unlabelled(&set.dataset)),
        };
        let (settings, backend) = (&training.settings, backend(context.device));
        let uses = settings.epochs;
        let caching = context.activations.map(|cache| Caching { cache, backend: &backend, uses });
        let (checkpoints, pause_after) = (context.checkpoints, context.pause_after);
        let options = RunOptions { caching, checkpoints, pause_after };
        let (method, watch) = (&training.method, context.watch());
        let (rows, times) = match fit(&mut model, &new, method, &data, settings, options, &watch)? {
            Ended::Finished { rows, times } => (rows, times),
            Ended::Paused { rows } => return Err(Halt::Paused { rows }),
            Ended::Interrupted => return Err(Halt::Interrupted),
        };
        Saved { model, classes }.save(context.out)?;
        let last = |split: TrainingSplit, metric: &str| {
            let row = rows.iter().rfind(|row| row.split == split && row.metric == metric)?;
            Some(row.value)
        };
        let mut summary =
            format!("{} epochs, {learning} of {all} parameters trained", epochs_of(&rows));
        if let Some((_, words)) = coverage(&data, settings.batch_size, settings.epoch) {
            summary.push_str(&format!(", {words}"));
        }
        if let Some(loss) = last(TrainingSplit::Train, "class_loss") {
            summary.push_str(&format!(", class loss {loss:.4}"));
        }
        if let Some(accuracy) = last(TrainingSplit::Validate, "accuracy") {
            summary.push_str(&format!(", validation accuracy {:.1} %", 100.0 * accuracy));
        }
        if by_number {
            summary.push_str(", classes matched by number");
        }
        let timings = vec![
            ("frozen layers".into(), times.frozen),
            ("steps".into(), times.steps),
            ("waiting for data".into(), times.waiting),
            ("validate".into(), times.validate),
        ];
        Ok(Outcome { metrics: Metrics::Training(rows), summary, timings })
    }
}

impl Run<'_> {
    /// The model that training begins with, and the names of parameters that did not come in.
    fn model<D: Ops>(&self, device: &D) -> Result<(Saved<D>, Vec<String>), Failure> {
        let of_train = self.sets.train.dataset.classes.clone();
        let seed = self.training.settings.seed;
        let failure = |error: SpecError| Failure::new(error.to_string());
        let architecture = match self.start {
            Start::Stage { head } => {
                let old = Saved::open(&self.context.input("model").path, device)?;
                let Some(head) = head else { return Ok((old, Vec::new())) };
                let old = old.model;
                let shape = self.sets.train.shape();
                let (Some((height, width)), Some(classes)) = (shape.size, shape.classes) else {
                    return Err(unlike("train"));
                };
                let input = Chw { channels: old.spec().input.channels, height, width };
                let (model, new) =
                    head::replace(&old, head, input, classes, seed).map_err(failure)?;
                return Ok((Saved { model, classes: of_train }, new));
            }
            Start::Fresh(architecture) => architecture,
        };
        let spec = fresh(architecture, &self.sets.train.shape())
            .map_err(Failure::from)?
            .ok_or_else(|| unlike("train"))?;
        let model = Model::new(spec, device, seed).map_err(failure)?;
        let new = model.parameters().iter().map(|it| it.name.clone()).collect();
        Ok((Saved { model, classes: of_train }, new))
    }
}

/// Number of epochs that left rows.
fn epochs_of(rows: &[TrainingRow]) -> usize {
    rows.iter().map(|row| row.epoch).max().unwrap_or_default()
}
