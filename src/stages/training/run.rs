//! The run of a training stage: opens the data sets, makes them fit the network, trains, and says what
//! came of it.

use std::path::Path;
use std::time::Duration;

use super::crops::no_longer_middle;
use super::network::Begun;
use super::{SCORED, Training, misfit, unknown_part, without_batch_norm};
use crate::data::classes::Matched;
use crate::metrics::{Metrics, TrainingRow, TrainingSplit, rounded};
use crate::nn::Backend;
use crate::nn::dispatch::{self, backend};
use crate::nn::{Model, Part, Saved, Spec};
use crate::stages::classes::{Uses, clash, named, names_of_both, note};
use crate::stages::inputs::{OpenedSplit, open};
use crate::stages::{Budget, Context, Failure, Halt, Outcome};
use crate::train::activations::Caching;
use crate::train::checkpoint::Slot;
use crate::train::{Data, Ended, FitOptions, Repeats, Times, coverage, fit, groups};

impl Training {
    /// Trains, and writes the model to [`Context::out`].
    pub(super) fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let sets = Sets {
            train: (self.method.needs().source).then(|| open(context, "train")).transpose()?,
            validate: self
                .validate
                .iter()
                .map(|it| Ok((it.key.clone(), open(context, &it.key)?)))
                .collect::<Result<_, Halt>>()?,
            target: self
                .method
                .needs()
                .target
                .map(|_| open(context, "method.target"))
                .transpose()?,
            scored: (self.settings.target_scores.as_ref())
                .map(|_| open(context, SCORED))
                .transpose()?,
        };
        for (set, key) in [(&sets.train, "train"), (&sets.target, "method.target")] {
            let problems = set.as_ref().map(|it| self.without_pixels(&it.shape(), key));
            if let Some(problem) = problems.and_then(|it| it.into_iter().next()) {
                return Err(problem.into());
            }
        }
        let run = TrainingRun { training: self, context, sets };
        dispatch::on(context.device, |ops| run.run(ops))
    }

    /// The rows of the epochs of `budget`, if a checkpoint in `scratch` has them and more epochs are to come. What
    /// cannot be read says nothing: the training itself finds out.
    pub(super) fn paused(
        &self,
        scratch: &Path,
        Budget(epochs): Budget,
    ) -> Option<Vec<TrainingRow>> {
        if epochs >= self.settings.epochs {
            return None;
        }
        let slot = Slot::new(scratch.to_owned(), Duration::MAX);
        slot.rows_after(epochs).ok().flatten()
    }
}

impl Training {
    /// Fails where changes of images do not make of them what the network takes.
    fn check_crops(&self, spec: &Spec, sets: &Sets) -> Result<(), Failure> {
        for (set, key) in [(&sets.train, "train"), (&sets.target, "method.target")] {
            let problems = set.as_ref().map(|it| self.miscropped(Some(spec), &it.shape(), key));
            if let Some(problem) = problems.and_then(|it| it.into_iter().next()) {
                return Err(problem.into());
            }
        }
        Ok(())
    }
}

/// The images that a training reads.
struct Sets {
    train: Option<OpenedSplit>,
    /// With their keys; what decides goes by the first.
    validate: Vec<(String, OpenedSplit)>,
    target: Option<OpenedSplit>,
    scored: Option<OpenedSplit>,
}

