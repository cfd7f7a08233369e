//! What the parts of `evaluate` share: a data set with the answers of a model, and how a table is written beside the
//! metrics.

use std::fs;
use std::sync::Arc;

use crate::metrics::csv;
use crate::stages::inputs::OpenedSplit;
use crate::stages::{Context, Failure};
use crate::train::Prediction;

/// A data set with the answers of one model.
pub(super) struct Scored {
    /// As it stands in the metrics.
    pub key: String,
    pub set: Arc<OpenedSplit>,
    pub answers: Vec<Prediction>,
}

/// Writes a table beside the metrics.
pub(super) fn save<const N: usize>(
    context: &Context,
    name: &str,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Failure> {
    let path = context.out.join(name);
    let header = header.map(str::to_owned);
    let text = csv::text(std::iter::once(header).chain(rows));
    fs::write(&path, text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}
