//! Who builds a task: `<task>.0.lock` says so. The holder moves a counter in it; whoever wants the task takes
//! over when the counter stood still for long enough by its own clock and in its own looks, by creating
//! `<task>.1.lock`, then `.2` and so on: a file can be created once, so one of them wins, and nobody
//! ever removes a lock that another may hold. Whoever took over writes its own line over all earlier files: what a
//! dead holder left must not be the newest again while the files go one after the other. Needs exclusive creation only, which NFS has, and never
//! compares the clocks of two machines. Publishing is atomic anyway: a lock only saves double work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::departure::{Owed, owing};
use super::error::Error;
use super::patience::{Pace, Patience};
use super::remove;
use super::sightings::Sightings;
use super::sign::{
    Heart, Holder, Token, dead_here, holder, move_counter, text_at, token_in, unborn_name,
};
use crate::fault::fail_point;

/// How often a file that others see in its cached form is looked for again at once.
const ROUNDS: u32 = 8;

/// So many looks tell a successor from somebody who is about to see that it came too late.
const LOOKS: u32 = 20;

/// The pause between two of them.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum Claim {
    /// It is this runner's now.
    Mine(Lock),
    /// Another has it, who is called so.
    Held(String),
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    name: Name,
    /// How often the lock was taken over before it is free again.
    generation: u64,
    token: Token,
    /// Set once what is done under the lock is to stop.
    abandon: Arc<AtomicBool>,
    /// Set once the lock is lost, for good: later looks may fail.
    lost: Arc<AtomicBool>,
    /// Moves the counter; stopped before the files go.
    heart: Option<Heart>,
    #[expect(dead_code, reason = "held until the lock is released")]
    owed: Owed,
}

/// The files of a lock.
#[derive(Debug, Clone)]
pub(super) struct Name {
    folder: PathBuf,
    task: String,
}

impl Name {
    pub(super) fn new(folder: PathBuf, task: String) -> Self {
        Self { folder, task }
    }

    pub(super) fn path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{}.{generation}.lock", self.task))
    }

    /// The text of a generation's file, if it is there.
    fn text(&self, generation: u64) -> Result<Option<String>, Error> {
        let path = self.path(generation);
        text_at(&path).map_err(|source| Error::reading(&path, source))
    }

    /// Whether the lock of this generation is no longer that of `token`. Somebody took over, who wrote over its
    /// text; or took over and is done, so that no file is left, or they are of the next holder. What cannot be
    /// read now may be read later: until then nothing is lost.
    fn is_lost(&self, generation: u64, token: &Token) -> bool {
        for look in 0..LOOKS {
            match text_at(&self.path(generation)) {
                Ok(Some(text)) if token_in(&text) == token.word => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
            // The next generation shows a successor, or somebody who came too late for a holder that is gone
            // and takes it back at once.
            if self.path(generation + 1).symlink_metadata().is_err() {
                return false;
            }
            if look + 1 < LOOKS {
                thread::sleep(BETWEEN_LOOKS);
            }
        }
        true
    }

    /// Removes the files up to `generation` that have the `word` of a holder.
    fn release(&self, generation: u64, word: &str) {
        for generation in (0..=generation).rev() {
            let path = self.path(generation);
            // What another wrote is another's.
            let text = text_at(&path).ok().flatten();
            if text.is_none_or(|text| token_in(&text) != word) {
                return;
            }
            // What cannot be removed is taken over once its counter stands still.
            let _ = remove(&path);
        }
    }

    /// Who holds it: the newest generation and its text.
    pub(super) fn holder(&self) -> Result<Option<(u64, String)>, Error> {
        let mut newest = None;
        for generation in 0.. {
            match self.text(generation)? {
                Some(text) => newest = Some((generation, text)),
                None => break,
            }
        }
        Ok(newest)
    }
}

