//! Follows the run that somebody watches: which run that is while others begin and end, and how it stands.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::journals::{Live, live_runs};
use super::recorded;
use crate::exec::journal::{EVENTS, SIGN};
use crate::report::finished::FinishedRun;
use crate::report::runs;

/// How long a watcher tolerates a sign of life that does not advance.
const LIMIT: Duration = Duration::from_secs(60);

/// The run that a user wants to watch.
#[derive(Debug, Clone)]
pub enum WatchTarget {
    /// The newest run that is still going, or the newest of all.
    Newest,
    /// The same among the runs of this pipeline.
    Pipeline(String),
    /// The finished run in this folder.
    Run(PathBuf),
}

/// How a watched run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// There is no run yet.
    Waiting,
    /// It is running.
    Live,
    /// Its process died without ending it.
    Died,
    /// It is over.
    Ended,
}

/// A run that is watched.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The id in its journal, or the name of its folder.
    pub id: String,
    /// Its pipeline.
    pub pipeline: String,
    /// How it stands.
    pub standing: Standing,
    /// The folder of its results, once there is one.
    pub folder: Option<PathBuf>,
    events: Events,
}

/// Where the events of a run come from.
#[derive(Debug, Clone)]
enum Events {
    None,
    File(PathBuf),
    /// Derived from the record of a run that has no journal.
    Text(std::sync::Arc<String>),
}

/// Follows one run, and moves on to the next one that begins.
pub struct Lookout {
    results: PathBuf,
    wanted: WatchTarget,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The live run that was watched last.
    run: Option<String>,
    /// Signs of life, and since when each has not advanced.
    signs: HashMap<PathBuf, (String, Instant)>,
    /// The last finished run that was looked at.
    finished: Option<Watched>,
}

impl Lookout {
    /// Follows `wanted` below `results`.
    pub fn new(results: PathBuf, wanted: WatchTarget) -> Self {
        Self { results, wanted, memory: Mutex::default() }
    }

    /// How the run stands now.
    pub fn look(&self) -> Watched {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let WatchTarget::Run(folder) = &self.wanted {
            return Self::finished(&mut memory, folder);
        }
        let mut live = live_runs(&self.results);
        if let WatchTarget::Pipeline(name) = &self.wanted {
            live.retain(|it| it.pipeline == *name);
        }
        let breathing: Vec<bool> = live.iter().map(|it| memory.breathes(it)).collect();
        // The watched run stays while it is alive; then the newest living run is next.
        let known = |memory: &Memory| {
            let at = |run: &String| live.iter().position(|it| it.run == *run);
            memory.run.as_ref().and_then(at)
        };
        let at = known(&memory)
            .filter(|at| breathing[*at])
            .or_else(|| breathing.iter().rposition(|it| *it));
        if let Some(at) = at {
            memory.run = Some(live[at].run.clone());
            return Self::going(&live[at], Standing::Live);
        }
        let dead = known(&memory).map(|at| &live[at]).or(live.last());
        let done = self.newest(&memory);
        if let Some(dead) = dead {
            // A run that ended later says more than one that died before it.
            let moved = |path: &Path| path.metadata().and_then(|it| it.modified()).ok();
            let later = done.as_ref().is_some_and(|folder| {
                moved(&folder.join("run.json")) > moved(&dead.folder.join(SIGN))
            });
            if !later {
                memory.run = Some(dead.run.clone());
                return Self::going(dead, Standing::Died);
            }
        }
        match done {
            Some(folder) => Self::finished(&mut memory, &folder),
            None => Watched {
                id: String::new(),
                pipeline: match &self.wanted {
                    WatchTarget::Pipeline(name) => name.clone(),
                    _ => String::new(),
                },
                standing: Standing::Waiting,
                folder: None,
                events: Events::None,
            },
        }
    }

    fn going(live: &Live, standing: Standing) -> Watched {
        Watched {
            id: live.run.clone(),
            pipeline: live.pipeline.clone(),
            standing,
            folder: None,
            events: Events::File(live.folder.join(EVENTS)),
        }
    }

