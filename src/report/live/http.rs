//! As much of HTTP/1.1 as a page on the same machine needs: one GET per connection. A request that is longer
//! or stranger than a browser's is refused, and so is one that takes too long.

use std::io::{self, Read, Write};

/// The most bytes that the head of a request may have.
const HEAD: usize = 16 * 1024;

/// A request that may be answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The path, with its leading slash.
    pub path: String,
    /// Names and values of the query, not decoded.
    pub query: Vec<(String, String)>,
}

impl Request {
    /// The value of `word` in the query.
    pub fn word(&self, word: &str) -> Option<&str> {
        self.query.iter().find(|it| it.0 == word).map(|it| it.1.as_str())
    }
}

/// Why a request is refused: status and reason.
pub type Refusal = (u16, &'static str);

/// Reads the head of a request.
///
/// # Errors
/// The response to a request that was refused.
pub fn read(stream: &mut impl Read) -> Result<Request, Refusal> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err((400, "the request is not complete")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err((408, "the request did not come in time")),
        };
        head.extend(&buffer[..count]);
        if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            head.truncate(end);
            return parse(&head);
        }
        if head.len() > HEAD {
            return Err((431, "the request's head is too long"));
        }
    }
}

/// Parses the head of a request.
fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let bad = (400, "not a request");
    let head = std::str::from_utf8(head).map_err(|_| bad)?;
    if head.chars().any(|it| it.is_control() && !matches!(it, '\r' | '\n' | '\t')) {
        return Err(bad);
    }
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else { return Err(bad) };
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err((505, "only HTTP/1.1"));
    }
    if method != "GET" {
        return Err((405, "only GET: nothing can be changed here"));
    }
    if !target.starts_with('/') {
        return Err(bad);
    }
    let mut host = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(bad)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad);
        }
        match name.to_ascii_lowercase().as_str() {
            "host" if host.is_some() => return Err(bad),
            "host" => host = Some(value.trim()),
            "content-length" if value.trim() != "0" => {
                return Err((413, "a request here has no body"));
            }
            "transfer-encoding" => return Err((413, "a request here has no body")),
            _ => {}
        }
    }
    if !host.is_some_and(is_loopback) {
        return Err((403, "this page is for this machine: ask for it by 127.0.0.1 or localhost"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|it| !it.is_empty());
    let query = query.map(|it| it.split_once('=').unwrap_or((it, "")));
    let query = query.map(|(word, value)| (word.to_owned(), value.to_owned())).collect();
    Ok(Request { path: path.to_owned(), query })
}

/// Whether a `Host` header names this machine. A foreign name that resolves to it (DNS rebinding) does not.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
            _ => return false,
        },
        None => host.split_once(':').map_or(host, |(name, port)| {
            if port.bytes().all(|it| it.is_ascii_digit()) { name } else { "" }
        }),
    };
    matches!(name.to_ascii_lowercase().as_str(), "127.0.0.1" | "localhost" | "::1")
}

/// A response.
pub struct Reply {
    /// Its status: 200, or what is wrong.
    pub status: u16,
    /// Its media type.
    pub kind: &'static str,
    /// Its content security policy.
    pub policy: &'static str,
    /// Its body.
    pub body: Vec<u8>,
}

/// The policy of a response that may load and run nothing.
pub const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

impl Reply {
    /// A successful response.
    pub fn found(kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, kind, policy: NOTHING, body: body.into() }
    }

    /// A refusal with its reason.
    pub fn refused((status, reason): Refusal) -> Self {
        let body = format!("{reason}\n").into_bytes();
        Self { status, kind: "text/plain; charset=utf-8", policy: NOTHING, body }
    }

    /// Sends it.
    ///
    /// # Errors
    /// When the other side closed the connection.
    pub fn send(&self, stream: &mut impl Write) -> io::Result<()> {
        let Self { status, kind, policy, body } = self;
        let word = match status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "Internal Server Error",
        };
        let allow = if *status == 405 { "Allow: GET\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status} {word}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
             Content-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Request, u16> {
        read(&mut text.as_bytes()).map_err(|refusal| refusal.0)
    }

    #[test]
    fn a_request_is_its_path_and_its_query() {
        let request =
            answer("GET /events?run=a&from=12 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n").unwrap();
        assert_eq!(request.path, "/events");
        assert_eq!(
            (request.word("run"), request.word("from"), request.word("to")),
            (Some("a"), Some("12"), None)
        );
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let with = |host: &str| answer(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).err();
        for host in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:80", "[::1]"]
        {
            assert_eq!(with(host), None, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost:80.evil.example",
            "",
            "[::1]x",
            "10.0.0.1",
        ] {
            assert_eq!(with(host), Some(403), "{host}");
        }
        assert_eq!(answer("GET / HTTP/1.1\r\n\r\n").err(), Some(403));
    }

    #[test]
    fn what_is_not_a_plain_get_is_refused() {
        let long =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(2 * HEAD));
        let cases = [
            ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
            ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("GET / HTTP/2\r\nHost: localhost\r\n\r\n", 505),
            ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n", 400),
            ("\u{1}\r\n\r\n", 400),
            (long.as_str(), 431),
        ];
        for (text, status) in cases {
            assert_eq!(answer(text).err(), Some(status), "{text:.80}");
        }
    }
}
