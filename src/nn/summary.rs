//! A network as a table: one row per layer.

use super::placement::{Placed, SpecError};
use super::spec::Spec;

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// Full name: `features.conv1`.
    pub name: String,
    /// What it is: `conv2d 5x5, stride 1, padding 1`.
    pub about: String,
    /// Shape of its output, without the batch: `64x26x26`.
    pub output: String,
    /// Names and sizes of its parameters.
    pub parameters: Vec<(String, usize)>,
}

/// The layers of a network in order.
///
/// # Errors
/// When the layers do not fit together.
pub fn table(spec: &Spec) -> Result<Vec<LayerRow>, SpecError> {
    let row = |placed: Placed| LayerRow {
        about: placed.layer.to_string(),
        output: placed.output.to_string(),
        parameters: placed
            .parameters()
            .into_iter()
            .map(|slot| (slot.name, slot.shape.iter().product()))
            .collect(),
        name: placed.name,
    };
    Ok(spec.place()?.layers.into_iter().map(row).collect())
}