impl Sets {
    /// Fails where images do not fit the network or classes are not among those of the model, `known`;
    /// gives labels the model's numbers, and the model the names of its classes. `say` hears what
    /// people should know of how classes were matched.
    fn fit(
        &mut self,
        spec: &Spec,
        mut known: Vec<String>,
        mut say: impl FnMut(&Matched, &str),
    ) -> Result<Vec<String>, Failure> {
        if let Some(train) = &mut self.train {
            train.check(spec, "train")?;
            let matched = train.renumber("train", &known)?;
            let found = &train.dataset.classes;
            if let Some(note) = note(&matched, "train", &known, found) {
                say(&matched, &note);
            }
            known = names_of_both(&matched, known, found);
        }
        for (key, validate) in &mut self.validate {
            validate.check(spec, key)?;
            let matched = validate.renumber(key, &known)?;
            if let Some(note) = note(&matched, key, &known, &validate.dataset.classes) {
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

    /// In words, of which images the network takes the middle where they are not cropped otherwise.
    fn parts(&self, spec: &Spec) -> Option<String> {
        let all = [&self.train, &self.target, &self.scored].into_iter().flatten();
        all.chain(self.validate.iter().map(|it| &it.1)).find_map(|set| set.part(spec))
    }

    /// What the training loop gets to see of them: labels of the source alone.
    fn data(&self) -> Data<'_> {
        let mut validated = self.validate.iter().map(|(_, set)| (&set.dataset, set.split()));
        Data {
            source: self.train.as_ref().map(|set| (&set.dataset, set.split())),
            target: self.target.as_ref().map(OpenedSplit::unlabelled),
            validate: validated.next(),
            recorded: validated.collect(),
            scored: self.scored.as_ref().map(OpenedSplit::unlabelled),
        }
    }
}

struct TrainingRun<'a> {
    training: &'a Training,
    context: &'a Context<'a>,
    sets: Sets,
}

impl TrainingRun<'_> {
    fn run(self, ops: &Backend) -> Result<Outcome, Halt> {
        let Self { training, context, mut sets } = self;
        let seed = training.settings.seed;
        let train = sets.train.as_ref().map(|set| (set, training.cropped(set.shape())));
        let begun = training.source.open(context, train, &*training.method, (seed, ops))?;
        let Begun { saved: Saved { mut model, classes }, mut new, middle_of } = begun;
        let learned = if training.method.needs().source { &sets.train } else { &sets.target };
        if let Some(learned) = learned {
            model.set_middle_of(training.middle_of(model.spec(), &learned.shape()));
        }
        training.check_crops(model.spec(), &sets)?;
        let mut by_number = false;
        let classes = sets.fit(model.spec(), classes, |matched, note| {
            by_number |= matches!(matched, Matched::ByNumber(_));
            context.progress.note(note);
        })?;
        let found = sets.train.as_ref().map_or(&[][..], |set| &set.dataset.classes);
        if let Some(problem) = training.without_unknown(&classes, found) {
            return Err(problem.into());
        }
        let heads = training.source.heads(&*training.method, model.spec())?;
        for head in heads {
            let added = model.add_head(head, seed);
            new.extend(added.map_err(|error| Failure::new(error.to_string()))?);
        }
        let problem = unknown_part(&training.settings.groups, &model.heads())
            .or_else(|| misfit(&*training.method, model.spec()))
            .or_else(|| {
                let spec = model.spec().only(&model.heads());
                without_batch_norm(&training.settings, &spec)
            });
        if let Some(problem) = problem {
            return Err(Failure::from(problem).into());
        }
        let parts = sets.parts(model.spec());
        if let Some(parts) = &parts {
            context
                .progress
                .note(&format!("images that are not cropped at random go in as {parts}"));
        }
        let no_longer = no_longer_middle(middle_of, model.spec());
        if let Some(words) = &no_longer {
            context.progress.note(&format!("the network {words}"));
        }
        let counts = trainable(&model, training)?;
        let data = sets.data();
        let (settings, backend) = (&training.settings, backend(context.device));
        let uses = settings.epochs;
        let cache = context.environment.activations.as_ref();
        let caching = cache.map(|cache| Caching { cache, backend: &backend, uses });
        let slot = Slot::new(context.scratch.to_owned(), context.environment.save_every);
        let (checkpoints, pause_after) = (Some(&slot), context.budget.map(|Budget(epochs)| epochs));
        let repeats = Repeats::of_environment().expect("the environment was checked");
        let options = FitOptions { caching, checkpoints, pause_after, repeats };
        let (method, watch) = (&*training.method, context.watch());
        let ended = fit(model, &new, method, &data, settings, options, &watch)?;
        let (model, rows, times) = match ended {
            Ended::Finished { model, rows, times } => (*model, rows, times),
            Ended::Paused { rows } => return Err(Halt::Paused { rows }),
            Ended::Interrupted => return Err(Halt::Interrupted),
        };
        Saved { model, classes }.save(context.out)?;
        let coverage = coverage(&data, settings, &method.needs());
        let coverage = coverage.map(|(_, words)| words);
        let summary = summary(&rows, counts, [coverage, parts, no_longer], by_number);
        let (metrics, timings) = (Metrics::Training(rows), timings(&times));
        Ok(Outcome { metrics, summary, timings, earlier: times.earlier })
    }
}

