//! Whether a stage names labelled images where its method learns from some, and what it may not ask for
//! where its method learns without any.

use super::network::ModelSource;
use super::task::{TrainingTask, without_key};
use crate::config::source::Span;
use crate::config::{Diagnostic, Keys, Noted, Reference};
use crate::data::augment::{AUGMENT, Augment, mixup};
use crate::nn::heads::NewLayers;
use crate::train::Method;

/// The labelled images that were named, which a method that learns from some must have.
pub(super) fn train_of(
    keys: &mut Keys,
    named: Result<Option<Reference>, Noted>,
    method: Option<&dyn Method>,
) -> Result<Option<Reference>, Noted> {
    let wanted = method.is_some_and(|method| method.needs().source);
    match named {
        Ok(None) if wanted && !keys.is_describing() => {
            Err(keys.missing("train", "the name of a stage"))
        }
        named => named,
    }
}

impl TrainingTask {
    /// What is asked for that only labelled images could give, where the method learns without any.
    pub(super) fn without_source(
        &self,
        keys: &Keys,
        network: Option<&ModelSource>,
    ) -> Vec<Diagnostic> {
        if self.method.needs().source {
            return Vec::new();
        }
        let at = |key: &str| keys.peek(key).map_or(keys.span(), |node| node.span);
        let mut problems: Vec<Diagnostic> = self
            .about_labelled_images(network)
            .into_iter()
            .map(|key| useless(at(key), key))
            .collect();
        let mixes = self.settings.augment.as_ref().and_then(Augment::mixup).is_some();
        if mixes {
            problems.push(mixup::without_labels(at(AUGMENT), AUGMENT));
        }
        problems
    }

    /// The keys that are about labelled images, as far as they change anything.
    fn about_labelled_images(&self, network: Option<&ModelSource>) -> Vec<&'static str> {
        let new = match network {
            Some(ModelSource::Stage(new)) => new,
            Some(ModelSource::Fresh(_)) | None => &NewLayers::default(),
        };
        let settings = &self.settings;
        let keys = [
            ("train", self.train.is_some()),
            ("head", new.head.is_some()),
            ("bottleneck", new.bottleneck.is_some()),
            ("sampler", settings.sampler.sees(&[]).is_some()),
            ("label_smoothing", settings.label_smoothing > 0.0),
        ];
        keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
    }
}

/// `key` stands for something that no image of the training could have.
fn useless(span: Span, key: &str) -> Diagnostic {
    let message = format!("`{key}` needs labelled images, but this method learns without any");
    Diagnostic::at(span, message, "of no use to this method").help(without_key(key))
}
