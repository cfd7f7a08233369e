//! How long a holder may be silent, how often it gives a sign of life, and how often others look for one.

use std::time::Duration;

use super::error::Error;

/// The environment variable with the seconds of [`Patience::limit`], for tests that cannot wait a minute. All
/// processes of a store must have the same.
const VARIABLE: &str = "RUNNER_PATIENCE";

/// How often holders move their counter, and how long others tolerate one that does not advance.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time between two moves of the counter.
    pub beat: Duration,
    /// How long a standing counter means a living holder.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::of(Duration::from_secs(60))
    }
}

impl Patience {
    /// With this limit; the counter moves thirty times as often.
    fn of(limit: Duration) -> Self {
        Self { beat: limit / 30, limit }
    }

    /// That of the environment, or the default.
    ///
    /// # Errors
    /// When the environment gives no number of seconds above 0.
    pub(super) fn of_environment() -> Result<Self, Error> {
        let Some(given) = std::env::var_os(VARIABLE) else { return Ok(Self::default()) };
        let seconds = given.to_str().and_then(|text| text.parse::<f64>().ok());
        match seconds.filter(|seconds| (0.01..1e6).contains(seconds)) {
            Some(seconds) => Ok(Self::of(Duration::from_secs_f64(seconds))),
            None => Err(Error::Patience { given: given.to_string_lossy().into_owned() }),
        }
    }

    /// After so long a living holder has moved its counter for certain.
    pub(super) fn spacing(self) -> Duration {
        self.beat * 2
    }
}

/// The pauses between looks at what others hold: they grow from a three-hundredth of the patience (0.2 s) to a
/// twelfth (5 s), with jitter, so that a hundred processes that wait for one do not look at the same moment.
#[derive(Debug)]
pub(super) struct Pace {
    patience: Patience,
    next: Duration,
    random: u64,
}

impl Pace {
    pub fn new(patience: Patience, seed: u64) -> Self {
        Self { patience, next: patience.limit / 300, random: seed }
    }

    /// How long to pause now, and how many locks to read then: one for every 0.8 s, and another.
    pub fn pause(&mut self) -> (Duration, u32) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let percent = u32::try_from(75 + (self.random >> 33) % 51).expect("at most 125");
        let pause = self.next * percent / 100;
        self.next = (self.next * 2).min(self.patience.limit / 12);
        let reads = pause.div_duration_f64(self.patience.limit / 75);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 8")]
        let reads = 1 + reads.max(0.0) as u32;
        (pause, reads)
    }

    /// Something happened: the next pauses are short again.
    pub fn reset(&mut self) {
        self.next = self.patience.limit / 300;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_twelfth_of_the_patience_and_differ_between_processes() {
        let patience = Patience::default();
        let pauses = |seed| {
            let mut pace = Pace::new(patience, seed);
            (0..12).map(|_| pace.pause().0).collect::<Vec<_>>()
        };
        let (one, two) = (pauses(1), pauses(2));
        assert_ne!(one, two);
        for pauses in [one, two] {
            assert!(pauses[0] <= Duration::from_millis(250), "{pauses:?}");
            let last = pauses[11].as_secs_f64();
            assert!((3.75..=6.25).contains(&last), "{pauses:?}");
        }
    }
}
