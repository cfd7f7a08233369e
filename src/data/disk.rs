//! The folder of a data set: `dataset.json` and one `<split>.safetensors` per split.
//!
//! The same data set always gives the same bytes. Images of one size are the tensor `images`
//! (u8, `[N, H, W, C]`); others are `pixels` (u8, `[total, C]`, one image after the other) with `sizes` (i64,
//! `[N, 2]`, height and width). `labels` is i64, `[N]`.

use std::fs;
use std::path::Path;

use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, Images, Provenance, Sizes, Split};
use super::error::DataError;
use crate::bytes::Bytes;

/// Name of the description in a data set's folder.
pub const DESCRIPTION: &str = "dataset.json";
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct DatasetDescription {
    format: u32,
    classes: Vec<String>,
    channels: usize,
    /// Height and width; null when images differ.
    size: Option<(usize, usize)>,
    /// Whether it holds features instead of pixels; left out when it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    features: bool,
    mean: Vec<f32>,
    std: Vec<f32>,
    splits: IndexMap<String, Count>,
    /// Classes that no image is of; left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    empty: Vec<usize>,
    provenance: Vec<Provenance>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    images: usize,
}

/// What the description of a data set says, without its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetOutline {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Channels per image: 1 or 3; of features, their number.
    pub channels: usize,
    /// Height and width; `None` when images differ.
    pub size: Option<(usize, usize)>,
    /// Whether it holds features instead of pixels.
    pub features: bool,
    /// The splits with their numbers of images.
    pub splits: IndexMap<String, usize>,
    /// The classes that no image of any split is of, in order.
    pub empty: Vec<usize>,
}

impl DatasetOutline {
    /// Of the data set in `folder`, as its description has it. Nothing else is looked at.
    ///
    /// # Errors
    /// When the description is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let DatasetDescription { classes, channels, size, features, splits, empty, .. } =
            describe(folder)?;
        let splits = splits.into_iter().map(|(name, count)| (name, count.images)).collect();
        Ok(Self { classes, channels, size, features, splits, empty })
    }
}

fn describe(folder: &Path) -> Result<DatasetDescription, DataError> {
    let path = folder.join(DESCRIPTION);
    let text = fs::read_to_string(&path).map_err(|error| DataError::io(&path, error))?;
    let description: DatasetDescription = serde_json::from_str(&text)
        .map_err(|error| DataError::malformed(&path, format!("not a data set: {error}")))?;
    if description.format != FORMAT {
        let reason = format!("format {} is not known, only {FORMAT}", description.format);
        return Err(DataError::malformed(&path, reason));
    }
    Ok(description)
}

impl Dataset {
    /// Reads a folder written by [`Dataset::save`] and checks all of it.
    ///
    /// # Errors
    /// When a file is missing or does not hold what it should; the error names the file.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let description = describe(folder)?;
        let mut splits = IndexMap::new();
        for (name, count) in description.splits {
            if !is_file_name(&name) {
                let reason = format!("`{name}` cannot be the name of a split");
                return Err(DataError::malformed(&folder.join(DESCRIPTION), reason));
            }
            let file = folder.join(format!("{name}.safetensors"));
            let split = read_split(&file)?;
            if split.len() != count.images {
                let reason = format!("{} images, {DESCRIPTION} says {}", split.len(), count.images);
                return Err(DataError::malformed(&file, reason));
            }
            splits.insert(name, split);
        }
        let dataset = Self {
            classes: description.classes,
            mean: description.mean,
            std: description.std,
            splits,
            provenance: description.provenance,
        };
        dataset.check().map_err(|reason| DataError::malformed(folder, reason))?;
        let found = (dataset.channels(), dataset.size(), dataset.is_features());
        if found != (description.channels, description.size, description.features) {
            let path = folder.join(DESCRIPTION);
            return Err(DataError::malformed(
                &path,
                "channels or size are not those of the images",
            ));
        }
        Ok(dataset)
    }

    /// Writes the data set to `folder`, the same bytes for the same data set.
    ///
    /// # Errors
    /// When a file cannot be written, or [`Dataset::check`] finds a fault.
    pub fn save(&self, folder: &Path) -> Result<(), DataError> {
        self.check().map_err(|reason| DataError::malformed(folder, reason))?;
        if let Some(name) = self.splits.keys().find(|name| !is_file_name(name)) {
            return Err(DataError::rejected(format!("`{name}` cannot be the name of a split")));
        }
        let description = DatasetDescription {
            format: FORMAT,
            classes: self.classes.clone(),
            channels: self.channels(),
            size: self.size(),
            features: self.is_features(),
            mean: self.mean.clone(),
            std: self.std.clone(),
            splits: self
                .splits
                .iter()
                .map(|(name, split)| (name.clone(), Count { images: split.len() }))
                .collect(),
            empty: self.empty_classes(),
            provenance: self.provenance.clone(),
        };
        let mut text = serde_json::to_string_pretty(&description).expect("a plain value");
        text.push('\n');
        write(&folder.join(DESCRIPTION), text.as_bytes())?;
        for (name, split) in &self.splits {
            write_split(split, &folder.join(format!("{name}.safetensors")))?;
        }
        Ok(())
    }
}

