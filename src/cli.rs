//! The command line: verbs, options and their help texts.
//!
//! Nothing is done here; `commands` has a file for each verb. `tests/cli/docs.rs` runs every example.

use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::amount;
use crate::report::table::TableFormat;
use crate::system;

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
    /// Run every stage of a pipeline that is not cached, then print its tables
    #[command(
        after_help = "Examples:\n  runner run pipelines/dann.toml --set stages.dann.epochs=3\n  runner run pipelines/dann.toml --on slurm"
    )]
    Run(RunArgs),
    /// Run every trial of a pipeline's `[sweep]`; stages that trials share run once
    #[command(
        after_help = "Examples:\n  runner sweep pipelines/dann-sweep.toml --jobs 2\n  runner sweep pipelines/dann-sweep.toml --retry-failed\n  runner sweep pipelines/dann-sweep.toml --on slurm --detach"
    )]
    Sweep(SweepArgs),
    /// Work on a run together with workers on other machines, and write no results
    #[command(
        after_help = "Examples:\n  runner work pipelines/dann-sweep.toml --idle 10m\n  runner work 3f2a91c0 --store /shared/.runner"
    )]
    Work(WorkArgs),
    /// End the workers of a run after their step; checkpoints are kept
    #[command(after_help = "Example:\n  runner stop pipelines/dann-sweep.toml")]
    Stop(StopArgs),
    /// Find everything that is wrong with a pipeline file without running it
    #[command(after_help = "Example:\n  runner check pipelines/dann.toml")]
    Check(CheckArgs),
    /// Show which stages would run, and why
    #[command(after_help = "Example:\n  runner plan pipelines/dann.toml --format mermaid")]
    Plan(PlanArgs),
    /// Say whether one stage would run, and which of its settings or inputs changed
    #[command(
        after_help = "Example:\n  runner explain pipelines/dann.toml dann --set stages.dann.optimizer.lr=3e-4"
    )]
    Explain(ExplainArgs),
    /// Print a pipeline with every default and override filled in
    #[command(
        after_help = "Examples:\n  runner show pipelines/dann.toml --set stages.dann.epochs=3\n  runner show pipelines/dann.toml --model dann"
    )]
    Show(ShowArgs),
    /// List all runs with their date, pipeline, state and headline
    #[command(after_help = "Examples:\n  runner ls\n  runner ls dann")]
    Ls(LsArgs),
    /// Show who is at work, which trainings are unfinished, and how the newest runs ended
    #[command(after_help = "Example:\n  runner status --results results")]
    Status(StatusArgs),
    /// Show the settings and metrics in which two runs differ, side by side
    #[command(after_help = "Example:\n  runner diff dann results/dann-sweep/latest")]
    Diff(DiffArgs),
    /// Check that artifacts are undamaged and that CSVs and tables follow from them
    #[command(after_help = "Examples:\n  runner verify\n  runner verify dann --rerun source_only")]
    Verify(VerifyArgs),
    /// Repeat a run from its record alone, in an empty store, and compare every byte
    #[command(after_help = "Example:\n  runner reproduce results/dann/latest")]
    Reproduce(ReproduceArgs),
    /// Copy a stage's weights or images out of the store, as plain files
    #[command(after_help = "Example:\n  runner export dann source_only exported/")]
    Export(ExportArgs),
    /// List what no kept run needs; with `--yes`, remove it from the store
    #[command(after_help = "Example:\n  runner gc --keep-last 3 --older-than 30d --yes")]
    Gc(GcArgs),
    /// Print the tables of a finished run, or explain where a number in them comes from
    #[command(
        after_help = "Examples:\n  runner table pipelines/dann.toml --format latex\n  runner table dann --explain dann target.test\n  runner table dann-sweep --scores"
    )]
    Table(TableArgs),
    /// Write a run as one self-contained page, `report.html`, with tables, graph, curves and pictures
    #[command(
        after_help = "Examples:\n  runner report dann\n  runner report results/dann/latest -o dann.html\n  runner report dann --serve"
    )]
    Report(ReportArgs),
    /// Write a report's pictures as SVG and PNG, each beside the CSV that it was drawn from
    #[command(after_help = "Example:\n  runner plot dann --out figures/")]
    Plot(PlotArgs),
    /// Serve a page that shows a run while it is running, to this machine only
    #[command(
        after_help = "Examples:\n  runner watch\n  runner watch pipelines/dann-sweep.toml --port 8080"
    )]
    Watch(WatchArgs),
    /// Print the JSON Schema of pipeline files for editors, or the reference of their keys
    #[command(
        after_help = "Examples:\n  runner schema > runner.schema.json\n  runner schema --format markdown > reference.md"
    )]
    Schema(SchemaArgs),
    /// Write a commented pipeline to start from, which runs as it is
    #[command(
        after_help = "Examples:\n  runner init --template adapt\n  runner init experiments/digits.toml --template finetune"
    )]
    Init(InitArgs),
    /// List what can train here: the processor, and every GPU with its driver
    #[command(after_help = "Example:\n  runner devices")]
    Devices,
    /// Print the completion script of a shell
    #[command(
        after_help = "Examples:\n  runner completions bash > ~/.local/share/bash-completion/completions/runner\n  runner completions fish > ~/.config/fish/completions/runner.fish"
    )]
    Completions(CompletionsArgs),
}

