//! Finds the journals below a folder of results that are still being written, and those of dead writers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::exec::journal::{BEGUN, EVENTS, LIVE, SIGN};
use crate::store::Holder;

/// What a run is of that goes on, enough to plan it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// The resolved pipeline with its sweep, as TOML.
    pub text: String,
    /// The pipeline file, as it was named on the command line.
    pub file: String,
    /// Whether it runs the trials of its `[sweep]`, and not the pipeline alone.
    pub sweep: bool,
    /// The numeric backend that it is planned for.
    pub backend: String,
    /// The folder of its store; none where its path is no text, which JSON cannot hold.
    pub store: Option<String>,
    /// The folder that its relative paths begin in; none where its path is no text, or an earlier version began it.
    #[serde(default)]
    pub folder: Option<String>,
}

/// How far a run came that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Tasks that ended.
    pub ended: usize,
    /// All tasks.
    pub all: usize,
    /// The numbers of those that failed, with their messages.
    pub failed: BTreeMap<usize, String>,
}

/// A journal that is still being written, or whose writer died.
#[derive(Debug, Clone)]
pub struct Live {
    /// Its folder.
    pub folder: PathBuf,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The id of the run.
    pub run: String,
    /// Who writes it.
    pub holder: Holder,
}

impl Live {
    /// The journal in `folder`, if there is one.
    pub fn read(folder: &Path) -> Option<Self> {
        let run = folder.file_name()?.to_str()?.strip_prefix(LIVE)?.to_owned();
        let pipeline = folder.parent()?.file_name()?.to_string_lossy().into_owned();
        let holder = Holder::read(&fs::read_to_string(folder.join(SIGN)).ok()?);
        Some(Self { folder: folder.to_owned(), pipeline, run, holder })
    }

    /// What the run is of; nothing where that was not written yet, or by a runner that did not say it.
    pub fn begun(&self) -> Option<Begun> {
        serde_json::from_slice(&fs::read(self.folder.join(BEGUN)).ok()?).ok()
    }

    /// How many tasks ended, of how many. Lines of any length are read without being kept.
    pub fn counts(&self) -> Counted {
        #[derive(Deserialize)]
        struct Brief {
            event: String,
            task: Option<usize>,
            message: Option<String>,
            plan: Option<PlanBrief>,
        }
        #[derive(Deserialize)]
        struct PlanBrief {
            tasks: Vec<IgnoredAny>,
        }
        let Ok(file) = File::open(self.folder.join(EVENTS)) else {
            return Counted::default();
        };
        let (mut ended, mut failed, mut all) = (BTreeSet::new(), BTreeMap::new(), 0);
        let events = serde_json::Deserializer::from_reader(BufReader::new(file));
        for event in events.into_iter::<Brief>().map_while(Result::ok) {
            match event.event.as_str() {
                "run_started" | "planned" => all += event.plan.map_or(0, |it| it.tasks.len()),
                // One that was there is built again when its bytes turn out to be damaged.
                "task_started" => event.task.iter().for_each(|task| {
                    ended.remove(task);
                    failed.remove(task);
                }),
                "cached" | "finished" | "failed" | "skipped" | "paused" | "interrupted" => {
                    ended.extend(event.task);
                    if let (Some(task), "failed") = (event.task, &*event.event) {
                        failed.insert(task, event.message.unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
        Counted { ended: ended.len(), all, failed }
    }
}

/// All such journals below `results`, the oldest first.
pub fn live_runs(results: &Path) -> Vec<Live> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let mut found: Vec<Live> = list(results)
        .iter()
        .flat_map(|pipeline| list(pipeline))
        .filter_map(|folder| Live::read(&folder))
        .collect();
    // The id of a run begins with its time.
    found.sort_by(|a, b| a.run.cmp(&b.run));
    found
}
