//! `embedding`: the features of some images of every data set, in one plane for each model.

use super::scored::{Scored, save};
use crate::config::{Keys, Noted, Reference, Word, words};
use crate::data::loader;
use crate::metrics::embedding::{pca, rows_for, tsne};
use crate::metrics::number;
use crate::nn::Model;
use crate::progress::Unit;
use crate::stages::inputs::OpenedSplit;
use crate::stages::layers;
use crate::stages::{Context, Described, Failure, Halt, Problem};

words! {
    /// How features are brought into a plane.
    enum Projection {
        /// Their first two principal components.
        Pca = "pca",
        /// t-SNE.
        Tsne = "tsne",
    }
}

/// Settings of `embedding`.
#[derive(Debug)]
pub(super) struct Embedding {
    methods: Vec<Projection>,
    /// Images of each data set at most.
    points: usize,
    /// Of t-SNE: about how many neighbours count.
    perplexity: f64,
    /// Which images are drawn.
    seed: u64,
}

impl Embedding {
    pub(super) fn read(keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[
            ("methods", "how to reduce to two dimensions"),
            ("points", "images of each data set, at most"),
            ("perplexity", "about how many neighbours of a point count in t-SNE"),
            ("seed", "seed of the choice of images"),
        ]);
        let methods =
            keys.choices("methods", "an array of \"pca\" and \"tsne\", each at most once").or_all();
        let points = keys.count("points", 2..=5000).or(500_usize);
        let perplexity = keys
            .float("perplexity")
            .such_that("a number from 1 to 1000", |it| (1.0..=1000.0).contains(it))
            .or(30.0);
        let seed =
            keys.integer("seed").such_that("an integer of at least 0", |seed| *seed >= 0).or(0_i64);
        Ok(Self {
            methods: methods?,
            points: points?,
            perplexity: perplexity?,
            seed: seed?.unsigned_abs(),
        })
    }

    /// Says where there are too few images for the perplexity, as far as their numbers are known.
    pub(super) fn problem(&self, on: &[Reference], inputs: &Described) -> Option<Problem> {
        let count = |reference: &Reference| {
            let splits = inputs.dataset(&reference.key).splits?;
            splits.get(inputs.split(&reference.key)?).copied().flatten()
        };
        let counts: Option<Vec<usize>> = on.iter().map(count).collect();
        let points = counts?.iter().map(|count| (*count).min(self.points)).sum();
        self.too_few(points)
    }

    fn too_few(&self, points: usize) -> Option<Problem> {
        let least = rows_for(self.perplexity);
        if points >= least || !self.methods.contains(&Projection::Tsne) {
            return None;
        }
        let perplexity = self.perplexity;
        let message =
            format!("perplexity {perplexity} needs at least {least} points, not {points}");
        let problem = Problem::at("embedding", message);
        #[expect(clippy::cast_precision_loss, reason = "a few thousand points")]
        let most = ((points.max(1) - 1) as f64 / 3.0).floor();
        Some(if most >= 1.0 {
            problem.help(format!("write `perplexity = {most:.1}` or less, or raise `points`"))
        } else {
            problem.help("leave t-SNE out: `methods = [\"pca\"]`")
        })
    }
}

/// A row of `embedding.csv`: an image of a data set, in the plane of a model.
struct EmbeddedImage {
    model: String,
    dataset: String,
    method: Projection,
    /// Place in the split.
    index: usize,
    label: u32,
    predicted: u32,
    point: [f64; 2],
}

impl EmbeddedImage {
    fn cells(self) -> [String; 8] {
        let Self { model, dataset, method, index, label, predicted, point: [x, y] } = self;
        let (label, predicted) = (label.to_string(), predicted.to_string());
        let (method, index) = (method.word().to_owned(), index.to_string());
        [model, dataset, method, index, label, predicted, number(x), number(y)]
    }
}

/// The rows of `embedding.csv`, model by model.
#[derive(Default)]
pub(super) struct Planes {
    images: Vec<EmbeddedImage>,
}

impl Planes {
    /// Adds the plane of a model.
    pub(super) fn add(
        &mut self,
        settings: &Embedding,
        context: &Context,
        (name, model): (&str, &mut Model),
        layer: Option<&str>,
        sets: &[Scored],
    ) -> Result<(), Halt> {
        let (mut rows, mut images, mut width) = (Vec::new(), Vec::new(), 1);
        for (at, Scored { set, .. }) in sets.iter().enumerate() {
            let indices = indices(settings, set, at);
            let found = layers::rows(context, model, set, layer, &indices)?;
            (width, rows) = (found.width, [rows, found.values].concat());
            images.extend(indices.into_iter().map(|index| (at, index)));
        }
        if let Some(problem) = settings.too_few(images.len()) {
            return Err(problem.into());
        }
        context.progress.begin("embedding", None, Unit::Images);
        let components = pca(&rows, width);
        for method in &settings.methods {
            context.check_cancelled()?;
            let plane = match method {
                Projection::Tsne => {
                    tsne(&rows, width, &components, settings.perplexity).map_err(Failure::new)?
                }
                Projection::Pca => components.clone(),
            };
            for ((at, index), point) in images.iter().zip(plane) {
                let Scored { key, set, answers } = &sets[*at];
                self.images.push(EmbeddedImage {
                    model: name.to_owned(),
                    dataset: key.clone(),
                    method: *method,
                    index: *index,
                    label: set.split().labels[*index],
                    predicted: answers[*index].class,
                    point,
                });
            }
        }
        Ok(())
    }

    pub(super) fn save(self, context: &Context) -> Result<(), Failure> {
        let header = ["model", "dataset", "method", "index", "label", "predicted", "x", "y"];
        let rows = self.images.into_iter().map(EmbeddedImage::cells);
        save(context, "embedding.csv", header, rows)
    }
}

/// The images of data set number `at` that are drawn: the same for every model.
fn indices(settings: &Embedding, set: &OpenedSplit, at: usize) -> Vec<usize> {
    let purpose = format!("embedding {at}");
    loader::drawn(settings.seed, &purpose, set.split().len(), settings.points)
}
