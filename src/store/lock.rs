//! Who makes a task: `<task>.0.lock` says so. The holder moves a counter in it; whoever waits takes
//! over when the counter stood still for long enough by the waiter's own clock, by creating
//! `<task>.1.lock`, then `.2` and so on: a file can be created once, so one waiter wins, and nobody
//! ever removes a lock that another may hold. Needs exclusive creation only, which NFS has, and never
//! compares the clocks of two machines. Publishing is atomic anyway: a lock only saves double work.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::error::Error;
use super::remove;
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
    heart: Option<(Sender<()>, JoinHandle<()>)>,
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
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::reading(&path, source)),
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

    /// Removes what somebody wrote who died before it was a lock.
    pub(super) fn clear_unborn(path: &Path) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut words = name.split('.').skip(1);
        let (Some(pid), Some(at)) = (words.next(), words.next()) else { return Ok(()) };
        let host = host();
        if at != digest(&host) || !is_gone(pid, &host) {
            return Ok(());
        }
        remove(path)
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
        fs::write(&private, token.line(0)).map_err(|source| Error::writing(&private, source))?;
        fail_point("lock written");
        let made = match fs::hard_link(&private, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems have no links.
            Err(_) => OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .and_then(|mut file| file.write_all(token.line(0).as_bytes())),
            Ok(()) => Ok(()),
        };
        let removed = fs::remove_file(&private);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made.and(removed).map_err(|source| Error::writing(&path, source))?,
        }
        fail_point("locked");
        let (stop, stopped) = mpsc::channel();
        let heart = {
            let next = name.path(generation + 1);
            let token = token.clone();
            thread::spawn(move || {
                let mut count = 0;
                while stopped.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                    count += 1;
                    if next.exists() || !move_counter(&path, &token, count) {
                        return;
                    }
                }
            })
        };
        let (name, token) = (name.clone(), token.clone());
        Ok(Some(Self { name, generation, token, heart: Some((stop, heart)) }))
    }

    /// Whether somebody took over, because this holder seemed dead.
    pub fn is_lost(&self) -> bool {
        self.name.path(self.generation + 1).exists()
    }

    /// The random word that tells this lock from all others.
    pub(super) fn token(&self) -> &str {
        &self.token.word
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            // The heart only sleeps and writes one line; if it panicked, the lock still goes.
            let _ = heart.join();
        }
        // Once somebody took over, the files are theirs.
        if self.is_lost() {
            return;
        }
        for generation in (0..=self.generation).rev() {
            // What cannot be removed is taken over once its counter stands still.
            let _ = fs::remove_file(self.name.path(generation));
        }
    }
}

/// What a holder writes.
#[derive(Debug, Clone)]
struct Token {
    /// Random.
    word: String,
    /// What it makes, for people.
    what: String,
}

impl Token {
    fn new(what: &str) -> Self {
        Self { word: new_token(), what: what.replace(char::is_control, " ") }
    }

    /// `counter token pid host what`, the counter always as wide, so that it can be written in place.
    fn line(&self, count: u64) -> String {
        let Self { word, what } = self;
        format!("{count:020} {word} {} {} {what}\n", process::id(), host())
    }
}

/// Tells others that this process lives, as a lock does: a line whose counter it moves.
#[derive(Debug)]
pub struct Sign {
    token: Token,
    count: u64,
}

impl Sign {
    /// Of a process that does `what`.
    pub fn new(what: &str) -> Self {
        Self { token: Token::new(what), count: 0 }
    }

    /// The next line; each is as long as the one before.
    pub fn line(&mut self) -> String {
        self.count += 1;
        self.token.line(self.count)
    }
}

/// Somebody who makes a task, as the text of a lock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What is made.
    pub what: String,
    /// `process 12 on host`.
    pub who: String,
    /// Whether that process is known to be gone.
    pub dead: bool,
}

impl Holder {
    /// Who wrote the line of a lock or of a [`Sign`].
    pub fn read(text: &str) -> Self {
        let what = text.trim_end().splitn(5, ' ').nth(4).unwrap_or_default().to_owned();
        Self { what, who: holder(text), dead: dead_here(text) }
    }
}

/// The token in the text of a lock file.
pub(super) fn token_in(text: &str) -> &str {
    text.split_whitespace().nth(1).unwrap_or_default()
}

fn holder(text: &str) -> String {
    let mut words = text.split_whitespace().skip(2);
    match (words.next(), words.next()) {
        (Some(pid), Some(host)) => {
            let host = host.split('/').next().unwrap_or(host);
            format!("process {pid} on {host}")
        }
        _ => "another runner".to_owned(),
    }
}

/// Whether the holder ran on this machine and is gone, where the system can tell.
fn dead_here(text: &str) -> bool {
    let mut words = text.split_whitespace().skip(2);
    let (Some(pid), Some(at)) = (words.next(), words.next()) else { return false };
    at == host() && is_gone(pid, at)
}

/// Whether no process `pid` is left on this machine, which is called `host`.
fn is_gone(pid: &str, host: &str) -> bool {
    host.contains('/') && Path::new("/proc/self").exists() && !Path::new("/proc").join(pid).exists()
}

/// The name of a file that is not a lock yet: it says whose it is before anything is written to it.
fn unborn_name(word: &str) -> String {
    format!("{word}.{}.{}.new", process::id(), digest(&host()))
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// Moves the counter; `false` when the lock is no longer ours.
fn move_counter(path: &Path, token: &Token, count: u64) -> bool {
    match fs::read_to_string(path) {
        Ok(text) if token_in(&text) != token.word => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // A failed read or write may pass; the waiters' patience covers it.
        Err(_) => true,
        Ok(_) => {
            let _ = OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(token.line(count).as_bytes()));
            true
        }
    }
}

/// This machine, and on Linux the process namespace, without which a pid means nothing.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "this-machine".to_owned());
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = name.trim().replace(char::is_whitespace, "-");
    match fs::read_link("/proc/self/ns/pid") {
        Ok(namespace) => format!("{name}/{}/{}", boot.trim(), namespace.display()),
        Err(_) => name,
    }
}

fn new_token() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    digest(&format!("{}/{}/{}/{count}", host(), process::id(), now.as_nanos()))
}