impl Lock {
    /// Takes the lock, if nobody has it or its holder is dead; does not wait. Others who look see that this
    /// runner is to do `what`.
    pub(super) fn attempt(
        name: &Name,
        what: &str,
        patience: Patience,
        seen: &Sightings,
    ) -> Result<Claim, Error> {
        let token = Token::new(what);
        let mut other = "another runner".to_owned();
        for _ in 0..ROUNDS {
            let now = match name.holder() {
                // A file server that does not answer for a moment ends no run.
                Err(Error::Read { source, .. }) if may_pass(&source) && seen.failed(&name.task) => {
                    break;
                }
                now => now?,
            };
            let taken = match now {
                None => Self::create(name, 0, &token, patience.beat)?,
                Some((generation, now)) => {
                    other = holder(&now);
                    if !seen.saw(&name.task, &now, patience) {
                        break;
                    }
                    Self::take_over(name, generation, &now, &token, patience.beat)?
                }
            };
            if let Some(lock) = taken {
                seen.forget(&name.task);
                return Ok(Claim::Mine(lock));
            }
        }
        Ok(Claim::Held(other))
    }

    /// Waits for the lock. `waiting` is told once whom it waits for.
    pub(super) fn acquire(
        name: &Name,
        what: &str,
        patience: Patience,
        seen: &Sightings,
        mut waiting: impl FnMut(&str),
    ) -> Result<Self, Error> {
        let mut pace = Pace::new(patience, super::sign::random());
        let mut told = false;
        loop {
            match Self::attempt(name, what, patience, seen)? {
                Claim::Mine(lock) => return Ok(lock),
                Claim::Held(holder) => {
                    if !std::mem::replace(&mut told, true) {
                        waiting(&holder);
                    }
                    thread::sleep(pace.pause().0);
                }
            }
        }
    }

    /// Who holds it.
    pub(super) fn held_by(name: &Name) -> Result<Option<Holder>, Error> {
        Ok(name.holder()?.map(|(_, text)| Holder::read(&text)))
    }

    /// Makes the lock free if its holder died on this machine.
    pub(super) fn clear_dead(name: &Name, patience: Patience) -> Result<(), Error> {
        if let Some((generation, text)) = name.holder()?
            && dead_here(&text)
        {
            Self::take_over(name, generation, &text, &Token::new("clearing up"), patience.beat)?;
        }
        Ok(())
    }

    /// The lock after `generation`, whose text was `stale`; `None` when somebody was faster.
    fn take_over(
        name: &Name,
        generation: u64,
        stale: &str,
        token: &Token,
        beat: Duration,
    ) -> Result<Option<Self>, Error> {
        let Some(lock) = Self::create(name, generation + 1, token, beat)? else {
            return Ok(None);
        };
        // Had the holder come back and ended in this moment, the next one would begin at 0 again:
        // then so do we.
        if name.text(generation)?.is_some_and(|now| now == stale) {
            for earlier in (0..=generation).rev() {
                lock.write_over(earlier)?;
            }
            return Ok(Some(lock));
        }
        remove(&name.path(lock.generation))?;
        Ok(None)
    }

    /// Puts this holder's line in the place of what an earlier one left.
    fn write_over(&self, generation: u64) -> Result<(), Error> {
        let path = self.name.path(generation);
        let private = self.name.folder.join(unborn_name(&self.token.word));
        fs::write(&private, self.token.line(0))
            .map_err(|source| Error::writing(&private, source))?;
        let mut renamed = fs::rename(&private, &path);
        if renamed.is_err() && path.is_dir() {
            // No runner wrote it.
            remove(&path)?;
            renamed = fs::rename(&private, &path);
        }
        renamed.map_err(|source| Error::writing(&path, source))
    }

    fn create(
        name: &Name,
        generation: u64,
        token: &Token,
        beat: Duration,
    ) -> Result<Option<Self>, Error> {
        let (own, word) = (name.clone(), token.word.clone());
        let begin = || Self::write(name, generation, token);
        let Some((made, owed)) = owing(move || own.release(generation, &word), begin)
            .map(|(made, owed)| made.map(|made| (made, owed)))?
        else {
            return Ok(None);
        };
        fail_point("locked");
        let (abandon, lost) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let heart = {
            let (name, token, mut count, mut file) = (name.clone(), token.clone(), 0, made);
            let (abandon, lost) = (Arc::clone(&abandon), Arc::clone(&lost));
            Heart::start(beat, move || {
                count += 1;
                // To the file that was made, not to whatever has its name: that may be another's by the
                // time it is written. A failed write may pass; the waiters' patience covers it.
                if name.is_lost(generation, &token) {
                    lost.store(true, Ordering::SeqCst);
                    abandon.store(true, Ordering::SeqCst);
                    return false;
                }
                let _ = move_counter(&mut file, &token.line(count));
                true
            })
        };
        let (name, token) = (name.clone(), token.clone());
        Ok(Some(Self { name, generation, token, abandon, lost, heart: Some(heart), owed }))
    }

