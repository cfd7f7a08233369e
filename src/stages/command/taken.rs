//! Reads what a program made, file by file, and writes the artifact of it. Everything is compared with what it is said to
//! be: shapes, numbers of rows, classes; a number that is none is a failure, too.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use indexmap::IndexMap;

use crate::data::npy::{self, NpyArray, NumberKind};
use crate::data::statistics::grouped;
use crate::data::{
    ClassScores, Dataset, Images, PredictedSplit, Predictions, Provenance, Sizes, Split,
};
use crate::metrics::{FactRow, Metrics, TrainingRow, TrainingSplit};
use crate::nn::architecture::Architecture;
use crate::nn::geometry::Chw;
use crate::nn::state_dict::{self, StateDict, Taken, WantedTensors};
use crate::nn::weights::little_endian;
use crate::nn::{Model, ModelOutline, Saved, Spec, dispatch};
use crate::stages::inputs::differ_in_size;
use crate::stages::{Context, Failure, Halt, Outcome, Product};

/// The file of metrics.
pub(super) const METRICS: &str = "metrics.csv";
/// The file of weights, one of these.
pub(super) const WEIGHTS: [&str; 2] = ["weights.safetensors", "weights.pth"];

/// A split of an input: `target.test`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SplitOfInput {
    pub(super) input: String,
    pub(super) split: String,
}

impl SplitOfInput {
    /// As it is written, and as files are called.
    pub(super) fn text(&self) -> String {
        format!("{}.{}", self.input, self.split)
    }

    pub(super) fn key(&self) -> String {
        format!("inputs.{}", self.input)
    }
}

/// A file as messages call it.
pub(super) fn shown(name: &str) -> String {
    format!("`{{out}}/{name}`")
}

pub(super) fn unreadable(name: &str, error: &impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", shown(name)))
}

/// Something that is not as it should be in a file.
fn wrong(name: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{} is not what `output` declares: {what}", shown(name)))
}

fn missing(names: &[String]) -> Failure {
    let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
    Failure::new(format!("the program ended well, but did not write {}", names.join(" or ")))
}

/// The network for the images of an input.
pub(super) fn build(
    architecture: &Architecture,
    input: Chw,
    classes: usize,
) -> Result<Spec, String> {
    if let Some(said) = architecture.classes
        && said != classes
    {
        return Err(format!("`classes = {said}`, but the input has {classes}"));
    }
    architecture.build(input, classes)
}

/// The class names of an input that was built, and the shape of its images where all have the same.
fn built(input: &str, context: &Context) -> Result<(Vec<String>, Option<Chw>), Halt> {
    let path = &context.input(&format!("inputs.{input}")).path;
    let unknown = || {
        let failure = Failure::new(format!("the input `{input}` has no classes"));
        Halt::from(failure)
    };
    match Product::built(path).ok_or_else(unknown)? {
        Product::Dataset(shape) => {
            let names = shape.names.ok_or_else(unknown)?;
            let of = |(height, width)| Some(Chw { channels: shape.channels?, height, width });
            Ok((names, shape.size.and_then(of)))
        }
        Product::Predictions(shape) => Ok((shape.classes.ok_or_else(unknown)?, None)),
        Product::Model(_) => {
            let outline = ModelOutline::read(path)?;
            Ok((outline.classes, Some(outline.spec.input)))
        }
        Product::Features | Product::Metrics | Product::Scores | Product::Pictures => {
            Err(unknown())
        }
    }
}

/// The images of a split of an input.
fn images(of: &SplitOfInput, context: &Context) -> Result<Images, Halt> {
    let set = context.dataset(&of.key())?;
    Ok(set.split(&of.split)?.images.clone())
}

pub(super) fn predictions(
    folder: &Path,
    of: &[SplitOfInput],
    scores: ClassScores,
    classes: &str,
    context: &Context,
) -> Result<Outcome, Halt> {
    let (classes, _) = built(classes, context)?;
    let (mut splits, mut counts) = (Vec::new(), Vec::new());
    for split in of {
        let images = images(split, context)?;
        let shape = (images.len(), classes.len());
        let names = ["npy", "csv"].map(|ending| format!("{}.{ending}", split.text()));
        let there: Vec<&String> = names.iter().filter(|name| folder.join(name).exists()).collect();
        let (name, values) = match there.as_slice() {
            [] => return Err(missing(&names).into()),
            [name] if name.ends_with("npy") => (*name, array(folder, name, shape)?),
            [name] => (*name, table(folder, name, &classes, images.len())?),
            _ => {
                let message =
                    format!("the program wrote both {} and {}", shown(&names[0]), shown(&names[1]));
                return Err(Failure::new(message).into());
            }
        };
        if let Some(fault) = scores.fault(&values, classes.len()) {
            return Err(wrong(name, fault).into());
        }
        counts.push(format!("{} of {}", grouped(images.len()), split.text()));
        splits.push(PredictedSplit { name: split.text(), images: images.digest(), values });
    }
    let summary = format!("predictions for {}, {} classes", counts.join(", "), classes.len());
    Predictions { classes, scores, splits }.save(context.out)?;
    Ok(Outcome { metrics: Metrics::None, summary, ..Outcome::default() })
}