impl Cli {
    /// The command line of this process, its paths below `~` made whole: a shell leaves them alone after
    /// `--store=` and in quotes.
    pub fn of_process() -> Self {
        Self::parse_from(std::env::args_os().map(at_home))
    }
}

/// An argument with its `~/`, or that after `--option=`, made whole. Settings are no paths.
fn at_home(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    if text.starts_with('~') {
        return system::at_home(Path::new(text)).into();
    }
    match text.split_once('=') {
        Some((option, path)) if option.starts_with("--") && path.starts_with('~') => {
            let mut whole = OsString::from(format!("{option}="));
            whole.push(system::at_home(Path::new(path)));
            whole
        }
        _ => argument,
    }
}

/// Where artifacts are.
#[derive(Debug, Clone, Args)]
pub struct StoreOption {
    /// Folder of the store, which holds artifacts and checkpoints
    #[arg(id = "store", long = "store", value_name = "DIR", default_value = ".runner")]
    path: PathBuf,
}

/// Where results are.
#[derive(Debug, Clone, Args)]
pub struct ResultsOption {
    /// Folder of results, with a folder for each pipeline
    #[arg(id = "results", long = "results", value_name = "DIR", default_value = "results")]
    path: PathBuf,
}

macro_rules! folder {
    ($($option:ty),+) => {
        $(impl Deref for $option {
            type Target = Path;

            fn deref(&self) -> &Path {
                &self.path
            }
        }

        impl AsRef<OsStr> for $option {
            fn as_ref(&self) -> &OsStr {
                self.path.as_ref()
            }
        }

        impl From<PathBuf> for $option {
            fn from(path: PathBuf) -> Self {
                Self { path }
            }
        })+
    };
}

folder!(StoreOption, ResultsOption);

/// What kind of machine is to compute.
#[derive(Debug, Clone, Default, Args)]
pub struct BackendOption {
    /// What the machines compute by that are to build the stages, such as "cpu avx512" [default: what this one
    /// computes by]
    #[arg(long, value_name = "BACKEND")]
    pub backend: Option<String>,
}

/// The file to read and changes to it.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The pipeline file; `-` for standard input
    pub file: PathBuf,
    /// Change one value, written as in TOML; may be repeated. It replaces an axis of the `[sweep]`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Whether others are to build it.
#[derive(Debug, Clone, Default, Args)]
pub struct OnOption {
    /// Have the queue of this site start workers that build everything, and look on: `slurm`, or NAME.toml in the store
    /// or in ~/.config/runner
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
    /// Have the queue look on too, and return at once
    #[arg(long, requires = "on")]
    pub detach: bool,
}

