//! Scores without labels, where they are asked for: the distance of domains, of mixed images, and of a model among
//! all models of the stage.

use super::scored::Scored;
use crate::config::{Reference, Word};
use crate::data::loader;
use crate::metrics::ScoreRow;
use crate::metrics::label_free::ensv::{Ensemble, ensv};
use crate::metrics::label_free::mixval::{self, Mixes};
use crate::metrics::label_free::{LabelFreeScore, images_for};
use crate::metrics::proxy_a_distance::proxy_a_distance;
use crate::nn::Model;
use crate::progress::Unit;
use crate::stages::inputs::OpenedSplit;
use crate::stages::layers;
use crate::stages::{Context, Failure, Halt, Problem};
use crate::train::{Prediction, predict_mixes};

/// The distance of every data set after the first from the first, on images drawn from each by a fixed
/// seed, [`images_for`] their features at most. Of the larger of two sets only the first are compared, which
/// are as good a draw as any because they come in the order of the draw, not in that of their classes.
pub(super) fn distances(
    context: &Context,
    (name, model): (&str, &mut Model),
    layer: Option<&str>,
    sets: &[Scored],
    rows: &mut Vec<ScoreRow>,
) -> Result<(), Halt> {
    context.progress.begin("distance of domains", None, Unit::Images);
    let mut first = None;
    for (at, Scored { key, set, .. }) in sets.iter().enumerate() {
        let one = layers::rows(context, model, set, layer, &[0])?;
        let purpose = format!("proxy_a_distance {at}");
        let indices = loader::shuffled(0, &purpose, set.split().len(), images_for(one.width));
        let found = layers::rows(context, model, set, layer, &indices)?;
        let Some(source) = &first else {
            first = Some(found.values);
            continue;
        };
        rows.push(ScoreRow {
            model: name.to_owned(),
            dataset: key.clone(),
            metric: "proxy_a_distance".into(),
            value: proxy_a_distance(source, &found.values, found.width),
        });
    }
    Ok(())
}

/// What the model makes of mixes of the images, for which it has the `answers`: a row for both kinds of pairs, and
/// one for each of them. A kind without a pair has no row, which is said of the `phase`.
pub(super) fn of_mixes(
    context: &Context,
    phase: &str,
    (name, model): (&str, &mut Model),
    (key, set): (&str, &OpenedSplit),
    answers: &[Prediction],
) -> Result<Vec<ScoreRow>, Halt> {
    let partners = mixval::partners(answers.len());
    let pairs: Vec<(usize, usize)> = partners.iter().copied().enumerate().collect();
    context.progress.begin(&format!("{phase}, mixed"), Some(pairs.len() as u64), Unit::Images);
    let done = |images: usize| {
        context.progress.advance(images as u64);
        !context.cancelled()
    };
    let of_mixes = predict_mixes(model, set.unlabelled(), &pairs, done)
        .map_err(|error| Failure::new(format!("the device failed: {error:?}")))?
        .ok_or(Halt::Interrupted)?;
    let predicted: Vec<u32> = answers.iter().map(|answer| answer.class).collect();
    let found = mixval::agreement(&predicted, &Mixes { partners, answers: of_mixes });
    let scores = [
        (LabelFreeScore::MixVal, found.both()),
        (LabelFreeScore::MixValIntra, found.intra),
        (LabelFreeScore::MixValInter, found.inter),
    ];
    let mut rows = Vec::new();
    for (score, value) in scores {
        let metric = score.word().to_owned();
        let Some(value) = value else {
            let note = format!("{phase}: no `{metric}`: there is no such pair of images");
            context.progress.note(&note);
            continue;
        };
        rows.push(ScoreRow { model: name.to_owned(), dataset: key.to_owned(), metric, value });
    }
    Ok(rows)
}

/// How much each of the models `names` agrees with all of them on data set number `at`.
pub(super) fn of_ensemble(
    ensemble: &Ensemble,
    names: impl Iterator<Item = String>,
    scored: &[Vec<Scored>],
    at: usize,
) -> Vec<ScoreRow> {
    let predicted = ensemble.predicted();
    let row = |(model, sets): (String, &Vec<Scored>)| {
        let Scored { key, answers, .. } = &sets[at];
        let answers: Vec<u32> = answers.iter().map(|answer| answer.class).collect();
        let value = ensv(&predicted, &answers);
        ScoreRow { model, dataset: key.clone(), metric: "ensv".into(), value }
    };
    names.zip(scored).map(row).collect()
}

/// Why the models have no mean of their probabilities, as far as the classes of each are known.
pub(super) fn no_ensemble(
    models: &[Reference],
    classes: &[Option<Vec<String>>],
) -> Option<Problem> {
    if models.len() < 2 {
        let message = "`ensv` compares models with the mean of all of them: there is only one";
        return Some(Problem::at("ensv", message).help("name all candidates in `models`"));
    }
    let known = models.iter().zip(classes);
    let mut known = known.filter_map(|(model, classes)| Some((model, classes.as_ref()?)));
    let (first, expected) = known.next()?;
    let (other, _) = known.find(|(_, classes)| *classes != expected)?;
    let message = format!(
        "`ensv` needs models of the same classes in the same order: those of `{}` are not those of \
         `{}`",
        other.stage, first.stage
    );
    Some(
        Problem::at(other.key.clone(), message)
            .help("leave `ensv` out, or score such models in an `evaluate` stage of their own"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(at: usize, stage: &str) -> Reference {
        use crate::config::Wants;
        use crate::config::source::{Sources, Span};
        let span = Span::new(Sources::default().add("test", ""), 0..0);
        let key = format!("models.{at}");
        Reference { key, stage: stage.into(), split: None, wants: Wants::Model, span }
    }

    #[test]
    fn models_of_other_classes_have_no_mean_and_one_model_needs_none() {
        let models = [reference(0, "a"), reference(1, "b"), reference(2, "c")];
        let names = |all: &[&str]| -> Option<Vec<String>> {
            Some(all.iter().map(|it| (*it).to_owned()).collect())
        };
        let alike = [names(&["cat", "dog"]), None, names(&["cat", "dog"])];
        assert_eq!(no_ensemble(&models, &alike), None);
        let turned = [names(&["cat", "dog"]), None, names(&["dog", "cat"])];
        let problem = no_ensemble(&models, &turned).unwrap();
        assert_eq!(problem.key, "models.2");
        assert!(problem.message.contains("those of `c` are not those of `a`"), "{problem:?}");
        assert_eq!(no_ensemble(&models[..1], &alike[..1]).unwrap().key, "ensv");
    }
}
