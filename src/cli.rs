//! The command line's words. Never does anything.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Find everything that is wrong with a pipeline file, without running it
    #[command(after_help = "Example:\n  runner check pipelines/dann.toml")]
    Check(FileArgs),
    /// Print a pipeline with every default and override filled in
    #[command(
        after_help = "Example:\n  runner show pipelines/dann.toml --set stages.dann.epochs=3"
    )]
    Show(FileArgs),
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
