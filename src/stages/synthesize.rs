//! `synthesize`: makes a data set by a recipe, mostly out of another.

use super::classes::named;
use super::inputs::without_pixels;
use super::{
    Context, DatasetShape, Defaults, Described, Halt, Kind, Measures, Outcome, Problem, Product,
    Stage,
};
use crate::config::node::{Table, Value};
use crate::config::{Diagnostic, Keys, Noted, Wants, Word, words};
use crate::data::blend::{Backgrounds, SMALL_PHOTOGRAPHS, blend, share_photographs};
use crate::data::corrupt::{Corruption, CorruptionKind, SEVERITIES, corrupt};
use crate::data::dead_leaves::DeadLeaves;
use crate::data::moons::{self, TwoMoons};
use crate::data::{Dataset, Provenance};

pub(super) const KIND: Kind = Kind {
    name: "synthesize",
    about: "make a data set by a recipe, mostly out of another",
    measures: Measures::Nothing,
    parse,
};

words! {
    /// How a data set is made.
    enum SynthesisRecipe {
        /// Its images are blended with backgrounds.
        Blend = "blend",
        /// Its images are made worse.
        Corrupt = "corrupt",
        /// Points of two half circles, out of nothing.
        TwoMoons = "two-moons",
    }
}

words! {
    /// How backgrounds are generated.
    enum BackgroundRecipe {
        /// By the dead leaves model.
        DeadLeaves = "dead-leaves",
    }
}

#[derive(Debug)]
struct Blend {
    background: Background,
    seed: u64,
}

#[derive(Debug)]
struct Corrupt {
    kind: CorruptionKind,
    /// 1 where the kind has none.
    severity: usize,
    seed: u64,
}

#[derive(Debug)]
struct Moons {
    moons: TwoMoons,
    seed: u64,
}

#[derive(Debug)]
enum Background {
    Generated(DeadLeaves),
    /// The data set at the key `background`.
    Photographs,
}

fn parse(keys: &mut Keys, defaults: &Defaults) -> Result<Box<dyn Stage>, Noted> {
    let recipe = keys.choice::<SynthesisRecipe>("recipe").required();
    if recipe.is_err() {
        keys.leave_open();
    }
    keys.about(&[
        (
            "recipe",
            "how it is built: the absolute difference between digit and background, per \
             channel, noise, blur and other corruptions of images, or points of two half circles",
        ),
        ("input", "data set whose images are changed"),
    ]);
    match recipe? {
        SynthesisRecipe::Blend => {
            let input = keys.reference("input", Wants::Dataset);
            let background = background(keys);
            let seed = defaults.seed(keys);
            input?;
            Ok(Box::new(Blend { background: background?, seed: seed? }))
        }
        SynthesisRecipe::Corrupt => {
            let input = keys.reference("input", Wants::Dataset);
            let stage = corruption(keys, defaults);
            input?;
            Ok(Box::new(stage?))
        }
        SynthesisRecipe::TwoMoons => Ok(Box::new(two_moons(keys, defaults)?)),
    }
}

fn two_moons(keys: &mut Keys, defaults: &Defaults) -> Result<Moons, Noted> {
    keys.about(&[
        ("samples", "points of each of the splits `train` and `test`, half of them of each moon"),
        ("angle", "degrees by which the moons are turned, against the clock"),
        ("noise", "standard deviation of the noise on either coordinate"),
    ]);
    let samples = keys.count("samples", 2..=1_000_000).or(300_usize);
    let is_angle = |angle: &f64| (-360.0..=360.0).contains(angle);
    let angle = keys.float("angle").such_that("degrees from -360 to 360", is_angle).or(0.0);
    let noise = keys.float("noise").at_least(0.0).or(0.1);
    let seed = defaults.seed(keys);
    let moons = TwoMoons { samples: samples?, angle: angle?, noise: noise? };
    Ok(Moons { moons, seed: seed? })
}

