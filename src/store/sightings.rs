//! What this process has seen of the locks that others hold: how long each counter has stood still. Every look
//! adds to it, whether of somebody who wants the lock or of the thread that watches while others compute, so
//! that a takeover need not begin its patience only when somebody has time for the task.
//!
//! Time alone says too little: when a file server hangs for a minute, no counter moves and every waiter would
//! take over at once. So looks that succeeded are counted as well, and only those that are far enough apart for
//! a living holder to have moved its counter in between.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::patience::Patience;
use super::sign::dead_here;

/// So many looks must have found a counter where it was. The last of them come after any hang.
const LOOKS: u32 = 5;

/// The locks that others hold, by task, as this process saw them last.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    seen: Mutex<HashMap<String, Sighting>>,
    /// How many looks in a row failed, by task.
    failed: Mutex<HashMap<String, u32>>,
}

#[derive(Debug)]
struct Sighting {
    text: String,
    /// When the text was first seen.
    since: Instant,
    /// When it was last looked at.
    last: Instant,
    /// When a look last counted.
    counted: Instant,
    looks: u32,
    /// Whether the counter was seen to move.
    moved: bool,
}

/// So many looks in a row that failed are tolerated.
const FAILED_LOOKS: u32 = 10;

impl Sightings {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Sighting>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_failed(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at the lock of `task` failed. Returns whether that may pass: it has not failed too often in a row.
    pub fn failed(&self, task: &str) -> bool {
        let mut all = self.all_failed();
        let times = all.entry(task.to_owned()).or_default();
        *times += 1;
        *times <= FAILED_LOOKS
    }

    /// Takes in what a look at the lock of `task` found. Returns whether its holder may be taken for dead.
    pub fn saw(&self, task: &str, text: &str, patience: Patience) -> bool {
        let now = Instant::now();
        self.all_failed().remove(task);
        let mut all = self.all();
        match all.get_mut(task).filter(|it| it.text == text) {
            Some(seen) => {
                seen.last = now;
                if now - seen.counted >= patience.spacing() {
                    seen.looks += 1;
                    seen.counted = now;
                }
                let stale = now - seen.since > patience.limit && seen.looks >= LOOKS;
                stale || dead_here(text)
            }
            None => {
                let text = text.to_owned();
                let dead = dead_here(&text);
                let moved = all.contains_key(task);
                let seen = Sighting { text, since: now, last: now, counted: now, looks: 1, moved };
                all.insert(task.to_owned(), seen);
                dead
            }
        }
    }

    /// Whether the lock of `task` was seen to change hands or its counter to move, not long ago.
    pub fn lives(&self, task: &str, patience: Patience) -> bool {
        let of = |seen: &Sighting| seen.moved && seen.since.elapsed() < patience.limit / 2;
        self.all().get(task).is_some_and(of)
    }

    /// Whether the holder that was last seen ran on this machine and is gone, which takes no look at the store.
    pub fn is_dead(&self, task: &str) -> bool {
        self.all().get(task).is_some_and(|seen| dead_here(&seen.text))
    }

    /// The place in `tasks` of the one to look at next: one whose counter seems to stand still, so that its patience
    /// goes on; else the one that was not looked at for the longest time.
    pub fn most_pressing<'a>(
        &self,
        tasks: impl Iterator<Item = &'a str>,
        patience: Patience,
    ) -> Option<usize> {
        let all = self.all();
        let now = Instant::now();
        let (place, _) = tasks.enumerate().min_by_key(|(_, task)| {
            let seen = all.get(*task);
            let stands = |it: &Sighting| it.looks > 1 && now - it.counted >= patience.spacing();
            (!seen.is_some_and(stands), seen.map(|it| it.last))
        })?;
        Some(place)
    }

    /// The text that the lock of `task` had when it was last looked at.
    #[cfg(test)]
    pub fn text(&self, task: &str) -> Option<String> {
        self.all().get(task).map(|seen| seen.text.clone())
    }

    /// The lock of `task` is nobody else's any more.
    pub fn forget(&self, task: &str) {
        self.all_failed().remove(task);
        self.all().remove(task);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    const TEXT: &str = "00000000000000000007 token 1 elsewhere net";

    #[test]
    fn a_counter_that_nobody_could_look_at_for_long_is_not_one_that_stood_still() {
        let patience =
            Patience { beat: Duration::from_millis(5), limit: Duration::from_millis(30) };
        let seen = Sightings::default();
        assert!(!seen.saw("net", TEXT, patience));
        // The file server hung: the limit is over, yet this is only the second look.
        sleep(patience.limit * 2);
        let mut looks = 1;
        while !seen.saw("net", TEXT, patience) {
            looks += 1;
            sleep(patience.spacing());
        }
        assert_eq!(looks + 1, LOOKS);
        // A counter that moves begins anew.
        assert!(!seen.saw("net", &TEXT.replace('7', "8"), patience));
    }

    #[test]
    fn looks_in_quick_succession_count_as_one() {
        let patience = Patience { beat: Duration::from_secs(60), limit: Duration::ZERO };
        let seen = Sightings::default();
        assert!((0..100).all(|_| !seen.saw("net", TEXT, patience)));
    }

    #[test]
    fn what_seems_to_stand_still_is_looked_at_before_what_moves() {
        let patience = Patience { beat: Duration::ZERO, limit: Duration::from_secs(60) };
        let seen = Sightings::default();
        for count in 0..2 {
            for task in ["a", "b", "c"] {
                let moved = if task == "b" { 0 } else { count };
                seen.saw(task, &format!("{moved} token 1 elsewhere {task}"), patience);
            }
        }
        let tasks = ["a", "b", "c"];
        assert_eq!(seen.most_pressing(tasks.into_iter(), patience), Some(1));
        assert_eq!(seen.most_pressing(["a", "c"].into_iter(), patience), Some(0));
        assert_eq!(seen.most_pressing(["a", "new"].into_iter(), patience), Some(1));
    }

    #[test]
    fn looks_that_fail_are_tolerated_until_too_many_fail_in_a_row() {
        let seen = Sightings::default();
        let patience = Patience::default();
        for _ in 0..2 {
            assert!((0..FAILED_LOOKS).all(|_| seen.failed("net")));
            seen.saw("net", TEXT, patience);
        }
        assert!((0..FAILED_LOOKS).all(|_| seen.failed("net")) && !seen.failed("net"));
    }
}
