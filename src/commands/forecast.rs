//! How long a plan will take, by what its stages took before.

use std::collections::HashMap;
use std::path::Path;

use petgraph::graph::NodeIndex;

use super::Error;
use crate::exec::Ending;
use crate::plan::graph::{Plan, Task};
use crate::report::runs;

/// Seconds that stages took in earlier runs, per epoch where they have epochs.
pub(super) struct PastTimes {
    by_name: HashMap<(String, String), Vec<f64>>,
    by_kind: HashMap<String, Vec<f64>>,
}

impl PastTimes {
    /// Those of every run below `results`.
    ///
    /// # Errors
    /// When the results cannot be listed.
    pub fn read(results: &Path) -> Result<Self, Error> {
        let mut past = Self { by_name: HashMap::new(), by_kind: HashMap::new() };
        for (_, record) in runs::all(results)? {
            for stage in record.tasks().filter(|it| it.state == Ending::Built) {
                let epochs = stage.settings.get("epochs").and_then(serde_json::Value::as_f64);
                let seconds = stage.seconds / epochs.unwrap_or(1.0).max(1.0);
                let (kind, name) = (stage.kind.clone(), stage.name.clone());
                past.by_name.entry((kind.clone(), name)).or_default().push(seconds);
                past.by_kind.entry(kind).or_default().push(seconds);
            }
        }
        Ok(past)
    }

    /// Seconds that a task will probably take: the median of stages of its name, or else of its kind.
    #[expect(clippy::cast_precision_loss, reason = "epochs are few")]
    fn seconds(&self, task: &Task) -> Option<f64> {
        let kind = task.stage.kind().to_owned();
        let known = self.by_name.get(&(kind.clone(), task.name.clone()));
        let known = known.or_else(|| self.by_kind.get(&kind))?;
        let mut sorted = known.clone();
        sorted.sort_by(f64::total_cmp);
        let epochs = task.settings.get("epochs").and_then(toml::Value::as_integer);
        Some(sorted[sorted.len() / 2] * epochs.unwrap_or(1).max(1) as f64)
    }

    /// Seconds that `tasks` take one after the other, and of how many of them nothing is known.
    pub fn total(&self, plan: &Plan, tasks: &[NodeIndex]) -> (f64, usize) {
        let known: Vec<f64> =
            tasks.iter().filter_map(|task| self.seconds(&plan.graph[*task])).collect();
        (known.iter().sum(), tasks.len() - known.len())
    }
}

/// A time for people: `3 min 20 s`.
pub(super) fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) if seconds < 9.95 => format!("{seconds:.1} s"),
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_say_them() {
        let texts = [0.04, 9.96, 61.0, 3599.7, 7320.0].map(duration);
        assert_eq!(texts, ["0.0 s", "10 s", "1 min 1 s", "1 h 0 min", "2 h 2 min"]);
    }
}
