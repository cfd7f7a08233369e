//! What every stage of a run may use besides its inputs. The command that begins the run puts it together,
//! and whoever runs the stages hands it on without looking inside.

use std::path::PathBuf;
use std::time::Duration;

use crate::train::activations::Cache;

/// What all stages of a run share.
#[derive(Debug)]
pub struct Environment {
    /// `--offline`: nothing is fetched.
    pub offline: bool,
    /// Folder for partial and finished downloads, kept between runs.
    pub downloads: PathBuf,
    /// The output of frozen layers, computed once per image and shared by every stage of this process;
    /// `None` with `--no-activation-cache`.
    pub activations: Option<Cache>,
    /// The folder of the pipeline file, where files that it names lie.
    pub home: PathBuf,
    /// A stage that can resume saves how far it came at least this often.
    pub save_every: Duration,
}

/// How far a stage goes before it pauses, in units of its own: a training counts epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Budget(pub usize);
