//! The ways in which a task can end. In Rust they are these enums; the word for each, which `run.json`,
//! `trials.csv` and the log of a run carry, is written down here and nowhere else. Knows neither what a
//! task does nor who runs it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::metrics::TrainingRow;
use crate::stages::Failure;

/// How a task ended, as files say it in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "Cow<'_, str>")]
pub enum Ending {
    /// The store had its artifact.
    Cached,
    /// Its artifact was built.
    Built,
    /// A search lets it go no further for now, or did not let it begin.
    Paused,
    /// The user asked to stop.
    Interrupted,
    /// Its artifact could not be built.
    Failed,
    /// It was not begun, because something before it has no result.
    Skipped,
}

/// A word that stands for no [`Ending`].
#[derive(Debug, thiserror::Error)]
#[error("no task ends as `{0}`")]
pub struct UnknownEnding(String);

impl Ending {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Cached, Self::Built, Self::Paused, Self::Interrupted, Self::Failed, Self::Skipped];

    /// The word for it in files. Files of older runners have the same words.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Built => "ran",
            Self::Paused => "pruned",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Ending {
    type Err = UnknownEnding;

    fn from_str(word: &str) -> Result<Self, UnknownEnding> {
        let named = Self::ALL.into_iter().find(|ending| ending.word() == word);
        named.ok_or_else(|| UnknownEnding(word.to_owned()))
    }
}

impl From<Ending> for &'static str {
    fn from(ending: Ending) -> Self {
        ending.word()
    }
}

impl TryFrom<Cow<'_, str>> for Ending {
    type Error = UnknownEnding;

    fn try_from(word: Cow<'_, str>) -> Result<Self, UnknownEnding> {
        word.parse()
    }
}

/// How a task ended, with what there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// The store had its artifact.
    Cached,
    /// Its artifact was built.
    Built,
    /// It spent its budget, and these are the rows of its metrics so far.
    Paused {
        /// Those of the epochs that it has trained.
        rows: Vec<TrainingRow>,
    },
    /// A search did not let it begin: it, or something before it, goes no further for now.
    NotBegun,
    /// The user asked to stop.
    Interrupted,
    /// Its artifact could not be built, for this reason.
    Failed(Failure),
    /// It was not begun, because another task has no result; or, with `--fail-fast`, failed.
    Skipped {
        /// The name of that task.
        because: String,
    },
}

impl End {
    /// The same as one of the six ways to end.
    pub fn ending(&self) -> Ending {
        match self {
            Self::Cached => Ending::Cached,
            Self::Built => Ending::Built,
            Self::Paused { .. } | Self::NotBegun => Ending::Paused,
            Self::Interrupted => Ending::Interrupted,
            Self::Failed(_) => Ending::Failed,
            Self::Skipped { .. } => Ending::Skipped,
        }
    }

    /// The rows of metrics that a paused task has so far, none where it was not begun; `None` where it is
    /// not paused.
    pub fn rows_so_far(&self) -> Option<&[TrainingRow]> {
        match self {
            Self::Paused { rows } => Some(rows),
            Self::NotBegun => Some(&[]),
            Self::Cached
            | Self::Built
            | Self::Interrupted
            | Self::Failed(_)
            | Self::Skipped { .. } => None,
        }
    }
}

/// How a whole run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunEnding {
    /// Every task came as far as it was to come.
    Done,
    /// The user asked to stop before every task had a result.
    Interrupted,
    /// At least one task failed.
    Failed,
}

impl RunEnding {
    /// That of a run whose tasks ended like this.
    pub fn of(tasks: impl IntoIterator<Item = Ending>) -> Self {
        let of_task = |ending| match ending {
            Ending::Cached | Ending::Built | Ending::Paused => Self::Done,
            // Where nothing failed, a task is skipped only because one before it was interrupted.
            Ending::Interrupted | Ending::Skipped => Self::Interrupted,
            Ending::Failed => Self::Failed,
        };
        tasks.into_iter().map(of_task).max().unwrap_or(Self::Done)
    }

    /// The word for it that people read in lists of runs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// What the process ends with: 0, 1 when a task failed, 130 when the user asked to stop.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Interrupted => 130,
            Self::Failed => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_words_that_they_always_had() {
        let written = serde_json::to_string(&Ending::ALL).unwrap();
        assert_eq!(written, r#"["cached","ran","pruned","interrupted","failed","skipped"]"#);
        let read: Vec<Ending> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, Ending::ALL);
        // As a reader gives it that has the whole text as a tree.
        assert_eq!(serde_json::from_value::<Ending>("ran".into()).unwrap(), Ending::Built);
    }

    #[test]
    fn a_word_that_no_task_ends_with_is_refused_by_name() {
        let error = serde_json::from_str::<Ending>(r#""vanished""#).unwrap_err();
        assert!(error.to_string().contains("no task ends as `vanished`"), "{error}");
    }

    #[test]
    fn a_failure_decides_the_exit_code_and_then_an_interruption() {
        use Ending::{Built, Cached, Failed, Interrupted, Paused, Skipped};
        let codes = [
            &[Cached, Built, Paused][..],
            &[],
            &[Built, Interrupted, Skipped],
            &[Interrupted, Failed, Skipped],
        ]
        .map(|tasks| RunEnding::of(tasks.iter().copied()).exit_code());
        assert_eq!(codes, [0, 0, 130, 1]);
    }
}