    /// The folder that the watched run was finished into, or the newest folder.
    fn newest(&self, memory: &Memory) -> Option<PathBuf> {
        let homes: Vec<PathBuf> = match &self.wanted {
            WatchTarget::Pipeline(name) => vec![self.results.join(name)],
            _ => fs::read_dir(&self.results).ok()?.filter_map(|it| Some(it.ok()?.path())).collect(),
        };
        let newest = homes.iter().filter_map(|home| runs::latest(home));
        let newest = newest.max_by(|a, b| name(a).cmp(&name(b)));
        let Some(run) = &memory.run else { return newest };
        let is_it = |folder: &PathBuf| journal_id(folder).as_ref() == Some(run);
        if newest.as_ref().is_some_and(is_it) {
            return newest;
        }
        let folders = homes.iter().filter_map(|home| fs::read_dir(home).ok()).flatten();
        let mut folders: Vec<PathBuf> = folders.filter_map(|it| Some(it.ok()?.path())).collect();
        // It must be one of the newest.
        folders.sort_by_key(|folder| std::cmp::Reverse(name(folder)));
        folders.into_iter().take(20).find(is_it).or(newest)
    }

    /// The finished run in `folder`.
    fn finished(memory: &mut Memory, folder: &Path) -> Watched {
        if let Some(known) = &memory.finished
            && known.folder.as_deref() == Some(folder)
            // The journal may be moved there a moment after the folder appears.
            && (matches!(known.events, Events::File(_)) || !folder.join("logs").join(EVENTS).exists())
        {
            return known.clone();
        }
        let journal = folder.join("logs").join(EVENTS);
        let events = match journal.is_file() {
            true => Events::File(journal),
            false => match FinishedRun::read(folder) {
                Ok(run) => Events::Text(recorded::events(&run).into()),
                Err(_) => Events::None,
            },
        };
        let pipeline = folder.parent().map(name).unwrap_or_default();
        let id = journal_id(folder).unwrap_or_else(|| name(folder));
        let folder = Some(folder.to_owned());
        let watched = Watched { id, pipeline, standing: Standing::Ended, folder, events };
        memory.finished = Some(watched.clone());
        watched
    }
}

impl Memory {
    /// Whether the writer of a journal is alive, as far as this machine can tell.
    fn breathes(&mut self, live: &Live) -> bool {
        if live.holder.dead {
            return false;
        }
        let path = live.folder.join(SIGN);
        let Ok(now) = fs::read_to_string(&path) else { return false };
        let seen = self.signs.entry(path).or_insert_with(|| (now.clone(), Instant::now()));
        if seen.0 != now {
            *seen = (now, Instant::now());
        }
        seen.1.elapsed() < LIMIT
    }
}

impl Watched {
    /// At most `most` bytes of the journal, beginning at byte `from`. The last line may be incomplete: it may
    /// be longer than that, or still be being written.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn events(&self, from: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &self.events {
            Events::None => {}
            Events::Text(text) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX).min(text.len());
                text.as_bytes()[from..].take(most).read_to_end(&mut bytes)?;
            }
            Events::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(from))?;
                file.take(most).read_to_end(&mut bytes)?;
            }
        }
        Ok(bytes)
    }

    /// The finished report, if there is one.
    pub fn report(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|it| it.join("report.html")).filter(|it| it.is_file())
    }
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The id of the run in the first line of its journal.
fn journal_id(folder: &Path) -> Option<String> {
    let file = File::open(folder.join("logs").join(EVENTS)).ok()?;
    let mut head = Vec::new();
    file.take(256).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let (_, rest) = head.split_once("\"run\":\"")?;
    Some(rest.split('"').next()?.to_owned())
}

/// What a word on the command line stands for: the folder or the name of a run, or the name of a pipeline,
/// which need not have run yet.
pub fn wanted(results: &Path, word: Option<&Path>) -> WatchTarget {
    let Some(word) = word else { return WatchTarget::Newest };
    let pipeline = || WatchTarget::Pipeline(word.to_string_lossy().into_owned());
    if word.components().count() == 1 && results.join(word).is_dir() {
        return pipeline();
    }
    runs::find(results, word, None).map_or_else(pipeline, WatchTarget::Run)
}
