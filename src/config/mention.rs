//! Mentions of other stages: where they stand and what they must lead to. Reads nothing, and knows no
//! stage.

use serde_json::json;

use super::source::Span;

/// What a reference must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// All splits of a data set: `"mnist"`.
    Dataset,
    /// One split: `"mnist.train"`. A bare stage name stands for the split named here.
    Split(&'static str),
    /// A model: `"dann"`.
    Model,
    /// What answers for the images of a split: a model, or the predictions of a program.
    Classifier,
    /// Anything that a program can read: a data set, one split of it, a model, predictions.
    Artifact,
    /// Any stage, for order only (`after`).
    Anything,
}

/// A mention of another stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Dotted key it was written at, with an index in an array: `input`, `models.0`, `method.target`.
    pub key: String,
    /// The stage's name.
    pub stage: String,
    /// The split after the dot, or the one that a bare name stands for.
    pub split: Option<String>,
    /// What it must lead to.
    pub wants: Wants,
    /// Where it stands.
    pub span: Span,
}

impl Reference {
    /// As a file names it: `mnist`, `mnist.train`.
    pub fn text(&self) -> String {
        match &self.split {
            Some(split) => format!("{}.{split}", self.stage),
            None => self.stage.clone(),
        }
    }
}

impl Wants {
    /// The JSON Schema of a mention.
    pub fn schema(self) -> serde_json::Value {
        let what = match self {
            Self::Dataset => "the name of a stage that makes a data set".to_owned(),
            Self::Split(default) => {
                format!(
                    "a split of a data set, \"STAGE.SPLIT\"; \"STAGE\" stands for its `{default}`"
                )
            }
            Self::Model => "the name of a stage that makes a model".to_owned(),
            Self::Classifier => "the name of a stage that makes a model or predictions".to_owned(),
            Self::Artifact => {
                "the name of a stage, or a split of a data set, \"STAGE.SPLIT\"".to_owned()
            }
            Self::Anything => "the name of a stage".to_owned(),
        };
        let pattern = match self {
            Self::Split(_) | Self::Artifact => r"^[A-Za-z0-9_-]+(\.[^.]+)?$",
            Self::Dataset | Self::Model | Self::Classifier | Self::Anything => "^[A-Za-z0-9_-]+$",
        };
        json!({ "type": "string", "pattern": pattern, "description": what })
    }
}
