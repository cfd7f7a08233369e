//! What can go wrong while data are read, fetched or written, and what the user can do about it.

use std::path::Path;

use crate::progress::Interrupted;

/// A data set could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was asked for cannot be made from what is there.
    #[error("{message}")]
    Rejected {
        /// What cannot be done, and why.
        message: String,
        /// Lines of advice.
        help: Vec<String>,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<Interrupted> for DataError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl DataError {
    /// The operating system's error on a file.
    pub fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    /// What was too much for the memory could not be kept in a file.
    pub fn spilled(source: std::io::Error) -> Self {
        Self::Io { path: "a temporary file for many images".into(), source }
    }

    /// A file does not hold what it should.
    pub fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.display().to_string(), reason: reason.into() }
    }

    /// What was asked for cannot be made from what is there.
    pub fn rejected(message: impl Into<String>) -> Self {
        Self::Rejected { message: message.into(), help: Vec::new() }
    }

    /// Adds a line of advice; of use on [`DataError::Rejected`] only.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        if let Self::Rejected { help, .. } = &mut self {
            help.push(advice.into());
        }
        self
    }

    /// With every text of it changed by `change`.
    #[must_use]
    pub fn map_texts(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Io { path, source } => Self::Io { path: change(&path), source },
            Self::Malformed { path, reason } => {
                Self::Malformed { path: change(&path), reason: change(&reason) }
            }
            Self::Rejected { message, help } => Self::Rejected {
                message: change(&message),
                help: help.iter().map(|line| change(line)).collect(),
            },
            Self::Interrupted => Self::Interrupted,
        }
    }

    /// Lines of advice.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::Rejected { help, .. } => help.clone(),
            Self::Io { source, .. } => crate::system::shortage(source).into_iter().collect(),
            Self::Malformed { .. } | Self::Interrupted => Vec::new(),
        }
    }
}
