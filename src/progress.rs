//! The seam between work and whoever watches it.

/// What a count of [`Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes of a download.
    Bytes,
    /// Images.
    Images,
    /// Optimizer steps.
    Steps,
}

/// Receives how far a stage got. Called from any thread, often: implementations are cheap.
pub trait Progress: Send + Sync {
    /// A phase of `total` units starts (`None`: unknown); it replaces the phase before.
    fn begin(&self, phase: &str, total: Option<u64>, unit: Unit);
    /// `by` more units are done.
    fn advance(&self, by: u64);
    /// A short live value beside the count: `loss 0.031`.
    fn status(&self, text: &str);
    /// A number that an epoch (from 1) ended with: what a curve is drawn through.
    fn metric(&self, _epoch: usize, _split: &str, _name: &str, _value: f64) {}
    /// A line that stays: a retry, a skipped file, an epoch's numbers.
    fn note(&self, text: &str);
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn note(&self, _: &str) {}
}
