//! `normalize`: size, part, border, channels, and the mean and deviation that batches are made with.
//!
//! Pixels stay 8 bits on disk; mean and deviation are applied when batches are made. Of features there is nothing else to set:
//! with `"auto"` they are standardised by a split, `train` if no other one is named.

use std::cell::OnceCell;

use serde_json::json;

use super::{
    Context, DatasetShape, Defaults, Described, Failure, Halt, Kind, Measures, Outcome, Problem,
    Product, Stage,
};
use crate::config::diagnostic::suggest;
use crate::config::node::{Node, Value};
use crate::config::pixels::{self, LARGEST, SIZE, length, sides, two_lengths};
use crate::config::{Diagnostic, Keys, Noted, Wants};
use crate::data::convert::to_channels;
use crate::data::crop::center_crop;
use crate::data::pad::{pad, padded_size};
use crate::data::resize::{NewSize, resize};
use crate::data::statistics::{PixelMoments, feature_moments, moments};
use crate::data::{DataError, Dataset, Images};
use crate::progress::{Unit, Watch};

pub(super) const KIND: Kind = Kind {
    name: "normalize",
    about: "set the size, the channels, and mean and deviation of batches",
    measures: Measures::Nothing,
    parse,
};

#[derive(Debug)]
struct Normalize {
    resize: Option<NewSize>,
    /// Height and width of the middle that stays.
    center_crop: Option<(usize, usize)>,
    /// Rows above and below, columns left and right.
    pad: Option<(usize, usize)>,
    channels: Option<usize>,
    mean: PerChannel,
    std: PerChannel,
    /// The split that `"auto"` is taken from, where the user names one.
    statistics: Option<String>,
}

/// The split that `"auto"` is taken from otherwise.
const USUAL_STATISTICS: &str = "train";

/// A number for each channel.
#[derive(Debug, Clone, PartialEq)]
enum PerChannel {
    /// One for all.
    All(f32),
    /// One each.
    Each(Vec<f32>),
    /// Those that networks were trained with: a name in [`PRESETS`] and its numbers.
    Preset([f32; 3]),
    /// That of a split.
    Auto,
}

/// A word for the numbers of three channels, and what it stands for.
struct Preset {
    word: &'static str,
    about: &'static str,
    mean: [f32; 3],
    std: [f32; 3],
}

/// What `mean` and `std` may be by name. A new one is a line here.
const PRESETS: &[Preset] = &[Preset {
    word: "imagenet",
    about: "that of torchvision's networks",
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
}];

fn parse(keys: &mut Keys, _: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    keys.about(&[
        ("input", "data set to change"),
        (
            "resize",
            "height and width of the images; one number for both, `{ shorter = 256 }` for the shorter side alone",
        ),
        (
            "center_crop",
            "height and width of the middle of each image that stays, after `resize`; one number for both",
        ),
        (
            "pad",
            "black pixels around each image, after `resize` and `center_crop`; of two numbers, rows above and below \
             and columns left and right",
        ),
        (
            "channels",
            "channels of the images: gray becomes RGB by repetition, RGB becomes gray by luminance",
        ),
        (
            "mean",
            "what is subtracted from each channel, whose values go from 0 to 1, or from each feature",
        ),
        ("std", "what each channel or feature is then divided by"),
        (
            "statistics",
            "split whose mean and deviation `\"auto\"` takes for all splits; `train` when left out",
        ),
    ]);
    let input = keys.reference("input", Wants::Dataset);
    let resize = new_size(keys);
    let center_crop = pixels::height_and_width(keys, "center_crop");
    let pad = border(keys);
    let channels = keys
        .count("channels", 1..=3)
        .such_that("1 or 3", |channels| matches!(channels, 1 | 3))
        .optional();
    let mean = per_channel(keys, "mean", 0.0, "finite", |_| true, |preset| preset.mean);
    let above = |value| value > 0.0;
    let std = per_channel(keys, "std", 1.0, "finite and above 0", above, |preset| preset.std);
    let statistics = statistics(keys, [mean.as_ref().ok(), std.as_ref().ok()]);
    input?;
    Ok(Box::new(Normalize {
        resize: resize?,
        center_crop: center_crop?,
        pad: pad?,
        channels: channels?,
        mean: mean?,
        std: std?,
        statistics: statistics?,
    }))
}

/// `statistics = "amazon"`, which goes with `"auto"`.
fn statistics(keys: &mut Keys, values: [Option<&PerChannel>; 2]) -> Result<Option<String>, Noted> {
    let statistics = keys.string("statistics").optional()?;
    let may_be_auto = values.iter().any(|it| it.is_none_or(|it| *it == PerChannel::Auto));
    if statistics.is_some() && !may_be_auto {
        let span = keys.peek("statistics").map_or(keys.span(), |node| node.span);
        let message = "`statistics` has no meaning where neither `mean` nor `std` is \"auto\"";
        return Err(keys.problem(
            Diagnostic::at(span, message, "nothing is taken from this split")
                .help("add `mean = \"auto\"` and `std = \"auto\"`, or leave `statistics` out"),
        ));
    }
    Ok(statistics)
}

