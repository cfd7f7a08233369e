//! The journal of a run and the page that shows it: before, during and after, and to nobody else.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binary::{runner, script, spawn, text};
use crate::photos::photos;
use serde_json::Value;

const LONG: &str = "stages.adapted.epochs=100000";

fn start(root: &Path, arguments: &[&str]) -> Child {
    spawn(root, arguments, Stdio::piped(), Stdio::null())
}

fn journal(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("logs/events.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Folders of journals that are not part of a run.
fn live(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join("results/photos")).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|it| it.file_name().unwrap().to_str().unwrap().starts_with(".live-")).collect()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A page that is served; it ends with the test.
struct Page {
    child: Child,
    address: String,
}

impl Page {
    fn open(root: &Path, arguments: &[&str]) -> Self {
        let mut child = start(root, &[&["watch"], arguments].concat());
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
        Self { child, address }
    }

    /// Status, head and body of the answer to these bytes.
    fn ask(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.get("/state").2).unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_leaves_its_events_from_the_plan_to_the_end_and_a_cached_one_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let events = journal(&root.join("results/photos/latest"));
    let head = &events[0];
    assert_eq!((&head["event"], &head["pipeline"]), (&"run_started".into(), &"photos".into()));
    assert_eq!(head["plan"]["tasks"].as_array().unwrap().len(), 6);
    assert_eq!(head["plan"]["tasks"][1]["needs"], serde_json::json!([0]));
    assert_eq!(head["plan"]["trials"][0]["tasks"].as_array().unwrap().len(), 6);
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["ran"]), (&"run_finished".into(), &6.into()));
    let net = head["plan"]["tasks"].as_array().unwrap().iter().find(|it| it["name"] == "net");
    let net = &net.unwrap()["task"];
    // The numbers of the curve are those of the CSV.
    let csv = fs::read_to_string(root.join("results/photos/latest/net.csv")).unwrap();
    let curve: Vec<&Value> = events
        .iter()
        .filter(|it| it["event"] == "metric" && it["task"] == *net)
        .filter(|it| it["split"] == "validate" && it["name"] == "loss")
        .collect();
    assert_eq!(curve.len(), 4);
    for (at, metric) in curve.iter().enumerate() {
        let row = csv.lines().filter(|it| it.contains(",validate,loss,")).nth(at).unwrap();
        let value: f64 = row.rsplit(',').next().unwrap().parse().unwrap();
        assert_eq!(metric["value"].as_f64(), Some(value), "{row}");
        assert_eq!(metric["epoch"], at + 1);
    }
    assert!(live(root).is_empty());

    let before = fs::read_dir(root.join("results/photos")).unwrap().count();
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    assert_eq!(fs::read_dir(root.join("results/photos")).unwrap().count(), before);
}

#[test]
fn a_killed_run_is_shown_as_ended_without_a_word_and_the_next_one_is_gone_over_to() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let page = Page::open(root, &["photos.toml"]);
    assert_eq!(page.state()["state"], "waiting");
    let mut child = start(root, &["run", "photos.toml", "--set", LONG, "--checkpoint-every", "0"]);
    let run = until("a live run", || {
        let state = page.state();
        (state["state"] == "live").then(|| state["run"].clone())
    });
    until("an epoch of the long stage", || {
        let events = page.get("/events?from=0").2;
        events.contains("\"name\":\"adapted\",\"text\":\"epoch ").then_some(())
    });
    let status = text(&runner(root, &["status"]).stdout);
    assert!(status.contains("of photos: ") && status.contains(", running"), "{status}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("the death of the process", || (page.state()["state"] == "died").then_some(()));
    let list = text(&runner(root, &["ls"]).stdout);
    assert!(
        list.lines().any(|line| line.contains(" died ") && line.contains(" of 6 stages")),
        "{list}"
    );
    assert_eq!(page.state()["run"], run);
    assert_eq!(live(root).len(), 1);
    let status = text(&runner(root, &["status"]).stdout);
    assert!(status.contains("its process died"), "{status}");

    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let state = page.state();
    assert_eq!(state["state"], "ended");
    assert_ne!(state["run"], run);
    let events = page.get(&format!("/events?run={}&from=0", state["run"].as_str().unwrap())).2;
    assert!(events.trim_end().lines().last().unwrap().contains("run_finished"), "{events}");
    // Whoever asks for the run before is told.
    assert_eq!(page.get(&format!("/events?run={}&from=0", run.as_str().unwrap())).0, 409);
}