/// The numbers of an array of `rows` and `columns`; `0` columns for any number.
fn array(folder: &Path, name: &str, (rows, columns): (usize, usize)) -> Result<Vec<f32>, Failure> {
    let array = opened(folder, name)?;
    let expected = match columns {
        0 => format!("[{rows}, D], a row of features for each image"),
        columns => format!("[{rows}, {columns}], a row for each image and a column for each class"),
    };
    let fits = match array.shape() {
        [found, width] => *found == rows && (*width == columns || columns == 0 && *width > 0),
        _ => false,
    };
    if !fits {
        return Err(wrong(name, format!("its shape is {:?}, expected {expected}", array.shape())));
    }
    array.floats().ok_or_else(|| {
        wrong(
            name,
            format!(
                "its numbers are {}, expected float16, float32 or float64",
                array.kind().name()
            ),
        )
    })
}

/// Opens an array, whose errors name the file as users know it.
fn opened(folder: &Path, name: &str) -> Result<NpyArray, Failure> {
    let path = folder.join(name);
    let place = path.display().to_string();
    NpyArray::open(&path)
        .map_err(|error| Failure::new(error.to_string().replace(&place, &shown(name))))
}

/// The numbers of a CSV whose header names every class, in any order; they come in the order of the classes.
fn table(folder: &Path, name: &str, classes: &[String], rows: usize) -> Result<Vec<f32>, Failure> {
    let mut reader =
        csv::Reader::from_path(folder.join(name)).map_err(|error| unreadable(name, &error))?;
    let header: Vec<String> = reader
        .headers()
        .map_err(|error| unreadable(name, &error))?
        .iter()
        .map(str::to_owned)
        .collect();
    let place = |class: &String| header.iter().position(|it| it == class);
    let places: Option<Vec<usize>> = classes.iter().map(place).collect();
    let Some(places) = places.filter(|_| header.len() == classes.len()) else {
        return Err(wrong(
            name,
            format!(
                "its header is {}, expected the classes {}",
                header.join(", "),
                classes.join(", ")
            ),
        ));
    };
    let mut values = Vec::with_capacity(rows * classes.len());
    let mut count = 0;
    for record in reader.records() {
        let record = record.map_err(|error| unreadable(name, &error))?;
        for place in &places {
            let cell = &record[*place];
            let value: f32 = cell.trim().parse().map_err(|_| {
                wrong(
                    name,
                    format!("row {count}, column `{}`: `{cell}` is not a number", header[*place]),
                )
            })?;
            values.push(value);
        }
        count += 1;
    }
    if count != rows {
        return Err(wrong(
            name,
            format!("it has {count} rows, expected {rows}, one for each image"),
        ));
    }
    Ok(values)
}

pub(super) fn features(
    folder: &Path,
    of: &[SplitOfInput],
    context: &Context,
) -> Result<Outcome, Halt> {
    let mut summaries = Vec::new();
    for split in of {
        let name = format!("{}.npy", split.text());
        if !folder.join(&name).exists() {
            return Err(missing(&[name]).into());
        }
        let rows = images(split, context)?.len();
        let values = array(folder, &name, (rows, 0))?;
        if let Some(at) = values.iter().position(|it| !it.is_finite()) {
            let width = values.len() / rows;
            let fault = format!(
                "image {} has the feature {}, which is no finite number",
                at / width,
                values[at]
            );
            return Err(wrong(&name, fault).into());
        }
        let width = values.len() / rows;
        let bytes = little_endian(&values);
        npy::write(&context.out.join(&name), NumberKind::F32, &[rows, width], &bytes)?;
        summaries.push(format!("{width} of {rows} images of {}", split.text()));
    }
    let summary = format!("features: {}", summaries.join(", "));
    Ok(Outcome { metrics: Metrics::None, summary, ..Outcome::default() })
}