/// How many numbers of the model learn at some time, and how many there are.
fn trainable(model: &Model, training: &Training) -> Result<(usize, usize), Failure> {
    let kept = training.method.needs().keeps;
    match groups::counts(model, &training.settings.groups, kept) {
        (0, _) => {
            let learns = if kept.contains(&Part::CLASSIFIER) { "features" } else { "classifier" };
            Err(Failure::new("every parameter of the model that could learn is frozen")
                .help(format!("thaw some of it with a `freeze` stage: `thaw = [\"{learns}.*\"]`")))
        }
        counts => Ok(counts),
    }
}

/// One line on a training that came to its end.
fn summary(
    rows: &[TrainingRow],
    (learning, all): (usize, usize),
    seen: [Option<String>; 3],
    by_number: bool,
) -> String {
    let of_model = |split: TrainingSplit, metric: &str| {
        TrainingRow::of_model(rows, split.word(), metric, None)
    };
    let epochs = rows.iter().map(|row| row.epoch).max().unwrap_or_default();
    let mut parts = vec![format!("{epochs} epochs")];
    let kept = rows.iter().rfind(|row| row.split == TrainingSplit::Best).map(|row| row.epoch);
    // The numbers that follow are of this epoch.
    let kept = kept.filter(|epoch| *epoch != epochs);
    parts.extend(kept.map(|epoch| format!("the weights of epoch {epoch} kept")));
    parts.push(format!("{learning} of {all} parameters trained"));
    parts.extend(seen.into_iter().flatten());
    let loss = of_model(TrainingSplit::Train, "class_loss");
    parts.extend(loss.map(|loss| format!("class loss {}", rounded(loss))));
    let accuracy = of_model(TrainingSplit::Validate, "accuracy").map(|share| 100.0 * share);
    parts.extend(accuracy.map(|percent| format!("validation accuracy {percent:.1} %")));
    parts.extend(by_number.then(|| "classes matched by number".to_owned()));
    parts.join(", ")
}

fn timings(times: &Times) -> Vec<(String, f64)> {
    vec![
        ("frozen layers".into(), times.frozen),
        ("steps".into(), times.steps),
        ("waiting for data".into(), times.waiting),
        ("validate".into(), times.validate),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_on_a_training_is_of_the_model_that_is_kept() {
        let row = |epoch: usize, split: TrainingSplit, metric: &str, value: f64| TrainingRow {
            epoch,
            step: epoch,
            split,
            metric: metric.into(),
            value,
        };
        let mut rows = Vec::new();
        for (epoch, loss, accuracy) in [(1, 0.5, 0.7), (2, 0.25, 0.85), (3, 0.125, 0.775)] {
            rows.push(row(epoch, TrainingSplit::Train, "class_loss", loss));
            rows.push(row(epoch, TrainingSplit::Validate, "accuracy", accuracy));
        }
        let said = |rows: &[TrainingRow]| summary(rows, (4, 6), [const { None }; 3], false);
        assert_eq!(
            said(&rows),
            "3 epochs, 4 of 6 parameters trained, class loss 0.1250, validation accuracy 77.5 %"
        );
        let kept = |epoch| [&rows[..], &[row(epoch, TrainingSplit::Best, "loss", 1.0)]].concat();
        assert_eq!(
            said(&kept(2)),
            "3 epochs, the weights of epoch 2 kept, 4 of 6 parameters trained, class loss 0.2500, \
             validation accuracy 85.0 %"
        );
        assert_eq!(said(&kept(3)), said(&rows));
    }
}
