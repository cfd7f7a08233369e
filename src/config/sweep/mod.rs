//! `[sweep]`: which values keys take, and how the trials are found among them.
//!
//! Never knows what a key means; each trial is resolved like any pipeline.

mod axis;
mod condition;
mod dimension;
mod goal;
mod overlap;
mod pairs;
mod points;
mod read;
mod sampler;
mod settled;
mod space;

pub use axis::Axis;
pub use goal::{Halving, Select, SelectBy};
pub use overlap::Overlap;
pub use pairs::{DOMAINS, PAIR, PairKeys};
pub use points::Point;
pub use read::read;
pub use sampler::{Configuration, Observation};
pub use settled::settle;

use condition::Condition;
use dimension::Dimension;
use sampler::Sampler;

/// More trials than this are taken for a mistake.
const MOST_TRIALS: usize = 10_000;

/// A sweep without problems of its form.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The keys that change, in the order of the file.
    pub axes: Vec<Axis>,
    /// The keys of the first two, where they take the domains of pairs.
    pub pairs: Option<PairKeys>,
    /// Axes that move together are one dimension.
    dimensions: Vec<Dimension>,
    condition: Option<Condition>,
    sampler: Sampler,
    /// Configurations to find, unless it is a grid; so many for every combination of `each`.
    trials: usize,
    /// Configurations that are decided on at a time.
    pub batch: usize,
    /// What makes one trial better than another.
    pub select: Option<Select>,
    /// Which trials end early.
    pub halving: Option<Halving>,
}

impl Sweep {
    /// Whether the results of trials decide which come next.
    pub fn is_adaptive(&self) -> bool {
        matches!(self.sampler, Sampler::Tpe { .. })
    }

    /// Configurations that it draws; of a grid, which has all, 0.
    pub fn configurations(&self) -> usize {
        let each = self.dimensions.iter().filter(|it| it.each);
        let lengths = each.filter_map(|it| it.all(&self.axes)).map(|all| all.len());
        lengths.fold(self.trials, usize::saturating_mul)
    }

    /// Whether `key` only repeats a configuration, as a seed does.
    pub fn is_repeat(&self, key: &str) -> bool {
        let of = |it: &&Dimension| it.axes.iter().any(|at| self.axes[*at].key == key);
        self.dimensions.iter().find(of).is_some_and(|it| it.repeats)
    }
}