/// Run a pipeline.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to run.
    #[command(flatten)]
    pub file: FileArgs,
    /// Whether others are to build it.
    #[command(flatten)]
    pub on: OnOption,
    /// How and where to run.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Run the trials of a sweep.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// What to run.
    #[command(flatten)]
    pub file: FileArgs,
    /// Whether others are to build it.
    #[command(flatten)]
    pub on: OnOption,
    /// How and where to run.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Work on a run with others.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// The pipeline file, all trials of whose `[sweep]` are worked on; or the id of a run that was begun so, or
    /// the beginning of its id
    #[arg(value_name = "FILE or RUN")]
    pub run: PathBuf,
    /// Change one value of the file, written as in TOML; may be repeated. Every worker that names the file must say so
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Leave after this time without anything to begin, and not before it is known that those live who have what is
    /// left: `30s`, `10m`, `2h` [default: what the class has, or 2m]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub idle: Option<Duration>,
    /// Build only what this class of workers is to build, as the site says that the run was begun with
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// What the queue calls this worker
    #[arg(long, value_name = "NAME", hide = true, requires = "class")]
    pub life: Option<String>,
    /// Take up a run that was stopped
    #[arg(long)]
    pub resume: bool,
    /// Go on with this program and this backend, whatever the workers before were; none of them may be left
    #[arg(long)]
    pub anew: bool,
    /// How and where to run; a worker's journal is where the results will be.
    #[command(flatten)]
    pub options: RunOptions,
}

/// End workers.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The pipeline file that the workers were started with, or the id of their run, or the beginning of its id
    #[arg(value_name = "FILE or RUN")]
    pub run: PathBuf,
    /// The changes that the workers were started with
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Do not wait for the end of a step: what was done since the last checkpoint is lost
    #[arg(long)]
    pub now: bool,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
}

/// How and where to run.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Which machines are to compute.
    #[command(flatten)]
    pub backend: BackendOption,
    /// Number of threads; all processors when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Number of independent stages to run side by side; they share the threads
    #[arg(short, long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Start nothing new after a failure; otherwise only what depends on the failed stage is skipped
    #[arg(long)]
    pub fail_fast: bool,
    /// Try stages again that failed before: for runs that are still at work, or in the newest sweep of this pipeline
    #[arg(long)]
    pub retry_failed: bool,
    /// Longest time between two checkpoints of a training
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub checkpoint_every: f64,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
    /// Memory for the kept output of frozen layers; larger sets go to the store
    #[arg(long, value_name = "GIB", default_value = "2", value_parser = gibibytes)]
    pub activation_memory: f64,
    /// Compute the output of frozen layers again in every epoch
    #[arg(long, conflicts_with = "activation_memory")]
    pub no_activation_cache: bool,
    /// Print events as NDJSON to standard output
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print only errors and the tables
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

/// Find what is wrong.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to check.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
}

/// Show what a run would do.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What to plan.
    #[command(flatten)]
    pub file: FileArgs,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Which machines are to compute.
    #[command(flatten)]
    pub backend: BackendOption,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    pub format: PlanFormat,
    /// Plan every trial of the `[sweep]`
    #[arg(long)]
    pub sweep: bool,
    /// Show which workers `--on NAME` would ask for, and how; asks for none
    #[arg(long, value_name = "NAME")]
    pub on: Option<String>,
}

/// Say why a stage would run.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// What it is a stage of.
    #[command(flatten)]
    pub file: FileArgs,
    /// The stage's name
    pub stage: String,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Which machines are to compute.
    #[command(flatten)]
    pub backend: BackendOption,
    /// Look at every trial of the `[sweep]`
    #[arg(long)]
    pub sweep: bool,
}

/// How a plan is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFormat {
    /// One line per stage.
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
    /// Print the layers of this stage's network instead
    #[arg(long, value_name = "STAGE")]
    pub model: Option<String>,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
}

/// Print the table of a finished run.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    pub run: PathBuf,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    pub format: TableFormat,
    /// Print only the table of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Show how scores without labels of the target order the models of a sweep, beside their accuracy
    #[arg(long, conflicts_with_all = ["name", "explain"])]
    pub scores: bool,
    /// Show the arithmetic of a cell and the trials, files and artifacts behind it
    #[arg(long, num_args = 2, value_names = ["ROW", "COLUMN"], conflicts_with = "format")]
    pub explain: Option<Vec<String>>,
}

/// List the runs.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// List only runs of this pipeline
    pub pipeline: Option<String>,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Say what is running.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Compare two runs.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    #[arg(value_name = "RUN_A")]
    pub a: PathBuf,
    /// The run to compare it with
    #[arg(value_name = "RUN_B")]
    pub b: PathBuf,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Check a run, or everything.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run;
    /// all runs and artifacts when left out
    pub run: Option<PathBuf>,
    /// Build this stage again and compare it byte for byte; may be repeated
    #[arg(long, value_name = "STAGE", requires = "run")]
    pub rerun: Vec<String>,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
}

