//! Signs of life: a line of text that says which process wrote it and whose counter that process moves,
//! as in a lock, beside a journal or for a run that uses the store. Never compares the clocks of two
//! machines.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

/// No line that a runner writes is longer: what follows is not read.
const LONGEST: u64 = 64 << 10;

/// So many looks at a file whose handle a network file system calls stale are enough.
const LOOKS_AT_STALE: u32 = 3;

/// What a holder writes.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// Random.
    pub word: String,
    /// What it makes, for people.
    what: String,
}

impl Token {
    pub(super) fn new(what: &str) -> Self {
        Self { word: new_word(), what: what.replace(char::is_control, " ") }
    }

    /// `counter token pid host what`, the counter always as wide, so that it can be written in place.
    pub(super) fn line(&self, count: u64) -> String {
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

    /// The random word that tells this sign from all others.
    pub(super) fn word(&self) -> &str {
        &self.token.word
    }
}

/// Does something again and again in a thread of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct Heart(Option<(Sender<()>, JoinHandle<()>)>);

impl Heart {
    /// Calls `beat` after every `pause`, until it returns false.
    pub(super) fn start(pause: Duration, mut beat: impl FnMut() -> bool + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let heart = thread::spawn(move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && beat() {}
        });
        Self(Some((stop, heart)))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        if let Some((stop, heart)) = self.0.take() {
            drop(stop);
            // It only sleeps and writes one line; if it panicked, nothing is left to stop.
            let _ = heart.join();
        }
    }
}

/// Writes `line` over the one that `file` begins with.
pub(super) fn move_counter(file: &mut File, line: &str) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(line.as_bytes())
}

/// What a lock or a sign at `path` says; nothing of what is no text, or no file: a runner wrote none of
/// these, and whoever did is an unknown holder.
pub(super) fn text_at(path: &Path) -> io::Result<Option<String>> {
    text_up_to(path, LONGEST)
}

/// As [`text_at`], of a file of any length.
pub(super) fn whole_text_at(path: &Path) -> io::Result<Option<String>> {
    text_up_to(path, u64::MAX)
}

