//! The command line's words. Never does anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::report::table::Format;

/// Transfer-learning and domain-adaptation experiments, declared in TOML.
#[derive(Debug, Parser)]
#[command(name = "runner", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a pipeline: every stage that is not cached, then its table
    #[command(after_help = "Example:\n  runner run pipelines/dann.toml --set stages.dann.epochs=3")]
    Run(RunArgs),
    /// Run every trial of a pipeline's `[sweep]`; stages they share run once
    #[command(after_help = "Example:\n  runner sweep pipelines/dann-seeds.toml")]
    Sweep(RunArgs),
    /// Find everything that is wrong with a pipeline file, without running it
    #[command(after_help = "Example:\n  runner check pipelines/dann.toml")]
    Check(FileArgs),
    /// Show what a run would do, and why
    #[command(after_help = "Example:\n  runner plan pipelines/dann.toml --format mermaid")]
    Plan(PlanArgs),
    /// Print a pipeline with every default and override filled in
    #[command(
        after_help = "Examples:\n  runner show pipelines/dann.toml --set stages.dann.epochs=3\n  runner show pipelines/dann.toml --model dann"
    )]
    Show(ShowArgs),
    /// Print the table of a finished run
    #[command(after_help = "Example:\n  runner table pipelines/dann.toml --format latex")]
    Table(TableArgs),
}

/// The file to read and changes to it.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The pipeline file
    pub file: PathBuf,
    /// Change one value, in TOML syntax; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Run a pipeline.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to run.
    #[command(flatten)]
    pub file: FileArgs,
    /// How and where to run.
    #[command(flatten)]
    pub options: RunOptions,
}

/// How and where to run.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Threads; all processors when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Stages at a time that do not wait for each other; each uses all threads
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Begin nothing new once a stage failed; without it, only what depends on it is skipped
    #[arg(long)]
    pub fail_fast: bool,
    /// Seconds after which a training writes a checkpoint at the latest
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub checkpoint_every: f64,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
    /// Memory for what frozen layers make of images, in GiB; larger sets go to the store
    #[arg(long, value_name = "GIB", default_value = "2", value_parser = gibibytes)]
    pub activation_memory: f64,
    /// Compute what frozen layers make of images in every epoch
    #[arg(long, conflicts_with = "activation_memory")]
    pub no_activation_cache: bool,
    /// Events as NDJSON on standard output
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Only errors and the table
    #[arg(long)]
    pub quiet: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1e9).contains(&number) => Ok(number),
        _ => Err("expected a number of seconds from 0 on, such as 30".into()),
    }
}

fn gibibytes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1e6).contains(&number) => Ok(number),
        _ => Err("expected a number of GiB from 0 to 1000000, such as 0.5".into()),
    }
}

/// Show what a run would do.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What to plan.
    #[command(flatten)]
    pub file: FileArgs,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value = "text")]
    pub format: PlanFormat,
    /// Plan every trial of the `[sweep]`
    #[arg(long)]
    pub sweep: bool,
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

/// Print a resolved pipeline.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to show.
    #[command(flatten)]
    pub file: FileArgs,
    /// Print the layers of the model that this stage makes instead
    #[arg(long, value_name = "STAGE")]
    pub model: Option<String>,
}

/// Print the table of a finished run.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// A run's folder, or a pipeline file for its newest run
    pub run: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}
