//! What is scored: a network, or the predictions of a program, which were made for some images and say nothing of others.

use std::path::Path;

use crate::config::Reference;
use crate::data::{Predictions, PredictionsOutline};
use crate::nn::{Backend, ModelOutline, Saved};
use crate::stages::inputs::OpenedSplit;
use crate::stages::{Context, Failure, Halt, Problem, Product};
use crate::train::{Evaluation, Scoring};

/// Images at a time; it changes no number.
const BATCH: usize = 1024;

/// What answers for images.
pub(super) enum Rated {
    Network(Box<Saved>),
    Predictions(Predictions),
}

impl Rated {
    /// Opens the artifact in `folder`.
    pub(super) fn open(folder: &Path, ops: &Backend) -> Result<Self, Halt> {
        Ok(match PredictionsOutline::read(folder) {
            Ok(_) => Self::Predictions(Predictions::open(folder)?),
            Err(_) => Self::Network(Box::new(Saved::open(folder, ops)?)),
        })
    }

    /// The names of its classes.
    pub(super) fn classes(&self) -> &[String] {
        match self {
            Self::Network(saved) => &saved.classes,
            Self::Predictions(predictions) => &predictions.classes,
        }
    }
}

/// The class names of the model or the predictions in `folder`, by their description alone.
pub(super) fn classes_of(folder: &Path) -> Result<Vec<String>, Halt> {
    match PredictionsOutline::read(folder) {
        Ok(outline) => Ok(outline.classes),
        Err(_) => Ok(ModelOutline::read(folder)?.classes),
    }
}

/// Scores predictions on the labels of a split. `done` is called as by [`evaluate`](crate::train::evaluate).
pub(super) fn predicted(
    predictions: &Predictions,
    set: &OpenedSplit,
    phase: &str,
    done: &mut dyn FnMut(&[f32]) -> bool,
) -> Result<Evaluation, Halt> {
    let (split, classes) = (set.split(), predictions.classes.len());
    let Some(logits) = predictions.logits(&split.images) else {
        let names: Vec<String> =
            predictions.splits.iter().map(|it| format!("`{}`", it.name)).collect();
        let message = format!("{phase}: these images are not those of the predictions");
        return Err(Failure::new(message)
            .help(format!("the predictions are of {}, by the names of their inputs", names.join(", ")))
            .help("hand the program the same data set that is named here, changed by nothing in between")
            .into());
    };
    let mut scoring = Scoring::new(classes);
    for (logits, labels) in logits.chunks(BATCH * classes).zip(split.labels.chunks(BATCH)) {
        if !done(&scoring.add(logits, labels)) {
            return Err(Halt::Interrupted);
        }
    }
    Ok(scoring.finish())
}

/// Why predictions cannot be scored on a split, as far as that is known: the data set is an input of theirs, but not with
/// this split.
pub(super) fn not_predicted(product: Option<&Product>, dataset: &Reference) -> Option<Problem> {
    let Some(Product::Predictions(shape)) = product else { return None };
    let (of, split) = (shape.of.as_ref()?, dataset.split.as_deref()?);
    let mut same = of.iter().filter(|(stage, _)| *stage == dataset.stage).peekable();
    same.peek()?;
    if same.any(|(_, known)| known == split) {
        return None;
    }
    let names: Vec<String> = of.iter().map(|(stage, split)| format!("`{stage}.{split}`")).collect();
    let message = format!("it predicts {}, not `{}`", names.join(", "), dataset.text());
    let mut problem = Problem::at(&dataset.key, message);
    problem.help.push(format!("add the split `{split}` to `output.of` of the stage that predicts"));
    Some(problem)
}

/// Says why something of a network is not there for predictions.
pub(super) fn not_of_predictions(context: &Context, phase: &str, what: &str, why: &str) {
    context.progress.note(&format!("{phase}: no {what}: {why}"));
}
