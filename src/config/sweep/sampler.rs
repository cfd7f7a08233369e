//! How configurations are drawn: at random, from a Sobol sequence, or by TPE.
//!
//! Every draw is a pure function of the sweep's seed, its number and what was observed: nothing
//! depends on which trial ended first. `random` and `sobol` draw the same first configurations
//! however many are asked for.

use tpe::TpeOptimizer;

use super::Sweep;
use crate::random::stream;

/// Points of a Sobol sequence, and its dimensions, as far as its numbers go.
pub(super) const SOBOL_POINTS: usize = 1 << 16;
pub(super) const SOBOL_DIMENSIONS: usize = 256;

/// Draws without anything new after which TPE draws at random: with few values to choose from, what it
/// likes best is soon known.
const MOST_INSISTENCE: u64 = 16;

/// A way to draw.
#[derive(Debug, Clone)]
pub(super) enum Sampler {
    /// Every combination; draws nothing.
    Grid,
    /// Independent uniform draws.
    Random { seed: u64 },
    /// A Sobol sequence with Owen scrambling (Burley 2020, "Practical Hash-based Owen Scrambling").
    Sobol { seed: u64 },
    /// The tree-structured Parzen estimator (Bergstra et al. 2011, "Algorithms for Hyper-Parameter
    /// Optimization"), each dimension on its own, after `startup` random draws.
    Tpe { seed: u64, startup: usize },
}

/// Which draw it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// Draws before it.
    pub index: u64,
    /// Configurations before it.
    pub number: usize,
    /// Draws since the last of them that gave nothing new.
    pub attempt: u64,
}

/// A point of the dimensions that do not only repeat.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    /// A coordinate for each of them.
    pub coordinates: Vec<f64>,
}

/// What is known of a configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Its number.
    pub configuration: usize,
    /// How far it got: numbers compare only with those of the same level.
    pub level: usize,
    /// The goal's value there, turned so that less is better; `None` when it failed.
    pub loss: Option<f64>,
}

impl Sampler {
    /// A coordinate for every dimension that does not only repeat.
    pub fn draw(
        &self,
        sweep: &Sweep,
        draw: Draw,
        configurations: &[Configuration],
        observations: &[Observation],
    ) -> Vec<f64> {
        let own = || sweep.dimensions.iter().filter(|it| !it.repeats);
        match self {
            Self::Grid => Vec::new(),
            Self::Random { seed } => uniform(sweep, *seed, draw.index),
            Self::Sobol { seed } => {
                #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
                let (index, seed) = (draw.index as u32, (*seed ^ (*seed >> 32)) as u32);
                let at = |(number, ends): (u32, (f64, f64))| {
                    let share = f64::from(sobol_burley::sample(index, number, seed));
                    ends.0 + share * (ends.1 - ends.0)
                };
                (0..).zip(own().map(|it| it.ends(&sweep.axes))).map(at).collect()
            }
            Self::Tpe { seed, startup } => {
                if draw.number < *startup {
                    return uniform(sweep, *seed, draw.index);
                }
                // It insists on what is known: look elsewhere.
                if draw.attempt >= MOST_INSISTENCE {
                    let index = (draw.number as u64) << 16 | draw.attempt;
                    return uniform(sweep, *seed, (1 << 40) + index);
                }
                let losses = losses(configurations.len(), observations, *startup);
                if losses.is_empty() {
                    return uniform(sweep, *seed, draw.index + draw.number as u64);
                }
                let mut random = stream(*seed, "tpe", draw.number as u64, draw.attempt);
                let mut coordinates = Vec::new();
                for (place, dimension) in own().enumerate() {
                    let (low, high) = dimension.ends(&sweep.axes);
                    let range = tpe::range(low, high).expect("a space is not empty");
                    let estimator = match dimension.is_categorical(&sweep.axes) {
                        true => tpe::histogram_estimator(),
                        false => tpe::parzen_estimator(),
                    };
                    let mut optimizer = TpeOptimizer::new(estimator, range);
                    for (configuration, loss) in &losses {
                        let at = configurations[*configuration].coordinates[place];
                        // What lies on the very end is in no range.
                        let told = optimizer.tell(at.min(high.next_down()), *loss);
                        told.expect("a coordinate within the ends, and a loss that is a number");
                    }
                    let at = optimizer.ask(random.generator()).unwrap_or(low);
                    coordinates.push(at.clamp(low, high.next_down()));
                }
                coordinates
            }
        }
    }
}

/// Uniform in every dimension. A dimension's numbers do not depend on which others there are.
fn uniform(sweep: &Sweep, seed: u64, index: u64) -> Vec<f64> {
    let own = sweep.dimensions.iter().filter(|it| !it.repeats);
    own.map(|dimension| {
        let purpose = format!("sweep {}", dimension.name(&sweep.axes));
        let share = stream(seed, &purpose, 0, index).uniform_f64();
        let (low, high) = dimension.ends(&sweep.axes);
        low + share * (high - low)
    })
    .collect()
}

/// What TPE learns from: the losses of the highest level that enough configurations reached, or of the
/// one that most did. Those that failed, and those that were decided on and have not run yet, count
/// as the worst, so that a batch does not crowd in one place.
fn losses(count: usize, observations: &[Observation], enough: usize) -> Vec<(usize, f64)> {
    let at =
        |level: usize| observations.iter().filter(move |it| it.level == level && it.loss.is_some());
    let mut levels: Vec<usize> = observations.iter().map(|it| it.level).collect();
    levels.sort_unstable_by(|a, b| b.cmp(a));
    levels.dedup();
    let level = levels
        .iter()
        .copied()
        .find(|level| at(*level).count() >= enough)
        .or_else(|| levels.iter().copied().max_by_key(|level| at(*level).count()));
    let Some(level) = level else { return Vec::new() };
    let mut losses = vec![None; count];
    for observation in at(level) {
        losses[observation.configuration] = observation.loss;
    }
    let Some(worst) = losses.iter().flatten().copied().max_by(f64::total_cmp) else {
        return Vec::new();
    };
    // What ended before this level was worse than what reached it.
    losses.iter().enumerate().map(|(at, loss)| (at, loss.unwrap_or(worst))).collect()
}
