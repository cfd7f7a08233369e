//! Networks on dfdx tensors: layers, known architectures, weights on disk, what is frozen.
//!
//! Knows nothing of pipelines or of how a network is trained.

pub mod architecture;
pub mod dispatch;
pub mod freeze;
pub mod fuse;
pub mod geometry;
pub mod gpu;
pub mod head;
pub mod heads;
pub mod kernels;
mod limits;
pub mod model;
pub mod ops;
mod place;
pub mod placement;
pub mod spec;
mod spec_file;
pub mod state_dict;
pub mod summary;
pub mod torch_file;
pub mod weights;
pub mod zoo;

pub use model::{DropoutKey, EntryLayer, FrozenBatchNorm, Model, Pass, Statistics, StochasticNorm};
pub use ops::{Backend, Tape, Tensor};
pub use spec::{Part, Spec};
pub use weights::{ModelOutline, Saved, WeightsError};
