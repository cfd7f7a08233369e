//! What an epoch ends with: the rows of its steps, scores of the target, validation, the best weights,
//! and a checkpoint. Nothing here learns.

use std::time::Instant;

use indexmap::IndexMap;

use super::TrainingLoop;
use crate::data::Split;
use crate::metrics::TrainingSplit;
use crate::train::checkpoint::BestWeights;
use crate::train::contract::Stop;
use crate::train::evaluate::evaluate;
use crate::train::inputs::Inputs;
use crate::train::monitor::ValidationScores;
use crate::train::summary::{Summary, short};

impl TrainingLoop<'_> {
    /// Measures the model after epoch `epoch` (from 0), whose steps add up to `summary`.
    pub(super) fn measure(&mut self, epoch: usize, mut summary: Summary) -> Result<(), Stop> {
        let first = self.rows.len();
        let mut line = format!("epoch {:>2}/{}", epoch + 1, self.settings.epochs);
        let step = (epoch + 1) * self.steps_per_epoch;
        for (name, value) in summary.values() {
            self.row((epoch, step, TrainingSplit::Train), &name, value);
            line.push_str(&format!("  {name} {}", short(value)));
        }
        let measured = match self.score_target(epoch, &mut line) {
            Ok(()) => self.validate(epoch, &mut line),
            stopped => stopped,
        };
        if let Err(stop) = measured {
            if matches!(stop, Stop::Interrupted) {
                // The epoch's rows are written again when training resumes.
                self.rows.truncate(first);
                self.keep(epoch, self.steps_per_epoch, &mut summary);
            }
            return Err(stop);
        }
        self.show(first);
        self.watch.progress.note(&line);
        // A training that is over leaves its last checkpoint behind: one of the end would be gone on from.
        let ends = epoch + 1 == self.settings.epochs || self.ends_early();
        let pauses = self.pauses_after(epoch + 1);
        if !ends && self.keeper.as_ref().is_some_and(|keeper| pauses || keeper.is_due(true)) {
            self.keep(epoch + 1, 0, &mut Summary::default());
        }
        Ok(())
    }

    /// Adds the label-free scores of the target, where they are asked for.
    fn score_target(&mut self, epoch: usize, line: &mut String) -> Result<(), Stop> {
        let Some(scores) = &self.settings.target_scores else { return Ok(()) };
        let start = Instant::now();
        let found =
            scores.of(self.bench.model_mut(self.learner.predictor()), self.data, self.watch)?;
        self.times.validate += start.elapsed().as_secs_f64();
        let step = (epoch + 1) * self.steps_per_epoch;
        for (name, value) in found {
            self.row((epoch, step, TrainingSplit::Target), name, value);
            line.push_str(&format!("  target {name} {}", short(value)));
        }
        Ok(())
    }

    /// Validates, where there are images for it, and remembers the best weights so far.
    fn validate(&mut self, epoch: usize, line: &mut String) -> Result<(), Stop> {
        let Some((_, split)) = self.data.validate else { return Ok(()) };
        let Some(inputs) = &self.inputs.validate else { return Ok(()) };
        let start = Instant::now();
        let watch = self.watch;
        let model = self.bench.model_mut(self.learner.predictor());
        let mut score = |inputs: &Inputs, split: &Split| -> Result<ValidationScores, Stop> {
            let evaluation = evaluate(model, inputs, &split.labels, |_| !watch.is_cancelled())?
                .ok_or(Stop::Interrupted)?;
            Ok(ValidationScores { loss: evaluation.loss, accuracy: evaluation.accuracy() })
        };
        let scores = score(inputs, split)?;
        // Before anything is remembered of this epoch, which is measured again after an interruption.
        let others = self.inputs.recorded.iter().zip(&self.data.recorded);
        let others: Vec<ValidationScores> =
            others.map(|(inputs, (_, split))| score(inputs, split)).collect::<Result<_, _>>()?;
        self.times.validate += start.elapsed().as_secs_f64();
        let step = (epoch + 1) * self.steps_per_epoch;
        let recorded = (1..).map(TrainingSplit::recorded);
        let splits = std::iter::once(TrainingSplit::Validate).chain(recorded);
        for (split, scores) in splits.zip(std::iter::once(scores).chain(others)) {
            self.row((epoch, step, split.clone()), "accuracy", scores.accuracy);
            self.row((epoch, step, split), "loss", scores.loss);
        }
        line.push_str(&format!("  validate {:.4}", scores.accuracy));
        self.validation.push(scores);
        if let Some(metric) = self.settings.keep_best {
            let value = scores.get(metric);
            let best = self.best.as_ref().map(|best| f64::from_bits(best.what.value));
            if best.is_none_or(|best| metric.is_better(value, best)) {
                let network = &self.bench.networks()[&self.learner.predictor()];
                self.best = Some(BestWeights::now(network, epoch + 1, value));
            }
        }
        // What a device that failed gave counts for nothing.
        self.bench.ops().submit()?;
        Ok(())
    }

    /// Tells whoever watches what the epochs ended with whose rows begin at `first`.
    pub(super) fn show(&self, first: usize) {
        let mut last = IndexMap::new();
        for row in &self.rows[first..] {
            // Rows of steps come before those of their epoch, which stand for it.
            last.insert((row.epoch, &row.split, &row.metric), row.value);
        }
        for ((epoch, split, metric), value) in last {
            self.watch.progress.metric(epoch, split.word(), metric, value);
        }
    }
}
