//! Images for people: some of each data set, and the worst mistakes of each model.

use super::{Scored, save};
use crate::config::{Keys, Noted};
use crate::data::{loader, picture};
use crate::metrics::number;
use crate::stages::inputs::Opened;
use crate::stages::{Context, Failure, Halt};

/// How many images of each kind are shown; 0 for none.
#[derive(Debug)]
pub(super) struct Shown {
    samples: usize,
    mistakes: usize,
}

impl Shown {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let samples = keys.count("samples", 0..=100).or(12_usize);
        let mistakes = keys.count("mistakes", 0..=100).or(12_usize);
        Ok(Self { samples: samples?, mistakes: mistakes? })
    }
}

/// What was drawn so far: the rows of `pictures.csv` and `mistakes.csv`.
#[derive(Default)]
pub(super) struct Pictures {
    files: Vec<Vec<String>>,
    mistakes: Vec<Vec<String>>,
}

impl Pictures {
    /// `samples.<at>.png`: images drawn from data set number `at`, by a fixed seed.
    pub(super) fn samples(
        &mut self,
        shown: &Shown,
        context: &Context,
        (at, key): (usize, &str),
        set: &Opened,
    ) -> Result<(), Halt> {
        let indices = loader::drawn(0, "samples", set.split().len(), shown.samples);
        self.draw(context, format!("samples.{at}.png"), ["samples", "", key], set, &indices)
    }

    /// `mistakes.<model>.<data set>.png`: the wrong answers that the model was surest of, the surest
    /// first, and of equally sure ones the first.
    pub(super) fn mistakes(
        &mut self,
        shown: &Shown,
        context: &Context,
        model: (usize, &str),
        at: usize,
        scored: &Scored,
    ) -> Result<(), Halt> {
        let Scored { key, set, answers } = scored;
        let labels = &set.split().labels;
        let mut wrong: Vec<usize> =
            (0..labels.len()).filter(|index| answers[*index].class != labels[*index]).collect();
        // A stable sort: equally sure ones stay in their order.
        wrong.sort_by(|a, b| answers[*b].confidence.total_cmp(&answers[*a].confidence));
        wrong.truncate(shown.mistakes);
        for (rank, index) in wrong.iter().enumerate() {
            let answer = answers[*index];
            self.mistakes.push(vec![
                model.1.to_owned(),
                key.clone(),
                (rank + 1).to_string(),
                index.to_string(),
                labels[*index].to_string(),
                answer.class.to_string(),
                number(f64::from(answer.confidence)),
            ]);
        }
        let file = format!("mistakes.{}.{at}.png", model.0);
        self.draw(context, file, ["mistakes", model.1, key], set, &wrong)
    }

    fn draw(
        &mut self,
        context: &Context,
        file: String,
        [kind, model, dataset]: [&str; 3],
        set: &Opened,
        indices: &[usize],
    ) -> Result<(), Halt> {
        if indices.is_empty() {
            return Ok(());
        }
        let tile = picture::row(&set.split().images, indices, &context.out.join(&file))?;
        let (tile, count) = (tile.to_string(), indices.len().to_string());
        let words = [kind, model, dataset].map(str::to_owned);
        self.files.push([file].into_iter().chain(words).chain([tile, count]).collect());
        Ok(())
    }

    pub(super) fn save(self, shown: &Shown, context: &Context) -> Result<(), Failure> {
        if shown.mistakes > 0 {
            let header = ["model", "dataset", "rank", "index", "label", "predicted", "confidence"];
            save(context, "mistakes.csv", &header, self.mistakes)?;
        }
        if shown.mistakes + shown.samples > 0 {
            let header = ["file", "kind", "model", "dataset", "tile", "count"];
            save(context, "pictures.csv", &header, self.files)?;
        }
        Ok(())
    }
}
