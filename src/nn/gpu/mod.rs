//! A GPU of NVIDIA's as a machine: its driver, the kernels of this program, its memory, and the queue of what it is
//! asked to do. Knows no tensors; `nn::ops::gpu` computes with it.
//!
//! The driver is looked for when a GPU is opened. A build needs no CUDA toolkit, and a program that opens no GPU needs no
//! driver.

mod dependencies;
mod driver;
mod graph;
mod kernel;
mod noting;
mod pool;
mod queue;
mod recording;
mod resident;
mod staging;
mod tile;

pub use driver::{Gpu, GpuError, examples_of_arithmetic, is_arithmetic};
pub(in crate::nn) use kernel::{Arg, Kernel, SLOTS};
pub(in crate::nn) use noting::{NotedCalls, Source};
pub(in crate::nn) use queue::{Block, Given, MOST_STAGED, Queue};
pub(in crate::nn) use recording::Grid;
pub(in crate::nn) use resident::Resident;
pub(in crate::nn) use tile::Tile;
