//! Arrays with names: in `.npz` and `.mat` files, in safetensors, or one in each `.npy` file.
//!
//! The name of an array may say the split that it is of beside what it holds: `X_train`, `test-labels`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use indexmap::{IndexMap, IndexSet};
use safetensors::tensor::{Dtype, SafeTensors};

use super::table::{FeatureFile, FeatureNames, FeatureTable, Marks};
use crate::bytes::Bytes;
use crate::data::error::DataError;
use crate::data::npy::AnyArray;
use crate::data::readers::matlab::{self, MatlabArray, Numbers};
use crate::data::readers::names::{Says, says};
use crate::data::readers::split_word;
use crate::system;

/// What arrays of features are usually called, where the user does not say it: of Office-Caltech `fts` (SURF), `feas` (DeCAF)
/// and `x` (VGG).
const FEATURES: &[&str] = &["features", "fts", "feas", "X", "x"];
/// What those of labels are usually called.
const LABELS: &[&str] = &["labels", "label", "Y", "y"];

/// Bytes of an array in an `.npz` file at most: keeps a crafted one from filling the memory.
const LARGEST: u64 = 16 << 30;

/// An array that may be read.
struct NamedArray {
    /// The split that its name or that of its file or folder says.
    split: Option<&'static str>,
    /// Its whole name.
    name: String,
    /// Its name without the split.
    base: String,
    /// The file that it is in.
    file: PathBuf,
    held: Held,
}

/// Where the values of an array are.
enum Held {
    /// A file of its own.
    Npy,
    /// A member of a `.npz` file.
    Npz { member: String },
    /// A tensor.
    Tensor,
    /// In memory already; or what it is instead of an array of numbers, which matters only if it is asked for.
    Matlab(Result<MatlabArray, String>),
}

/// The values of an array.
enum Values {
    Singles(Vec<f32>),
    Doubles(Vec<f64>),
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

/// The tables of the splits in `files`, which lie at or below `root`.
pub(super) fn read(
    root: &Path,
    files: &[PathBuf],
    kind: FeatureFile,
    names: &FeatureNames,
) -> Result<IndexMap<String, FeatureTable>, DataError> {
    let mut arrays = Vec::new();
    for file in files {
        list(root, file, kind, files.len() > 1, &mut arrays)?;
    }
    let features = match names.features.as_slice() {
        [] => usual(&arrays, root, "features", FEATURES)?,
        [one] => one.clone(),
        several => {
            let given = several.len();
            return Err(DataError::rejected(format!(
                "`features` names {given} arrays, but a row is from one"
            ))
            .advise("only of a table (`format = \"csv\"`) several columns can be named"));
        }
    };
    let labels = match &names.labels {
        None => usual(&arrays, root, "labels", LABELS)?,
        Some(name) => name.clone(),
    };
    let named = |name: &str| -> Result<IndexMap<&'static str, &NamedArray>, DataError> {
        let mut found = IndexMap::new();
        for array in arrays.iter().filter(|it| it.name == name || it.base == name) {
            if let Some(other) = found.insert(array.split.unwrap_or("train"), array) {
                let (one, other) = (array.shown(), other.shown());
                return Err(DataError::rejected(format!("{one} and {other} are of one split"))
                    .advise("of several data sets in one folder, `source` names the file of one"));
            }
        }
        if found.is_empty() {
            return Err(no_array(&arrays, root, &format!("there is no array `{name}`"))
                .advise("`features`, `labels` and `groups` say which arrays are meant"));
        }
        Ok(found)
    };
    let (features, labels) = (named(&features)?, named(&labels)?);
    let groups = names.groups.as_deref().map(named).transpose()?;
    let mut tables = IndexMap::new();
    for (split, array) in &features {
        let (width, values) = array.features()?;
        let marks = |of: &IndexMap<&str, &NamedArray>, what: &str| match of.get(split) {
            Some(array) => array.marks(),
            None => Err(DataError::malformed(
                &array.file,
                format!("there are features of the split `{split}` and no {what}"),
            )),
        };
        let groups = groups.as_ref().map(|of| marks(of, "groups")).transpose()?;
        let labels = marks(&labels, "labels")?;
        let place = array.file.clone();
        tables.insert((*split).to_owned(), FeatureTable { place, width, values, labels, groups });
    }
    if let Some((split, array)) = labels.iter().find(|(split, _)| !features.contains_key(*split)) {
        let reason = format!("there are labels of the split `{split}` and no features");
        return Err(DataError::malformed(&array.file, reason));
    }
    Ok(tables)
}

