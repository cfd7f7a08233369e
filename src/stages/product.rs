//! What a stage makes, as far as it is known before anything ran.

use indexmap::IndexMap;

use crate::nn;

/// What kind of artifact a stage makes.
#[derive(Debug, Clone)]
pub enum Product {
    /// Images with labels, in named splits.
    Dataset(DatasetShape),
    /// A network with its weights.
    Model(ModelShape),
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
            Self::Scores => "scores",
            Self::Pictures => "pictures",
        }
    }
}

/// What is known of a data set; `None` is "known once its files were read".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatasetShape {
    /// Split names with the number of images in each.
    pub splits: Option<IndexMap<String, Option<usize>>>,
    /// Channels an image: 1 or 3.
    pub channels: Option<usize>,
    /// Height and width in pixels; `None` also when images differ in size.
    pub size: Option<(usize, usize)>,
    /// Number of classes.
    pub classes: Option<usize>,
}

impl DatasetShape {
    /// Nothing known.
    pub fn unknown() -> Self {
        Self::default()
    }
}

/// What is known of a model.
#[derive(Debug, Clone, Default)]
pub struct ModelShape {
    /// The network; `None` when its input or classes are known only once data were read.
    pub spec: Option<nn::Spec>,
    /// Whether it carries a domain classifier.
    pub adversarial: bool,
    /// Names of the parameters that do not learn.
    pub frozen: Vec<String>,
}

impl ModelShape {
    /// Nothing known.
    pub fn unknown() -> Self {
        Self::default()
    }
}
