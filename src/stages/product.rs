//! What a stage makes, as far as it is known before anything ran, or once it was built.

use std::path::Path;

use indexmap::IndexMap;

use crate::{data, nn};

/// What kind of artifact a stage makes.
#[derive(Debug, Clone)]
pub enum Product {
    /// Images with labels, in named splits.
    Dataset(DatasetShape),
    /// A network with its weights.
    Model(ModelShape),
    /// Class scores of images, as a program gives them.
    Predictions(PredictionsShape),
    /// Features of images, as a program gives them.
    Features,
    /// Numbers that a program measured.
    Metrics,
    /// Metrics only.
    Scores,
    /// Pictures for people.
    Pictures,
}

impl Product {
    /// The word for messages, with its article.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dataset(_) => "a data set",
            Self::Model(_) => "a model",
            Self::Predictions(_) => "predictions",
            Self::Features => "features",
            Self::Metrics => "metrics",
            Self::Scores => "scores",
            Self::Pictures => "pictures",
        }
    }

    /// What the artifact in `folder` is, which says all about itself; `None` when it is neither a data
    /// set, a model nor predictions, or cannot be read.
    pub fn built(folder: &Path) -> Option<Self> {
        if let Ok(outline) = data::DatasetOutline::read(folder) {
            let splits = outline.splits.into_iter().map(|(name, count)| (name, Some(count)));
            return Some(Self::Dataset(DatasetShape {
                splits: Some(splits.collect()),
                channels: Some(outline.channels),
                size: outline.size,
                features: outline.features,
                classes: Some(outline.classes.len()),
                names: Some(outline.classes),
                empty: outline.empty,
            }));
        }
        if let Ok(outline) = data::PredictionsOutline::read(folder) {
            let classes = Some(outline.classes);
            return Some(Self::Predictions(PredictionsShape { of: None, classes }));
        }
        let outline = nn::ModelOutline::read(folder).ok()?;
        Some(Self::Model(ModelShape {
            spec: Some(outline.spec),
            classes: Some(outline.classes),
            heads: outline.heads,
            frozen: outline.frozen,
        }))
    }
}

/// What is known of a data set; `None` is "known once its files were read".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetShape {
    /// Split names with the number of images in each.
    pub splits: Option<IndexMap<String, Option<usize>>>,
    /// Channels an image: 1 or 3; of features, their number.
    pub channels: Option<usize>,
    /// Height and width in pixels; `None` also when images differ in size.
    pub size: Option<(usize, usize)>,
    /// Whether it holds features instead of pixels; `false` also where that is not known yet.
    pub features: bool,
    /// Number of classes.
    pub classes: Option<usize>,
    /// Their names.
    pub names: Option<Vec<String>>,
    /// Those that no image of any split is of, in order, as far as known.
    pub empty: Vec<usize>,
}

impl DatasetShape {
    /// Nothing known.
    pub fn unknown() -> Self {
        Self::default()
    }
}

/// What is known of predictions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PredictionsShape {
    /// The splits whose images are predicted, as stage and split; `None` where only the artifact is known, which names no
    /// stages.
    pub of: Option<Vec<(String, String)>>,
    /// The names of the classes, in the order of the scores.
    pub classes: Option<Vec<String>>,
}

/// What is known of a model.
#[derive(Debug, Clone, Default)]
pub struct ModelShape {
    /// The network; `None` when its input or classes are known only once data were read.
    pub spec: Option<nn::Spec>,
    /// The names of its classes, in the order of the logits.
    pub classes: Option<Vec<String>>,
    /// The heads that it has weights of; none as long as the network is not known.
    pub heads: Vec<nn::Part>,
    /// Names of the parameters that do not learn.
    pub frozen: Vec<String>,
}

impl ModelShape {
    /// A new network.
    pub fn fresh(spec: nn::Spec, classes: Option<Vec<String>>) -> Self {
        Self { heads: spec.initial_heads(), spec: Some(spec), classes, frozen: Vec::new() }
    }

    /// Nothing known.
    pub fn unknown() -> Self {
        Self::default()
    }
}