/// The arrays of a file, each with what its name says.
fn list(
    root: &Path,
    file: &Path,
    kind: FeatureFile,
    is_one_of_several: bool,
    arrays: &mut Vec<NamedArray>,
) -> Result<(), DataError> {
    let malformed = |reason: String| DataError::malformed(file, reason);
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // Of one file alone the name is the user's business.
    let of_file = if is_one_of_several { split_word(&stem) } else { None };
    let mut add = |name: String, held: Held, outer: Option<&'static str>| {
        let (split, base) = parts(&name);
        let split = split.or(outer);
        arrays.push(NamedArray { split, name, base, file: file.to_owned(), held });
    };
    match kind {
        FeatureFile::Npy => {
            let below = file.parent().and_then(|it| it.strip_prefix(root).ok());
            let folder = below.and_then(Path::file_name).map(|it| it.to_string_lossy());
            add(stem, Held::Npy, folder.and_then(|it| split_word(&it)));
        }
        FeatureFile::Npz => {
            let zip = open_zip(file)?;
            // A name that is not text is none that `numpy.savez` wrote.
            let names = zip.file_names().filter_map(Result::ok);
            let members: Vec<String> = names.map(std::borrow::Cow::into_owned).collect();
            for member in members {
                let Some(name) = member.strip_suffix(".npy").map(str::to_owned) else { continue };
                add(name, Held::Npz { member }, of_file);
            }
        }
        FeatureFile::Safetensors => {
            let bytes = mapped(file)?;
            let tensors = SafeTensors::deserialize(&bytes)
                .map_err(|error| malformed(format!("not a safetensors file: {error}")))?;
            let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
            names.sort_unstable();
            names.into_iter().for_each(|name| add(name, Held::Tensor, of_file));
        }
        FeatureFile::Mat => {
            let bytes = fs::read(file).map_err(|error| DataError::io(file, error))?;
            // What has no name is MATLAB's own record of its objects.
            let variables = matlab::read(&bytes).map_err(malformed)?.into_iter();
            for variable in variables.filter(|it| !it.name.is_empty()) {
                add(variable.name, Held::Matlab(variable.array), of_file);
            }
        }
        FeatureFile::Csv => unreachable!("a table has columns and no arrays"),
    }
    Ok(())
}

/// The split that the first or the last word of a name says, and the rest of the name: `X_train` is `X` of `train`.
fn parts(name: &str) -> (Option<&'static str>, String) {
    let split = |word: &str| match says(word) {
        Says::Split(split) => Some(split),
        Says::Among(_) | Says::Nothing => None,
    };
    for separator in ['_', '-', '.'] {
        if let Some((base, word)) = name.rsplit_once(separator)
            && let (Some(split), false) = (split(word), base.is_empty())
        {
            return (Some(split), base.to_owned());
        }
        if let Some((word, base)) = name.split_once(separator)
            && let (Some(split), false) = (split(word), base.is_empty())
        {
            return (Some(split), base.to_owned());
        }
    }
    (None, name.to_owned())
}

