//! Looks at the locks that others hold, for whoever would take them once they are free. However many there are,
//! a look lists one folder and reads a few locks, after long pauses more than after short ones: it opens fewer
//! than two files per second, so that a hundred waiting processes are no load on a file server.

use std::collections::HashSet;
use std::time::Duration;

use super::error::Error;
use super::patience::Pace;
use super::sign::random;
use super::{Store, list};
use crate::digest::Fingerprint;

/// Watches locks that others hold, and says which are worth another try.
#[derive(Debug)]
pub struct Lookout {
    pace: Pace,
    /// How many locks the next look reads at most.
    reads: u32,
}

impl Store {
    /// A lookout for locks of this store.
    pub fn lookout(&self) -> Lookout {
        Lookout { pace: Pace::new(self.patience, random()), reads: 1 }
    }

    /// How long a process that has nothing to begin has to stay, at least, to know whether one of those that `held`
    /// these tasks is dead: no time if all were seen to live.
    pub fn time_to_judge(&self, held: &[Fingerprint]) -> Duration {
        let lives = |task: &Fingerprint| self.seen.lives(&task.to_string(), self.patience);
        // Looks are a twelfth of the patience apart.
        if held.iter().all(lives) { Duration::ZERO } else { self.patience.limit * 3 / 2 }
    }
}

impl Lookout {
    /// How long to wait before the next look.
    pub fn pause(&mut self) -> Duration {
        let (pause, reads) = self.pace.pause();
        self.reads = reads;
        pause
    }

    /// The next pauses are short again, as something happened.
    pub fn reset(&mut self) {
        self.pace.reset();
    }

    /// Those of `held` whose lock is free, or whose holder seems dead.
    ///
    /// # Errors
    /// When the locks cannot be read.
    pub fn look(&self, store: &Store, held: &[Fingerprint]) -> Result<Vec<Fingerprint>, Error> {
        let there: HashSet<String> = list(&store.root.join("locks"))?
            .iter()
            .filter_map(|path| {
                Some(path.file_name()?.to_str()?.strip_suffix(".0.lock")?.to_owned())
            })
            .collect();
        let (mut free, mut taken) = (Vec::new(), Vec::new());
        for fingerprint in held {
            let task = fingerprint.to_string();
            if !there.contains(&task) || store.seen.is_dead(&task) {
                free.push(*fingerprint);
            } else {
                taken.push((task, *fingerprint));
            }
        }
        for _ in 0..self.reads {
            let tasks = taken.iter().map(|(task, _)| task.as_str());
            let Some(next) = store.seen.most_pressing(tasks, store.patience) else { break };
            let (task, fingerprint) = taken.swap_remove(next);
            let worth_a_try = match store.lock_name(&task).holder()? {
                Some((_, text)) => store.seen.saw(&task, &text, store.patience),
                None => true,
            };
            if worth_a_try {
                free.push(fingerprint);
            }
        }
        Ok(free)
    }
}