/// `resize = 32`, `resize = [32, 48]`, height and width, or `resize = { shorter = 256 }`.
fn new_size(keys: &mut Keys) -> Result<Option<NewSize>, Noted> {
    let schema = || {
        let [both, side] = sides(1, SIZE);
        let mut shorter_side = side.clone();
        shorter_side["description"] = "pixels of the shorter side".into();
        let shorter = json!({ "type": "object", "properties": { "shorter": shorter_side },
            "required": ["shorter"], "additionalProperties": false,
            "description": "{ shorter = pixels }" });
        json!({ "anyOf": [both, side, shorter] })
    };
    let read = |node: &Node| match &node.value {
        Value::Table(table) => {
            let entry = table.entries.get("shorter").filter(|_| table.entries.len() == 1);
            entry.and_then(|entry| length(&entry.node, 1)).map(NewSize::Shorter)
        }
        _ => two_lengths(node, 1).map(|(height, width)| NewSize::Fixed(height, width)),
    };
    pixels::read(keys, "resize", schema, read, |span, found| {
        let message = format!("`resize` must be a height and a width from 1 to {LARGEST} pixels");
        Diagnostic::at(span, message, found).help(
            "write `resize = [32, 32]`, or `resize = 32` for the same; `resize = { shorter = 256 }` keeps the \
                 shape of each image",
        )
    })
}

/// `pad = 6` or `pad = [2, 6]`, rows and columns.
fn border(keys: &mut Keys) -> Result<Option<(usize, usize)>, Noted> {
    let schema =
        || json!({ "anyOf": sides(0, "rows above and below, and columns left and right") });
    pixels::read(
        keys,
        "pad",
        schema,
        |node| two_lengths(node, 0),
        |span, found| {
            let message =
                format!("`pad` must be pixels from 0 to {LARGEST}, or rows and columns of them");
            Diagnostic::at(span, message, found)
                .help("write `pad = 6` for all sides, or `pad = [2, 6]` for rows and columns")
        },
    )
}

/// `mean = 0.5`, `mean = [0.5, 0.5, 0.5]`, `mean = "auto"` or `mean = "imagenet"`.
fn per_channel(
    keys: &mut Keys,
    key: &'static str,
    default: f32,
    demand: &str,
    holds: fn(f32) -> bool,
    of: fn(&Preset) -> [f32; 3],
) -> Result<PerChannel, Noted> {
    keys.may_be(key, || {
        let number = json!({ "type": "number" });
        let each = json!({ "type": "array", "items": number, "minItems": 1 });
        let auto = json!({ "enum": ["auto"], "description": "that of the split `statistics`" });
        let word = |it: &Preset| json!({ "enum": [it.word], "description": it.about });
        let mut any = vec![auto];
        any.extend(PRESETS.iter().map(word));
        any.extend([number, each]);
        json!({ "anyOf": any, "default": default })
    });
    let Some(node) = keys.node(key) else {
        keys.record(key, f64::from(default));
        return Ok(PerChannel::All(default));
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "batches are 32-bit"
    )]
    let number = |node: &Node| {
        let number = match node.value {
            Value::Float(number) => number as f32,
            Value::Integer(number) => number as f32,
            _ => return None,
        };
        (number.is_finite() && holds(number)).then_some(number)
    };
    let value = match &node.value {
        Value::String(word) if word == "auto" => Some(PerChannel::Auto),
        Value::String(word) => {
            let preset = PRESETS.iter().find(|it| it.word == word);
            preset.map(|it| PerChannel::Preset(of(it)))
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(number).collect::<Option<_>>().map(PerChannel::Each)
        }
        _ => number(node).map(PerChannel::All),
    };
    let Some(value) = value else {
        return Err(keys.problem(
            Diagnostic::at(
                node.span,
                format!("`{key}` must be {}, or a number for each channel, {demand}", words()),
                format!("found {}", node.shown()),
            )
            .help(format!(
                "write `{key} = 0.5` for all channels, or one for each: `[0.5, 0.5, 0.5]`"
            )),
        ));
    };
    keys.record(key, node.to_toml());
    Ok(value)
}

/// The words that `mean` and `std` may be.
fn words() -> String {
    let words = std::iter::once("auto").chain(PRESETS.iter().map(|it| it.word));
    words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
}

impl PerChannel {
    /// The numbers that it has for each channel; `None` where it has one for all, or they are those of the data.
    fn each(&self) -> Option<&[f32]> {
        match self {
            Self::Each(values) => Some(values),
            Self::Preset(values) => Some(values),
            Self::All(_) | Self::Auto => None,
        }
    }

