//! Kernels of the CPU on plain slices: convolution, pooling, batch normalisation.
//!
//! Feature maps are lane-blocked, see [`maps`]. Knows nothing of tensors, tapes or layers.

pub mod conv;
pub mod direct;
pub mod finish;
pub mod frame;
pub mod isa;
pub mod maps;
pub mod plane;
pub mod product;
mod transpose;
pub mod vector;
pub mod winograd;

/// Whether the numbers that something is to be added to mean nothing yet and are to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh(pub bool);

/// Images that lie side by side, whatever the instruction set: a lane is an image.
pub const LANES: usize = 16;
