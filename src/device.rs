//! Where tensors live: the name of a device, as a pipeline file writes it. Opens no device; `nn::dispatch`
//! does.

use std::fmt;

/// A resolved device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// A CUDA device by number. Only with `--features cuda`.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// Neither `cpu`, `auto` nor `cuda:N`.
    #[error("`{0}` is not a device; expected \"cpu\", \"auto\" or \"cuda:0\"")]
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
    /// The device that `"cpu"`, `"auto"` or `"cuda:N"` stands for in this build.
    ///
    /// # Errors
    /// When the word is not a device or this build cannot use it.
    pub fn parse(word: &str) -> Result<Self, DeviceError> {
        let cuda = cfg!(feature = "cuda");
        match word {
            "auto" if cuda => Ok(Self::Cuda(0)),
            "auto" | "cpu" => Ok(Self::Cpu),
            _ => {
                let ordinal = match word.split_once(':') {
                    None if word == "cuda" => Some(0),
                    Some(("cuda", number)) => number.parse().ok(),
                    _ => None,
                };
                match ordinal {
                    None => Err(DeviceError::Unknown(word.to_owned())),
                    Some(_) if !cuda => Err(DeviceError::NotBuilt(word.to_owned())),
                    Some(ordinal) => Ok(Self::Cuda(ordinal)),
                }
            }
        }
    }
}
