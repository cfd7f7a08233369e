//! `[stages.NAME.resources]`: what one task of a stage needs of the machine that builds it. Decides where a task goes
//! when a queue lends machines, and nothing about its bytes: it is no part of a fingerprint.

use std::fmt;
use std::time::Duration;

use crate::config::amount;
use crate::config::{Keys, Noted};

/// What a task needs; 0 where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// GPUs.
    pub gpus: u32,
    /// Threads.
    pub cpus: u32,
    /// Bytes.
    pub memory: u64,
    /// How long it may take from its beginning to its end.
    pub time: Duration,
}

impl Resources {
    /// What serves for both: a task that several stages share.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            gpus: self.gpus.max(other.gpus),
            cpus: self.cpus.max(other.cpus),
            memory: self.memory.max(other.memory),
            time: self.time.max(other.time),
        }
    }
}

/// For people: `1 GPU, 8 CPUs, 16 GB`.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: u32, what| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            count => Some(format!("{count} {what}s")),
        };
        let parts = [
            counted(self.gpus, "GPU"),
            counted(self.cpus, "CPU"),
            (self.memory > 0).then(|| amount::memory_text(self.memory)),
            (!self.time.is_zero()).then(|| amount::time_text(self.time)),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Reads the table.
pub fn read(keys: &mut Keys) -> Result<Resources, Noted> {
    keys.about(&[
        ("gpus", "GPUs of one task; 1 where the stage computes on a GPU"),
        ("cpus", "threads of one task"),
        ("memory", "memory of one task"),
        ("time", "how long one task may take; counts where a stage keeps no checkpoints"),
    ]);
    let gpus = keys.count("gpus", 0..=64).optional();
    let cpus = keys.count("cpus", 1..=4096).optional();
    let memory = keys.string("memory");
    let memory = memory.such_that(amount::MEMORY, |it| amount::memory(it).is_some()).optional();
    let time = keys.string("time").such_that(amount::TIME, |it| amount::time(it).is_some());
    let time = time.optional();
    let small = |count: Option<usize>| u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX);
    Ok(Resources {
        gpus: small(gpus?),
        cpus: small(cpus?),
        memory: memory?.and_then(|it| amount::memory(&it)).unwrap_or(0),
        time: time?.and_then(|it| amount::time(&it)).unwrap_or_default(),
    })
}
