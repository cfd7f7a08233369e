//! Who makes a task: `<task>.0.lock` says so. The holder moves a counter in it; whoever waits takes
//! over when the counter stood still for long enough by the waiter's own clock, by creating
//! `<task>.1.lock`, then `.2` and so on: a file can be created once, so one waiter wins, and nobody
//! ever removes a lock that another may hold. Needs exclusive creation only, which NFS has, and never
//! compares the clocks of two machines. Publishing is atomic anyway: a lock only saves double work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::error::Error;
use super::remove;
use super::sign::{
    Heart, Holder, Token, dead_here, holder, move_counter, text_at, token_in, unborn_name,
};
use crate::fault::fail_point;

/// How often holders move their counter and how long waiters bear it standing still.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Time between two moves of the counter.
    pub beat: Duration,
    /// How long a standing counter means a living holder.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { beat: Duration::from_secs(2), limit: Duration::from_secs(60) }
    }
}

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    name: Name,
    /// How often the lock was taken over before it is free again.
    generation: u64,
    token: Token,
    /// Moves the counter; stopped before the files go.
    heart: Option<Heart>,
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

    /// Whether the lock of this generation is no longer that of `token`. Somebody took over, which the
    /// next generation shows; or took over and is done, so that no file is left, or they are of the
    /// next holder. What cannot be read now may be read later: until then nothing is lost.
    fn is_lost(&self, generation: u64, token: &Token) -> bool {
        if self.path(generation + 1).symlink_metadata().is_ok() {
            return true;
        }
        match text_at(&self.path(generation)) {
            Ok(Some(text)) => token_in(&text) != token.word,
            Ok(None) => true,
            Err(_) => false,
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
    pub(super) fn acquire(
        name: &Name,
        what: &str,
        patience: Patience,
        mut waiting: impl FnMut(&str),
        give_up: impl Fn() -> bool,
    ) -> Result<Option<Self>, Error> {
        let token = Token::new(what);
        let mut seen: Option<(String, Instant)> = None;
        let pause = (patience.beat / 4).min(Duration::from_millis(200));
        loop {
            let Some((generation, now)) = name.holder()? else {
                match Self::create(name, 0, &token, patience.beat)? {
                    Some(lock) => return Ok(Some(lock)),
                    None => continue,
                }
            };
            if give_up() {
                return Ok(None);
            }
            let standing = match &seen {
                Some((before, since)) if *before == now => since.elapsed(),
                before => {
                    if before.is_none() {
                        waiting(&holder(&now));
                    }
                    seen = Some((now.clone(), Instant::now()));
                    Duration::ZERO
                }
            };
            if standing > patience.limit || dead_here(&now) {
                match Self::take_over(name, generation, &now, &token, patience.beat)? {
                    Some(lock) => return Ok(Some(lock)),
                    None => continue,
                }
            }
            thread::sleep(pause);
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
            return Ok(Some(lock));
        }
        let path = name.path(lock.generation);
        fs::remove_file(&path).map_err(|source| Error::writing(&path, source))?;
        Ok(None)
    }

    fn create(
        name: &Name,
        generation: u64,
        token: &Token,
        beat: Duration,
    ) -> Result<Option<Self>, Error> {
        let path = name.path(generation);
        // It appears with its text: nobody could tell whether the maker of an empty one lives.
        let private = name.folder.join(unborn_name(&token.word));
        let written = File::create(&private)
            .and_then(|mut file| file.write_all(token.line(0).as_bytes()).map(|()| file));
        let file = written.map_err(|source| Error::writing(&private, source))?;
        fail_point("lock written");
        let made = match fs::hard_link(&private, &path) {
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
        let made = match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.and_then(|file| removed.map(|()| file)),
        }
        .map_err(|source| Error::writing(&path, source))?;
        fail_point("locked");
        let heart = {
            let (name, token, mut count, mut file) = (name.clone(), token.clone(), 0, made);
            Heart::start(beat, move || {
                count += 1;
                // To the file that was made, not to whatever has its name: that may be another's by the
                // time it is written. A failed write may pass; the waiters' patience covers it.
                let lost = name.is_lost(generation, &token);
                if !lost {
                    let _ = move_counter(&mut file, &token.line(count));
                }
                !lost
            })
        };
        let (name, token) = (name.clone(), token.clone());
        Ok(Some(Self { name, generation, token, heart: Some(heart) }))
    }

    /// Whether somebody took over, because this holder seemed dead; whatever became of its files.
    pub fn is_lost(&self) -> bool {
        self.name.is_lost(self.generation, &self.token)
    }

    /// The random word that tells this lock from all others.
    pub(super) fn token(&self) -> &str {
        &self.token.word
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.heart = None;
        // Once somebody took over, the files are theirs.
        if self.is_lost() {
            return;
        }
        for generation in (0..=self.generation).rev() {
            // What cannot be removed is taken over once its counter stands still.
            let _ = remove(&self.name.path(generation));
        }
    }
}