#[test]
fn two_runs_at_once_have_journals_of_their_own() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    let with = |seed: &str| {
        let set = format!("stages.adapted.seed={seed}");
        start(root, &["run", "photos.toml", "--quiet", "--set", &set, "--set", LONG])
    };
    let mut children = [with("1"), with("2")];
    until("two live runs", || (live(root).len() == 2).then_some(()));
    for child in &mut children {
        let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
    let runs = fs::read_dir(root.join("results/photos")).unwrap().map(|it| it.unwrap().path());
    let runs: Vec<PathBuf> = runs.filter(|it| !it.is_symlink()).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    let journals: Vec<Vec<Value>> = runs.iter().map(|run| journal(run)).collect();
    assert_ne!(journals[0][0]["run"], journals[1][0]["run"]);
    for events in journals {
        assert_eq!(events.last().unwrap()["event"], "run_finished");
    }
}

#[test]
fn the_page_is_for_this_machine_and_only_reads() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let page = Page::open(root, &[]);
    assert!(page.address.starts_with("127.0.0.1:"), "{}", page.address);
    let (status, head, body) = page.get("/");
    assert_eq!(status, 200);
    assert!(body.contains("<title>runner watch</title>"));
    assert!(
        head.contains("Content-Security-Policy: default-src 'none'; script-src 'self'"),
        "{head}"
    );
    for path in ["/page.css", "/page.js", "/state", "/events"] {
        assert_eq!(page.get(path).0, 200, "{path}");
    }
    for path in ["/x", "/../Cargo.toml", "/results", "/page.css/", "//state"] {
        assert_eq!(page.get(path).0, 404, "{path}");
    }
    let host = &page.address;
    let cases = [
        (format!("POST / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 405),
        (format!("DELETE /state HTTP/1.1\r\nHost: {host}\r\n\r\n"), 405),
        ("GET /state HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 403),
        ("GET /state HTTP/1.1\r\n\r\n".to_owned(), 403),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /events?from=x HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "a".repeat(40_000)), 431),
    ];
    for (request, wanted) in cases {
        assert_eq!(page.ask(&request).0, wanted, "{request:.60}");
    }
    // Somebody who connects and says nothing keeps nobody out.
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(host).unwrap()).collect();
    assert_eq!(page.state()["state"], "ended");
    drop(silent);
    // The report, once there is one.
    let report = root.join("results/photos/latest/report.html");
    fs::remove_file(&report).unwrap();
    assert_eq!((page.state()["report"].clone(), page.get("/report.html").0), (false.into(), 404));
    fs::write(report, "<!doctype html><title>It</title>").unwrap();
    assert_eq!(page.state()["report"], true);
    let (status, head, body) = page.get("/report.html");
    assert_eq!((status, body.contains("<title>It</title>")), (200, true));
    assert!(head.contains("default-src 'none'"), "{head}");
}

#[test]
fn a_run_without_a_journal_is_shown_from_its_record() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    fs::remove_file(root.join("results/photos/latest/logs/events.ndjson")).unwrap();
    let page = Page::open(root, &["photos"]);
    assert_eq!(page.state()["state"], "ended");
    let events = page.get("/events").2;
    let count = |word: &str| events.lines().filter(|line| line.contains(word)).count();
    assert_eq!((count("\"finished\""), count("\"run_finished\"")), (6, 1), "{events}");
    assert!(count("\"name\":\"accuracy\",\"value\":1.0") > 0, "{events}");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let root = tempfile::tempdir().unwrap();
    let page = Page::open(root.path(), &[]);
    let port = page.address.rsplit(':').next().unwrap();
    let output = runner(root.path(), &["watch", "--port", port]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("cannot listen on port {port} of 127.0.0.1")), "{said}");
}

