//! Random changes to training images: one file each, registered in `TRANSFORMS`.
//!
//! A change is a function of the image and of a stream of random numbers that the caller keys by
//! (seed, epoch, index): the same image looks the same in the same epoch, whoever computes it. What is drawn does not depend on
//! the pixels, so that a device can keep those and carry the changes out itself.

use std::fmt::Debug;

use crate::config::diagnostic::Diagnostic;
use crate::config::{Keys, Noted, Word};
use crate::nn::ops::PixelChanges;
use crate::random::Stream;

mod alteration;
mod color_jitter;
mod cutout;
mod flip;
pub mod mixup;
mod part;
mod presets;
mod randaugment;
mod random_crop;
mod random_erasing;
mod resized_crop;
mod rotation;

/// One image, `[height, width, channels]`, 8 bits each.
#[derive(Debug)]
pub struct Pixels {
    /// The values.
    pub values: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 or 3.
    pub channels: usize,
}

/// A random change.
pub trait Transform: Send + Sync + Debug {
    /// Draws what becomes of each image of a batch, all of them of one height and width, with the numbers of its stream.
    fn draw(&self, size: (usize, usize), streams: &mut [Stream]) -> PixelChanges;

    /// Height and width that images have afterwards, whatever they had before; `None` for a change that keeps an image's size.
    fn size(&self) -> Option<(usize, usize)> {
        None
    }

    /// Why there is no such change of images of this height and width.
    fn misfit(&self, _size: (usize, usize)) -> Option<String> {
        None
    }
}

/// What a word of the list stands for: changes that are made one after the other.
type Steps = Vec<Box<dyn Transform>>;

/// A transform's name, what it does in one line, and how its settings are read.
struct TransformKind {
    name: &'static str,
    about: &'static str,
    read: fn(&mut Keys) -> Result<Steps, Noted>,
}

/// Every transform. A new one is a file in this folder and a line here.
const TRANSFORMS: &[TransformKind] = &[
    random_crop::KIND,
    flip::KIND,
    resized_crop::KIND,
    rotation::KIND,
    color_jitter::KIND,
    cutout::KIND,
    random_erasing::KIND,
    randaugment::KIND,
    presets::WEAK,
    presets::STRONG,
];

/// The key of the changes of a training's images.
pub const AUGMENT: &str = "augment";

/// What an item of `augment` names.
#[derive(Clone, Copy)]
enum Change {
    /// A change of single images.
    Transform(&'static TransformKind),
    /// The change of whole batches.
    Mixup,
}

impl Word for Change {
    fn all() -> impl Iterator<Item = Self> {
        TRANSFORMS.iter().map(Self::Transform).chain([Self::Mixup])
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Transform(kind) => kind.name,
            Self::Mixup => mixup::NAME,
        }
    }

    fn about(&self) -> Option<&'static str> {
        Some(match self {
            Self::Transform(kind) => kind.about,
            Self::Mixup => "mixes images and their labels in pairs (Zhang et al., 2018)",
        })
    }
}

/// A change with its settings.
enum Item {
    Transforms(Steps),
    /// With its parameter.
    Mixup(f64),
}

impl Item {
    fn read(change: Change, keys: &mut Keys) -> Result<Self, Noted> {
        keys.about(&[(
            "alpha",
            "parameter of the beta distribution that weights of mixed images are drawn from",
        )]);
        match change {
            Change::Transform(kind) => (kind.read)(keys).map(Self::Transforms),
            Change::Mixup => keys.float("alpha").positive().or(0.2).map(Self::Mixup),
        }
    }
}

/// Changes that are made one after the other.
#[derive(Debug)]
pub struct Augment {
    transforms: Vec<Box<dyn Transform>>,
    mixup: Option<f64>,
}

impl Augment {
    /// Reads `augment = ["flip", { kind = "random_crop", padding = 4 }]`.
    pub fn read(keys: &mut Keys) -> Result<Option<Self>, Noted> {
        Self::read_at(keys, AUGMENT)
    }