/// Split names become file names: letters, digits, `-` and `_`.
pub(crate) fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.chars().all(plain)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    fs::write(path, bytes).map_err(|error| DataError::io(path, error))
}

/// Written piece by piece: nothing is held in memory that is not there already.
fn write_split(split: &Split, path: &Path) -> Result<(), DataError> {
    let images = &split.images;
    let labels: Vec<u8> =
        split.labels.iter().flat_map(|label| i64::from(*label).to_le_bytes()).collect();
    let view = |kind, shape, bytes| TensorView::new(kind, shape, bytes).expect("a checked split");
    let labels = view(Dtype::I64, vec![split.len()], &labels);
    let pixels = &images.pixels;
    let written = match &images.sizes {
        Sizes::Features { count } => {
            let shape = vec![*count, images.channels];
            let tensors = [("features", view(Dtype::F32, shape, pixels)), ("labels", labels)];
            safetensors::serialize_to_file(tensors, None, path)
        }
        Sizes::Same { count, height, width } => {
            let shape = vec![*count, *height, *width, images.channels];
            let tensors = [("images", view(Dtype::U8, shape, pixels)), ("labels", labels)];
            safetensors::serialize_to_file(tensors, None, path)
        }
        Sizes::Each(sizes) => {
            let numbers: Vec<u8> = sizes
                .iter()
                .flat_map(|(height, width)| [*height, *width])
                .flat_map(|number| i64::try_from(number).unwrap_or(i64::MAX).to_le_bytes())
                .collect();
            // The channels are the last dimension, so that they need no place of their own.
            let shape = vec![pixels.len() / images.channels, images.channels];
            let tensors = [
                ("labels", labels),
                ("pixels", view(Dtype::U8, shape, pixels)),
                ("sizes", view(Dtype::I64, vec![sizes.len(), 2], &numbers)),
            ];
            safetensors::serialize_to_file(tensors, None, path)
        }
    };
    written.map_err(|error| match error {
        SafeTensorError::IoError(error) => DataError::io(path, error),
        other => unreachable!("valid tensors: {other}"),
    })
}

/// Reads a split; also files of others that hold `images` or `features`, and `labels`.
pub(crate) fn read_split(path: &Path) -> Result<Split, DataError> {
    let file = fs::File::open(path).map_err(|error| DataError::io(path, error))?;
    let bytes = Bytes::map(&file).map_err(|error| DataError::io(path, error))?;
    parse_split(&bytes).map_err(|reason| DataError::malformed(path, reason))
}

fn parse_split(bytes: &Bytes) -> Result<Split, String> {
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("not a safetensors file: {error}"))?;
    let labels = labels(&tensors)?;
    let is_there = |name: &str| tensors.names().contains(&name);
    let images = match (is_there("pixels"), is_there("images"), is_there("features")) {
        (true, ..) => varied(bytes, &tensors)?,
        (false, false, true) => features(bytes, &tensors)?,
        _ => alike(bytes, &tensors)?,
    };
    if images.len() != labels.len() {
        return Err(format!("{} images but {} labels", images.len(), labels.len()));
    }
    Ok(Split { images, labels })
}

fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>, String> {
    tensors.tensor(name).map_err(|_| {
        let mut names: Vec<&str> = tensors.names();
        names.sort_unstable();
        format!("no tensor `{name}`; it holds {}", names.join(", "))
    })
}

fn labels(tensors: &SafeTensors) -> Result<Vec<u32>, String> {
    let view = tensor(tensors, "labels")?;
    if view.shape().len() != 1 {
        return Err(format!("`labels` has the shape {:?}, not [N]", view.shape()));
    }
    integers(&view, "labels")?
        .into_iter()
        .map(|label| u32::try_from(label).map_err(|_| format!("label {label} is not a class")))
        .collect()
}

fn integers(view: &TensorView, name: &str) -> Result<Vec<i64>, String> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::U8 => data.iter().map(|byte| i64::from(*byte)).collect(),
        Dtype::I32 => {
            data.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect()
        }
        Dtype::U32 => {
            data.as_chunks().0.iter().map(|b| i64::from(u32::from_le_bytes(*b))).collect()
        }
        Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        other => return Err(format!("`{name}` is {other:?}, not whole numbers (i64)")),
    })
}

/// `images`: `[N, H, W, C]`, or `[N, H, W]` for one channel.
fn alike(bytes: &Bytes, tensors: &SafeTensors) -> Result<Images, String> {
    let view = tensor(tensors, "images")?;
    if view.dtype() != Dtype::U8 {
        return Err(format!("`images` is {:?}, not u8", view.dtype()));
    }
    let (count, height, width, channels) = match *view.shape() {
        [count, height, width] => (count, height, width, 1),
        [count, height, width, channels @ (1 | 3)] => (count, height, width, channels),
        ref shape => {
            return Err(format!("`images` has the shape {shape:?}, not [N, H, W, 1 or 3]"));
        }
    };
    let sizes = Sizes::Same { count, height, width };
    Ok(Images { channels, sizes, pixels: within(bytes, view.data()) })
}

/// `features`: `[N, D]`, in single precision.
fn features(bytes: &Bytes, tensors: &SafeTensors) -> Result<Images, String> {
    let view = tensor(tensors, "features")?;
    match (view.shape(), view.dtype()) {
        ([count, width], Dtype::F32) if *width > 0 => {
            let sizes = Sizes::Features { count: *count };
            Ok(Images { channels: *width, sizes, pixels: within(bytes, view.data()) })
        }
        (shape, kind) => Err(format!("`features` is {kind:?} {shape:?}, not F32 [N, D]")),
    }
}

/// The part of `bytes` that `data` is.
fn within(bytes: &Bytes, data: &[u8]) -> Bytes {
    let start = data.as_ptr() as usize - bytes.as_ptr() as usize;
    bytes.part(start..start + data.len())
}

