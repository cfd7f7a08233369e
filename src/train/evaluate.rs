//! Evaluation of a model on labelled images. Learns nothing and writes nothing.

use super::inputs::Inputs;
use crate::metrics::confusion::Confusion;
use crate::metrics::share;
use crate::nn::Model;
use crate::nn::ops::{OpError, argmax, log_softmax};

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// Counts and losses over a split.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What the images of each class were taken for.
    pub confusion: Confusion,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// What each image was taken for.
    pub answers: Vec<Prediction>,
}

/// What an image was taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The class with the largest probability.
    pub class: u32,
    /// That probability, 0 to 1.
    pub confidence: f32,
}

impl Evaluation {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.confusion.count()
    }

    /// Share of images taken for what they are, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        share(self.confusion.right(), self.count())
    }

    /// The mean over the classes that have images of the share of them taken for what they are, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "classes are far below 2^53")]
    pub fn balanced_accuracy(&self) -> f64 {
        let shares: Vec<f64> = self.class_accuracies().map(|(_, share)| share).collect();
        shares.iter().sum::<f64>() / shares.len() as f64
    }

    /// Each class that has images, with the share of them taken for what they are.
    pub fn class_accuracies(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        let with_images = self.confusion.by_class().filter(|(_, [images, ..])| *images > 0);
        with_images.map(|(class, [images, _, right])| (class, share(right, images)))
    }
}

/// Counts and losses of images whose logits come batch by batch.
#[derive(Debug)]
pub struct Scoring {
    classes: usize,
    confusion: Confusion,
    /// The sum of the cross-entropies.
    loss: f64,
    answers: Vec<Prediction>,
}

impl Scoring {
    /// Of no image yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, confusion: Confusion::new(classes), loss: 0.0, answers: Vec::new() }
    }

    /// Adds images of the classes `labels` with these `logits`, `[n, classes]`. Gives the logarithms of their class
    /// probabilities, of the same shape.
    ///
    /// # Panics
    /// When a label is none of the classes.
    pub fn add(&mut self, logits: &[f32], labels: &[u32]) -> Vec<f32> {
        let classes = self.classes;
        let logs = log_softmax(logits, classes);
        for (row, label) in labels.iter().enumerate() {
            let range = row * classes..(row + 1) * classes;
            let (best, logs) = (argmax(&logits[range.clone()]), &logs[range]);
            let class = u32::try_from(best).unwrap_or(u32::MAX);
            self.confusion.add(*label, class);
            self.loss -= f64::from(logs[*label as usize]);
            self.answers.push(Prediction { class, confidence: logs[best].exp().min(1.0) });
        }
        logs
    }

    /// The counts, and the mean loss.
    pub fn finish(self) -> Evaluation {
        let Self { confusion, loss, answers, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a split is far below 2^53 images")]
        let loss = loss / answers.len() as f64;
        Evaluation { confusion, loss, answers }
    }
}

/// Runs `model` over images of the classes `labels` in evaluation mode. `done` is called with the logarithms of the
/// class probabilities of every batch, `[n, classes]`, and ends the run by returning `false`.
///
/// # Errors
/// When the device fails (out of memory). `Ok(None)` when `done` ended it.
pub fn evaluate(
    model: &mut Model,
    inputs: &Inputs,
    labels: &[u32],
    mut done: impl FnMut(&[f32]) -> bool,
) -> Result<Option<Evaluation>, OpError> {
    let mut scoring = Scoring::new(model.spec().classes);
    let all: Vec<usize> = (0..labels.len()).collect();
    for indices in all.chunks(BATCH) {
        let x = model.take_in(inputs.entry(), inputs.batch(indices), indices.len())?;
        let logits = model.logits_from(inputs.entry(), &x)?.host();
        let labels: Vec<u32> = indices.iter().map(|image| labels[*image]).collect();
        if !done(&scoring.add(&logits, &labels)) {
            return Ok(None);
        }
    }
    Ok(Some(scoring.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_that_has_images_counts_the_same_in_the_balanced_accuracy() {
        let mut confusion = Confusion::new(3);
        // Three of four images of class 0, none of two of class 1, and no image of class 2.
        for (label, class) in [(0, 0), (0, 0), (0, 0), (0, 2), (1, 0), (1, 2)] {
            confusion.add(label, class);
        }
        let evaluation = Evaluation { confusion, loss: 0.0, answers: Vec::new() };
        assert_eq!((evaluation.accuracy(), evaluation.balanced_accuracy()), (0.5, 0.375));
    }
}
