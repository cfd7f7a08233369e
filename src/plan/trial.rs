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
}
