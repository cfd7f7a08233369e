//! The seam between work and whoever watches it: how far it got, and whether it should stop. Knows
//! nothing of what the work is or where the numbers are shown.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// Who watches work, and may stop it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears how far it got.
    pub progress: &'a dyn Progress,
    /// Set to stop.
    pub cancel: &'a AtomicBool,
}

/// The user asked to stop: nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Watch<'_> {
    /// Whether the user asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// For work that ends in the middle.
    ///
    /// # Errors
    /// When the user asked to stop.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn note(&self, _: &str) {}
}
