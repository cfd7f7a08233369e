//! Finds the journals below a folder of results that are still being written, and those of dead writers.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exec::journal::{EVENTS, LIVE, SIGN};
use crate::store::Holder;

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

    /// The number of tasks that ended, and of all tasks. Lines of any length are read without being kept.
    pub fn counts(&self) -> (usize, usize) {
        #[derive(Deserialize)]
        struct Brief {
            event: String,
            plan: Option<PlanBrief>,
        }
        #[derive(Deserialize)]
        struct PlanBrief {
            tasks: Vec<IgnoredAny>,
        }
        let Ok(file) = File::open(self.folder.join(EVENTS)) else { return (0, 0) };
        let (mut ended, mut all) = (0, 0);
        let events = serde_json::Deserializer::from_reader(BufReader::new(file));
        for event in events.into_iter::<Brief>().map_while(Result::ok) {
            match event.event.as_str() {
                "run_started" | "planned" => all += event.plan.map_or(0, |it| it.tasks.len()),
                "cached" | "finished" | "failed" | "skipped" => ended += 1,
                _ => {}
            }
        }
        (ended, all)
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
