//! Features in the plane.

mod pca;
mod tsne;

pub use pca::pca;
pub(crate) use tsne::square_distance;
pub use tsne::{rows_for, tsne};