    /// Writes the file of this generation; `None` when it is there.
    fn write(name: &Name, generation: u64, token: &Token) -> Result<Option<File>, Error> {
        let path = name.path(generation);
        // It appears with its text: nobody could tell whether the maker of an empty one lives.
        let private = name.folder.join(unborn_name(&token.word));
        let written = File::create(&private)
            .and_then(|mut file| file.write_all(token.line(0).as_bytes()).map(|()| file));
        let file = written.map_err(|source| Error::writing(&private, source))?;
        fail_point("lock written");
        let made = match link(&private, &path, |from, to| fs::hard_link(from, to)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems have no links.
            Err(_) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .and_then(|mut file| file.write_all(token.line(0).as_bytes()).map(|()| file)),
            Ok(()) => Ok(file),
        };
        let removed = fs::remove_file(&private);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            made => made
                .and_then(|file| removed.map(|()| Some(file)))
                .map_err(|source| Error::writing(&path, source)),
        }
    }

    /// A flag that is set within a beat once the lock is lost: what is done under the lock stops then. Others
    /// may set it as well, to have it stop for another reason.
    pub fn abandon(&self) -> &Arc<AtomicBool> {
        &self.abandon
    }

    /// Whether somebody took over, because this holder seemed dead; whatever became of its files.
    pub fn is_lost(&self) -> bool {
        if !self.lost.load(Ordering::SeqCst) && self.name.is_lost(self.generation, &self.token) {
            self.lost.store(true, Ordering::SeqCst);
        }
        self.lost.load(Ordering::SeqCst)
    }

    /// Who holds it, as the file says in its first line.
    pub(super) fn line(&self) -> String {
        self.token.line(0)
    }

    /// The random word that tells this lock from all others.
    pub(super) fn token(&self) -> &str {
        &self.token.word
    }
}

/// Whether what went wrong may be over the next time.
fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, StaleNetworkFileHandle, TimedOut, WouldBlock};
    /// `EIO`, which is what a network file system says of a server that it gave up.
    const INPUT_OUTPUT: i32 = 5;
    matches!(
        error.kind(),
        Interrupted | NotConnected | StaleNetworkFileHandle | TimedOut | WouldBlock
    ) || error.raw_os_error() == Some(INPUT_OUTPUT)
}

/// Has the file at `private` appear at `path` too, unless there is one. Over a network the answer to a request that
/// succeeded may be lost, and its repetition says that the file exists: the number of names tells.
fn link(
    private: &Path,
    path: &Path,
    request: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let made = request(private, path);
    #[cfg(unix)]
    if matches!(&made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists) {
        use std::os::unix::fs::MetadataExt as _;
        if fs::metadata(private)?.nlink() == 2 {
            return Ok(());
        }
    }
    made
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heart = None;
        // Once somebody took over, the files are theirs.
        if self.is_lost() {
            return;
        }
        self.name.release(self.generation, &self.token.word);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_was_made_although_the_answer_says_that_it_exists_is_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, theirs, path) =
            ["mine", "theirs", "lock"].map(|name| folder.path().join(name)).into();
        fs::write(&mine, "mine").unwrap();
        fs::write(&theirs, "theirs").unwrap();
        // The request went through, its answer was lost, and its repetition was answered.
        let twice = |from: &Path, to: &Path| {
            let _ = fs::hard_link(from, to);
            fs::hard_link(from, to)
        };
        link(&mine, &path, twice).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let error = link(&theirs, &path, twice).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
