//! Where tensors live: the name of a device, as a pipeline file writes it. Opens no device; `nn::dispatch`
//! does.

use std::fmt;

use crate::config::words;

words! {
    /// How a GPU rounds the factors of convolutions and linear layers. Their sums, and everything else, are in single precision
    /// always, and so is everything on a processor.
    pub enum Precision {
        /// 10 bits after the point in convolutions, single precision in linear layers: what PyTorch does on a GPU where nothing
        /// else is said.
        Tf32 = "tf32",
        /// Single precision.
        Float32 = "float32",
        /// bfloat16, 7 bits after the point, in both, as in PyTorch's `autocast`. Weights, activations and gradients are kept in
        /// single precision.
        Bf16 = "bf16",
    }
}

/// A resolved device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// This machine's processor, by kernels of our own.
    Cpu,
    /// A GPU of NVIDIA's, by kernels of our own.
    Cuda {
        /// Its number.
        ordinal: usize,
        /// How it rounds.
        precision: Precision,
    },
    /// This machine's processor, by dfdx's operations: the reference for the others.
    Dfdx,
    /// A CUDA device by number, by dfdx's kernels. Only with `--features cuda`.
    DfdxCuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { ordinal, .. } => write!(f, "cuda:{ordinal}"),
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
    /// dfdx's own CUDA kernels, which this build lacks.
    #[error(
        "`{0}` needs a runner built with `--features cuda`; `cuda:0` is the same GPU by kernels that every build has"
    )]
    NotBuilt(String),
    /// The GPU cannot be had.
    #[error(
        "`{device}` cannot be opened: {reason}; `runner devices` lists what there is, and `device = \"cpu\"` needs no GPU"
    )]
    Unavailable {
        /// The device.
        device: Device,
        /// Why.
        reason: String,
    },
}

impl Device {
    /// The device that a word stands for in this build; nothing for `auto`, which the machine decides.
    ///
    /// # Errors
    /// When the word is not a device or this build cannot use it.
    pub fn parse(word: &str, precision: Precision) -> Result<Option<Self>, DeviceError> {
        let ordinal = |gpu: &str| match gpu.split_once(':') {
            None if gpu == "cuda" => Some(0),
            Some(("cuda", number)) => number.parse().ok(),
            _ => None,
        };
        match (word, word.strip_prefix("dfdx-")) {
            ("auto", _) => Ok(None),
            ("cpu", _) => Ok(Some(Self::Cpu)),
            ("dfdx", _) => Ok(Some(Self::Dfdx)),
            (_, Some(gpu)) => match ordinal(gpu) {
                None => Err(DeviceError::Unknown(word.to_owned())),
                Some(_) if !cfg!(feature = "cuda") => Err(DeviceError::NotBuilt(word.to_owned())),
                Some(ordinal) => Ok(Some(Self::DfdxCuda(ordinal))),
            },
            (gpu, None) => match ordinal(gpu) {
                None => Err(DeviceError::Unknown(word.to_owned())),
                Some(ordinal) => Ok(Some(Self::Cuda { ordinal, precision })),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_devices() {
        let parse = |word| Device::parse(word, Precision::Tf32);
        let gpu = |ordinal| Ok(Some(Device::Cuda { ordinal, precision: Precision::Tf32 }));
        assert_eq!(parse("auto"), Ok(None));
        assert_eq!(parse("cpu"), Ok(Some(Device::Cpu)));
        assert_eq!((parse("cuda"), parse("cuda:3")), (gpu(0), gpu(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cuda:-1", "dfdx-gpu", "dfdx:0", ""] {
            assert_eq!(parse(wrong), Err(DeviceError::Unknown(wrong.into())));
        }
    }
}