#[cfg(test)]
thread_local! {
    /// How many files and folders this thread has opened to look at what others do.
    pub(super) static OPENS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn text_up_to(path: &Path, longest: u64) -> io::Result<Option<String>> {
    #[cfg(test)]
    OPENS.with(|opens| opens.set(opens.get() + 1));
    looking_again(|| {
        // Asked first, as opening a pipe would wait for whoever writes to it.
        if !fs::symlink_metadata(path)?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(longest).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// What `read` finds; nothing where the file is gone. A client of a network file system may know a file that was
/// removed or replaced since by its old handle: it looks again, and what then is as stale is gone.
fn looking_again<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    for _ in 0..LOOKS_AT_STALE {
        match read() {
            Ok(found) => return Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::StaleNetworkFileHandle => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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
    /// Whether a runner wrote the text.
    pub known: bool,
}

impl Holder {
    /// This process.
    pub fn own() -> Self {
        Self::read(&Token::new("").line(0))
    }

    /// Who wrote the line of a lock or of a [`Sign`].
    pub fn read(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let what = line.splitn(5, ' ').nth(4).unwrap_or_default().to_owned();
        let known = process_in(text).is_some();
        Self { what, who: holder(text), dead: dead_here(text), known }
    }
}

/// The token in the text of a lock file.
pub(super) fn token_in(text: &str) -> &str {
    text.split_whitespace().nth(1).unwrap_or_default()
}

/// The number of the process that wrote a text, and its machine.
fn process_in(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split_whitespace();
    words.next()?.parse::<u64>().ok()?;
    let (pid, host) = (words.nth(1)?, words.next()?);
    pid.parse::<u32>().is_ok().then_some((pid, host))
}

pub(super) fn holder(text: &str) -> String {
    match process_in(text) {
        Some((pid, host)) => {
            let host = host.split('/').next().unwrap_or(host);
            format!("process {pid} on {host}")
        }
        None => "an unknown holder".to_owned(),
    }
}

/// Whether the holder ran on this machine and is gone, where the system can tell.
pub(super) fn dead_here(text: &str) -> bool {
    process_in(text).is_some_and(|(pid, at)| at == host() && is_over(pid, at, token_in(text)))
}

/// Whether the holder is known to live on this machine, where the system can tell.
pub(super) fn lives_here(text: &str) -> bool {
    process_in(text).is_some_and(|(pid, at)| {
        at == host() && at.contains('/') && !is_over(pid, at, token_in(text))
    })
}

/// Whether the process `pid` of this machine that made `token` is gone. The number alone does not tell: in a
/// container the program is process 1 every time, and its namespace may have the number of one that is gone.
fn is_over(pid: &str, host: &str, token: &str) -> bool {
    if is_gone(pid, host) {
        return true;
    }
    if !host.contains('/') {
        return false;
    }
    if pid.parse() == Ok(process::id()) {
        return !is_own_token(token);
    }
    match (start_in(token), start_of(pid)) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    }
}

/// Whether this process made `token`.
pub(super) fn is_own_token(token: &str) -> bool {
    token.starts_with(own_word())
}

/// When the process began that made `token`, as the token says.
fn start_in(token: &str) -> Option<u64> {
    token.split_once('-')?.1.parse().ok()
}

/// When a process began, in ticks since the machine did, where the system tells.
fn start_of(pid: &str) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?;
    // `pid (name) state ...`, where the name may be anything; the state is the third field, the start the 22nd.
    stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
}

/// Whether no process `pid` is left on this machine, which is called `host`. One that was killed and
/// whose parent did not ask for its end does nothing any more.
fn is_gone(pid: &str, host: &str) -> bool {
    if !host.contains('/') || !Path::new("/proc/self").exists() {
        return false;
    }
    let process = Path::new("/proc").join(pid);
    match fs::read_to_string(process.join("stat")) {
        // `pid (name) state ...`, where the name may be anything.
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => !process.exists(),
    }
}

/// `pid.machine` of this process, for names of files and folders that outlive it when it is killed.
pub fn mark() -> String {
    format!("{}.{}", process::id(), digest(host()))
}

/// Whether the process of a [`mark`] ran on this machine and is gone, where the system can tell.
pub fn is_left(mark: &str) -> bool {
    let host = host();
    mark.split_once('.').is_some_and(|(pid, at)| {
        pid.parse::<u32>().is_ok() && at == digest(host) && is_gone(pid, host)
    })
}

/// The name of a file that is not a lock or sign yet: it says whose it is before anything is written
/// to it.
pub(super) fn unborn_name(word: &str) -> String {
    format!("{word}.{}.new", mark())
}

/// Whether such a file was left by a process that died.
pub(super) fn is_unborn_of_the_dead(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parts = name.strip_suffix(".new").and_then(|name| name.split_once('.'));
    parts.is_some_and(|(word, its)| is_left(its) || (its == mark() && !is_own_token(word)))
}

fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// The name of this machine, for people.
pub fn node() -> String {
    let host = host();
    host.split('/').next().unwrap_or(host).to_owned()
}

/// This machine, and on Linux the process namespace, without which a pid means nothing.
fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(read_host)
}

fn read_host() -> String {
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

/// A number that differs between processes and calls.
pub(super) fn random() -> u64 {
    u64::from_str_radix(&random_digits(), 16).unwrap_or_default()
}

/// Hexadecimal digits that differ between processes and calls.
pub(super) fn random_digits() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // An address of this process differs where a container's number, clock and host do not.
    let place = &raw const COUNT;
    digest(&format!("{}/{}/{}/{count}/{place:?}", host(), process::id(), now.as_nanos()))
}

/// What all tokens of this process begin with, and no other's.
fn own_word() -> &'static str {
    static WORD: OnceLock<String> = OnceLock::new();
    WORD.get_or_init(random_digits)
}

/// A new token: the word of this process, a number, and when the process began where that is known.
fn new_word() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static START: OnceLock<Option<u64>> = OnceLock::new();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let start = START.get_or_init(|| start_of("self"));
    let start = start.map(|it| format!("-{it}")).unwrap_or_default();
    format!("{}{count:08x}{start}", own_word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_handle_is_looked_at_again_and_then_taken_for_gone() {
        let stale = || io::Error::from(io::ErrorKind::StaleNetworkFileHandle);
        let mut looks = [Err(stale()), Ok("there")].into_iter();
        assert_eq!(looking_again(|| looks.next().unwrap()).unwrap(), Some("there"));
        assert_eq!(looking_again(|| Err::<(), _>(stale())).unwrap(), None);
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(looking_again(refused).is_err());
        #[cfg(target_os = "linux")]
        assert_eq!(io::Error::from_raw_os_error(116).kind(), stale().kind());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_with_the_number_of_a_living_process_that_did_not_write_it_is_of_a_dead_one() {
        let own = Token::new("net");
        assert!(!dead_here(&own.line(0)) && lives_here(&own.line(0)));
        // A container that ran before had the same number, in a namespace that has its number now.
        let before = Token { word: format!("00c0ffee00c0ffee00000000-{}", 7), ..own.clone() };
        assert!(dead_here(&before.line(0)) && !lives_here(&before.line(0)));
        let unborn = unborn_name(&before.word);
        assert!(is_unborn_of_the_dead(Path::new(&unborn)));
        assert!(!is_unborn_of_the_dead(Path::new(&unborn_name(&own.word))));
        // Another process that lives, and one before it with the same number.
        let parent = std::os::unix::process::parent_id();
        let (start, here) = (start_of(&parent.to_string()).unwrap(), host());
        let text = |start: u64| format!("0 00c0ffee00c0ffee00000000-{start} {parent} {here} net\n");
        assert!(!dead_here(&text(start)) && dead_here(&text(start - 1)));
        // Texts of older runners say nothing about the start.
        assert!(!dead_here(&format!("0 00c0ffee00c0ffee {parent} {here} net\n")));
    }
}
