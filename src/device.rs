//! Where tensors live: the name of a device, as a pipeline file writes it. Opens no device; `nn::dispatch`
//! does.

use std::fmt;

/// A resolved device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor, by kernels of our own.
    Cpu,
    /// This machine's processor, by dfdx's operations: the reference for the others.
    Dfdx,
    /// A CUDA device by number, by dfdx's kernels. Only with `--features cuda`.
    DfdxCuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Dfdx => f.write_str("dfdx"),
            Self::DfdxCuda(ordinal) => write!(f, "dfdx-cuda:{ordinal}"),
        }
    }
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// No device of that name.
    #[error(
        "`{0}` is not a device; expected \"cpu\", \"auto\", \"cuda:0\", \"dfdx\" or \"dfdx-cuda:0\""
    )]
    Unknown(String),
    /// Built without CUDA.
    #[error(
        "`{0}` needs a runner built with `--features cuda`; this one was built for the CPU only"
    )]
    NotBuilt(String),
    /// Built with CUDA, but there is no such GPU.
    #[error(
        "`{device}` cannot be opened: {reason}; `nvidia-smi` lists the GPUs, and `device = \"cpu\"` needs none"
    )]
    Unavailable {
        /// The device.
        device: Device,
        /// The driver's error.
        reason: String,
    },
}

impl Device {
    /// The device that a word stands for in this build. `"cuda:N"` is the GPU by the kernels that there
    /// are, which are dfdx's.
    ///
    /// # Errors
    /// When the word is not a device or this build cannot use it.
    pub fn parse(word: &str) -> Result<Self, DeviceError> {
        let cuda = cfg!(feature = "cuda");
        match word {
            "auto" if cuda => Ok(Self::DfdxCuda(0)),
            "auto" | "cpu" => Ok(Self::Cpu),
            "dfdx" => Ok(Self::Dfdx),
            _ => {
                let gpu = word.strip_prefix("dfdx-").unwrap_or(word);
                let ordinal = match gpu.split_once(':') {
                    None if gpu == "cuda" => Some(0),
                    Some(("cuda", number)) => number.parse().ok(),
                    _ => None,
                };
                match ordinal {
                    None => Err(DeviceError::Unknown(word.to_owned())),
                    Some(_) if !cuda => Err(DeviceError::NotBuilt(word.to_owned())),
                    Some(ordinal) => Ok(Self::DfdxCuda(ordinal)),
                }
            }
        }
    }
}
