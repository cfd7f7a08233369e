//! The command line's words. Never does anything.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

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
    /// Run a pipeline: every stage that is not cached, then its table
    #[command(after_help = "Example:\n  runner run pipelines/dann.toml --set stages.dann.epochs=3")]
    Run(RunArgs),
    /// Run every trial of a pipeline's `[sweep]`; stages they share run once
    #[command(
        after_help = "Examples:\n  runner sweep pipelines/dann-sweep.toml --jobs 2\n  runner sweep pipelines/dann-sweep.toml --retry-failed"
    )]
    Sweep(SweepArgs),
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
    #[command(after_help = "Examples:\n  runner ls\n  runner ls dann")]
    Ls(LsArgs),
    /// Say what is running, what is not over, and how the newest runs ended
    #[command(after_help = "Example:\n  runner status --results results")]
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
    /// Print the tables of a finished run, or say where a number in them comes from
    #[command(
        after_help = "Examples:\n  runner table pipelines/dann.toml --format latex\n  runner table dann --explain dann target.test"
    )]
    Table(TableArgs),
    /// Write a run as one page, `report.html`, that needs nothing else: tables, graph, curves, pictures
    #[command(
        after_help = "Examples:\n  runner report dann\n  runner report results/dann/latest -o dann.html\n  runner report dann --serve"
    )]
    Report(ReportArgs),
    /// Write the report's pictures as SVG and PNG, each beside the CSV that it was drawn from
    #[command(after_help = "Example:\n  runner plot dann --out figures/")]
    Plot(PlotArgs),
    /// Show in a browser how a run goes on: a page on this machine alone, that only reads
    #[command(
        after_help = "Examples:\n  runner watch\n  runner watch pipelines/dann-sweep.toml --port 8080"
    )]
    Watch(WatchArgs),
    /// Print the JSON Schema of pipeline files, with which editors complete and check keys
    #[command(after_help = "Example:\n  runner schema > pipeline.schema.json")]
    Schema,
    /// Write a commented starter pipeline, which runs as it is
    #[command(
        after_help = "Examples:\n  runner init --template adapt\n  runner init experiments/digits.toml --template finetune"
    )]
    Init(InitArgs),
    /// Print a shell's completion script
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

/// The file to read and changes to it.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The pipeline file; `-` for standard input
    pub file: PathBuf,
    /// Change one value, in TOML syntax; may be repeated. It takes the place of an axis of the `[sweep]`
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

/// Run the trials of a sweep.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// What to run.
    #[command(flatten)]
    pub file: FileArgs,
    /// Try again what failed in the newest sweep of this pipeline; without it, failed trials stay failed
    #[arg(long)]
    pub retry_failed: bool,
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
    /// Stages at a time that do not wait for each other; they share the threads
    #[arg(short, long, default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
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
    /// A run: its folder, its name or the beginning of it, or a pipeline for its newest run
    pub run: PathBuf,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// How to write it
    #[arg(long, value_enum, default_value = "text")]
    pub format: TableFormat,
    /// Only the table of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Say what a cell was made of: the arithmetic, the trials, their files and artifacts
    #[arg(long, num_args = 2, value_names = ["ROW", "COLUMN"], conflicts_with = "format")]
    pub explain: Option<Vec<String>>,
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
    /// Also what is younger than an hour and of no run
    #[arg(long)]
    pub now: bool,
    /// Keep nothing for the runs in this folder of results, which used the store; may be repeated
    #[arg(long, value_name = "DIR")]
    pub forget: Vec<PathBuf>,
    /// Folder of artifacts
    #[arg(long, value_name = "DIR", default_value = ".runner")]
    pub store: PathBuf,
    /// Folder of the runs that `--keep-last` and `--older-than` are about [default: results]; those in
    /// other folders that used the store are kept
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
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
    /// Serve a page of the run on this machine instead, also while it goes on, as `runner watch` does
    #[arg(long, conflicts_with = "output")]
    pub serve: bool,
    /// Port of 127.0.0.1 to serve on; a free one for 0
    #[arg(long, default_value = "0", requires = "serve")]
    pub port: u16,
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

/// Watch a run.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// A run: its folder, its name or the beginning of it, or a pipeline's name or file, which may not
    /// have run yet; when left out, the newest run that goes on, else the newest
    pub run: Option<PathBuf>,
    /// Port of 127.0.0.1; a free one for 0
    #[arg(long, default_value = "0")]
    pub port: u16,
    /// Folder of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Write a starter pipeline.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// A file, or a folder to write one in
    #[arg(value_name = "DIR or FILE", default_value = ".")]
    pub to: PathBuf,
    /// What it is to do; asked for on a terminal when left out
    #[arg(long, value_enum)]
    pub template: Option<Template>,
    /// Write over a file that is there
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
    fn every_verb_shows_examples_that_parse() {
        Cli::command().debug_assert();
        for verb in Cli::command().get_subcommands_mut() {
            let name = verb.get_name().to_owned();
            let help = verb.render_long_help().to_string();
            let (_, examples) =
                help.split_once("Example").unwrap_or_else(|| panic!("`{name}` has no example"));
            let mut count = 0;
            for line in examples.lines().map(str::trim).filter(|line| line.starts_with("runner ")) {
                let line = line.split(" > ").next().unwrap_or(line);
                assert!(line.starts_with(&format!("runner {name}")), "{line}");
                let parsed = Cli::try_parse_from(line.split_whitespace());
                assert!(parsed.is_ok(), "`{line}`: {}", parsed.unwrap_err());
                count += 1;
            }
            assert!(count > 0, "`{name}` has no example");
        }
    }
}
