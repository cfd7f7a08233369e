//! Classes of workers, and what they have room for.

use std::time::Duration;

use crate::config::amount;
use crate::plan::resources::Resources;

/// How long a worker waits for work that others must do first, where nothing else is said.
pub const IDLE: Duration = Duration::from_secs(120);

/// A class of workers, `[workers.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerClass {
    /// Its name.
    pub name: String,
    /// Options for the queue, as they are.
    pub options: Vec<String>,
    /// What a worker has. What is 0 is left to the queue.
    pub has: Resources,
    /// How many workers there are at a time at most.
    pub at_once: u32,
    /// How many may follow each other.
    pub lives: u32,
    /// How long a worker waits without work.
    pub idle: Duration,
    /// How many stages a worker builds at most before it leaves.
    pub tasks: Option<u32>,
}

impl WorkerClass {
    /// A class without limits.
    pub fn plain(name: &str, gpus: u32) -> Self {
        Self {
            name: name.to_owned(),
            options: Vec::new(),
            has: Resources { gpus, ..Resources::default() },
            at_once: 8,
            lives: 64,
            idle: IDLE,
            tasks: None,
        }
    }

    /// What a worker lacks for a stage that needs this; nothing where there is room.
    pub fn lacks(&self, needs: Resources, keeps_checkpoints: bool) -> Option<String> {
        let has = self.has;
        let counted = |what: &str, has: u32, needs: u32| {
            (needs > has).then(|| format!("{what} = {has} and not {needs}"))
        };
        let memory = amount::memory_text;
        counted("gpus", has.gpus, needs.gpus)
            // Every worker has a processor.
            .or_else(|| counted("cpus", has.cpus.max(1), needs.cpus))
            .or_else(|| {
                (needs.memory > has.memory).then(|| match has.memory {
                    0 => format!("no `memory`, and the stage needs {}", memory(needs.memory)),
                    has => format!("memory = {} and not {}", memory(has), memory(needs.memory)),
                })
            })
            .or_else(|| {
                let too_short = !has.time.is_zero() && needs.time > has.time && !keeps_checkpoints;
                too_short.then(|| {
                    format!(
                        "time = {} and not {}, and the stage keeps no checkpoints",
                        amount::time_text(has.time),
                        amount::time_text(needs.time)
                    )
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_says_what_it_lacks_for_a_stage() {
        let mut class = WorkerClass::plain("cpu", 0);
        let needs = |text: &str| {
            let mut needs = Resources::default();
            match text.split_once(' ').unwrap() {
                (count, "GPUs") => needs.gpus = count.parse().unwrap(),
                (count, "CPUs") => needs.cpus = count.parse().unwrap(),
                (_, "GB") => needs.memory = amount::memory(text).unwrap(),
                _ => needs.time = amount::time(text).unwrap(),
            }
            needs
        };
        let lacks = |class: &WorkerClass, text: &str, keeps| {
            class.lacks(needs(text), keeps).unwrap_or_default()
        };
        assert_eq!(lacks(&class, "1 GPUs", false), "gpus = 0 and not 1");
        assert_eq!(lacks(&class, "1 CPUs", false), "");
        assert_eq!(lacks(&class, "4 CPUs", false), "cpus = 1 and not 4");
        assert_eq!(lacks(&class, "16 GB", false), "no `memory`, and the stage needs 16 GB");
        assert_eq!(lacks(&class, "2 h", false), "", "the queue's limit is not known");
        class.has =
            Resources { gpus: 1, cpus: 8, memory: 8 << 30, time: Duration::from_secs(3600) };
        assert_eq!(lacks(&class, "1 GPUs", false) + &lacks(&class, "8 CPUs", false), "");
        assert_eq!(lacks(&class, "16 GB", false), "memory = 8 GB and not 16 GB");
        assert!(lacks(&class, "2 h", false).starts_with("time = 1h and not 2h"));
        assert_eq!(lacks(&class, "2 h", true), "", "the next life goes on from the checkpoint");
    }
}
