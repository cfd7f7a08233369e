//! Label-free scores of the target domain after each epoch. Labels of the target cannot reach it.

use super::contract::{Data, Stop};
use super::inputs::Inputs;
use super::predict::predict_mixes;
use crate::config::{Keys, Noted, Reference, Wants, Word, words_of};
use crate::data::{Images, Normalisation, Split, Unlabelled, loader};
use crate::metrics::label_free::mixval::{self, Mixes};
use crate::metrics::label_free::{
    HeldOut, LabelFreeScore, Outputs, SourceSample, images_for, values,
};
use crate::nn::ops::log_softmax;
use crate::nn::{EntryLayer, Model};
use crate::progress::Watch;

/// Images at a time; it changes no number.
const BATCH: usize = 256;

/// Which scores, on which images.
#[derive(Debug)]
pub struct TargetScores {
    /// Where the images come from; their labels stay there.
    pub on: Reference,
    /// The scores in the order of their rows.
    pub metrics: Vec<LabelFreeScore>,
}

impl TargetScores {
    /// Reads `target_scores = { on = "target", metrics = ["entropy", ...] }`, which may be left out.
    pub fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        keys.optional_nested("target_scores", |keys| {
            keys.about(&[("on", "images of the target domain"), ("metrics", "which scores")]);
            let on = keys.reference("on", Wants::Split("train"));
            let words: Vec<String> =
                words_of::<LabelFreeScore>().iter().map(|it| format!("\"{it}\"")).collect();
            let expected = format!("an array of some of {}, each once", words.join(", "));
            let metrics = keys.choices("metrics", expected).required();
            Ok(Self { on: on?, metrics: metrics? })
        })
    }

    /// The first score that `wants` is true of.
    pub fn first(&self, wants: fn(LabelFreeScore) -> bool) -> Option<LabelFreeScore> {
        self.metrics.iter().copied().find(|score| wants(*score))
    }

    /// Name and value of each score for `model` as it is now.
    ///
    /// Each domain gives [`images_for`] its features images at most, drawn by a fixed seed: the same in
    /// every epoch and every trial.
    pub(super) fn of(
        &self,
        model: &mut Model,
        data: &Data,
        watch: &Watch,
    ) -> Result<Vec<(&'static str, f64)>, Stop> {
        let Some(scored) = &data.scored else { return Ok(Vec::new()) };
        let (images, normalisation) = (scored.images(), scored.normalisation());
        let (target, drawn) = outputs(model, images, normalisation, "target", watch)?;
        let source = self.source(model, data, watch)?;
        let mixes = self.mixes(model, *scored, &drawn, watch)?;
        let found = values(&self.metrics, &target, source.as_ref(), mixes.as_ref());
        Ok(self.metrics.iter().map(Word::word).zip(found).collect())
    }

    /// What the model makes of mixes of the images `drawn`, where a score wants them.
    fn mixes(
        &self,
        model: &mut Model,
        images: Unlabelled,
        drawn: &[usize],
        watch: &Watch,
    ) -> Result<Option<Mixes>, Stop> {
        if self.first(LabelFreeScore::wants_mixes).is_none() {
            return Ok(None);
        }
        let partners = mixval::partners(drawn.len());
        let pairs = drawn.iter().zip(&partners).map(|(image, partner)| (*image, drawn[*partner]));
        let pairs: Vec<(usize, usize)> = pairs.collect();
        let answers = predict_mixes(model, images, &pairs, |_| !watch.is_cancelled())?
            .ok_or(Stop::Interrupted)?;
        Ok(Some(Mixes { partners, answers }))
    }

    /// What the scores need of the source, as the model sees it now.
    fn source(
        &self,
        model: &mut Model,
        data: &Data,
        watch: &Watch,
    ) -> Result<Option<SourceSample>, Stop> {
        let wanted = self.first(LabelFreeScore::wants_source);
        let Some((dataset, split)) = data.source.filter(|_| wanted.is_some()) else {
            return Ok(None);
        };
        let (train, drawn) = outputs(model, &split.images, dataset.into(), "source", watch)?;
        let labels = labels_of(split, &drawn);
        let wanted = self.first(LabelFreeScore::wants_held_out);
        let held = match data.validate.filter(|_| wanted.is_some()) {
            Some((dataset, split)) => {
                let (outputs, drawn) =
                    outputs(model, &split.images, dataset.into(), "held", watch)?;
                Some(HeldOut { outputs, labels: labels_of(split, &drawn) })
            }
            None => None,
        };
        Ok(Some(SourceSample { train: train.features, labels, held }))
    }
}

/// The classes of the images `drawn`.
fn labels_of(split: &Split, drawn: &[usize]) -> Vec<u32> {
    drawn.iter().map(|at| split.labels[*at]).collect()
}

/// The outputs of the model for images drawn from these, and which images those are.
fn outputs(
    model: &mut Model,
    images: &Images,
    normalisation: Normalisation,
    domain: &str,
    watch: &Watch,
) -> Result<(Outputs, Vec<usize>), Stop> {
    // A network without layers before its classifier: that takes in the pixels.
    let entry = model.after("features").unwrap_or(EntryLayer::IMAGES);
    let (width, classes) = (model.entry_shape(entry).len(), model.spec().classes);
    let purpose = format!("target scores {domain}");
    let drawn = loader::drawn(0, &purpose, images.len(), images_for(width));
    let mut all = Outputs { classes, width, ..Outputs::default() };
    let inputs = Inputs::new(model, images, normalisation);
    for indices in drawn.chunks(BATCH) {
        watch.check()?;
        let x = model.take_in(EntryLayer::IMAGES, inputs.batch(indices), indices.len())?;
        let features = model.features_up_to(entry, &x)?;
        all.features.extend(features.host());
        let logits = model.logits_from(entry, &features)?;
        let logs = log_softmax(&logits.host(), classes);
        // A probability of 0 would make a loss infinite.
        all.probabilities.extend(logs.iter().map(|log| f64::from(*log).max(-700.0).exp()));
    }
    Ok((all, drawn))
}
