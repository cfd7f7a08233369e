//! Puts paths as the user wrote them into the messages of readers, which know other ones: the folder
//! that an archive was unpacked to is gone when the message is read.

use std::path::Path;

use super::Watch;
use super::error::DataError;
use crate::progress::{Progress, Unit};

/// A path, and what is said in its place.
#[derive(Debug, Clone)]
pub struct PathAlias {
    real: String,
    written: String,
}

/// Passes everything on, with the path replaced in what people read.
struct Telling<'a> {
    shown: &'a PathAlias,
    to: &'a dyn Progress,
}

impl PathAlias {
    /// Says `written` in place of `real`.
    pub fn new(real: &Path, written: &str) -> Self {
        Self { real: real.display().to_string(), written: written.to_owned() }
    }

    /// `text` with the path, and all paths below it, as they are said.
    pub fn text(&self, text: &str) -> String {
        let Self { real, written } = self;
        let mut said = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = if real.is_empty() { None } else { rest.find(real.as_str()) } {
            let (before, after) = (&rest[..at], &rest[at + real.len()..]);
            said.push_str(before);
            // The name of another path may begin with the whole of this one.
            let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
            let is_other = !real.ends_with('/') && after.starts_with(goes_on);
            said.push_str(if is_other { real } else { written });
            rest = after;
        }
        said + rest
    }

    /// What `read` gives, its notes and its error with the path as it is said.
    ///
    /// # Errors
    /// That of `read`.
    pub fn during<T>(
        &self,
        watch: &Watch,
        read: impl FnOnce(&Watch) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let telling = Telling { shown: self, to: watch.progress };
        read(&Watch { progress: &telling, cancel: watch.cancel })
            .map_err(|error| error.map_texts(|text| self.text(text)))
    }
}

impl Progress for Telling<'_> {
    fn begin(&self, phase: &str, total: Option<u64>, unit: Unit) {
        self.to.begin(phase, total, unit);
    }
    fn advance(&self, by: u64) {
        self.to.advance(by);
    }
    fn status(&self, text: &str) {
        self.to.status(text);
    }
    fn metric(&self, epoch: usize, split: &str, name: &str, value: f64) {
        self.to.metric(epoch, split, name, value);
    }
    fn note(&self, text: &str) {
        self.to.note(&self.shown.text(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_what_is_below_it_are_said_as_written_and_no_other_path() {
        let shown = PathAlias::new(Path::new("/tmp/.x1"), "photos.zip");
        assert_eq!(shown.text("/tmp/.x1/a.png: no image"), "photos.zip/a.png: no image");
        assert_eq!(shown.text("in `/tmp/.x1`"), "in `photos.zip`");
        assert_eq!(shown.text("/tmp/.x12/a and /tmp/.x1: b"), "/tmp/.x12/a and photos.zip: b");
        assert_eq!(PathAlias::new(Path::new(""), "x").text("/a"), "/a");
    }

    #[test]
    fn every_text_of_an_error_is_changed() {
        let shown = PathAlias::new(Path::new("/t"), "z");
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let watch = Watch { progress: &crate::progress::Silent, cancel: &cancel };
        let error = DataError::rejected("/t/a: bad").advise("look at /t/b");
        let error = shown.during(&watch, |_| Err::<(), _>(error)).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.help()),
            ("z/a: bad", vec!["look at z/b".into()])
        );
    }
}