pub(super) fn model(
    folder: &Path,
    architecture: &Architecture,
    input: &str,
    context: &Context,
) -> Result<Outcome, Halt> {
    let there: Vec<&str> = WEIGHTS.into_iter().filter(|name| folder.join(name).exists()).collect();
    let name = match there.as_slice() {
        [] => return Err(missing(&WEIGHTS.map(str::to_owned)).into()),
        [name] => *name,
        _ => {
            let [one, other] = WEIGHTS.map(shown);
            return Err(Failure::new(format!("the program wrote both {one} and {other}")).into());
        }
    };
    let (classes, shape) = built(input, context)?;
    let shape = shape.ok_or_else(|| differ_in_size(input))?;
    let spec = build(architecture, shape, classes.len()).map_err(Failure::new)?;
    let path = folder.join(name);
    let place = path.display().to_string();
    let renamed =
        |error: Failure| Failure { message: error.message.replace(&place, &shown(name)), ..error };
    let file = StateDict::open(&path, None).map_err(|error| renamed(Failure::from(error)))?;
    let wanted = WantedTensors::of(&spec).map_err(|error| Failure::new(error.to_string()))?;
    let known: HashSet<&str> = wanted.names().into_iter().collect();
    let taken = Taken::of(&file.names(), &known, None)
        .map_err(|_| wrong(name, "it holds the network several times, under other names"))?;
    let fit = state_dict::compare(&wanted, &file, &taken, &[])
        .map_err(|error| Failure::new(error.to_string()))?;
    if !fit.is_whole() {
        let differences = fit.differences().join("\n  ");
        return Err(wrong(
            name,
            format!("it does not hold the weights of `{}`:\n  {differences}", spec.arch),
        )
        .into());
    }
    let parameters = fit.parameters.1;
    let summary = format!("{}, {} parameters", spec.arch, grouped(parameters));
    dispatch::on(context.device, |ops| {
        let mut model =
            Model::new(spec, ops, 0).map_err(|error| Failure::new(error.to_string()))?;
        state_dict::load(&mut model, &file, &taken, &fit)
            .map_err(|error| renamed(Failure::from(error)))?;
        Saved { model, classes }.save(context.out)?;
        Ok(Outcome { metrics: Metrics::None, summary, ..Outcome::default() })
    })
}

pub(super) fn dataset(
    folder: &Path,
    names: &[String],
    input: &str,
    context: &Context,
) -> Result<Outcome, Halt> {
    let (classes, _) = built(input, context)?;
    let mut splits = IndexMap::new();
    for name in names {
        splits.insert(name.clone(), split(folder, name, classes.len())?);
    }
    let channels = splits[0].images.channels;
    let mut set = Dataset::plain(classes, channels, splits, Vec::new());
    // Images like those of the input are normalised as they are.
    if let Ok(like) = context.dataset(&format!("inputs.{input}")) {
        if like.channels() == channels {
            (set.mean, set.std) = (like.mean.clone(), like.std.clone());
        }
        set.provenance = like.provenance;
    }
    set.provenance.push(Provenance {
        title: if set.is_features() { "Features" } else { "Images" }.to_owned()
            + " that a program made",
        licence: "that of the program and of the images that it was given".into(),
        citation: "none".into(),
        source: "command".into(),
    });
    set.check().map_err(|reason| {
        Failure::new(format!("what the program wrote is no data set: {reason}"))
    })?;
    Outcome::of_dataset(&set, context)
}

fn split(folder: &Path, split: &str, classes: usize) -> Result<Split, Failure> {
    let [images, features, pixels, sizes, labels] =
        ["images", "features", "pixels", "sizes", "labels"]
            .map(|part| format!("{split}/{part}.npy"));
    let is_there = |name: &String| folder.join(name).exists();
    if !is_there(&labels) {
        return Err(missing(&[labels]));
    }
    let found = match (is_there(&images), is_there(&pixels), is_there(&sizes)) {
        _ if is_there(&features) => {
            let mut others = [&images, &pixels, &sizes].into_iter().filter(|it| is_there(it));
            if let Some(other) = others.next() {
                let message =
                    format!("{} and {} exclude each other", shown(&features), shown(other));
                return Err(Failure::new(message));
            }
            feature_vectors(folder, &features)?
        }
        (true, false, false) => alike(folder, &images)?,
        (false, true, true) => varied(folder, &pixels, &sizes)?,
        (false, false, false) => return Err(missing(&[images])),
        _ => {
            let message = format!(
                "{} stands alone; {} and {} go together",
                shown(&images),
                shown(&pixels),
                shown(&sizes)
            );
            return Err(Failure::new(message));
        }
    };
    let array = opened(folder, &labels)?;
    let numbers = array.integers().filter(|_| array.shape() == [found.len()]).ok_or_else(|| {
        let (kind, shape) = (array.kind().name(), array.shape());
        wrong(&labels, format!("it is {kind} {shape:?}, expected int64 [{}]", found.len()))
    })?;
    let class = |(at, label): (usize, &i64)| {
        u32::try_from(*label).ok().filter(|it| (*it as usize) < classes).ok_or_else(|| {
            wrong(&labels, format!("image {at} has the label {label}, of {classes} classes"))
        })
    };
    let labels = numbers.iter().enumerate().map(class).collect::<Result<_, _>>()?;
    Ok(Split { images: found, labels })
}

