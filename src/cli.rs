//! What can be written on the command line.

use std::path::PathBuf;

use crate::report::table::Format;

/// Run a pipeline.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The pipeline file.
    pub file: PathBuf,
    /// Override a setting: `stages.dann.epochs=3` (TOML value; repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// How and where to run.
    #[command(flatten)]
    pub options: RunOptions,
}

/// How and where to run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunOptions {
    /// Folder of artifacts.
    #[arg(long, default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results.
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Threads; all processors when left out.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Never use the network.
    #[arg(long)]
    pub offline: bool,
    /// Events as NDJSON on standard output.
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Only errors and the table.
    #[arg(long)]
    pub quiet: bool,
}

/// Show what a run would do.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanArgs {
    /// The pipeline file.
    pub file: PathBuf,
    /// Override a setting (TOML value; repeatable).
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Folder of artifacts.
    #[arg(long, default_value = ".runner")]
    pub store: PathBuf,
    /// How to write it.
    #[arg(long, value_enum, default_value = "text")]
    pub format: PlanFormat,
}

/// How a plan is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFormat {
    /// One line a stage.
    Text,
    /// A Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// JSON.
    Json,
}

/// Print the table of a finished run.
#[derive(Debug, Clone, clap::Args)]
pub struct TableArgs {
    /// A run's folder, or a pipeline file for its newest run.
    pub run: PathBuf,
    /// Folder of results.
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// How to write it.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}