    fn resolve(
        &self,
        (channels, features): (usize, bool),
        auto: impl FnOnce() -> Result<Vec<f32>, DataError>,
    ) -> Result<Vec<f32>, DataError> {
        match (self, self.each()) {
            (Self::All(value), _) => Ok(vec![*value; channels]),
            (_, Some(values)) if values.len() == channels => Ok(values.to_vec()),
            (_, Some(values)) => {
                let message = mismatch(values.len(), channels, features);
                Err(DataError::rejected(message).advise(fitting(channels)))
            }
            (_, None) => auto(),
        }
    }
}

fn mismatch(given: usize, channels: usize, features: bool) -> String {
    let plural = if given == 1 { "number" } else { "numbers" };
    match features {
        true => format!("{given} {plural} for rows of {channels} features"),
        false => format!("{given} {plural} for images of {channels} channels"),
    }
}

/// What to write for images of so many channels.
fn fitting(channels: usize) -> String {
    if channels > 3 {
        return format!("write {channels} numbers, one for each feature, or `0.5` for all of them");
    }
    let each = format!("[{}]", vec!["0.5"; channels].join(", "));
    format!("write `{each}`, a number for each channel, or `0.5` for all of them")
}

#[expect(clippy::cast_possible_truncation, reason = "batches are 32-bit")]
fn auto_mean(moments: &[PixelMoments]) -> Vec<f32> {
    moments.iter().map(|moments| moments.mean as f32).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "batches are 32-bit")]
fn auto_std(
    moments: &[PixelMoments],
    (split, features): (&str, bool),
) -> Result<Vec<f32>, DataError> {
    if features {
        return Ok(moments.iter().map(|it| divisor(it.std)).collect());
    }
    if let Some(channel) = moments.iter().position(|moments| moments.std == 0.0) {
        return Err(DataError::rejected(format!(
            "\"auto\" cannot divide by the std of channel {channel}: all its pixels in `{split}` \
             are alike"
        ))
        .advise("give a number for all channels: `std = 0.5`"));
    }
    Ok(moments.iter().map(|moments| moments.std as f32).collect())
}

/// What features of a deviation are divided by: by 1 where all are alike, as scikit-learn's `StandardScaler` does it. Words that
/// appear nowhere in a split are usual among features that count words, so that this is no error as it is of pixels.
fn divisor(std: f64) -> f32 {
    if are_alike(std) { 1.0 } else { in_batches(std) }
}

/// Whether values of this deviation are the same in single precision.
fn are_alike(std: f64) -> bool {
    in_batches(std) == 0.0
}

#[expect(clippy::cast_possible_truncation, reason = "batches are 32-bit")]
fn in_batches(number: f64) -> f32 {
    number as f32
}

/// What to say of features that are the same in all of a split, which these are the moments of.
fn constant(moments: &[PixelMoments], split: &str) -> Option<String> {
    let alike = moments.iter().filter(|it| are_alike(it.std)).count();
    let plural = if alike == 1 { "feature is" } else { "features are" };
    (alike > 0).then(|| {
        format!("{alike} {plural} the same in every row of `{split}`: divided by 1, not by 0")
    })
}

/// Changes the images of every split.
fn change(
    set: &mut Dataset,
    context: &Context,
    what: &str,
    change: impl Fn(&Images, &Watch) -> Result<Images, DataError>,
) -> Result<(), Halt> {
    let total: usize = set.splits.values().map(crate::data::Split::len).sum();
    context.progress.begin(what, Some(total as u64), Unit::Images);
    for split in set.splits.values_mut() {
        split.images = change(&split.images, &context.watch())?;
    }
    Ok(())
}

impl Normalize {
    /// The split that `"auto"` is taken from.
    fn measured(&self) -> &str {
        self.statistics.as_deref().unwrap_or(USUAL_STATISTICS)
    }