/// Features of a data set, `[N, D]`.
fn feature_vectors(folder: &Path, name: &str) -> Result<Images, Failure> {
    let array = opened(folder, name)?;
    match (array.shape(), array.floats()) {
        ([_, width], Some(values)) if *width > 0 => Ok(Images::features(*width, &values)),
        (shape, _) => {
            let kind = array.kind().name();
            Err(wrong(name, format!("it is {kind} {shape:?}, expected float32 [N, D]")))
        }
    }
}

fn alike(folder: &Path, name: &str) -> Result<Images, Failure> {
    let array = opened(folder, name)?;
    let channels = match *array.shape() {
        [_, _, _] => Some(1),
        [_, _, _, channels @ (1 | 3)] => Some(channels),
        _ => None,
    };
    let (Some(channels), Some(pixels)) = (channels, array.bytes()) else {
        let (kind, shape) = (array.kind().name(), array.shape());
        return Err(wrong(
            name,
            format!("it is {kind} {shape:?}, expected uint8 [N, H, W, 1 or 3]"),
        ));
    };
    let &[count, height, width, ..] = array.shape() else { unreachable!("three sides or four") };
    Ok(Images { channels, sizes: Sizes::Same { count, height, width }, pixels: pixels.clone() })
}

fn varied(folder: &Path, name: &str, sizes_name: &str) -> Result<Images, Failure> {
    let (array, sizes) = (opened(folder, name)?, opened(folder, sizes_name)?);
    let (&[_, channels @ (1 | 3)], Some(pixels)) = (array.shape(), array.bytes()) else {
        let (kind, shape) = (array.kind().name(), array.shape());
        return Err(wrong(name, format!("it is {kind} {shape:?}, expected uint8 [total, 1 or 3]")));
    };
    let numbers = sizes.integers().filter(|_| matches!(sizes.shape(), [_, 2]));
    let sides: Option<Vec<usize>> =
        numbers.and_then(|all| all.into_iter().map(|it| usize::try_from(it).ok()).collect());
    let Some(sides) = sides else {
        let (kind, shape) = (sizes.kind().name(), sizes.shape());
        return Err(wrong(
            sizes_name,
            format!("it is {kind} {shape:?}, expected int64 [N, 2], heights and widths"),
        ));
    };
    let sizes = sides.as_chunks::<2>().0.iter().map(|[height, width]| (*height, *width)).collect();
    Ok(Images::new(channels, sizes, pixels.clone()))
}

/// Reads `metrics.csv`: the columns of a training, or those of facts about splits.
pub(super) fn metrics(folder: &Path) -> Result<Metrics, Failure> {
    let name = METRICS;
    let path = folder.join(name);
    if !path.exists() {
        return Err(missing(&[name.to_owned()]));
    }
    let text = fs::read_to_string(&path).map_err(|error| unreadable(name, &error))?;
    let found = Metrics::read(&text).map_err(|error| wrong(name, error))?;
    let fault = match &found {
        // Which labels are of a target is for the plan to say.
        Metrics::Training(rows)
            if rows.iter().any(|row| matches!(row.split, TrainingSplit::Recorded(_))) =>
        {
            Some("a split is `train`, `target`, `validate` or `best`".to_owned())
        }
        Metrics::Training(rows) => {
            odd(rows.iter().map(|TrainingRow { metric, value, .. }| (metric, *value)))
        }
        Metrics::Facts(rows) => {
            odd(rows.iter().map(|FactRow { metric, value, .. }| (metric, *value)))
        }
        Metrics::None | Metrics::Layers(_) | Metrics::Scores(_) => Some(
            "its columns must be `epoch,step,split,metric,value` or `split,metric,value`"
                .to_owned(),
        ),
    };
    match fault {
        Some(fault) => Err(wrong(name, fault)),
        None => Ok(found),
    }
}

/// What is wrong with these numbers.
fn odd<'a>(rows: impl Iterator<Item = (&'a String, f64)>) -> Option<String> {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return Some("it has no rows".into());
    }
    let (metric, value) = rows.find(|(_, value)| !value.is_finite())?;
    Some(format!("`{metric}` is {value}, which is no finite number"))
}
