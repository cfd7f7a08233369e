//! Lines for people on standard error, and what a command gives on standard output. A stream that
//! refuses loses what was meant for it and nothing else: the work goes on, and [`lost`] says what
//! nobody could read. Knows nothing of what the lines say.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What a stream did not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// `standard output` or `standard error`.
    pub stream: String,
    /// How many writes failed.
    pub writes: u64,
    /// The operating system's error of the first.
    pub error: String,
}

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl OutputStream {
    fn name(self) -> &'static str {
        match self {
            Self::Output => "standard output",
            Self::Error => "standard error",
        }
    }
}

static LOST: Mutex<Vec<Lost>> = Mutex::new(Vec::new());

fn all() -> MutexGuard<'static, Vec<Lost>> {
    LOST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A line on standard error. Escape codes are taken out where they do not belong.
pub fn say(line: impl Display) {
    // In one piece, so that lines of several threads do not mix.
    let text = format!("{line}\n");
    attempt(OutputStream::Error, || {
        let mut stream = anstream::stderr().lock();
        stream.write_all(text.as_bytes())
    });
}

/// `text` on standard output, as [`say`].
pub fn put(text: &str) {
    attempt(OutputStream::Output, || {
        let mut stream = anstream::stdout().lock();
        stream.write_all(text.as_bytes())?;
        stream.flush()
    });
}

/// Remembers it when `write` fails, which writes to `stream`.
pub fn attempt(stream: OutputStream, write: impl FnOnce() -> io::Result<()>) {
    match write() {
        // Whoever read standard output has seen enough of it.
        Err(error)
            if stream == OutputStream::Output && error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => count(&mut all(), stream, &error),
        Ok(()) => {}
    }
}

fn count(all: &mut Vec<Lost>, stream: OutputStream, error: &io::Error) {
    match all.iter_mut().find(|it| it.stream == stream.name()) {
        Some(lost) => lost.writes += 1,
        None => {
            let (stream, error) = (stream.name().to_owned(), error.to_string());
            all.push(Lost { stream, writes: 1, error });
        }
    }
}

/// What was lost so far, by stream.
pub fn lost() -> Vec<Lost> {
    all().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_refuses_is_counted_under_its_first_error() {
        let mut all = Vec::new();
        for text in ["full", "gone"] {
            count(&mut all, OutputStream::Output, &io::Error::other(text));
        }
        count(&mut all, OutputStream::Error, &io::Error::other("full"));
        let lost = |stream: &str, writes| Lost {
            stream: stream.to_owned(),
            writes,
            error: "full".to_owned(),
        };
        assert_eq!(all, [lost("standard output", 2), lost("standard error", 1)]);
    }
}