    /// Why `"auto"` cannot be taken from its split, where that is not among `splits`.
    fn unmeasured<'a>(&self, splits: impl Iterator<Item = &'a String>) -> Option<Problem> {
        let splits: Vec<&str> = splits.map(String::as_str).collect();
        let both = [("mean", &self.mean), ("std", &self.std)];
        let (key, _) = both.into_iter().find(|(_, values)| **values == PerChannel::Auto)?;
        let measured = self.measured();
        if splits.contains(&measured) {
            return None;
        }
        if self.statistics.is_some() {
            let message = format!("the data set has no split `{measured}`");
            let mut problem = Problem::at("statistics", message);
            problem.help.extend(suggest(measured, splits));
            return Some(problem);
        }
        let message = format!("\"auto\" is taken from the split `{measured}`, which is not there");
        let shown: Vec<String> = splits.iter().map(|it| format!("`{it}`")).collect();
        let first = splits.first().copied().unwrap_or("NAME");
        Some(Problem::at(key, message).help(format!(
            "name the split that is measured: `statistics = \"{first}\"`; there are {}",
            shown.join(", ")
        )))
    }

    /// The first setting that is about pixels, where there are features instead.
    fn of_pixels(&self) -> Option<Problem> {
        let asked = [
            ("resize", self.resize.is_some()),
            ("center_crop", self.center_crop.is_some()),
            ("pad", self.pad.is_some()),
            ("channels", self.channels.is_some()),
        ];
        let (key, _) = asked.into_iter().find(|(_, is_asked)| *is_asked)?;
        let message = format!("`{key}` changes images, and the data set holds features");
        let advice = format!("leave `{key}` out: of features only `mean` and `std` can be set");
        Some(Problem::at(key, message).help(advice))
    }
}

impl Stage for Normalize {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    /// Sums are of whole numbers, and every pixel is computed by single operations that each rounds alike.
    fn computes(&self) -> bool {
        false
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let input = inputs.dataset("input");
        if let Some(problem) = self.of_pixels().filter(|_| input.features) {
            return Err(vec![problem]);
        }
        let channels = self.channels.or(input.channels);
        let mut problems = Vec::new();
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if let Some((values, channels)) = values.each().zip(channels)
                && values.len() != channels
            {
                let message = mismatch(values.len(), channels, input.features);
                problems.push(Problem::at(key, message).help(fitting(channels)));
            }
        }
        problems.extend(input.splits.as_ref().and_then(|splits| self.unmeasured(splits.keys())));
        let size = match self.resize {
            Some(NewSize::Fixed(height, width)) => Some((height, width)),
            Some(new) => input.size.and_then(|size| new.of(size)),
            None => input.size,
        };
        if let (Some((height, width)), Some(part)) = (size, self.center_crop)
            && (height < part.0 || width < part.1)
        {
            let message = format!(
                "the images have {height}x{width} pixels there, fewer than the {}x{} of their middle that stays",
                part.0, part.1
            );
            problems.push(
                Problem::at("center_crop", message)
                    .help("make the images larger before, as `resize = { shorter = 256 }` does"),
            );
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let size = self.center_crop.or(size);
        let size = size.and_then(|size| padded_size(size, self.pad.unwrap_or_default()));
        Ok(Product::Dataset(DatasetShape { channels, size, ..input }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let mut set = context.dataset("input")?;
        if let Some(problem) = self.of_pixels().filter(|_| set.is_features()) {
            return Err(problem.into());
        }
        if let Some(size) = self.resize {
            change(&mut set, context, "resize", |images, watch| resize(images, size, watch))?;
        }
        if let Some(size) = self.center_crop {
            let crop = |images: &Images, watch: &Watch| center_crop(images, size, watch);
            change(&mut set, context, "center crop", crop)?;
        }
        if let Some(name) =
            set.splits.iter().find(|(_, split)| split.images.size().is_none()).map(|(name, _)| name)
        {
            let failure = Failure::new(format!("the images of `{name}` differ in size"));
            return Err(match self.resize {
                // No image has a shorter side.
                Some(NewSize::Shorter(side)) => {
                    failure.help(format!("add `center_crop = {side}` to take the middle of each"))
                }
                Some(NewSize::Fixed(..)) | None => {
                    failure.help("add `resize = [height, width]` to make them alike")
                }
            }
            .into());
        }
        if let Some(border) = self.pad {
            change(&mut set, context, "pad", |images, watch| pad(images, border, watch))?;
        }
        if let Some(channels) = self.channels {
            for split in set.splits.values_mut() {
                split.images = to_channels(&split.images, channels)?;
            }
        }
        let channels = self.channels.unwrap_or(set.channels());
        let shape = (channels, set.is_features());
        if let Some(problem) = self.unmeasured(set.splits.keys()) {
            return Err(problem.into());
        }
        let measured = self.measured();
        let measure = if set.is_features() { feature_moments } else { moments };
        // A pass over everything there is, which both may ask for.
        let found = OnceCell::new();
        let of_split = || match found.get() {
            Some(moments) => Ok(moments),
            None => set.split(measured).map(|split| found.get_or_init(|| measure(split))),
        };
        let mean = self.mean.resolve(shape, || of_split().map(|it| auto_mean(it)))?;
        let std = self.std.resolve(shape, || auto_std(of_split()?, (measured, shape.1)))?;
        if self.std == PerChannel::Auto && shape.1 {
            constant(of_split()?, measured).iter().for_each(|note| context.progress.note(note));
        }
        let set = Dataset { mean, std, ..set };
        Outcome::of_dataset(&set, context)
    }
}
