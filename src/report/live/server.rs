//! The page of a run, for browsers of this machine: a listener on the loopback address, a thread for
//! each of a few connections. Answers questions and changes nothing.
//!
//! The standard library's sockets and [`http`](super::http) do: five paths on loopback need no
//! framework, and what would bring one brings a runtime of its own with it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::http::{self, Answer, Request};
use super::{Lookout, Standing};

/// Connections at a time.
const MOST: usize = 32;

/// Bytes of events in an answer.
const CHUNK: u64 = 1 << 20;

/// What the page may do: use the two files beside it and ask where it came from.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a finished report may do: use what it has in itself.
const REPORT: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Serves one page.
pub struct Server {
    listener: TcpListener,
    lookout: Arc<Lookout>,
}

impl Server {
    /// Listens on `port` of the loopback address, on a free one for 0.
    ///
    /// # Errors
    /// When the port is taken or refused.
    pub fn bind(port: u16, lookout: Lookout) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        Ok(Self { listener, lookout: Arc::new(lookout) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub fn run(&self) -> ! {
        let busy = Arc::new(AtomicUsize::new(0));
        loop {
            let Ok((stream, peer)) = self.listener.accept() else {
                // Out of file handles, most likely: others are given back.
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            if !peer.ip().is_loopback() {
                continue;
            }
            if busy.fetch_add(1, Ordering::SeqCst) >= MOST {
                busy.fetch_sub(1, Ordering::SeqCst);
                let mut stream = stream;
                let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
                let _ = Answer::refused((503, "too many connections")).send(&mut stream);
                continue;
            }
            let (lookout, theirs) = (Arc::clone(&self.lookout), Arc::clone(&busy));
            let spawned = thread::Builder::new().name("answer".to_owned()).spawn(move || {
                // The other side may be gone at any moment; it asks again.
                let _ = converse(stream, &lookout);
                theirs.fetch_sub(1, Ordering::SeqCst);
            });
            if spawned.is_err() {
                busy.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

fn converse(mut stream: TcpStream, lookout: &Lookout) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let answer = match http::read(&mut stream) {
        Ok(request) => answer(&request, lookout),
        Err(refusal) => Answer::refused(refusal),
    };
    answer.send(&mut stream)?;
    // Closing with unread bytes would take the answer back.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if io::Read::read(&mut stream, &mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, lookout: &Lookout) -> Answer {
    match request.path.as_str() {
        "/" => Answer {
            policy: PAGE,
            ..Answer::found("text/html; charset=utf-8", include_str!("page.html"))
        },
        "/page.css" => Answer::found("text/css; charset=utf-8", include_str!("page.css")),
        "/page.js" => Answer::found("text/javascript; charset=utf-8", include_str!("page.js")),
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
            Answer::found("application/json", state.to_string())
        }
        "/events" => events(request, lookout),
        "/report.html" => match lookout.look().report().and_then(|path| fs::read(path).ok()) {
            Some(body) => {
                Answer { policy: REPORT, ..Answer::found("text/html; charset=utf-8", body) }
            }
            None => {
                Answer::refused((404, "this run has no report yet: `runner report` writes one"))
            }
        },
        _ => Answer::refused((404, "nothing is here; the page is at /")),
    }
}

fn events(request: &Request, lookout: &Lookout) -> Answer {
    let Ok(from) = request.word("from").unwrap_or("0").parse() else {
        return Answer::refused((400, "`from` is a number of bytes"));
    };
    let watched = lookout.look();
    if request.word("run").is_some_and(|run| run != watched.id) {
        return Answer::refused((409, "another run is watched now"));
    }
    if watched.standing == Standing::Waiting {
        return Answer::found("application/x-ndjson", "");
    }
    // A journal that moves at this moment is found by the next question.
    let body = watched.events(from, CHUNK).unwrap_or_default();
    Answer::found("application/x-ndjson", body)
}
