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

/// Images that lie side by side, whatever the instruction set: a lane is an image.
pub const LANES: usize = 16;
