//! One file a verb.

pub mod plan;
pub mod run;
pub mod sweep;
pub mod table;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No plan.
    #[error(transparent)]
    Plan(#[from] crate::plan::graph::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The results.
    #[error(transparent)]
    Results(#[from] crate::report::results::Error),
    /// The machine: threads or signals.
    #[error("{0}")]
    Machine(String),
    /// What was asked for is not there.
    #[error("{0}")]
    Missing(String),
}

impl Error {
    /// Lines of advice.
    pub fn help(&self) -> Vec<String> {
        match self {
            Self::Store(error) => error.help(),
            Self::Plan(crate::plan::graph::Error::External { failure, .. }) => failure.help.clone(),
            Self::Results(crate::report::results::Error::Io { .. }) => {
                vec!["check its permissions, or give another folder with `--results DIR`".into()]
            }
            Self::Results(crate::report::results::Error::Table(_)) => {
                vec!["name the axis in `[table]`: `rows`, `columns` or `over`".into()]
            }
            _ => Vec::new(),
        }
    }
}
