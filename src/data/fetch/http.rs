//! Downloads one file from one address, with retries, and resumes where an attempt stopped.
//!
//! No server can keep it busy for ever: attempts that do not bring the file further are counted, each
//! answer and all of them together must keep a lowest rate, and the disk must have room for the size.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::Cause;
use crate::data::Watch;
use crate::progress::Unit;
use crate::{random, system};

/// Attempts that bring the file no further before giving up.
const ATTEMPTS: u32 = 4;
/// After so many windows all attempts together must have brought what the lowest rate asks for.
const WINDOWS: u32 = 10;
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(30);
/// A whole answer; one that takes longer is resumed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How much slowness is tolerated from a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerPatience {
    /// Bytes per second that an answer must bring on average over `window`, and an attempt in new bytes
    /// to count as one that brings the file further.
    pub slowest: u64,
    /// The time after which the rate is looked at.
    pub window: Duration,
    /// Bytes that the folder's disk may still take, if the system tells.
    pub room: fn(&Path) -> Option<u64>,
    /// The time between the first attempt and the second; it doubles from one to the next.
    pub pause: Duration,
}

/// Room that a download leaves on the disk, for what a run computes: so much, or an eighth of what there is.
const RESERVE: u64 = 1 << 30;

impl Default for ServerPatience {
    fn default() -> Self {
        Self {
            slowest: 1 << 10,
            window: Duration::from_secs(60),
            room: |folder| system::free_space(folder).map(|free| free - RESERVE.min(free / 8)),
            pause: Duration::from_millis(500),
        }
    }
}

/// How one attempt went wrong.
enum Trouble {
    /// Worth another try.
    Passing(String),
    /// What is here does not go together with what the server sends; worth another try without it.
    Unfit(String),
    /// There is no room for it, and none for what is here of it.
    TooLarge(String),
    /// Another try would go the same way.
    Final(String),
}

impl ServerPatience {
    /// The rate in bytes per second, if so many bytes in such a time are too few.
    fn too_slow(&self, bytes: u64, passed: Duration) -> Option<u64> {
        let milliseconds = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = bytes.saturating_mul(1000) / milliseconds;
        (rate < self.slowest).then_some(rate)
    }
}

/// What all attempts came to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Attempts since the last one that brought the file further.
    fruitless: u32,
    brought: u64,
    passed: Duration,
}

impl Tally {
    /// Counts an attempt that brought `new` bytes, and took so long with the pause before it. Says why it
    /// is to be the last.
    pub(super) fn add(
        &mut self,
        new: u64,
        took: Duration,
        patience: &ServerPatience,
    ) -> Option<String> {
        self.brought += new;
        self.passed += took;
        let further = new > 0 && patience.too_slow(new, took).is_none();
        self.fruitless = if further { 0 } else { self.fruitless + 1 };
        if self.fruitless >= ATTEMPTS {
            return Some(format!("{ATTEMPTS} attempts"));
        }
        if self.passed < patience.window.saturating_mul(WINDOWS) {
            return None;
        }
        let rate = patience.too_slow(self.brought, self.passed)?;
        let seconds = self.passed.as_secs();
        Some(format!("too slow: {rate} bytes per second over {seconds} s in all"))
    }
}

/// Downloads `url` to `part`, going on from what is there. Returns whether it was put together
/// from several answers. A part that no other attempt could resume is removed.
pub(super) fn download(
    url: &str,
    part: &Path,
    watch: &Watch,
    patience: &ServerPatience,
) -> Result<bool, Cause> {
    download_trusting(&RootCerts::WebPki, url, part, watch, patience)
}

/// The certificates in the PEM file at `path`.
pub(super) fn roots(path: &Path) -> Result<RootCerts, Cause> {
    let pem = fs::read(path).map_err(|error| Cause::io(path, error))?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Cause::Failed(format!("{}: no certificate in it", path.display())));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// As [`download`], from servers that one of `roots` vouches for.
pub(super) fn download_trusting(
    roots: &RootCerts,
    url: &str,
    part: &Path,
    watch: &Watch,
    patience: &ServerPatience,
) -> Result<bool, Cause> {
    let agent = agent(url.starts_with("https://"), roots);
    let mut resumed = false;
    let mut tally = Tally::default();
    let mut furthest = length(part);
    let mut since = Instant::now();
    // Whether the server was seen not to resume where an answer was cut off.
    let mut starts_over = false;
    loop {
        if watch.check().is_err() {
            return Err(Cause::Interrupted);
        }
        resumed |= length(part) > 0;
        let (trouble, again) = match attempt(&agent, url, part, watch, patience, &mut starts_over) {
            Ok(Received::Whole) => return Ok(resumed),
            Ok(Received::Stopped) => return Err(Cause::Interrupted),
            Err(Trouble::Passing(reason)) => (reason, true),
            Err(Trouble::Unfit(reason)) => {
                starts_over = true;
                remove(part)?;
                (reason, true)
            }
            Err(Trouble::TooLarge(reason)) => {
                remove(part)?;
                (reason, false)
            }
            Err(Trouble::Final(reason)) => (reason, false),
        };
        let new = length(part).saturating_sub(furthest);
        furthest += new;
        let last = tally.add(new, since.elapsed(), patience);
        since = Instant::now();
        if !again || last.is_some() {
            if starts_over {
                remove(part)?;
            }
            let why = last.filter(|_| again).map_or(String::new(), |last| format!(" ({last})"));
            return Err(Cause::Failed(format!("{trouble}{why}")));
        }
        watch.progress.note(&format!("{url}: {trouble}; trying again"));
        pause(url, tally.fruitless, patience.pause, watch)?;
    }
}

