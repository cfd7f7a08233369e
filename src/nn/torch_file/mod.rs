//! Files that PyTorch's `torch.save` writes: the zip form of today, the pickles of before 1.6, the tar
//! archives of before 0.1.10. Reads tensors; never runs what a file asks for.

use std::fs::File;
use std::path::Path;

use indexmap::IndexMap;
use memmap2::Mmap;

mod entry;
mod forms;
mod globals;
mod pickle;
mod storage;
mod tar_form;

use forms::Contents;
use pickle::View;
use storage::Kind;
pub(crate) use storage::from_half;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileError {
    /// The operating system's error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is damaged.
    #[error("not a file of PyTorch's that can be read: {0}")]
    Malformed(String),
    /// It is of another kind.
    #[error("not a file of PyTorch's: {what}")]
    Unknown {
        /// What it is.
        what: &'static str,
        /// What to do.
        help: &'static str,
    },
    /// It asks for code to be run.
    #[error("the file wants `{name}` to be run; loading weights never runs code")]
    Refused {
        /// The function or class.
        name: String,
        /// Python that gives the weights of `c`, what the file holds, where that is known.
        weights: Option<String>,
    },
    /// It holds something else than tensors by their names.
    #[error("{what}")]
    Other {
        /// What is wrong.
        what: String,
        /// What to do.
        help: Vec<String>,
    },
}

impl TorchFileError {
    fn other(what: impl Into<String>) -> Self {
        Self::Other { what: what.into(), help: Vec::new() }
    }

    /// Adds a line of advice.
    fn advise(mut self, line: impl Into<String>) -> Self {
        if let Self::Other { help, .. } = &mut self {
            help.push(line.into());
        }
        self
    }

    /// Adds to what is wrong.
    fn and(mut self, more: &str) -> Self {
        if let Self::Other { what, .. } = &mut self {
            what.push_str(more);
        }
        self
    }

    /// The file wants `name` to be run; `weights` is Python that gives the weights of `c`, what the file
    /// holds, where that is known.
    fn refused(name: &str, weights: Option<String>) -> Self {
        Self::Refused { name: name.to_owned(), weights }
    }

    /// What to do about the file at `path`.
    pub fn help(&self, path: &Path) -> Vec<String> {
        match self {
            Self::Io(error) => crate::system::shortage(error).into_iter().collect(),
            Self::Malformed(_) => {
                vec!["look whether it was downloaded or copied whole: its size and checksum".into()]
            }
            Self::Unknown { help, .. } => vec![(*help).to_owned()],
            Self::Refused { name, weights } => {
                /// Whatever `c` is: a network, its weights, or several of them, by their keys or in a row.
                const ANY: &str = "c.state_dict() if isinstance(c, torch.nn.Module) else {str(k): s \
                                   for k, v in (c.items() if isinstance(c, dict) else enumerate(c) \
                                   if isinstance(c, (list, tuple)) else []) for s in \
                                   [v.state_dict() if isinstance(v, torch.nn.Module) else v] \
                                   if torch.is_tensor(s) or isinstance(s, dict) and s and \
                                   all(map(torch.is_tensor, s.values()))} \
                                   or sys.exit(\"there are no weights in it\")";
                // A network that was compiled by `torch.jit`.
                let (load, weights) = if name.starts_with("__torch__.") {
                    ("torch.jit.load(sys.argv[1], map_location=\"cpu\")", "c.state_dict()")
                } else {
                    let load = "torch.load(sys.argv[1], map_location=\"cpu\", weights_only=False)";
                    (load, weights.as_deref().unwrap_or(ANY))
                };
                let script =
                    format!("import sys, torch; c = {load}; torch.save({weights}, sys.argv[2])");
                let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
                vec![
                    format!(
                        "if you trust the file, let Python take the weights out of it, which runs that \
                         code: python3 -c {} {} weights.pth",
                        quoted(&script),
                        quoted(&path.display().to_string())
                    ),
                    "then `source = \"file:weights.pth\"`".into(),
                ]
            }
            Self::Other { help, .. } => help.clone(),
        }
    }
}

/// A tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape; empty for a single value.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Values,
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Half, single and double precision become single precision.
    Float(Vec<f32>),
    /// Whole numbers and truth values.
    Integer(Vec<i64>),
}

/// A tensor that was not read yet.
#[derive(Debug)]
struct Stored {
    shape: Vec<usize>,
    /// Where its numbers lie, or why they cannot be read.
    place: Result<Place, String>,
}

/// Where the numbers of a tensor lie.
#[derive(Debug)]
struct Place {
    kind: Kind,
    /// Key of the storage.
    storage: String,
    view: View,
}

/// A file of PyTorch's whose tensors are known by name and shape, and read one by one.
#[derive(Debug)]
pub struct TorchFile<B = Mmap> {
    bytes: B,
    contents: Contents,
}

impl TorchFile {
    /// Opens the file at `path`. Its tensors are those of the entry `entry`, else of the one that
    /// training scripts usually put weights in.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, holds no named tensors or several sets of them, or
    /// wants code to be run.
    pub fn open(path: &Path, entry: Option<&str>) -> Result<Self, TorchFileError> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            forms::read(&[], entry)?;
        }
        // SAFETY: a file that someone changes while it is read gives wrong numbers at worst: every
        // offset is checked against the length of the mapping.
        let bytes = unsafe { Mmap::map(&file)? };
        Self::of(bytes, entry)
    }
}

impl<B: AsRef<[u8]>> TorchFile<B> {
    fn of(bytes: B, entry: Option<&str>) -> Result<Self, TorchFileError> {
        let contents = forms::read(bytes.as_ref(), entry)?;
        Ok(Self { bytes, contents })
    }

    /// The names of its tensors, in its order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.contents.tensors.keys().map(String::as_str)
    }

    /// The entry that the tensors are of; `None` for the file's own dictionary.
    pub fn entry(&self) -> Option<&str> {
        self.contents.entry.as_deref()
    }

    /// Other entries that hold tensors.
    pub fn others(&self) -> &[String] {
        &self.contents.others
    }

    /// The shape of the tensor `name`, if there is one; the reason why it cannot be read, if so.
    pub fn shape(&self, name: &str) -> Option<Result<&[usize], &str>> {
        let stored = self.contents.tensors.get(name)?;
        Some(match &stored.place {
            Ok(_) => Ok(&stored.shape),
            Err(reason) => Err(reason),
        })
    }

    /// The tensor `name`.
    ///
    /// # Errors
    /// When it is not there, or its numbers cannot be read.
    pub fn tensor(&self, name: &str) -> Result<Tensor, TorchFileError> {
        let stored = self.contents.tensors.get(name);
        let stored =
            stored.ok_or_else(|| TorchFileError::other(format!("it has no tensor `{name}`")))?;
        let place = stored.place.as_ref();
        let Place { kind, storage, view } = place.map_err(|reason| {
            TorchFileError::other(format!("`{name}` cannot be read: {reason}"))
        })?;
        let bytes = self.contents.storages.read(storage, self.bytes.as_ref())?;
        kind.tensor(name, view, &bytes)
    }

    /// All its tensors.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn tensors(&self) -> Result<IndexMap<String, Tensor>, TorchFileError> {
        self.names().map(|name| Ok((name.to_owned(), self.tensor(name)?))).collect()
    }
}

#[cfg(test)]
mod tests;
