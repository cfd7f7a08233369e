//! The events of a run in a file, for whoever looks on from outside or comes later: a line of JSON
//! each, with its time. Never holds up the run: who reports leaves events in a queue, a thread of its
//! own writes them four times a second, progress summed up, and a disk that refuses only ends the
//! journal.
//!
//! While the run goes on, the file lies in `<results>/<pipeline>/.live-<id>/`, beside a sign of life and what the run is
//! of; at the end it becomes `logs/events.ndjson` of the run's folder.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::events::{Event, Reporter};
use crate::store::Sign;

/// How the names of folders begin that hold the journal of a run that goes on.
pub const LIVE: &str = ".live-";

/// The journal's name.
pub const EVENTS: &str = "events.ndjson";

/// The sign of life's name.
pub const SIGN: &str = "writer";

/// The name of the file that says what a run is of that goes on.
pub const BEGUN: &str = "begun.json";

/// Time between two writes.
const PAUSE: Duration = Duration::from_millis(250);

/// Time between two moves of the sign of life.
const BEAT: Duration = Duration::from_secs(2);

/// Events that wait at most; further ones are lost, and counted.
const ROOM: usize = 50_000;

/// Writes the journal of one run.
pub struct Journal {
    queue: Arc<Queue>,
    run: String,
    writer: Option<JoinHandle<JournalWriter>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    closing: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<(DateTime<Utc>, Event)>,
    /// What happens too often to be written every time, by task.
    pending: BTreeMap<usize, PendingProgress>,
    lost: usize,
    /// Nothing more comes, or nobody writes any more.
    closed: bool,
    /// There are no results, so that events that were not written yet need not be.
    unneeded: bool,
}

/// Progress and status of a task since they were last written.
#[derive(Default)]
struct PendingProgress {
    by: u64,
    status: Option<String>,
}

impl Waiting {
    /// Puts the pending progress of `task` in the queue, before the event that ends it.
    fn settle(&mut self, now: DateTime<Utc>, task: usize) {
        let Some(PendingProgress { by, status }) = self.pending.remove(&task) else { return };
        if by > 0 {
            self.push(now, Event::Progress { task, by });
        }
        if let Some(text) = status {
            self.push(now, Event::Status { task, text });
        }
    }