/// The one array that is called as arrays of this kind usually are.
fn usual(
    arrays: &[NamedArray],
    root: &Path,
    key: &str,
    known: &[&str],
) -> Result<String, DataError> {
    let found: IndexSet<&str> =
        arrays.iter().map(|it| &*it.base).filter(|base| known.contains(base)).collect();
    let one = arrays.first().map_or("NAME", |it| &it.base);
    match found.iter().collect::<Vec<_>>()[..] {
        [only] => Ok((*only).to_owned()),
        [] => Err(no_array(arrays, root, &format!("no array is called as {key} usually are"))
            .advise(format!("say which holds them: `{key} = \"{one}\"`"))),
        ref several => {
            let names: Vec<String> = several.iter().map(|it| format!("`{it}`")).collect();
            let message =
                format!("{}: any of {} may hold the {key}", root.display(), names.join(", "));
            let advice = format!("say which does: `{key} = \"{}\"`", several[0]);
            Err(DataError::rejected(message).advise(advice))
        }
    }
}

/// That an array is missing, with those that are there.
fn no_array(arrays: &[NamedArray], root: &Path, what: &str) -> DataError {
    let mut names: Vec<String> = arrays.iter().map(|it| format!("`{}`", it.name)).collect();
    names.truncate(20);
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    DataError::rejected(format!("{}: {what}; there are {there}", root.display()))
}

fn mapped(file: &Path) -> Result<Bytes, DataError> {
    let io = |error| DataError::io(file, error);
    Bytes::map(&system::open_file(file).map_err(io)?).map_err(io)
}

fn open_zip(file: &Path) -> Result<zip::ZipArchive<File>, DataError> {
    let opened = system::open_file(file).map_err(|error| DataError::io(file, error))?;
    zip::ZipArchive::new(opened)
        .map_err(|error| DataError::malformed(file, format!("not a .npz file: {error}")))
}

impl NamedArray {
    fn shown(&self) -> String {
        format!("`{}` in {}", self.name, self.file.display())
    }

    fn malformed(&self, reason: impl std::fmt::Display) -> DataError {
        DataError::malformed(&self.file, format!("`{}`: {reason}", self.name))
    }