    /// Reads the same list at `key`: the changes of a view, in which images are not mixed.
    pub fn read_view(keys: &mut Keys, key: &'static str) -> Result<Option<Self>, Noted> {
        let augment = Self::read_at(keys, key)?;
        let mixes = augment.as_ref().is_some_and(|augment| augment.mixup.is_some());
        let (true, Some(span)) = (mixes, keys.peek(key).map(|node| node.span)) else {
            return Ok(augment);
        };
        Err(keys.problem(mixup::without_labels(span, key)))
    }

    fn read_at(keys: &mut Keys, key: &'static str) -> Result<Option<Self>, Noted> {
        keys.may_be_items(key, "kind", None, Item::read);
        let items = keys.items(key, "kind", ("change", "changes"), Item::read)?;
        let Some(items) = items else { return Ok(None) };
        let mut augment = Self { transforms: Vec::new(), mixup: None };
        for (item, span) in items {
            if augment.mixup.is_some() {
                let message = "nothing can come after `mixup`";
                return Err(keys.problem(
                    Diagnostic::at(span, message, "a change too many")
                        .help("it mixes whole batches: put it last"),
                ));
            }
            match item {
                Item::Transforms(steps) => augment.transforms.extend(steps),
                Item::Mixup(alpha) => augment.mixup = Some(alpha),
            }
        }
        Ok(Some(augment))
    }

    /// Draws what becomes of each image of a batch, all of them of one height and width, with the numbers of its stream: the changes
    /// in their order.
    ///
    /// # Panics
    /// When one of the changes is [not of images of this size](Self::misfit).
    pub fn draw(&self, mut size: (usize, usize), streams: &mut [Stream]) -> Vec<PixelChanges> {
        let mut drawn = |it: &dyn Transform| {
            let changes = it.draw(size, streams);
            size = changes.size_after(size);
            changes
        };
        self.transforms.iter().map(|it| drawn(&**it)).collect()
    }

    /// Height and width that images have afterwards, whatever they had before; `None` where they keep their size.
    pub fn size(&self) -> Option<(usize, usize)> {
        self.transforms.iter().rev().find_map(|it| it.size())
    }

    /// Why images of this height and width cannot be changed so.
    pub fn misfit(&self, mut size: (usize, usize)) -> Option<String> {
        self.transforms.iter().find_map(|it| {
            let misfit = it.misfit(size);
            size = it.size().unwrap_or(size);
            misfit
        })
    }

    /// Whether pixels are changed; mixup alone does not care what it mixes.
    pub fn changes_pixels(&self) -> bool {
        !self.transforms.is_empty()
    }

    /// The parameter of mixup, where batches are mixed.
    pub fn mixup(&self) -> Option<f64> {
        self.mixup
    }
}

/// Changes the image in row `row` of a batch.
///
/// # Panics
/// When there is no such row, or an area is not in the image.
pub fn change(image: &mut Pixels, changes: &[PixelChanges], row: usize) {
    for changes in changes {
        match changes {
            PixelChanges::Flip(each) if !each[row] => {}
            PixelChanges::Flip(_) => flip::flip(image),
            PixelChanges::Window { each, size } => random_crop::window(image, each[row], *size),
            PixelChanges::Resize { each, size } => resized_crop::resize(image, each[row], *size),
            PixelChanges::Turn(each) => rotation::rotate(image, each[row]),
            PixelChanges::Recolor(each) => {
                let steps = each[row].iter().flatten();
                steps.for_each(|step| color_jitter::recolor(image, *step));
            }
            PixelChanges::Blank(each) => cutout::blank(image, each[row]),
            PixelChanges::Alter(each) => alteration::alter(image, each[row]),
        }
    }
}

/// Uniform in `[from, to)`.
fn between(stream: &mut Stream, from: f64, to: f64) -> f64 {
    from + (to - from) * stream.uniform_f64()
}

/// A number from 0 to 255 as a byte, cut off at its point.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn byte(value: f32) -> u8 {
    value.clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests;
