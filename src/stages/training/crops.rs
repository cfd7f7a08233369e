//! Crops of a training that change the size of its images: what the network then takes, and whether everything that it is to see
//! has that size. What is not changed otherwise goes in as the middle of each image.

use super::Training;
use super::network::CroppedImages;
use crate::data::augment::{AUGMENT, Augment};
use crate::data::view::{Domain, ViewKind};
use crate::nn::Spec;
use crate::stages::{DatasetShape, Problem};

/// In words, that the network of `spec` takes no middle any more of images of the size `before`, whose middle it took when it
/// came in, if so.
pub(super) fn no_longer_middle(before: Option<(usize, usize)>, spec: &Spec) -> Option<String> {
    let (height, width) = before.filter(|_| spec.middle_of != before)?;
    let (h, w) = (spec.input.height, spec.input.width);
    Some(format!("takes images of {h}x{w}, and no longer the middle of {height}x{width}"))
}

impl Training {
    /// `images` with what is cut out of them.
    pub(super) fn cropped(&self, images: DatasetShape) -> CroppedImages {
        CroppedImages { crop: self.crop(&images), images }
    }

    /// The size that a crop makes of images like these.
    pub(super) fn crop(&self, images: &DatasetShape) -> Option<(usize, usize)> {
        self.settings.augment.as_ref().filter(|_| !images.features).and_then(Augment::size)
    }

    /// The key of the images whose size counts.
    pub(super) fn learns_from(&self) -> &'static str {
        if self.method.needs().source { "train" } else { "method.target" }
    }

    /// The size of images whose middle the network takes as well, when it learns from crops of `images`; that of `spec` where it
    /// does not.
    pub(super) fn middle_of(&self, spec: &Spec, images: &DatasetShape) -> Option<(usize, usize)> {
        match (self.crop(images), images.size) {
            (Some(crop), Some(whole)) => (whole != crop).then_some(whole),
            _ => spec.middle_of,
        }
    }

    /// Where the changes of a domain's images, `images` at `key`, do not make of them what the network takes, as far as both are
    /// known.
    pub(super) fn miscropped(
        &self,
        spec: Option<&Spec>,
        images: &DatasetShape,
        key: &str,
    ) -> Vec<Problem> {
        let domain = match key {
            "train" => Domain::Source,
            "method.target" => Domain::Target,
            _ => return Vec::new(),
        };
        let Some(whole) = images.size.filter(|_| !images.features) else { return Vec::new() };
        let crop = self.crop(images);
        if let Some((h, w)) = crop.filter(|crop| crop.0 > whole.0 || crop.1 > whole.1) {
            let message = format!(
                "`{AUGMENT}` makes {h}x{w} of images of {}x{}, whose middle is smaller than that where they are not changed",
                whole.0, whole.1
            );
            let (height, width) = (h.max(whole.0), w.max(whole.1));
            let problem = Problem::at(AUGMENT, message);
            return vec![problem.help(format!(
                "a `normalize` stage with `resize = [{height}, {width}]` makes them larger"
            ))];
        }
        let input = spec.map(|spec| (spec.input.height, spec.input.width)).or(crop);
        let misfit = |augment: &Augment, key: &str| {
            if let Some(message) = augment.misfit(whole) {
                let problem = Problem::at(key, message);
                return Some(problem.help("make `size` smaller or `padding` larger"));
            }
            let ((h, w), now) = (input?, augment.size().unwrap_or(whole));
            if now == (h, w) || !augment.changes_pixels() {
                return None;
            }
            let message = format!(
                "`{key}` makes images of {}x{}, and the network takes {h}x{w}",
                now.0, now.1
            );
            let problem = Problem::at(key, message);
            Some(match augment.size() {
                Some(_) => problem.help(format!("write `size = [{h}, {w}]`")),
                None => problem.help(format!(
                    "begin with a crop: `{{ kind = \"resized_crop\", size = [{h}, {w}] }}`"
                )),
            })
        };
        let mut problems: Vec<Problem> =
            self.settings.augment.iter().filter_map(|it| misfit(it, AUGMENT)).collect();
        for view in self.method.needs().views.iter().filter(|view| view.domain == domain) {
            if let ViewKind::Own(augment) = &view.kind {
                problems.extend(misfit(augment, &format!("method.{}", view.name)));
            }
        }
        problems
    }
}
