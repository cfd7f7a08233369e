//! One point of a sweep: a pipeline with the values that its axes have there. Knows nothing of tasks.

use super::pipeline::Pipeline;
use crate::config::node::label_text;
use crate::config::sweep::PAIR;

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
        let Some((keys, pair)) = self.pipeline.pairs.as_ref().zip(self.pair()) else {
            return self.label_texts();
        };
        let others = self.label_texts().into_iter().filter(|it| !keys.has(&it.0));
        std::iter::once((PAIR.to_owned(), pair)).chain(others).collect()
    }
}
