//! dfdx's tensors by the names that its operations go by here, and which gradients of one are wanted.

use dfdx::prelude::{NoneTape, OwnedTape};

/// A matrix of dfdx.
pub(super) type DfdxMatrix<D, T = NoneTape> = dfdx::tensor::Tensor<(usize, usize), f32, D, T>;
/// Numbers in a row of dfdx.
pub(super) type DfdxFlat<D> = dfdx::tensor::Tensor<(usize,), f32, D>;
/// A matrix on dfdx's tape.
pub(super) type Taped<D> = DfdxMatrix<D, OwnedTape<f32, D>>;

/// Which gradients of an operation anyone will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// That of the input.
    pub input: bool,
    /// Those of the parameters.
    pub weight: bool,
}

impl Wanted {
    /// Whether nobody wants one.
    pub(super) fn nothing(self) -> bool {
        !self.input && !self.weight
    }
}
