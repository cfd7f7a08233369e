//! Kernels of the CPU on plain slices: convolution, pooling, batch normalisation.
//!
//! Feature maps are lane-blocked. Knows nothing of tensors, tapes or layers.

pub mod isa;
pub mod vector;

/// Images that lie side by side, whatever the instruction set: a lane is an image.
pub const LANES: usize = 16;
