//! One point of a sweep: a pipeline with the values that its axes have there. Knows nothing of tasks.

use super::pipeline::Pipeline;
use crate::config::node::label_text;

/// A pipeline with the values of the sweep's axes; a single run has none.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Dotted key and value of every axis, in the order of the axes.
    pub labels: Vec<(String, toml::Value)>,
    /// The pipeline with these values put in.
    pub pipeline: Pipeline,
}

impl Trial {
    /// The only trial of a plain run.
    pub fn single(pipeline: Pipeline) -> Self {
        Self { labels: Vec::new(), pipeline }
    }

    /// The labels as they stand in tables: strings without quotes.
    pub fn label_texts(&self) -> Vec<(String, String)> {
        self.labels.iter().map(|(key, value)| (key.clone(), label_text(value))).collect()
    }

    /// The pair of domains: `amazon → webcam`; `None` where the sweep has no pairs.
    pub fn pair(&self) -> Option<String> {
        let texts = self.label_texts();
        let value = |key: &str| texts.iter().find(|it| it.0 == key).map(|it| it.1.as_str());
        self.pipeline.pairs.as_ref()?.label(value)
    }

    /// The labels for people: first the pair, which stands for its two keys.
    pub fn shown_labels(&self) -> Vec<(String, String)> {
        match &self.pipeline.pairs {
            Some(pairs) => pairs.joined(self.label_texts()),
            None => self.label_texts(),
        }
    }
}
