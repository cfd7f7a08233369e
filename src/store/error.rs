//! What can go wrong with the store.

use std::io;
use std::path::{Path, PathBuf};

use crate::system;

/// The store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A read failed.
    #[error("cannot read `{}` in the store: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A write failed.
    #[error("cannot write `{}` in the store: {source}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// An artifact is not as it was published.
    #[error("the artifact in `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer runner wrote the artifact.
    #[error(
        "`{}` was written by a newer runner: its format is {found}, this one reads up to {known}",
        path.display()
    )]
    Newer {
        /// The artifact's folder.
        path: PathBuf,
        /// Its format version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// The environment sets a patience that is none.
    #[error("RUNNER_PATIENCE is `{given}`, which is no number of seconds from 0.01 on")]
    Patience {
        /// What it is set to.
        given: String,
    },
    /// A run cannot be forgotten while workers are at it.
    #[error("run {id} cannot go while workers are at it, such as {who}")]
    RunAtWork {
        /// The run's id.
        id: String,
        /// A worker.
        who: String,
    },
    /// A run is not the one any more that a worker was to join.
    #[error("run {id} was forgotten or begun anew while this worker was about to join it")]
    RunGone {
        /// The run's id.
        id: String,
    },
    /// Workers are at a run whose record another program wrote.
    #[error("`{}` is no record that this program can read, and {who} is at work on the run", path.display())]
    RunUnreadable {
        /// The record.
        path: PathBuf,
        /// A worker.
        who: String,
    },
    /// A stage wrote a file under a name that is the store's own.
    #[error("the stage wrote `{name}`, a name that the store keeps for itself")]
    Reserved {
        /// The name.
        name: String,
    },
}

impl Error {
    pub(super) fn reading(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(super) fn writing(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    /// Lines of advice.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::Write { source, .. } | Self::Read { source, .. } => {
                vec![system::refused(source, "--store DIR")]
            }
            Self::Damaged { .. } => {
                vec!["run the pipeline again: the artifact is set aside and built anew".into()]
            }
            Self::Newer { .. } => {
                vec!["update this runner, or give another store with `--store DIR`".into()]
            }
            Self::Patience { .. } => Vec::new(),
            Self::RunAtWork { id, .. } => {
                vec![format!("`runner stop {id}` with the same `--store` ends them")]
            }
            Self::RunGone { .. } => vec!["start the worker again".into()],
            Self::RunUnreadable { .. } => {
                vec!["use the program that the workers are, or wait until they have ended".into()]
            }
            Self::Reserved { .. } => vec!["this is a bug in runner; please report it".into()],
        }
    }
}