    fn push(&mut self, now: DateTime<Utc>, event: Event) {
        if self.events.len() < ROOM {
            self.events.push_back((now, event));
        } else {
            self.lost += 1;
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Begins the journal of a run in `home`, the folder of its pipeline's results. `begun` is what the run is of, for
    /// whoever wants to know while it goes on.
    pub fn begin(home: &Path, begun: String) -> Self {
        let now = crate::system::now();
        let hash = blake3::hash(format!("{now:?} {} {:?}", std::process::id(), home).as_bytes());
        let run = format!("{}-{}", now.format("%Y%m%dT%H%M%SZ"), &hash.to_hex()[..6]);
        let queue = Arc::new(Queue::default());
        let folder = home.join(format!("{LIVE}{run}"));
        let mut writer = JournalWriter { folder, begun, file: None };
        let theirs = Arc::clone(&queue);
        let writer = thread::Builder::new().name("journal".to_owned()).spawn(move || {
            if writer.work(&theirs).is_err() {
                theirs.lock().closed = true;
            }
            writer
        });
        if writer.is_err() {
            queue.lock().closed = true;
        }
        Self { queue, run, writer: writer.ok() }
    }

    /// The id that the journal has for its run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Ends it: it becomes part of the run in the folder `run`, if there is one.
    pub fn end(mut self, run: Option<&Path>) {
        self.queue.lock().unneeded = run.is_none();
        let Some(writer) = self.close() else { return };
        if let Some(run) = run {
            // A journal that cannot be kept is missed by nobody who has the results.
            let _ = writer.keep(run);
        }
        let _ = fs::remove_dir_all(&writer.folder);
    }

    /// Has the rest written; `None` when nothing was.
    fn close(&mut self) -> Option<JournalWriter> {
        let writer = self.writer.take()?;
        self.queue.lock().closed = true;
        self.queue.closing.notify_all();
        writer.join().ok()
    }
}

impl Drop for Journal {
    /// A run that ends without results leaves its journal, as one does that is killed.
    fn drop(&mut self) {
        self.close();
    }
}

impl Reporter for Journal {
    fn event(&self, event: &Event) {
        let mut waiting = self.queue.lock();
        if waiting.closed {
            return;
        }
        match event {
            Event::Progress { task, by } => waiting.pending.entry(*task).or_default().by += by,
            Event::Status { task, text } => {
                waiting.pending.entry(*task).or_default().status = Some(text.clone());
            }
            _ => {
                let now = crate::system::now();
                if let Some(task) = task_of(event) {
                    waiting.settle(now, task);
                }
                waiting.push(now, event.clone());
            }
        }
    }

    fn stopping(&self) {}
}

fn task_of(event: &Event) -> Option<usize> {
    match event {
        Event::RunStarted { .. }
        | Event::Planned { .. }
        | Event::Workers { .. }
        | Event::RunFinished { .. } => None,
        Event::TaskStarted { task, .. }
        | Event::Cached { task, .. }
        | Event::Waiting { task, .. }
        | Event::Phase { task, .. }
        | Event::Progress { task, .. }
        | Event::Status { task, .. }
        | Event::Metric { task, .. }
        | Event::Note { task, .. }
        | Event::Finished { task, .. }
        | Event::Failed { task, .. }
        | Event::Paused { task, .. }
        | Event::Interrupted { task, .. }
        | Event::Skipped { task, .. } => Some(*task),
    }
}

/// Who writes.
struct JournalWriter {
    folder: PathBuf,
    begun: String,
    /// Open once something was written.
    file: Option<File>,
}

/// A line of the journal.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

impl JournalWriter {
    /// Writes what comes until the journal is closed.
    fn work(&mut self, queue: &Queue) -> io::Result<()> {
        let mut sign = Sign::new("events");
        let mut beat: Option<Instant> = None;
        loop {
            let (events, lost, closed, unneeded) = {
                let waiting = queue.lock();
                let (mut waiting, _) = queue
                    .closing
                    .wait_timeout_while(waiting, PAUSE, |it| !it.closed)
                    .unwrap_or_else(PoisonError::into_inner);
                let now = crate::system::now();
                while let Some(task) = waiting.pending.keys().next().copied() {
                    waiting.settle(now, task);
                }
                let events = mem::take(&mut waiting.events);
                (events, mem::take(&mut waiting.lost), waiting.closed, waiting.unneeded)
            };
            if self.file.is_none() && closed && (unneeded || events.is_empty()) {
                return Ok(());
            }
            if self.file.is_none() {
                fs::create_dir_all(&self.folder)?;
                fs::write(self.folder.join(SIGN), sign.line())?;
                fs::write(self.folder.join(BEGUN), &self.begun)?;
                beat = Some(Instant::now());
                self.file = Some(File::create(self.folder.join(EVENTS))?);
            }
            self.write(&events, lost)?;
            if closed {
                return Ok(());
            }
            if beat.is_none_or(|at| at.elapsed() > BEAT) {
                beat = Some(Instant::now());
                // In place, so that a reader never finds nothing.
                let mut file = fs::OpenOptions::new().write(true).open(self.folder.join(SIGN))?;
                file.write_all(sign.line().as_bytes())?;
            }
        }
    }

    fn write(&mut self, events: &VecDeque<(DateTime<Utc>, Event)>, lost: usize) -> io::Result<()> {
        let mut text = Vec::new();
        for (time, event) in events {
            let time = time.to_rfc3339_opts(SecondsFormat::Millis, true);
            serde_json::to_writer(&mut text, &Line { time, event })?;
            text.push(b'\n');
        }
        if lost > 0 {
            let time = crate::system::now().to_rfc3339_opts(SecondsFormat::Millis, true);
            let line = serde_json::json!({ "time": time, "event": "lost", "events": lost });
            text.extend(format!("{line}\n").bytes());
        }
        match &mut self.file {
            Some(file) => file.write_all(&text),
            None => Ok(()),
        }
    }

    /// Moves the journal to where a run in `folder` has it.
    fn keep(&self, folder: &Path) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_all()?;
        let logs = folder.join("logs");
        // The folder itself may have been removed on purpose.
        match fs::create_dir(&logs) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (from, to) = (self.folder.join(EVENTS), logs.join(EVENTS));
        // The journal of a worker may lie on another disk than its store.
        fs::rename(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ()))?;
        File::open(&logs)?.sync_all()?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn phase() -> Event {
        Event::Phase { task: 3, phase: "train".into(), total: None, unit: "steps" }
    }

    fn events(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn progress_is_summed_up_and_nothing_of_it_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::begin(home.path(), String::new());
        journal.event(&phase());
        for step in 0..10_000 {
            journal.event(&Event::Progress { task: 3, by: 2 });
            journal.event(&Event::Status { task: 3, text: format!("loss {step}") });
        }
        let note = Event::Note { task: 3, name: "a".into(), text: "an epoch".into() };
        journal.event(&note);
        let run = home.path().join("run");
        fs::create_dir(&run).unwrap();
        journal.end(Some(&run));
        let events = events(&fs::read_to_string(run.join("logs/events.ndjson")).unwrap());
        let of = |kind: &str| events.iter().filter(|it| it["event"] == kind).collect::<Vec<_>>();
        let by: u64 = of("progress").iter().map(|it| it["by"].as_u64().unwrap()).sum();
        assert_eq!(by, 20_000);
        assert!(events.len() < 200, "{}", events.len());
        assert_eq!(of("status").last().unwrap()["text"], "loss 9999");
        // What ends a task comes after what it did.
        assert_eq!(events.last().unwrap()["event"], "note");
        assert!(events.iter().all(|it| it["time"].is_string()));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "only the run is left");
    }

    #[test]
    fn a_disk_that_refuses_ends_the_journal_and_not_the_run() {
        let home = tempfile::NamedTempFile::new().unwrap();
        let journal = Journal::begin(home.path(), String::new());
        for _ in 0..3 {
            journal.event(&phase());
            thread::sleep(PAUSE);
        }
        assert!(journal.queue.lock().closed, "the writer gave up");
        journal.end(Some(home.path()));
    }

    #[test]
    fn a_run_that_made_nothing_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::begin(home.path(), String::new());
        journal.event(&phase());
        journal.end(None);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut waiting = Waiting::default();
        for _ in 0..ROOM + 7 {
            waiting.push(crate::system::now(), phase());
        }
        assert_eq!((waiting.events.len(), waiting.lost), (ROOM, 7));
    }
}