/// `pixels`: `[total, C]`, with `sizes`: `[N, 2]`.
fn varied(bytes: &Bytes, tensors: &SafeTensors) -> Result<Images, String> {
    let pixels = tensor(tensors, "pixels")?;
    let ([_, channels @ (1 | 3)], Dtype::U8) = (pixels.shape(), pixels.dtype()) else {
        return Err(format!("`pixels` has the shape {:?}, not u8 [total, 1 or 3]", pixels.shape()));
    };
    let sizes = tensor(tensors, "sizes")?;
    let [_, 2] = sizes.shape() else {
        return Err(format!("`sizes` has the shape {:?}, not [N, 2]", sizes.shape()));
    };
    let numbers: Vec<usize> = integers(&sizes, "sizes")?
        .into_iter()
        .map(|number| usize::try_from(number).map_err(|_| format!("size {number} is below 0")))
        .collect::<Result<_, _>>()?;
    let sizes = numbers.as_chunks::<2>().0.iter().map(|[h, w]| (*h, *w)).collect();
    Ok(Images {
        channels: *channels,
        sizes: Sizes::Each(sizes),
        pixels: within(bytes, pixels.data()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(images: Images, labels: Vec<u32>) -> Dataset {
        let splits = IndexMap::from([("train".to_owned(), Split { images, labels })]);
        let provenance = vec![Provenance {
            title: "t".into(),
            licence: "l".into(),
            citation: "c".into(),
            source: "s".into(),
        }];
        let classes = vec!["a".into(), "b".into()];
        let mut set = Dataset::plain(classes, splits[0].images.channels, splits, provenance);
        set.mean[0] = 0.130_7;
        set
    }

    fn round_trip(set: &Dataset) -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        set.save(folder.path()).unwrap();
        let back = Dataset::open(folder.path()).unwrap();
        (folder, back)
    }

    #[test]
    fn images_of_one_size_survive_the_disk() {
        let set = set(Images::same(3, (2, 1), (0..12).collect::<Vec<u8>>()), vec![1, 0]);
        assert_eq!(round_trip(&set).1, set);
    }

    #[test]
    fn the_description_says_which_classes_no_image_is_of() {
        let of = |labels| set(Images::same(1, (1, 1), vec![1, 2]), labels);
        let (folder, _) = round_trip(&of(vec![1, 1]));
        assert_eq!(DatasetOutline::read(folder.path()).unwrap().empty, [0]);
        let (folder, _) = round_trip(&of(vec![1, 0]));
        assert!(DatasetOutline::read(folder.path()).unwrap().empty.is_empty());
        let text = fs::read_to_string(folder.path().join(DESCRIPTION)).unwrap();
        assert!(!text.contains("empty"), "the bytes that it always had: {text}");
    }

    #[test]
    fn images_of_many_sizes_survive_the_disk() {
        for channels in [1, 3] {
            let pixels = (0..5 * u8::try_from(channels).unwrap()).collect::<Vec<u8>>();
            let set = set(Images::new(channels, vec![(1, 2), (3, 1)], pixels), vec![0, 1]);
            assert_eq!(round_trip(&set).1, set);
        }
    }

    #[test]
    fn features_survive_the_disk_and_the_outline_says_what_they_are() {
        let features = Images::features(3, &[0.5, -1.0, 1e-30, 2.0, 3e9, 0.0]);
        let set = set(features, vec![1, 0]);
        let (folder, back) = round_trip(&set);
        assert_eq!(back, set);
        let outline = DatasetOutline::read(folder.path()).unwrap();
        assert_eq!((outline.channels, outline.size, outline.features), (3, Some((1, 1)), true));
        let path = folder.path().join(DESCRIPTION);
        let text = fs::read_to_string(&path).unwrap().replace("  \"features\": true,\n", "");
        fs::write(&path, text).unwrap();
        assert!(Dataset::open(folder.path()).is_err(), "its description says that it has pixels");
    }

    #[test]
    fn the_same_data_set_gives_the_same_bytes() {
        let set = set(Images::new(1, vec![(1, 2), (3, 1)], vec![1, 2, 3, 4, 5]), vec![0, 1]);
        let (first, second) = (round_trip(&set).0, round_trip(&set).0);
        for name in [DESCRIPTION, "train.safetensors"] {
            let read = |folder: &tempfile::TempDir| fs::read(folder.path().join(name)).unwrap();
            assert_eq!(read(&first), read(&second));
        }
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let set = set(Images::same(1, (1, 1), vec![1, 2]), vec![1, 0]);
        let (folder, _) = round_trip(&set);
        let file = folder.path().join("train.safetensors");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
        let error = Dataset::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("train.safetensors"), "{error}");
        fs::remove_file(&file).unwrap();
        let error = Dataset::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("train.safetensors"), "{error}");
        fs::write(folder.path().join(DESCRIPTION), "{}").unwrap();
        let error = Dataset::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("dataset.json: not a data set"), "{error}");
    }

    #[test]
    fn a_split_cannot_name_a_file_elsewhere() {
        let mut set = set(Images::same(1, (1, 1), vec![1]), vec![0]);
        let split = set.splits.shift_remove("train").unwrap();
        set.splits.insert("../train".into(), split);
        assert!(set.save(tempfile::tempdir().unwrap().path()).is_err());
    }
}
