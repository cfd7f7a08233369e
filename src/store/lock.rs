//! One file a task that says who makes it. The holder moves a counter in it; whoever waits takes
//! over when the counter stood still for long enough by the waiter's own clock. Never compares
//! the clocks of two machines. Publishing is atomic anyway: a lock only saves double work.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use super::error::Error;

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
    pub(super) path: PathBuf,
    token: String,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Lock {
    pub(super) fn acquire(
        path: &Path,
        patience: Patience,
        mut waiting: impl FnMut(&str),
        give_up: impl Fn() -> bool,
    ) -> Result<Option<Self>, Error> {
        let token = new_token();
        let mut seen: Option<(String, Instant)> = None;
        let pause = (patience.beat / 4).min(Duration::from_millis(200));
        loop {
            if let Some(lock) = Self::try_create(path, &token, patience.beat)? {
                return Ok(Some(lock));
            }
            if give_up() {
                return Ok(None);
            }
            let now = match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::reading(path, source)),
            };
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
                take_away(path, &now)?;
                continue;
            }
            thread::sleep(pause);
        }
    }

    fn try_create(path: &Path, token: &str, beat: Duration) -> Result<Option<Self>, Error> {
        let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(Error::writing(path, source)),
        };
        file.write_all(line(0, token).as_bytes()).map_err(|source| Error::writing(path, source))?;
        let (stop, stopped) = mpsc::channel();
        let heart = {
            let (path, token) = (path.to_owned(), token.to_owned());
            thread::spawn(move || {
                let mut count = 0;
                while stopped.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                    count += 1;
                    if !move_counter(&path, &token, count) {
                        return;
                    }
                }
            })
        };
        Ok(Some(Self {
            path: path.to_owned(),
            token: token.to_owned(),
            heart: Some((stop, heart)),
        }))
    }

    /// The random word that tells this lock from all others.
    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.heart.take() {
            drop(stop);
            // The heart only sleeps and writes one line; if it panicked, the lock still goes.
            let _ = heart.join();
        }
        if fs::read_to_string(&self.path).is_ok_and(|text| token_in(&text) == self.token) {
            // What cannot be removed is taken over once its counter stands still.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `counter token pid host`, the counter always as wide, so that it can be written in place.
fn line(count: u64, token: &str) -> String {
    format!("{count:020} {token} {} {}\n", process::id(), host())
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
    at == host()
        && at.contains('/')
        && Path::new("/proc/self").exists()
        && !Path::new("/proc").join(pid).exists()
}

/// Moves the counter; `false` when the lock is no longer ours.
fn move_counter(path: &Path, token: &str, count: u64) -> bool {
    match fs::read_to_string(path) {
        Ok(text) if token_in(&text) != token => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // A failed read or write may pass; the waiters' patience covers it.
        Err(_) => true,
        Ok(_) => {
            let _ = OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(line(count, token).as_bytes()));
            true
        }
    }
}

/// Removes a dead holder's lock. One waiter at a time looks again and removes, under a system
/// lock that dies with its holder: nobody removes the lock of the one who was faster.
fn take_away(path: &Path, stale: &str) -> Result<(), Error> {
    let guard_path = path.with_file_name("takeover");
    let guard = File::create(&guard_path).map_err(|source| Error::writing(&guard_path, source))?;
    guard.lock().map_err(|source| Error::writing(&guard_path, source))?;
    if fs::read_to_string(path).is_ok_and(|now| now == stale) {
        fs::remove_file(path).map_err(|source| Error::writing(path, source))?;
    }
    Ok(())
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
    let text = format!("{}/{}/{}/{count}", host(), process::id(), now.as_nanos());
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
