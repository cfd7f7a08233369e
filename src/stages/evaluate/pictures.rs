//! Images for people: some of each data set, and the worst mistakes of each model.

use super::scored::{Scored, save};
use crate::config::{Keys, Noted};
use crate::data::{loader, picture};
use crate::metrics::number;
use crate::stages::inputs::OpenedSplit;
use crate::stages::{Context, Failure, Halt};

/// How many images of each kind are shown; 0 for none.
#[derive(Debug)]
pub(super) struct PictureCounts {
    samples: usize,
    mistakes: usize,
}

impl PictureCounts {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        let samples = keys.count("samples", 0..=100).or(12_usize);
        let mistakes = keys.count("mistakes", 0..=100).or(12_usize);
        Ok(Self { samples: samples?, mistakes: mistakes? })
    }

    /// Whether any picture is asked for.
    pub(super) fn any(&self) -> bool {
        self.samples + self.mistakes > 0
    }
}

/// A row of `pictures.csv`: a file with some images in a row.
struct PictureFile {
    file: String,
    /// `samples` or `mistakes`.
    kind: &'static str,
    /// Empty for samples.
    model: String,
    dataset: String,
    /// Pixels from one image to the next.
    tile: usize,
    count: usize,
}

/// A row of `mistakes.csv`: an image that a model took for another class than it is of.
struct Mistake {
    model: String,
    dataset: String,
    /// From 1, the surest mistake first.
    rank: usize,
    /// Place in the split.
    index: usize,
    label: u32,
    predicted: u32,
    confidence: f32,
}

impl PictureFile {
    fn cells(self) -> [String; 6] {
        let Self { file, kind, model, dataset, tile, count } = self;
        [file, kind.to_owned(), model, dataset, tile.to_string(), count.to_string()]
    }
}

impl Mistake {
    fn cells(self) -> [String; 7] {
        let Self { model, dataset, rank, index, label, predicted, confidence } = self;
        let [rank, index] = [rank, index].map(|it| it.to_string());
        let [label, predicted] = [label, predicted].map(|it| it.to_string());
        [model, dataset, rank, index, label, predicted, number(f64::from(confidence))]
    }
}

/// What was drawn so far.
#[derive(Default)]
pub(super) struct Pictures {
    files: Vec<PictureFile>,
    mistakes: Vec<Mistake>,
}

impl Pictures {
    /// `samples.<at>.png`: images drawn from data set number `at`, by a fixed seed.
    pub(super) fn samples(
        &mut self,
        shown: &PictureCounts,
        context: &Context,
        (at, key): (usize, &str),
        set: &OpenedSplit,
    ) -> Result<(), Halt> {
        let indices = loader::drawn(0, "samples", set.split().len(), shown.samples);
        self.draw(context, format!("samples.{at}.png"), ("samples", "", key), set, &indices)
    }

    /// `mistakes.<model>.<data set>.png`: the wrong answers that the model was surest of, the surest
    /// first, and of equally sure ones the first.
    pub(super) fn mistakes(
        &mut self,
        shown: &PictureCounts,
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
            self.mistakes.push(Mistake {
                model: model.1.to_owned(),
                dataset: key.clone(),
                rank: rank + 1,
                index: *index,
                label: labels[*index],
                predicted: answer.class,
                confidence: answer.confidence,
            });
        }
        let file = format!("mistakes.{}.{at}.png", model.0);
        self.draw(context, file, ("mistakes", model.1, key), set, &wrong)
    }

    fn draw(
        &mut self,
        context: &Context,
        file: String,
        (kind, model, dataset): (&'static str, &str, &str),
        set: &OpenedSplit,
        indices: &[usize],
    ) -> Result<(), Halt> {
        if indices.is_empty() {
            return Ok(());
        }
        // There is nothing to be seen; the CSV names the mistakes.
        if set.dataset.is_features() {
            return Ok(());
        }
        let tile = picture::row(&set.split().images, indices, &context.out.join(&file))?;
        let (model, dataset, count) = (model.to_owned(), dataset.to_owned(), indices.len());
        self.files.push(PictureFile { file, kind, model, dataset, tile, count });
        Ok(())
    }

    pub(super) fn save(self, shown: &PictureCounts, context: &Context) -> Result<(), Failure> {
        if shown.mistakes > 0 {
            let header = ["model", "dataset", "rank", "index", "label", "predicted", "confidence"];
            let rows = self.mistakes.into_iter().map(Mistake::cells);
            save(context, "mistakes.csv", header, rows)?;
        }
        if shown.any() {
            let header = ["file", "kind", "model", "dataset", "tile", "count"];
            let rows = self.files.into_iter().map(PictureFile::cells);
            save(context, "pictures.csv", header, rows)?;
        }
        Ok(())
    }
}
