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
    /// Say whether a stage would run, and why
    #[command(
        after_help = "Example:\n  runner explain pipelines/dann.toml dann --set stages.dann.optimizer.lr=3e-4"
    )]
    Explain(ExplainArgs),
    /// Print a pipeline with every default and override filled in
    #[command(
        after_help = "Examples:\n  runner show pipelines/dann.toml --set stages.dann.epochs=3\n  runner show pipelines/dann.toml --model dann"
    )]
    Show(ShowArgs),
    /// List the runs: date, pipeline, state, headline
    Ls(LsArgs),
    /// Say what is running, what is not over, and how the newest runs ended
    Status(StatusArgs),
    /// Compare two runs: settings and metrics that differ, side by side
    #[command(after_help = "Example:\n  runner diff 20261124T1 20261124T2")]
    Diff(DiffArgs),
    /// Check that artifacts are whole and that a run's CSVs and tables follow from them
    #[command(after_help = "Examples:\n  runner verify\n  runner verify dann --rerun source_only")]
    Verify(VerifyArgs),
    /// Run a run again from its record alone, in an empty store, and compare every byte
    #[command(after_help = "Example:\n  runner reproduce results/dann/latest")]
    Reproduce(ReproduceArgs),
    /// Copy what a stage made out of the store, as plain files
    #[command(after_help = "Example:\n  runner export dann source_only weights/")]
    Export(ExportArgs),
    /// Remove from the store what no kept run needs; says what it would do unless told `--yes`
    #[command(after_help = "Example:\n  runner gc --keep-last 3 --older-than 30d --yes")]
    Gc(GcArgs),
    /// Print the table of a finished run
    #[command(after_help = "Example:\n  runner table pipelines/dann.toml --format latex")]
    Table(TableArgs),
    /// Write a run as one page, `report.html`, that needs nothing else: tables, graph, curves, pictures
    #[command(
        after_help = "Examples:\n  runner report dann\n  runner report results/dann/latest -o dann.html"
    )]
    Report(ReportArgs),
    /// Write the report's pictures as SVG and PNG, each beside the CSV that it was drawn from
    #[command(after_help = "Example:\n  runner plot dann --out figures/")]
    Plot(PlotArgs),
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

impl Default for RunOptions {
    /// What a command line without options says.
    fn default() -> Self {
        #[derive(Parser)]
        struct Nothing {
            #[command(flatten)]
            options: RunOptions,
        }
        Nothing::parse_from(["runner"]).options
    }
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
    /// Folder of results, whose newest run changes are told against
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value = "text")]
    pub format: PlanFormat,
    /// Plan every trial of the `[sweep]`
    #[arg(long)]
    pub sweep: bool,
}

/// Say why a stage would run.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What it is a stage of.
    #[command(flatten)]
    pub file: FileArgs,
    /// The stage's name
    pub stage: String,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results, whose newest run changes are told against
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// In every trial of the `[sweep]`
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

/// List the runs.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only runs of this pipeline
    pub pipeline: Option<String>,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Say what is running.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Compare two runs.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    #[arg(value_name = "RUN_A")]
    pub a: PathBuf,
    /// The other
    #[arg(value_name = "RUN_B")]
    pub b: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Check a run, or everything.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run;
    /// everything when left out
    pub run: Option<PathBuf>,
    /// Make this stage again and compare it byte for byte; may be repeated
    #[arg(long, value_name = "STAGE", requires = "run")]
    pub rerun: Vec<String>,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
}

/// Run a run again.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    pub run: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Folder to work in, kept afterwards; a temporary one when left out
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Threads; all processors when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
}

/// Copy what a stage made.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    pub run: PathBuf,
    /// The stage's name
    pub stage: String,
    /// Where to; must not be there yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The trial of a sweep, from 0
    #[arg(long, default_value = "0")]
    pub trial: usize,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Remove what is not needed.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep the newest N runs of each pipeline
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Keep runs that are younger: `90m`, `12h`, `30d`
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<chrono::TimeDelta>,
    /// Remove it
    #[arg(long)]
    pub yes: bool,
    /// Name every file and folder
    #[arg(long)]
    pub verbose: bool,
    /// Also what is younger than an hour and of no run: only when nothing else uses this store
    #[arg(long)]
    pub now: bool,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of results: all of the store's runs, or their artifacts count as not needed
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

fn age(text: &str) -> Result<chrono::TimeDelta, String> {
    let wrong = || "expected a number with `m`, `h` or `d`, such as 30d".to_owned();
    let (at, unit) = text.char_indices().last().ok_or_else(wrong)?;
    let number: i64 = text[..at].parse().map_err(|_| wrong())?;
    let age = match unit {
        'm' => chrono::TimeDelta::try_minutes(number),
        'h' => chrono::TimeDelta::try_hours(number),
        'd' => chrono::TimeDelta::try_days(number),
        _ => None,
    };
    age.filter(|_| number >= 0).ok_or_else(wrong)
}

/// Write a run as a page.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    pub run: PathBuf,
    /// Where to, instead of `report.html` in the run's folder
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Write the pictures of a run.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    pub run: PathBuf,
    /// Where to, instead of `plots` in the run's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}