fn corruption(keys: &mut Keys, defaults: &Defaults) -> Result<Corrupt, Noted> {
    keys.about(&[
        ("corruption", "what is done to every image"),
        ("severity", "how much of it, in the steps of CIFAR-10-C"),
    ]);
    let kind = keys.choice::<CorruptionKind>("corruption").required();
    if kind.is_err() {
        keys.leave_open();
    }
    let kind = kind?;
    let severity = if kind.has_severity() {
        keys.count("severity", 1..=SEVERITIES).required()
    } else {
        match keys.unwanted("severity") {
            None => Ok(1),
            Some(node) => Err(keys.problem(Diagnostic::at(
                node.span,
                format!("`severity` has no meaning with `corruption = \"{}\"`", kind.word()),
                "it comes in one strength",
            ))),
        }
    };
    let seed = defaults.seed_if(keys, kind.is_random());
    Ok(Corrupt { kind, severity: severity?, seed: seed? })
}

/// `background = { recipe = "dead-leaves", ... }`, the default, or the name of a stage.
fn background(keys: &mut Keys) -> Result<Background, Noted> {
    const KEY: &str = "background";
    let span = keys.span();
    keys.about(&[("background", "the backgrounds: generated, or the images of a data set")]);
    keys.may_be(KEY, || Wants::Dataset.schema());
    match keys.node(KEY) {
        None => keys.descend(KEY, &Table::default(), span, dead_leaves),
        Some(node) => match &node.value {
            Value::String(_) => {
                let reference = keys.reference_at(KEY.into(), node, Wants::Dataset)?;
                keys.record(KEY, reference.stage);
                Ok(Background::Photographs)
            }
            Value::Table(table) => keys.descend(KEY, table, node.span, dead_leaves),
            other => Err(keys.problem(
                Diagnostic::at(
                    node.span,
                    "`background` must be the name of a stage or a table",
                    format!("found {}", other.type_name()),
                )
                .help("write `background = { recipe = \"dead-leaves\" }`"),
            )),
        },
    }
}

fn dead_leaves(keys: &mut Keys) -> Result<Background, Noted> {
    let recipe = keys.choice("recipe").or(BackgroundRecipe::DeadLeaves);
    if recipe.is_err() {
        keys.leave_open();
    }
    keys.about(&[
        ("recipe", "disks of random size and colour that cover each other, as in photographs"),
        ("images", "number of generated images that patches are taken from"),
        ("size", "height and width of a generated image, in pixels"),
        ("radius_min", "radius of the smallest disk, in pixels"),
        ("radius_max", "radius of the largest disk, in pixels"),
        (
            "exponent",
            "how much more frequent small disks are: the density of a radius falls with this power",
        ),
        ("luminance_mean", "mean brightness, from 0 to 255"),
        ("exposure_sd", "standard deviation of the brightness of whole images"),
        ("luminance_sd", "standard deviation of the brightness of disks"),
        ("chroma_sd", "standard deviation of the colour of disks"),
    ]);
    let images = keys.count("images", 1..=100_000).or(200_usize);
    let size = keys.count("size", 1..=4096).or(160_usize);
    let radius_min = keys.float("radius_min").at_least(0.5).or(4.0);
    let radius_max = keys.float("radius_max").at_least(0.5).or(80.0);
    let exponent = keys.float("exponent").at_least(0.0).or(3.0);
    let luminance_mean = keys
        .float("luminance_mean")
        .such_that("a number from 0 to 255", |value| (0.0..=255.0).contains(value))
        .or(110.0);
    let exposure_sd = keys.float("exposure_sd").at_least(0.0).or(30.0);
    let luminance_sd = keys.float("luminance_sd").at_least(0.0).or(40.0);
    let chroma_sd = keys.float("chroma_sd").at_least(0.0).or(15.0);
    let BackgroundRecipe::DeadLeaves = recipe?;
    let model = DeadLeaves {
        images: images?,
        size: size?,
        radius_min: radius_min?,
        radius_max: radius_max?,
        exponent: exponent?,
        luminance_mean: luminance_mean?,
        exposure_sd: exposure_sd?,
        luminance_sd: luminance_sd?,
        chroma_sd: chroma_sd?,
    };
    if model.radius_max < model.radius_min {
        let span = keys.span();
        return Err(keys.problem(Diagnostic::at(
            span,
            format!(
                "`radius_max` ({}) is below `radius_min` ({})",
                model.radius_max, model.radius_min
            ),
            "no radius lies between them",
        )));
    }
    Ok(Background::Generated(model))
}