#[test]
fn a_name_that_no_run_has_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let output = runner(root, &["watch", "nosuch"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("no run and no pipeline with runs is called `nosuch`"), "{said}");
    assert!(text(&runner(root, &["ls"]).stdout).contains("photos"));
    assert_eq!(Page::open(root, &["photos"]).state()["state"], "ended");
}

#[test]
fn who_connects_and_dawdles_keeps_nobody_out() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let page = Page::open(root, &[]);
    let since = Instant::now();
    // Some say nothing, some half a request, some all of it and then do not close.
    let whole = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", page.address);
    let mut dawdlers = Vec::new();
    for number in 0..120 {
        let mut stream = TcpStream::connect(&page.address).unwrap();
        let part = &whole[..[0, 10, whole.len()][number % 3]];
        // One that was ended in the meantime cannot be written to.
        let _ = stream.write_all(part.as_bytes());
        dawdlers.push(stream);
        if number % 10 == 9 {
            assert_eq!(page.state()["state"], "waiting", "after {number}");
        }
    }
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

/// Bytes of memory that a process has.
#[cfg(target_os = "linux")]
fn memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_of_any_length_in_a_journal_is_passed_on_in_parts_and_costs_no_memory() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    assert!(runner(root, &["run", "photos.toml", "--quiet"]).status.success());
    let journal = root.join("results/photos/latest/logs/events.ndjson");
    let events = fs::read_to_string(&journal).unwrap();
    let (first, rest) = events.split_once('\n').unwrap();
    let long = 40 << 20;
    let line = format!("{{\"event\":\"note\",\"text\":\"{}\"}}", "x".repeat(long));
    let all = format!("{first}\n{line}\n{rest}");
    fs::write(&journal, &all).unwrap();
    let page = Page::open(root, &[]);
    let mut got = String::new();
    loop {
        let part = page.get(&format!("/events?from={}", got.len())).2;
        if part.is_empty() {
            break;
        }
        got += &part;
    }
    assert!(got == all, "{} of {} bytes", got.len(), all.len());
    let most = memory(&page.child);
    assert!(most < long as u64, "{most} bytes");

    // The same journal of a run that goes on is counted without keeping its lines.
    let live = root.join("results/photos/.live-20260102T030405Z-abcdef");
    fs::create_dir(&live).unwrap();
    fs::copy(&journal, live.join("events.ndjson")).unwrap();
    fs::write(live.join("writer"), "00000000000000000007 token 1 elsewhere events\n").unwrap();
    let status = text(&runner(root, &["status"]).stdout);
    assert!(status.contains("of photos: 6 of 6 stages"), "{status}");
}

#[test]
fn the_command_of_the_guide_shows_the_page_of_another_machine() {
    use std::os::unix::fs::PermissionsExt as _;

    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    photos(root);
    // An `ssh` that stays here: its options and the host go, and the port needs no forwarding.
    let ssh =
        "#!/bin/sh\n[ \"$1 $2 $4\" = '-t -L cluster' ] || exit 1\nshift 4\nexec sh -c \"$*\"\n";
    let own = assert_cmd::cargo::cargo_bin("runner");
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("ssh"), ssh).unwrap();
    fs::set_permissions(bin.join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(own, bin.join("runner")).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let script = script("tables.md", "ssh").replace("8042", &address.port().to_string());
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.current_dir(root).args(["-c", &script]).env("PATH", path).stdout(Stdio::piped());
    // It ends with the group.
    let mut child =
        std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let served = TcpStream::connect(address).is_ok();
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["--", &group]).status().unwrap().success());
    child.wait().unwrap();
    assert!(served && line.contains(&address.to_string()), "{line}");
}
