//! Which instructions the kernels use, chosen once when a program runs: the binary itself is
//! portable. Computes nothing.

use std::fmt;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::vector::{Avx2, Avx512};
use super::vector::{Portable, Vector};

/// The environment variable that picks an instruction set instead of the best one.
pub const VARIABLE: &str = "RUNNER_ISA";

/// A family of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// 16 numbers at once, 32 registers.
    Avx512,
    /// 8 numbers at once with fused multiply-add, 16 registers.
    Avx2,
    /// What every processor of the target has; no fused multiply-add.
    Portable,
}

/// Work that is written once for every instruction set.
pub trait Kernel {
    /// What it gives.
    type Output;
    /// Does it. To be marked `#[inline(always)]`, and everything hot that it calls as well: only
    /// what is inlined into [`Isa::run`] is compiled for the instruction set.
    fn run<V: Vector>(self) -> Self::Output;
}

/// A word that is no instruction set, or one that this processor lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// Not a known word.
    #[error("`{VARIABLE}={0}` is not an instruction set; expected avx512, avx2 or portable")]
    Unknown(String),
    /// The processor lacks it.
    #[error("`{VARIABLE}={0}`, but this processor has no {0}; leave the variable out")]
    Missing(Isa),
}

impl Isa {
    /// All of them, best first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has it.
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.available()).expect("portable is")
    }

    /// The one to use: what [`VARIABLE`] says, else the best that this processor has.
    ///
    /// # Errors
    /// When the variable holds something else, or what this processor lacks.
    pub fn current() -> Result<Self, IsaError> {
        static CURRENT: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CURRENT.get_or_init(|| Self::choose(std::env::var(VARIABLE).ok().as_deref())).clone()
    }

    fn choose(word: Option<&str>) -> Result<Self, IsaError> {
        let Some(word) = word.filter(|word| !word.is_empty()) else {
            return Ok(Self::best());
        };
        let isa = Self::ALL.into_iter().find(|isa| isa.to_string() == word);
        match isa {
            None => Err(IsaError::Unknown(word.to_owned())),
            Some(isa) if !isa.available() => Err(IsaError::Missing(isa)),
            Some(isa) => Ok(isa),
        }
    }

    /// Runs `kernel` with these instructions.
    ///
    /// # Panics
    /// When the processor lacks them.
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.available(), "this processor has no {self}");
        match self {
            // SAFETY: the processor has the instructions, as was just asserted.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => unreachable!("they are not available"),
            Self::Portable => kernel.run::<Portable>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_decides_and_nonsense_is_refused() {
        assert_eq!(Isa::choose(Some("portable")), Ok(Isa::Portable));
        assert_eq!(Isa::choose(Some("sse9")), Err(IsaError::Unknown("sse9".into())));
        assert!(Isa::choose(None).unwrap().available());
        assert_eq!(Isa::choose(Some("")), Isa::choose(None));
    }
}