    /// Its features, `[N, D]`; what has more sides is a row of all numbers of each sample.
    fn features(&self) -> Result<(usize, Vec<f32>), DataError> {
        let (shape, values) = self.load()?;
        let [rows, sides @ ..] = &shape[..] else {
            return Err(self.malformed("it is one number, not [N, D]"));
        };
        let width = sides.iter().try_fold(1_usize, |width, side| width.checked_mul(*side));
        let width = width.unwrap_or_default();
        if *rows == 0 {
            return Err(self.malformed(format!("it has the shape {shape:?}, which is no row")));
        }
        if sides.is_empty() || width == 0 {
            return Err(self.malformed(format!("it has the shape {shape:?}, not [N, D]")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "networks see single precision; what is too large was refused"
        )]
        let values = match values {
            Values::Singles(values) => values,
            Values::Doubles(values) => {
                let is_beyond = |it: &f64| it.is_finite() && !(*it as f32).is_finite();
                if let Some(at) = values.iter().position(is_beyond) {
                    let (row, column, value) = (at / width, at % width, values[at]);
                    return Err(self.malformed(format!(
                        "row {row}, feature {column} (from 0) is {value:e}, which single precision does not hold"
                    )));
                }
                values.into_iter().map(|it| it as f32).collect()
            }
            Values::Integers(values) => values.into_iter().map(|it| it as f32).collect(),
            Values::Texts(_) => return Err(self.malformed("it holds texts, not features")),
        };
        Ok((width, values))
    }

    /// Its labels or groups, `[N]`, or `[N, 1]` or `[1, N]` as MATLAB has them.
    fn marks(&self) -> Result<Marks, DataError> {
        let (shape, values) = self.load()?;
        if shape.iter().filter(|side| **side != 1).count() > 1 || shape.is_empty() {
            return Err(self.malformed(format!("it has the shape {shape:?}, not [N]")));
        }
        match values {
            Values::Singles(values) => {
                let values: Vec<f64> = values.into_iter().map(f64::from).collect();
                Marks::of_numbers(&values).map_err(|reason| self.malformed(reason))
            }
            Values::Doubles(values) => {
                Marks::of_numbers(&values).map_err(|reason| self.malformed(reason))
            }
            Values::Integers(values) => Ok(Marks::Numbers(values)),
            Values::Texts(texts) => Marks::of_texts(texts).map_err(|reason| self.malformed(reason)),
        }
    }

    /// Its sides and its values, rows one after the other.
    fn load(&self) -> Result<(Vec<usize>, Values), DataError> {
        match &self.held {
            Held::Npy => self.of_numpy(&mapped(&self.file)?),
            Held::Npz { member } => {
                let mut zip = open_zip(&self.file)?;
                let mut entry = zip.by_name(member).map_err(|error| self.malformed(error))?;
                if entry.size() > LARGEST {
                    let size = entry.size();
                    return Err(self.malformed(format!("{size} bytes, which is more than is read")));
                }
                let mut bytes = Vec::new();
                let limit = entry.size().min(LARGEST) + 1;
                let read = (&mut entry).take(limit).read_to_end(&mut bytes);
                read.map_err(|error| self.malformed(format!("it cannot be unpacked: {error}")))?;
                self.of_numpy(&Bytes::from(bytes))
            }
            Held::Tensor => {
                let bytes = mapped(&self.file)?;
                let tensors = SafeTensors::deserialize(&bytes).map_err(|it| self.malformed(it))?;
                let view = tensors.tensor(&self.name).map_err(|it| self.malformed(it))?;
                let data = view.data();
                let values = match view.dtype() {
                    Dtype::F32 => Values::Singles(numbers(data, f32::from_le_bytes)),
                    Dtype::F16 => {
                        Values::Singles(numbers(data, |it| f16::from_le_bytes(it).into()))
                    }
                    Dtype::BF16 => {
                        Values::Singles(numbers(data, |it| bf16::from_le_bytes(it).into()))
                    }
                    Dtype::F64 => Values::Doubles(numbers(data, f64::from_le_bytes)),
                    other => Values::Integers(self.whole(data, other)?),
                };
                Ok((view.shape().to_vec(), values))
            }
            Held::Matlab(array) => {
                let array = array.as_ref().map_err(|reason| self.malformed(reason))?;
                let values = match array.rows().map_err(|reason| self.malformed(reason))? {
                    Numbers::Whole(values) => Values::Integers(values),
                    Numbers::Real(values) => Values::Doubles(values),
                };
                Ok((array.dimensions.clone(), values))
            }
        }
    }

    /// The numbers of a tensor without fractions.
    fn whole(&self, data: &[u8], kind: Dtype) -> Result<Vec<i64>, DataError> {
        Ok(match kind {
            Dtype::BOOL => numbers(data, |[it]| i64::from(it != 0)),
            Dtype::I8 => numbers(data, |it| i8::from_le_bytes(it).into()),
            Dtype::U8 => numbers(data, |it| u8::from_le_bytes(it).into()),
            Dtype::I16 => numbers(data, |it| i16::from_le_bytes(it).into()),
            Dtype::U16 => numbers(data, |it| u16::from_le_bytes(it).into()),
            Dtype::I32 => numbers(data, |it| i32::from_le_bytes(it).into()),
            Dtype::U32 => numbers(data, |it| u32::from_le_bytes(it).into()),
            Dtype::I64 => numbers(data, i64::from_le_bytes),
            other => {
                return Err(self.malformed(format!(
                    "it is {other:?}; what is read are BOOL, F16, BF16, F32, F64, I8, I16, I32, I64, U8, U16 and U32"
                )));
            }
        })
    }

    fn of_numpy(&self, bytes: &Bytes) -> Result<(Vec<usize>, Values), DataError> {
        let array = AnyArray::parse(bytes).map_err(|reason| self.malformed(reason))?;
        let shape = array.shape().to_vec();
        let values = match array {
            AnyArray::Texts(texts, _) => Values::Texts(texts),
            AnyArray::Numbers(array) => match (array.integers(), array.doubles()) {
                (Some(integers), _) => Values::Integers(integers),
                (None, Some(doubles)) => Values::Doubles(doubles),
                (None, None) => Values::Singles(array.floats().unwrap_or_default()),
            },
        };
        Ok((shape, values))
    }
}

/// Numbers of `N` bytes each.
fn numbers<const N: usize, T>(data: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    data.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{TensorView, serialize_to_file};

    use super::*;
    use crate::data::npy::{self, NumberKind};

    fn read_in(folder: &Path, kind: FeatureFile) -> Result<FeatureTable, DataError> {
        let files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let tables = read(folder, &files, kind, &FeatureNames::default())?;
        Ok(tables.into_values().next().unwrap())
    }

    #[test]
    fn labels_are_whole_numbers_of_any_width_in_tensors_and_arrays() {
        let features = [0.5_f32, 1.5].map(f32::to_le_bytes).concat();
        for (tensor, array, size) in [
            (Dtype::BOOL, NumberKind::Bool, 1),
            (Dtype::I8, NumberKind::I8, 1),
            (Dtype::U8, NumberKind::U8, 1),
            (Dtype::I16, NumberKind::I16, 2),
            (Dtype::U16, NumberKind::U16, 2),
            (Dtype::I32, NumberKind::I32, 4),
            (Dtype::U32, NumberKind::U32, 4),
            (Dtype::I64, NumberKind::I64, 8),
        ] {
            let labels = [vec![1], vec![0; 2 * size - 1]].concat();
            let folder = tempfile::tempdir().unwrap();
            let tensors = [
                ("X", TensorView::new(Dtype::F32, vec![2, 1], &features).unwrap()),
                ("y", TensorView::new(tensor, vec![2], &labels).unwrap()),
            ];
            serialize_to_file(tensors, None, &folder.path().join("d.safetensors")).unwrap();
            let table = read_in(folder.path(), FeatureFile::Safetensors).unwrap();
            assert_eq!(table.labels, Marks::Numbers(vec![1, 0]), "{tensor:?}");
            let folder = tempfile::tempdir().unwrap();
            npy::write(&folder.path().join("X.npy"), NumberKind::F32, &[2, 1], &features).unwrap();
            npy::write(&folder.path().join("y.npy"), array, &[2], &labels).unwrap();
            let table = read_in(folder.path(), FeatureFile::Npy).unwrap();
            assert_eq!(table.labels, Marks::Numbers(vec![1, 0]), "{array:?}");
        }
    }

    #[test]
    fn a_number_beyond_single_precision_and_an_array_without_rows_are_named() {
        let reason = |shape: &[usize], values: &[f64]| {
            let folder = tempfile::tempdir().unwrap();
            let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
            npy::write(&folder.path().join("X.npy"), NumberKind::F64, shape, &bytes).unwrap();
            npy::write(&folder.path().join("y.npy"), NumberKind::U8, &[2], &[0, 1]).unwrap();
            read_in(folder.path(), FeatureFile::Npy).unwrap_err().to_string()
        };
        let beyond = reason(&[2, 2], &[1.0, 2.0, 3.0, -1e300]);
        assert!(
            beyond.ends_with(
                "`X`: row 1, feature 1 (from 0) is -1e300, which single precision does not hold"
            ),
            "{beyond}"
        );
        let empty = reason(&[0, 8], &[]);
        assert!(empty.ends_with("`X`: it has the shape [0, 8], which is no row"), "{empty}");
        assert!(reason(&[2], &[1.0, 2.0]).ends_with("[2], not [N, D]"));
    }
}
