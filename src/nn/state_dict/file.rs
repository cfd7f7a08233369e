//! A file of weights, safetensors or PyTorch's: its tensors are known by name and shape, and read one by
//! one when they are asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use indexmap::IndexMap;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

use crate::nn::torch_file::{Numbers, Tensor, TorchFile};
use crate::nn::weights::{WeightsError, from_little_endian};

/// Weights by their names.
#[derive(Debug)]
pub struct StateDict {
    path: PathBuf,
    tensors: Tensors,
}

#[derive(Debug)]
enum Tensors {
    Torch(TorchFile),
    /// The file, where the numbers begin, and what it says of them.
    Safetensors(Mmap, usize, Metadata),
}

impl StateDict {
    /// Opens the file at `path`. `entry` names the part of a checkpoint that holds the weights; else it
    /// is the one that training scripts usually put them in.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, wants code to be run, or has no such entry.
    pub fn open(path: &Path, entry: Option<&str>) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { path: path.to_owned(), source };
        let mut start = Vec::new();
        let file = File::open(path).map_err(io)?;
        (&file).take(9).read_to_end(&mut start).map_err(io)?;
        if start.get(8) != Some(&b'{') {
            let torch = TorchFile::open(path, entry);
            let torch = torch.map_err(|error| WeightsError::Torch { path: path.to_owned(), error });
            return Ok(Self { path: path.to_owned(), tensors: Tensors::Torch(torch?) });
        }
        if let Some(entry) = entry {
            return Err(WeightsError::Rejected {
                path: path.to_owned(),
                reason: format!("a safetensors file has no entries, and none called `{entry}`"),
                help: vec!["leave `entry` out; `prefix` takes names that begin alike".into()],
            });
        }
        // SAFETY: a file that someone changes while it is read gives wrong numbers at worst: every
        // offset was checked against the length of the mapping.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        let header = SafeTensors::read_metadata(&bytes);
        let (len, metadata) = header.map_err(|error| WeightsError::Malformed {
            path: path.to_owned(),
            reason: format!("not a whole safetensors file: {error}"),
        })?;
        let tensors = Tensors::Safetensors(bytes, 8 + len, metadata);
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors.
    pub fn names(&self) -> Vec<String> {
        match &self.tensors {
            Tensors::Torch(file) => file.names().map(str::to_owned).collect(),
            Tensors::Safetensors(.., metadata) => {
                let mut names: Vec<String> = metadata.tensors().into_keys().collect();
                names.sort_unstable();
                names
            }
        }
    }

    /// The entry of the file that the tensors are of; `None` where they are not in one.
    pub fn entry(&self) -> Option<&str> {
        match &self.tensors {
            Tensors::Torch(file) => file.entry(),
            Tensors::Safetensors(..) => None,
        }
    }

    /// Other entries that hold tensors.
    pub fn other_entries(&self) -> &[String] {
        match &self.tensors {
            Tensors::Torch(file) => file.others(),
            Tensors::Safetensors(..) => &[],
        }
    }

    /// The shape of the tensor `name`, if there is one; the reason why it cannot be read, if so.
    pub(super) fn shape(&self, name: &str) -> Option<Result<&[usize], String>> {
        match &self.tensors {
            Tensors::Torch(file) => file.shape(name).map(|shape| shape.map_err(str::to_owned)),
            Tensors::Safetensors(.., metadata) => metadata.info(name).map(|info| {
                let TensorInfo { dtype, shape, .. } = info;
                let numbers = numbers(*dtype).map(|_| shape.as_slice());
                numbers.ok_or_else(|| format!("its numbers are {dtype:?}, which weights are not"))
            }),
        }
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, WeightsError> {
        let malformed =
            |reason: String| WeightsError::Malformed { path: self.path.clone(), reason };
        match &self.tensors {
            Tensors::Torch(file) => {
                let torch = |error| WeightsError::Torch { path: self.path.clone(), error };
                file.tensor(name).map_err(torch)
            }
            Tensors::Safetensors(bytes, start, metadata) => {
                let info = metadata.info(name);
                let info = info.ok_or_else(|| malformed(format!("no tensor `{name}`")))?;
                let (from, to) = info.data_offsets;
                let data = bytes.get(start + from..start + to);
                let data = data.ok_or_else(|| malformed(format!("tensor `{name}` is cut")))?;
                let read = numbers(info.dtype).ok_or_else(|| {
                    malformed(format!("tensor `{name}` is {:?}, which weights are not", info.dtype))
                })?;
                Ok(Tensor { shape: info.shape.clone(), values: read(data) })
            }
        }
    }
}

/// The tensors of a file by their names, all of them.
///
/// # Errors
/// As [`StateDict::open`] and [`StateDict::tensor`].
pub fn read(path: &Path, entry: Option<&str>) -> Result<IndexMap<String, Tensor>, WeightsError> {
    let file = StateDict::open(path, entry)?;
    file.names().into_iter().map(|name| Ok((name.clone(), file.tensor(&name)?))).collect()
}

/// How numbers of a type are read; `None` for what weights are not.
fn numbers(dtype: Dtype) -> Option<fn(&[u8]) -> Numbers> {
    /// Numbers of N bytes, converted to whole ones.
    fn whole<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> i64) -> Numbers {
        Numbers::Integer(data.as_chunks().0.iter().map(|bytes| convert(*bytes)).collect())
    }
    fn float<const N: usize>(data: &[u8], convert: impl Fn([u8; N]) -> f32) -> Numbers {
        Numbers::Float(data.as_chunks().0.iter().map(|bytes| convert(*bytes)).collect())
    }
    #[expect(clippy::cast_possible_truncation, reason = "weights are kept in f32")]
    fn double(data: &[u8]) -> Numbers {
        float(data, |bytes| f64::from_le_bytes(bytes) as f32)
    }
    Some(match dtype {
        Dtype::F32 => |data| Numbers::Float(from_little_endian(data)),
        Dtype::F64 => double,
        Dtype::F16 => |data| float(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => |data| float(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::I64 => |data| whole(data, i64::from_le_bytes),
        Dtype::I32 => |data| whole(data, |bytes| i64::from(i32::from_le_bytes(bytes))),
        Dtype::U32 => |data| whole(data, |bytes| i64::from(u32::from_le_bytes(bytes))),
        Dtype::I16 => |data| whole(data, |bytes| i64::from(i16::from_le_bytes(bytes))),
        Dtype::U16 => |data| whole(data, |bytes| i64::from(u16::from_le_bytes(bytes))),
        Dtype::I8 => |data| whole(data, |bytes| i64::from(i8::from_le_bytes(bytes))),
        Dtype::U8 | Dtype::BOOL => |data| whole(data, |[byte]| i64::from(byte)),
        _ => return None,
    })
}
