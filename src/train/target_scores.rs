//! How a training does on a target domain after each epoch, by scores that need no labels of it.

use std::sync::atomic::Ordering;

use super::fit::{Data, FitError, Watch};
use crate::config::{Keys, Reference, Wants};
use crate::data::{Images, Normalisation, loader};
use crate::metrics::label_free::{Outputs, Score, Source, images_for, values};
use crate::nn::model::host;
use crate::nn::ops::{Ops, log_softmax};
use crate::nn::{EntryLayer, Model};

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// Which scores, on which images.
#[derive(Debug)]
pub struct TargetScores {
    /// Where the images come from; their labels stay there.
    pub on: Reference,
    /// The scores in the order of their rows.
    pub metrics: Vec<Score>,
}

impl TargetScores {
    /// Reads `target_scores = { on = "target", metrics = ["entropy", ...] }`, which may be left out;
    /// `None` only with a problem noted.
    pub fn read(keys: &mut Keys) -> Option<Option<Self>> {
        let written = keys.has("target_scores");
        let scores = keys.optional_nested("target_scores", |keys| {
            let on = keys.reference("on", Wants::Split("train"));
            let words: Vec<String> = Score::WORDS.iter().map(|it| format!("\"{it}\"")).collect();
            let metrics = keys
                .strings("metrics")
                .such_that(format!("an array of some of {}, each once", words.join(", ")), |it| {
                    let known =
                        |at: usize| Score::named(&it[at]).is_some() && !it[..at].contains(&it[at]);
                    !it.is_empty() && (0..it.len()).all(known)
                })
                .words(Score::WORDS)
                .required();
            let metrics = metrics?.iter().filter_map(|word| Score::named(word)).collect();
            Some(Self { on: on?, metrics })
        });
        if written && scores.is_none() { None } else { Some(scores) }
    }

    /// The first score that weighs losses of the source's validation images.
    pub fn wants_source(&self) -> Option<Score> {
        self.metrics.iter().copied().find(|score| score.wants_source())
    }

    /// Name and value of each score for `model` as it is now; `None` where the user asked to stop.
    ///
    /// Each domain gives [`images_for`] its features images at most, drawn by a fixed seed: the same in
    /// every epoch and every trial.
    pub(super) fn of<D: Ops>(
        &self,
        model: &mut Model<D>,
        data: &Data,
        watch: &Watch,
    ) -> Result<Option<Vec<(&'static str, f64)>>, FitError> {
        let Some(scored) = &data.scored else { return Ok(Some(Vec::new())) };
        let (images, normalisation) = (scored.images(), scored.normalisation());
        let Some((target, _)) = outputs(model, images, normalisation, "target", watch)? else {
            return Ok(None);
        };
        let source = match (data.validate, self.wants_source()) {
            (Some((dataset, split)), Some(_)) => {
                let held = outputs(model, &split.images, dataset.into(), "held", watch)?;
                let (dataset, trained) = data.source;
                let train = outputs(model, &trained.images, dataset.into(), "source", watch)?;
                let (Some((held, drawn)), Some((train, _))) = (held, train) else {
                    return Ok(None);
                };
                let rows = held.probabilities.chunks_exact(held.classes).zip(drawn);
                let loss = |(row, at): (&[f64], usize)| -row[split.labels[at] as usize].ln();
                let losses = rows.map(loss).collect();
                Some(Source { train: train.features, held: held.features, losses })
            }
            _ => None,
        };
        let found = values(&self.metrics, &target, source.as_ref());
        Ok(Some(self.metrics.iter().map(|score| score.word()).zip(found).collect()))
    }
}

/// What the model makes of images drawn from these, and which they are.
fn outputs<D: Ops>(
    model: &mut Model<D>,
    images: &Images,
    normalisation: Normalisation,
    domain: &str,
    watch: &Watch,
) -> Result<Option<(Outputs, Vec<usize>)>, FitError> {
    // A network without layers before its classifier: that takes in the pixels.
    let entry = model.after("features").unwrap_or(EntryLayer::IMAGES);
    let (width, classes) = (model.entry_shape(entry).len(), model.spec().classes);
    let purpose = format!("target scores {domain}");
    let drawn = loader::drawn(0, &purpose, images.len(), images_for(width));
    let mut all = Outputs { classes, width, ..Outputs::default() };
    for indices in drawn.chunks(BATCH) {
        if watch.cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let values = loader::batch(normalisation, images, indices);
        let shape = (indices.len(), values.len() / indices.len());
        let x = model.device().try_tensor_from_vec(values, shape).map_err(FitError::device)?;
        let features = model.features_up_to(entry, x).map_err(FitError::device)?;
        all.features.extend(host(&features));
        let logits = model.logits_from(entry, features).map_err(FitError::device)?;
        let logs = log_softmax(&host(&logits), classes);
        // A probability of 0 would make a loss infinite.
        all.probabilities.extend(logs.iter().map(|log| f64::from(*log).max(-700.0).exp()));
    }
    Ok(Some((all, drawn)))
}
