//! Why a PyTorch file gives no weights, and what its owner can do about it.

use std::path::Path;

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
    pub(super) fn other(what: impl Into<String>) -> Self {
        Self::Other { what: what.into(), help: Vec::new() }
    }

    /// Adds a line of advice.
    pub(super) fn advise(mut self, line: impl Into<String>) -> Self {
        if let Self::Other { help, .. } = &mut self {
            help.push(line.into());
        }
        self
    }

    /// Adds to what is wrong.
    pub(super) fn and(mut self, more: &str) -> Self {
        if let Self::Other { what, .. } = &mut self {
            what.push_str(more);
        }
        self
    }

    /// The file wants `name` to be run; `weights` is Python that gives the weights of `c`, what the file
    /// holds, where that is known.
    pub(super) fn refused(name: &str, weights: Option<String>) -> Self {
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
