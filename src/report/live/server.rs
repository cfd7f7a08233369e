//! Serves the page of a run to browsers on this machine: a listener on the loopback address, with a thread
//! for each of a few connections. Every connection has seconds to finish, and the oldest makes room for a new
//! one, so a slow client keeps nobody out. It answers requests and changes nothing.
//!
//! Five paths on loopback need no web framework, which would bring a runtime of its own: the sockets of the
//! standard library and [`http`] are enough.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::http::{self, Reply, Request};
use super::lookout::{Lookout, Standing};

/// The most connections at a time.
const MOST: usize = 32;

/// The most threads at a time: threads of connections that were cut need a moment to end.
const THREADS: usize = 4 * MOST;

/// The time in which a request must arrive.
const ASKING: Duration = Duration::from_secs(5);

/// The time in which the response must be taken.
const TAKING: Duration = Duration::from_secs(10);

/// The time in which the other side must close the connection.
const CLOSING: Duration = Duration::from_secs(1);

/// The most bytes of events in one response.
const CHUNK: u64 = 1 << 20;

/// The policy of the page: it may use the two files beside it and ask this server.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The policy of a finished report: it may use only what it contains.
const REPORT: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Serves the page of one run.
pub struct Server {
    listener: TcpListener,
    lookout: Arc<Lookout>,
}

impl Server {
    /// Listens on `port` of the loopback address; 0 stands for any free port.
    ///
    /// # Errors
    /// When the port is taken or refused.
    pub fn bind(port: u16, lookout: Lookout) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self { listener, lookout: Arc::new(lookout) })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub fn run(&self) -> ! {
        let guests = Arc::new(Mutex::new(Guests::default()));
        loop {
            let Ok((stream, peer)) = self.listener.accept() else {
                // Most likely there are no file handles left; others will be given back.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if !peer.ip().is_loopback() {
                continue;
            }
            let Some(number) = Guests::lock(&guests).admit(&stream) else {
                let mut stream = Timed::new(&stream, Duration::from_millis(100));
                let _ = Reply::refused((503, "too many connections")).send(&mut stream);
                continue;
            };
            let (lookout, theirs) = (Arc::clone(&self.lookout), Arc::clone(&guests));
            let spawned = thread::Builder::new().name("answer".to_owned()).spawn(move || {
                // The browser may go away at any moment; it will ask again.
                let _ = converse(&stream, &lookout);
                Guests::lock(&theirs).leave(number);
            });
            if spawned.is_err() {
                Guests::lock(&guests).leave(number);
            }
        }
    }
}

/// The open connections.
#[derive(Default)]
struct Guests {
    /// The connections with their numbers, the oldest first.
    streams: VecDeque<(u64, TcpStream)>,
    next: u64,
    /// The number of threads, including those whose connection was cut.
    threads: usize,
}

