//! Looks at the locks that others hold, for whoever would take them once they are free, and at what others are to
//! build, for whoever waits for it. However much there is, a look lists two folders and reads a few files, after long
//! pauses more than after short ones: it opens fewer than two files per second, so that a thousand waiting processes
//! are no load on a file server.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::error::Error;
use super::failed::FAILED;
use super::patience::{Pace, Patience};
use super::sign::random;
use super::{Store, list};
use crate::digest::Fingerprint;

/// What one look at a task that others are to build costs, in files that are opened: its artifact, its folder, the
/// record of a failure.
const COST: u32 = 3;

/// So many tasks that others are to build are looked at by a frequent lookout, as long as none is found.
const MANY: u32 = 200;

/// What is looked after.
#[derive(Debug, Default)]
pub struct WatchedTasks {
    /// Tasks that are to be taken once their locks are free.
    pub locks: Vec<Fingerprint>,
    /// Tasks that others are to build.
    pub artifacts: Vec<Fingerprint>,
}

/// Watches what others have, and says which tasks are worth another try.
#[derive(Debug)]
pub struct Lookout {
    pace: Pace,
    /// How many locks the next look reads at most.
    reads: u32,
    /// The pause between looks, where they are frequent.
    frequent: Option<Duration>,
    /// The locks that were there at the last look.
    were_locked: HashSet<String>,
    /// The records of failures that were there at the last look.
    had_failed: HashSet<String>,
    /// Whose turn it is, of what others are to build.
    turns: VecDeque<Fingerprint>,
}

impl Store {
    /// A lookout for tasks of this store.
    pub fn lookout(&self) -> Lookout {
        Lookout {
            pace: Pace::new(self.patience, random()),
            reads: 1,
            frequent: None,
            were_locked: HashSet::new(),
            had_failed: HashSet::new(),
            turns: VecDeque::new(),
        }
    }

    /// One that looks every two seconds, at more: only one process of many may have it.
    pub fn frequent_lookout(&self) -> Lookout {
        let Patience { limit, .. } = self.patience;
        Lookout { frequent: Some(limit / 30), ..self.lookout() }
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
        self.frequent.map_or(pause, |frequent| pause.min(frequent))
    }

    /// The next pauses are short again, as something happened.
    pub fn reset(&mut self) {
        self.pace.reset();
    }

    /// Those of `watched` that are worth another try: their lock is free, their holder seems dead, or others may have
    /// built them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn look(
        &mut self,
        store: &Store,
        watched: &WatchedTasks,
    ) -> Result<Vec<Fingerprint>, Error> {
        let there = names(store, "locks", ".0.lock")?;
        let (mut free, mut taken) = (Vec::new(), Vec::new());
        for fingerprint in &watched.locks {
            let task = fingerprint.to_string();
            if !there.contains(&task) || store.seen.is_dead(&task) {
                free.push(*fingerprint);
            } else {
                taken.push((task, *fingerprint));
            }
        }
        let left = self.look_for_artifacts(store, watched, &there, &mut free)?;
        for _ in 0..left {
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
        self.were_locked = there;
        Ok(free)
    }

    /// Adds to `free` what others may have built or given up; how many files may still be read.
    fn look_for_artifacts(
        &mut self,
        store: &Store,
        watched: &WatchedTasks,
        there: &HashSet<String>,
        free: &mut Vec<Fingerprint>,
    ) -> Result<u32, Error> {
        let wanted: HashSet<Fingerprint> = watched.artifacts.iter().copied().collect();
        if wanted.is_empty() {
            self.turns.clear();
            return Ok(self.reads);
        }
        let failed = names(store, FAILED, ".json")?;
        let mut due = HashSet::new();
        for fingerprint in &watched.artifacts {
            let task = fingerprint.to_string();
            let has_ended = self.were_locked.contains(&task) && !there.contains(&task);
            let has_failed = failed
                .iter()
                .any(|name| name.starts_with(&task) && !self.had_failed.contains(name));
            if has_ended || has_failed {
                due.insert(*fingerprint);
            }
        }
        self.had_failed = failed;
        free.extend(&due);
        // What came and went between two looks, in turn.
        let known: HashSet<Fingerprint> = self.turns.iter().copied().collect();
        self.turns.retain(|it| wanted.contains(it));
        self.turns.extend(watched.artifacts.iter().filter(|it| !known.contains(it)));
        let mut left = if self.frequent.is_some() { MANY * COST } else { self.reads.max(COST) };
        for _ in 0..self.turns.len() {
            if left < COST {
                break;
            }
            let Some(next) = self.turns.pop_front() else { break };
            self.turns.push_back(next);
            let task = next.to_string();
            if due.contains(&next) || there.contains(&task) {
                continue;
            }
            // What is there costs nothing: it can be found but once.
            let is_there = store.folder(&next).exists();
            if !is_there {
                left -= COST;
            }
            // A training of a search may have come as far as it was to go.
            if is_there || store.checkpoints(&next).exists() {
                free.push(next);
            }
        }
        Ok(if self.frequent.is_some() { self.reads } else { left.min(self.reads) })
    }
}

/// The names of what lies in a folder of the store and ends in `end`, without that.
fn names(store: &Store, folder: &str, end: &str) -> Result<HashSet<String>, Error> {
    let name =
        |path: &std::path::PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(end)?.to_owned());
    Ok(list(&store.root.join(folder))?.iter().filter_map(name).collect())
}
