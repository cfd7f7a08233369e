//! One file from one address, with retries, and from where it was left off.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::Agent;

use super::Cause;
use crate::data::Watch;
use crate::progress::Unit;
use crate::random;

/// Attempts without a single new byte before giving up.
const ATTEMPTS: u32 = 4;
const CONNECT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(30);

/// How one attempt went wrong.
enum Trouble {
    /// Worth another try.
    Passing(String),
    /// Another try would go the same way.
    Final(String),
}

/// Downloads `url` to `part`, going on from what is there. Returns whether it was put together
/// from several answers.
pub(super) fn download(url: &str, part: &Path, watch: &Watch) -> Result<bool, Cause> {
    let agent = agent(url.starts_with("https://"));
    let mut resumed = false;
    let mut fruitless = 0;
    loop {
        if watch.check().is_err() {
            return Err(Cause::Interrupted);
        }
        let before = length(part);
        resumed |= before > 0;
        let trouble = match attempt(&agent, url, part, watch) {
            Ok(Answer::Whole) => return Ok(resumed),
            Ok(Answer::Stopped) => return Err(Cause::Interrupted),
            Err(trouble) => trouble,
        };
        let reason = match trouble {
            Trouble::Final(reason) => return Err(Cause::Failed(reason)),
            Trouble::Passing(reason) => reason,
        };
        fruitless = if length(part) > before { 0 } else { fruitless + 1 };
        if fruitless >= ATTEMPTS {
            return Err(Cause::Failed(format!("{reason} ({ATTEMPTS} attempts)")));
        }
        watch.progress.note(&format!("{url}: {reason}; trying again"));
        pause(url, fruitless, watch)?;
    }
}

enum Answer {
    Whole,
    Stopped,
}

fn agent(https_only: bool) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .https_only(https_only)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Waits 0.5 s, 1 s, 2 s, ... with half of it at random, so that many runners do not come back
/// all at once.
fn pause(url: &str, attempt: u32, watch: &Watch) -> Result<(), Cause> {
    let jitter =
        random::stream(u64::from(std::process::id()), url, u64::from(attempt), 0).uniform();
    let wait = Duration::from_millis(500 << attempt.saturating_sub(1).min(6));
    let end = Instant::now() + wait.mul_f32(0.5 + 0.5 * jitter);
    while Instant::now() < end {
        if watch.check().is_err() {
            return Err(Cause::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(50).min(end - Instant::now().min(end)));
    }
    Ok(())
}

fn attempt(agent: &Agent, url: &str, part: &Path, watch: &Watch) -> Result<Answer, Trouble> {
    let have = length(part);
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let mut response = request.call().map_err(|error| trouble(&error))?;
    let start = match response.status().as_u16() {
        206 if have > 0 && range_start(&response) == Some(have) => have,
        206 => return start_over(part, "the server sent another part than asked for"),
        200 => 0,
        // All of it is here already, or the file has changed: the checksum tells.
        416 => return start_over(part, "the server has no more bytes than are here"),
        status @ (408 | 425 | 429 | 500..=599) => {
            return Err(Trouble::Passing(format!("the server answered {status}")));
        }
        status => return Err(Trouble::Final(format!("the server answered {status}"))),
    };
    let total = response.body().content_length().map(|rest| start + rest);
    watch.progress.begin("download", total, Unit::Bytes);
    watch.progress.advance(start);
    let io = |error: std::io::Error| Trouble::Final(format!("{}: {error}", part.display()));
    let mut file = File::options()
        .create(true)
        .write(true)
        .append(start > 0)
        .truncate(start == 0)
        .open(part)
        .map_err(io)?;
    let mut reader = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut here = start;
    loop {
        if watch.check().is_err() {
            return Ok(Answer::Stopped);
        }
        let count = reader
            .read(&mut buffer)
            .map_err(|error| Trouble::Passing(format!("cut off after {here} bytes: {error}")))?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(io)?;
        here += count as u64;
        watch.progress.advance(count as u64);
    }
    file.sync_all().map_err(io)?;
    match total {
        Some(total) if here != total => {
            Err(Trouble::Passing(format!("cut off after {here} of {total} bytes")))
        }
        _ => Ok(Answer::Whole),
    }
}

fn start_over(part: &Path, reason: &str) -> Result<Answer, Trouble> {
    match fs::remove_file(part) {
        Ok(()) => Err(Trouble::Passing(reason.to_owned())),
        Err(error) => Err(Trouble::Final(format!("{}: {error}", part.display()))),
    }
}

/// The first byte that an answer holds, from `Content-Range: bytes 5-9/10`.
fn range_start(response: &ureq::http::Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
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