impl Guests {
    fn lock(guests: &Mutex<Self>) -> MutexGuard<'_, Self> {
        guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection and gives it a number; `None` when no thread is left for it. When there are too
    /// many connections, the oldest is cut: an honest one would have been answered long ago.
    fn admit(&mut self, stream: &TcpStream) -> Option<u64> {
        if self.threads >= THREADS {
            return None;
        }
        let stream = stream.try_clone().ok()?;
        if self.streams.len() >= MOST
            && let Some((_, oldest)) = self.streams.pop_front()
        {
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let number = self.next;
        self.next += 1;
        self.threads += 1;
        self.streams.push_back((number, stream));
        Some(number)
    }

    /// Forgets a connection when its thread is done.
    fn leave(&mut self, number: u64) {
        self.threads -= 1;
        self.streams.retain(|it| it.0 != number);
    }
}

/// A stream with a deadline for reading and writing, however little arrives at a time.
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a TcpStream, time: Duration) -> Self {
        Self { stream, until: Instant::now() + time }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn converse(stream: &TcpStream, lookout: &Lookout) -> io::Result<()> {
    let answer = match http::read(&mut Timed::new(stream, ASKING)) {
        Ok(request) => answer(&request, lookout),
        Err(refusal) => Reply::refused(refusal),
    };
    answer.send(&mut Timed::new(stream, TAKING))?;
    // Closing a socket with unread bytes would discard the response.
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Timed::new(stream, CLOSING);
    while rest.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

fn answer(request: &Request, lookout: &Lookout) -> Reply {
    match request.path.as_str() {
        "/" => Reply {
            policy: PAGE,
            ..Reply::found("text/html; charset=utf-8", include_str!("page.html"))
        },
        "/page.css" => Reply::found("text/css; charset=utf-8", include_str!("page.css")),
        "/page.js" => Reply::found("text/javascript; charset=utf-8", include_str!("page.js")),
        "/state" => {
            let watched = lookout.look();
            let folder = watched.folder.as_ref();
            let state = json!({
                "run": watched.id,
                "pipeline": watched.pipeline,
                "state": watched.standing,
                "folder": folder.map(|it| it.display().to_string()),
                "report": watched.report().is_some(),
            });
            Reply::found("application/json", state.to_string())
        }
        "/events" => events(request, lookout),
        "/report.html" => match lookout.look().report().and_then(|path| fs::read(path).ok()) {
            Some(body) => {
                Reply { policy: REPORT, ..Reply::found("text/html; charset=utf-8", body) }
            }
            None => Reply::refused((404, "this run has no report yet: `runner report` writes one")),
        },
        _ => Reply::refused((404, "nothing is here; the page is at /")),
    }
}

fn events(request: &Request, lookout: &Lookout) -> Reply {
    let Ok(from) = request.word("from").unwrap_or("0").parse() else {
        return Reply::refused((400, "`from` is a number of bytes"));
    };
    let watched = lookout.look();
    if request.word("run").is_some_and(|run| run != watched.id) {
        return Reply::refused((409, "another run is watched now"));
    }
    if watched.standing == Standing::Waiting {
        return Reply::found("application/x-ndjson", "");
    }
    // A journal that is moved at this moment is found by the next request.
    let body = watched.events(from, CHUNK).unwrap_or_default();
    Reply::found("application/x-ndjson", body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection.
    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, there)
    }

    #[test]
    fn a_stream_is_over_at_its_moment_although_bytes_are_there() {
        let (here, mut there) = connected();
        there.write_all(b"ab").unwrap();
        let mut buffer = [0; 1];
        assert_eq!(Timed::new(&here, Duration::from_secs(60)).read(&mut buffer).unwrap(), 1);
        let mut over = Timed::new(&here, Duration::ZERO);
        assert_eq!(over.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(over.write(b"c").unwrap_err().kind(), io::ErrorKind::TimedOut);
        // One in which nothing comes ends too.
        let (silent, _there) = connected();
        assert!(Timed::new(&silent, Duration::from_millis(10)).read(&mut buffer).is_err());
    }

    #[test]
    fn the_oldest_connection_makes_room_and_threads_that_linger_are_counted() {
        let mut guests = Guests::default();
        let mut ends = Vec::new();
        for number in 0..THREADS as u64 {
            let (here, there) = connected();
            assert_eq!(guests.admit(&here), Some(number));
            ends.push((here, there));
        }
        assert_eq!(guests.streams.len(), MOST);
        // The first was ended, the last was not.
        assert_eq!(ends[0].1.read(&mut [0; 1]).unwrap(), 0);
        ends[THREADS - 1].0.write_all(b"x").unwrap();
        assert_eq!(ends[THREADS - 1].1.read(&mut [0; 1]).unwrap(), 1);
        assert_eq!(guests.admit(&ends[0].0), None, "no thread is left");
        guests.leave(0);
        assert!(guests.admit(&ends[0].0).is_some());
    }
}