enum Received {
    Whole,
    Stopped,
}

fn agent(https_only: bool, roots: &RootCerts) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .https_only(https_only)
        .tls_config(TlsConfig::builder().root_certs(roots.clone()).build())
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_recv_body(Some(LONGEST))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(part: &Path) -> Result<(), Cause> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Cause::io(part, error)),
        _ => Ok(()),
    }
}

/// Waits once `first`, twice, four times, ... with half of it at random, so that many runners do not come
/// back all at once.
fn pause(url: &str, attempt: u32, first: Duration, watch: &Watch) -> Result<(), Cause> {
    let jitter =
        random::stream(u64::from(std::process::id()), url, u64::from(attempt), 0).uniform();
    let wait = first * (1 << attempt.saturating_sub(1).min(6));
    let end = Instant::now() + wait.mul_f32(0.5 + 0.5 * jitter);
    while Instant::now() < end {
        if watch.check().is_err() {
            return Err(Cause::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(50).min(end - Instant::now().min(end)));
    }
    Ok(())
}

/// Asks once, for what is not here yet. `starts_over` is set when the server gives all of it instead.
fn attempt(
    agent: &Agent,
    url: &str,
    part: &Path,
    watch: &Watch,
    patience: &ServerPatience,
    starts_over: &mut bool,
) -> Result<Received, Trouble> {
    let have = length(part);
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| trouble(&error))?;
    let start = match response.status().as_u16() {
        206 if have > 0 && range_fits(&response, have) => have,
        206 => return Err(Trouble::Unfit("the server sent another part than asked for".into())),
        200 => {
            *starts_over |= have > 0;
            0
        }
        // All of it is here already, or the file has changed: the checksum tells.
        416 => return Err(Trouble::Unfit("the server has no more bytes than are here".into())),
        status @ (408 | 425 | 429 | 500..=599) => {
            return Err(Trouble::Passing(format!("the server answered {status}")));
        }
        status => return Err(Trouble::Final(format!("the server answered {status}"))),
    };
    let total = response.body().content_length().map(|rest| start.saturating_add(rest));
    watch.progress.begin("download", total, Unit::Bytes);
    watch.progress.advance(start);
    let mut reader = response.body_mut().as_reader();
    let Some(here) = receive(&mut reader, part, (start, total), watch, patience)? else {
        return Ok(Received::Stopped);
    };
    match total {
        Some(total) if here != total => {
            Err(Trouble::Passing(format!("cut off after {here} of {total} bytes")))
        }
        _ => Ok(Received::Whole),
    }
}

/// Writes what an answer brings to `part` from byte `start` on. Gives the length that the file has then;
/// `None` when the user asked to stop.
fn receive(
    reader: &mut impl Read,
    part: &Path,
    (start, total): (u64, Option<u64>),
    watch: &Watch,
    patience: &ServerPatience,
) -> Result<Option<u64>, Trouble> {
    let io = |error: std::io::Error| {
        let reason = format!("{}: {error}", part.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::TooLarge(reason),
            _ => Trouble::Final(reason),
        }
    };
    let mut file = File::options()
        .create(true)
        .write(true)
        .append(start > 0)
        .truncate(start == 0)
        .open(part)
        .map_err(io)?;
    let most = (patience.room)(part.parent().unwrap_or(Path::new("."))).unwrap_or(u64::MAX);
    let enough = |more: u64, what: &str| {
        if more <= most {
            return Ok(());
        }
        let reason = "more than the disk has room for, with a reserve for what a run computes";
        Err(Trouble::TooLarge(format!("{what}: {reason} ({})", megabytes(most))))
    };
    if let Some(more) = total.map(|total| total.saturating_sub(start)) {
        enough(more, &format!("{} are to come", megabytes(more)))?;
    }
    let mut buffer = vec![0; 1 << 16];
    let (mut here, mut before) = (start, start);
    let mut since = Instant::now();
    loop {
        if watch.check().is_err() {
            return Ok(None);
        }
        let count = reader
            .read(&mut buffer)
            .map_err(|error| Trouble::Passing(format!("cut off after {here} bytes: {error}")))?;
        if count == 0 {
            break;
        }
        enough(here - start + count as u64, "an answer without a declared end")?;
        file.write_all(&buffer[..count]).map_err(io)?;
        here += count as u64;
        watch.progress.advance(count as u64);
        let passed = since.elapsed();
        if passed >= patience.window {
            if let Some(rate) = patience.too_slow(here - before, passed) {
                let seconds = passed.as_secs();
                return Err(Trouble::Passing(format!(
                    "too slow: {rate} bytes per second over {seconds} s"
                )));
            }
            (since, before) = (Instant::now(), here);
        }
    }
    file.sync_all().map_err(io)?;
    Ok(Some(here))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// Whether an answer brings the bytes from `have` on, all of them: `Content-Range: bytes 5-9/10`.
fn range_fits(response: &ureq::http::Response<ureq::Body>, have: u64) -> bool {
    let range = || {
        let range = response.headers().get("content-range")?.to_str().ok()?;
        let (bytes, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (start, end) = bytes.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        Some((number(start)?, number(end)?, number(total)))
    };
    range().is_some_and(|(start, end, total)| {
        let all = total.is_none_or(|total| total == end.saturating_add(1));
        let length = response.body().content_length();
        start == have
            && end >= start
            && all
            && length.is_none_or(|length| length == (end - start).saturating_add(1))
    })
}

fn trouble(error: &ureq::Error) -> Trouble {
    let reason = error.to_string();
    match error {
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => {
            Trouble::Passing(reason)
        }
        // No address, no certificate, no such protocol: the next source, at once.
        _ => Trouble::Final(reason),
    }
}