impl Stage for Blend {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let input = inputs.dataset("input");
        let mut sets = vec![("input", input.clone())];
        if matches!(self.background, Background::Photographs) {
            sets.push(("background", inputs.dataset("background")));
        }
        let problems: Vec<Problem> =
            sets.iter().filter_map(|(key, set)| without_pixels(set, key, BLENDS)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let (key, back) = match &self.background {
            Background::Generated(model) => ("background.size", Some((model.size, model.size))),
            Background::Photographs => ("background", inputs.dataset("background").size),
        };
        if let (Some((height, width)), Some((back_height, back_width))) = (input.size, back)
            && (back_height < height || back_width < width)
        {
            let message = format!(
                "backgrounds of {back_height}x{back_width} pixels are smaller than the \
                 {height}x{width} images to blend with them"
            );
            let mut problem = Problem::at(key, message);
            if matches!(self.background, Background::Photographs) {
                problem = problem.help(SMALL_PHOTOGRAPHS);
            }
            return Err(vec![problem]);
        }
        Ok(Product::Dataset(DatasetShape { channels: Some(3), ..input }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let watch = context.watch();
        let digits = of_images(context, "input", BLENDS)?;
        let photographs: Dataset;
        let (backgrounds, origin) = match &self.background {
            Background::Generated(model) => {
                let mut generated = Backgrounds::new();
                for split in digits.splits.keys() {
                    let images = model.generate(self.seed, split, &watch)?;
                    generated.insert(split.clone(), std::borrow::Cow::Owned(images));
                }
                (generated, vec![made_here()])
            }
            Background::Photographs => {
                photographs = of_images(context, "background", BLENDS)?;
                let shares = share_photographs(&digits, &photographs)?;
                (shares, photographs.provenance.clone())
            }
        };
        let mut blended = blend(&digits, &backgrounds, self.seed, &watch)?;
        blended.provenance.extend(origin);
        Outcome::of_dataset(&blended, context)
    }
}

impl Stage for Corrupt {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, inputs: &Described) -> Result<Product, Vec<Problem>> {
        let input = inputs.dataset("input");
        match without_pixels(&input, "input", CORRUPTS) {
            Some(problem) => Err(vec![problem]),
            None => Ok(Product::Dataset(input)),
        }
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        let clean = of_images(context, "input", CORRUPTS)?;
        let corruption = Corruption::new(self.kind, self.severity);
        let corrupted = corrupt(&clean, &corruption, self.seed, &context.watch())?;
        Outcome::of_dataset(&corrupted, context)
    }
}

impl Stage for Moons {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn revision(&self) -> u32 {
        1
    }

    fn describe(&self, _: &Described) -> Result<Product, Vec<Problem>> {
        let names = moons::CLASSES.map(str::to_owned).to_vec();
        let splits = moons::SPLITS.map(|name| (name.to_owned(), Some(self.moons.samples)));
        Ok(Product::Dataset(DatasetShape {
            splits: Some(splits.into_iter().collect()),
            channels: Some(2),
            size: Some((1, 1)),
            features: true,
            classes: Some(names.len()),
            names: Some(names),
            empty: Vec::new(),
        }))
    }

    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        Outcome::of_dataset(&self.moons.generate(self.seed), context)
    }
}

/// What these recipes do, for those who give them something else than images.
const BLENDS: &str = "`blend` mixes pixels";
const CORRUPTS: &str = "`corrupt` changes pixels";

/// The data set at `key`, which must hold pixels.
fn of_images(context: &Context, key: &str, does: &str) -> Result<Dataset, Halt> {
    let set = context.dataset(key)?;
    let shape = DatasetShape { features: set.is_features(), ..DatasetShape::unknown() };
    match without_pixels(&shape, key, does) {
        Some(problem) => Err(named(problem, key).into()),
        None => Ok(set),
    }
}

/// Where generated backgrounds come from.
fn made_here() -> Provenance {
    Provenance {
        title: "Backgrounds of the dead leaves model".into(),
        licence: "CC0".into(),
        citation: "A. Lee, D. Mumford and J. Huang, \"Occlusion models for natural images\", \
                   International Journal of Computer Vision 41, 2001"
            .into(),
        source: "generated".into(),
    }
}