/// Run a run again.
#[derive(Debug, Args)]
pub struct ReproduceArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    pub run: PathBuf,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
    /// Folder to work in, which is kept; a temporary one when left out
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Number of threads; all processors when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Never use the network
    #[arg(long)]
    pub offline: bool,
}

/// Copy what a stage made.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    pub run: PathBuf,
    /// The stage's name
    pub stage: String,
    /// The folder to write, which must not exist yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Number of the trial in a sweep, from 0
    #[arg(long, default_value = "0")]
    pub trial: usize,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Remove what is not needed.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep the newest N runs of each pipeline
    #[arg(long, value_name = "N")]
    pub keep_last: Option<usize>,
    /// Keep runs that are younger than this: `90m`, `12h`, `30d`
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<chrono::TimeDelta>,
    /// Remove what is listed
    #[arg(long)]
    pub yes: bool,
    /// List every file and folder
    #[arg(long)]
    pub verbose: bool,
    /// Include what is younger than an hour and belongs to no run
    #[arg(long)]
    pub now: bool,
    /// Keep nothing for the runs in this other folder of results, or for this run of workers; may be repeated
    #[arg(long, value_name = "DIR or RUN")]
    pub forget: Vec<PathBuf>,
    /// Where artifacts are.
    #[command(flatten)]
    pub store: StoreOption,
    /// Folder of results that `--keep-last` and `--older-than` apply to [default: results]; the runs in
    /// other folders that used the store are kept
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
}

fn time(text: &str) -> Result<Duration, String> {
    amount::time(text).ok_or_else(|| format!("expected {}", amount::TIME))
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
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    pub run: PathBuf,
    /// The file to write, instead of `report.html` in the run's folder
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Serve the page to this machine instead, also while the run is in progress, as `runner watch` does
    #[arg(long, conflicts_with = "output")]
    pub serve: bool,
    /// Port of 127.0.0.1 to serve on; 0 takes a free one
    #[arg(long, default_value = "0", requires = "serve")]
    pub port: u16,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Write the pictures of a run.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name for its newest run
    pub run: PathBuf,
    /// The folder to write, instead of `plots` in the run's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Watch a run.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// A run's folder, its name or the beginning of its name, or a pipeline's name or file, which may
    /// not have run yet; when left out, the newest run in progress, or else the newest run
    pub run: Option<PathBuf>,
    /// Port of 127.0.0.1 to serve on; 0 takes a free one
    #[arg(long, default_value = "0")]
    pub port: u16,
    /// Where results are.
    #[command(flatten)]
    pub results: ResultsOption,
}

/// Say what a pipeline file may hold.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Output format
    #[arg(long, value_enum, default_value = "json")]
    pub format: SchemaFormat,
}

/// How what a pipeline file may hold is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaFormat {
    /// JSON Schema, for editors.
    Json,
    /// A page with every key, for people: docs/reference.md.
    Markdown,
}

/// Write a starter pipeline.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file to write, or a folder for it
    #[arg(value_name = "DIR or FILE", default_value = ".")]
    pub to: PathBuf,
    /// What the pipeline is to do; asked on a terminal when left out
    #[arg(long, value_enum)]
    pub template: Option<Template>,
    /// Overwrite an existing file
    #[arg(long)]
    pub force: bool,
}

/// What a starter pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Template {
    /// Adapt to images of another domain, without their labels.
    Adapt,
    /// Take a trained network to a new task, with few labels.
    Finetune,
    /// Train on images of your own.
    OwnImages,
}

/// Print a completion script.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn a_tilde_is_made_whole_in_paths_and_left_alone_in_settings() {
        let home = std::env::var("HOME").expect("a home");
        let of = |argument: &str| at_home(argument.into()).into_string().unwrap();
        assert_eq!(of("~/p.toml"), format!("{home}/p.toml"));
        assert_eq!(of("--store=~/s"), format!("--store={home}/s"));
        for argument in ["a=~/b", "--set", "-x", "pipeline.title=\"~/x\"", "--set=a=~/b", "~x"] {
            assert_eq!(of(argument), argument);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
