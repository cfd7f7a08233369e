//! `runner run`: brings every stage to an end, writes the results, prints the table.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Error;
use super::rounds::{Carrier, Conclusion, Failures};
use super::shared_run;
use crate::cli::{RunArgs, RunOptions};
use crate::console::{self, Lost};
use crate::data::outside::Known;
use crate::digest::Digest;
use crate::exec::{
    Both, Done, Ending, Execution, Journal, Json, Lines, Quiet, Reporter, RunEnding, TaskShare,
    Terminal, can_draw, finished,
};
use crate::metrics::rounded;
use crate::nn::dispatch;
use crate::nn::kernels::isa::Isa;
use crate::plan::graph::Plan;
use crate::plan::print::to_toml;
use crate::plan::resolve;
use crate::plan::search::{Search, Verdict};
use crate::plan::trials::Trials;
use crate::report::finished::FinishedRun;
use crate::report::record::{Record, RunProvenance};
use crate::report::results::{self, Written};
use crate::report::table::TableFormat;
use crate::report::tables::Tables;
use crate::report::{self, Earlier, live};
use crate::stages::Environment;
use crate::store::{self, Store};
use crate::train::activations::Cache;

/// Runs a pipeline without its sweep.
///
/// # Errors
/// When the file is wrong, or the store or the results cannot be written.
pub fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    super::outside::read_for(&args.options.backend);
    let pipeline = resolve::load(&args.file.file, &args.file.set).map_err(Box::new)?;
    if pipeline.resolved.contains_key("sweep") && !args.options.quiet {
        console::say("note: this file has a `[sweep]`; `runner sweep` runs its trials");
    }
    Ok(run_trials(Trials::single(pipeline), Failures::new(), &args.options)?.code)
}

/// How a run ended.
pub(super) struct Ran {
    /// Whether it was asked to stop before all had ended.
    pub is_interrupted: bool,
    /// 0, 1 when a stage failed, 130 when interrupted.
    pub code: ExitCode,
    /// Its results.
    pub folder: PathBuf,
}

/// Runs `trials` as one graph.
///
/// # Errors
/// When there is no plan, or the store or the results cannot be written.
pub(super) fn run_trials(
    trials: Trials,
    failures: Failures,
    options: &RunOptions,
) -> Result<Ran, Error> {
    until_asked_to_stop(options, |reporter, cancel| {
        execute(trials, failures, options, Asked { reporter, cancel, share: None })
    })
}

/// Who is told, who may stop it, and which part is this process's.
pub(super) struct Asked<'a> {
    pub reporter: &'a dyn Reporter,
    pub cancel: &'a AtomicBool,
    /// Everything without it.
    pub share: Option<TaskShare<'a>>,
}

/// Has this process compute with as many threads as the options say.
///
/// # Errors
/// When the machine refuses threads.
pub(super) fn open_threads(options: &RunOptions) -> Result<(), Error> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = options.threads {
        pool = pool.num_threads(threads.into());
    }
    pool.build_global().map_err(|error| Error::Machine(error.to_string()))
}

/// Has `act` use as many threads as the options say, tell what happens as they say, and stop when the user asks for it.
///
/// # Errors
/// When the machine refuses threads or signals, and those of `act`.
pub(super) fn until_asked_to_stop<T>(
    options: &RunOptions,
    act: impl FnOnce(&dyn Reporter, &Arc<AtomicBool>) -> Result<T, Error>,
) -> Result<T, Error> {
    let machine = |error: &dyn std::fmt::Display| Error::Machine(error.to_string());
    if !options.quiet {
        super::outside::say_untried();
    }
    if let Some(reason) = dispatch::passed_over()
        && !options.quiet
    {
        console::say(format!("note: `cuda:0` is not used: {reason}"));
    }
    open_threads(options)?;
    let reporter = reporter_of(options);
    let cancel = Arc::new(AtomicBool::new(false));
    let (flag, answer) = (Arc::clone(&cancel), Arc::clone(&reporter));
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            // The stages in hand end here because a user wants it, not because they were killed.
            store::leave_at_once();
            std::process::exit(130);
        }
        let (answer, flag) = (Arc::clone(&answer), Arc::clone(&flag));
        // A standard error that nobody reads must not keep the second Ctrl-C from being heard.
        std::thread::spawn(move || {
            // Answered first: the run may be over a moment after the flag is set.
            answer.stopping();
            flag.store(true, Ordering::SeqCst);
        });
    })
    .map_err(|error| machine(&error))?;
    act(reporter.as_ref(), &cancel)
}

/// Whoever is told, as the options say.
pub(super) fn reporter_of(options: &RunOptions) -> Arc<dyn Reporter> {
    match options {
        RunOptions { json: true, .. } => Arc::new(Json),
        RunOptions { quiet: true, .. } => Arc::new(Quiet),
        _ if std::io::stderr().is_terminal() && can_draw() => Arc::new(Terminal::default()),
        _ => Arc::new(Lines),
    }
}

/// Plans, makes room for the results, carries the plan out, writes what came of it and shows it.
///
/// # Errors
/// When there is no plan, or the store or the results cannot be written.
pub(super) fn execute(
    mut trials: Trials,
    failures: Failures,
    options: &RunOptions,
    Asked { reporter, cancel, share }: Asked,
) -> Result<Ran, Error> {
    let plan = plan(&trials, options)?;
    let pipeline = plan.trials[0].pipeline.name.clone();
    let store = prepare(&pipeline, trials.digest(), options)?;
    let begun = begun(&plan, &trials, options);
    let journal = Journal::begin(&options.results.join(&pipeline), begun);
    let start = crate::system::now();
    let reporter = Both(reporter, &journal);
    let run = journal.run();
    let setting = Setting { store: &store, failures, reporter: &reporter, run, cancel, share };
    let carried = carry_out(plan, &mut trials, options, setting);
    let (outcome, earlier) = match carried {
        Ok(carried) => carried,
        Err(error) => {
            journal.end(None);
            return Err(error);
        }
    };
    let lost = console::lost();
    let written = write(&outcome, earlier, &trials, options, start, &lost)?;
    let ending = RunEnding::of(outcome.done.iter().map(|done| done.end.ending()));
    let is_interrupted = ending == RunEnding::Interrupted;
    shared_run::finish(&store, &trials, &outcome, options.fail_fast)?;
    journal.end(written.new.then_some(written.folder.as_path()));
    let run = FinishedRun::read(&written.folder)?;
    let tables = Tables::of(&run);
    tell(&outcome, &trials, options, &written, tables.as_ref().ok());
    account_for_lost_output(&written, &lost)?;
    let folder = written.folder.clone();
    let code = exit_code(outcome, &trials, tables, &written)?;
    Ok(Ran { code: ExitCode::from(code), folder, is_interrupted })
}

/// The plan of `trials`. The store is made only once there is one.
///
/// # Errors
/// When there is none.
pub(super) fn plan(trials: &Trials, options: &RunOptions) -> Result<Plan, Error> {
    let known = Known::in_folder(Store::peek(&options.store).outside());
    let plan = super::outside::plan(trials.trials.clone(), &known, &options.backend)?;
    if plan.order.is_empty() {
        return Err(Error::Missing("the pipeline has no stages".into()));
    }
    Ok(plan)
}

/// Makes sure, before hours of work, that artifacts and results can be written. The store that it gives is
/// in use until it is dropped, which is when the results are written.
///
/// # Errors
/// When they cannot.
fn prepare(pipeline: &str, plan: Digest, options: &RunOptions) -> Result<Store, Error> {
    let mut store = Store::open(&options.store)?.for_plan(plan);
    if options.retry_failed {
        store = store.forgiving()?;
    }
    crate::bytes::spill_to(&options.store);
    results::prepare(&options.results, pipeline)?;
    Ok(store.enter(&format!("run of {pipeline}"), &options.results, |holder| {
        console::say(format_args!("waiting for {holder}, which clears up the store"));
    })?)
}

/// What a plan is carried out with.
struct Setting<'a> {
    store: &'a Store,
    failures: Failures,
    reporter: &'a dyn Reporter,
    /// The run's id in its journal.
    run: &'a str,
    cancel: &'a AtomicBool,
    /// Which part is this process's; everything without it.
    share: Option<TaskShare<'a>>,
}

/// Brings every trial to its end, and looks that results can be written from what there is, unless an
/// earlier run has the same.
///
/// # Errors
/// When a stage does not fit a data set, or a result that decides how to go on cannot be read.
fn carry_out(
    plan: Plan,
    trials: &mut Trials,
    options: &RunOptions,
    setting: Setting,
) -> Result<(Conclusion, Earlier), Error> {
    let Setting { store, failures, reporter, run, cancel, share } = setting;
    let since = Instant::now();
    let home = trials.trials[0].pipeline.home().to_owned();
    let environment = environment(options, store, home);
    let execution = Execution {
        workers: options.jobs.into(),
        fail_fast: options.fail_fast,
        part: share,
        // Workers have to hear of what is not tried again.
        shares_failures: share.is_some(),
        ..Execution::new(store, &environment, reporter, cancel)
    };
    let carrier = Carrier { run, failures, backend: &options.backend, execution };
    let mut outcome = carrier.carry_out(plan, trials)?;
    let ended = (outcome.done.as_slice(), outcome.verdicts.as_slice());
    let earlier = results::earlier(&options.results, &outcome.plan, &trials.resolved, ended);
    if !matches!(earlier, Earlier::Whole(_)) {
        outcome.done = carrier.mend(&outcome.plan, outcome.done);
    }
    reporter.event(&finished(&outcome.done, since));
    Ok((outcome, earlier))
}

/// What the command line and the store give to every stage.
pub(super) fn environment(options: &RunOptions, store: &Store, home: PathBuf) -> Environment {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by clap")]
    let memory = (options.activation_memory * f64::from(1 << 30)) as usize;
    Environment {
        offline: options.offline,
        downloads: store.downloads(),
        activations: (!options.no_activation_cache)
            .then(|| Cache::new(store.activations(), memory)),
        home,
        save_every: Duration::from_secs_f64(options.checkpoint_every),
    }
}

/// Writes the results; their record says of `lost` what output was lost.
///
/// # Errors
/// When they cannot be written.
fn write(
    outcome: &Conclusion,
    earlier: Earlier,
    trials: &Trials,
    options: &RunOptions,
    start: chrono::DateTime<chrono::Utc>,
    lost: &[Lost],
) -> Result<Written, Error> {
    let Conclusion { plan, done, verdicts, .. } = outcome;
    let resolved = &trials.resolved;
    let provenance = || provenance(plan, resolved, start, lost.to_vec());
    Ok(results::write(&options.results, plan, resolved, (done, verdicts), earlier, provenance)?)
}

/// Prints what a run came to.
fn tell(
    outcome: &Conclusion,
    trials: &Trials,
    options: &RunOptions,
    written: &Written,
    tables: Option<&Tables>,
) {
    let Conclusion { done, verdicts, .. } = outcome;
    if let Some((folder, wrong)) = &written.damaged {
        let then = "they are written anew, and that folder can be deleted";
        super::say_damage(folder, wrong, then);
    }
    if !options.json {
        show(tables);
        if !options.quiet {
            if !written.new {
                say_nothing_to_do(done);
            }
            for note in trials.search.iter().flat_map(Search::notes) {
                console::say(format_args!("note: {note}"));
            }
            let of_selection = trials.search.iter().flat_map(Search::notes_on_selection);
            for note in of_selection.chain(tables.and_then(|it| it.scores.collapse_of_selected())) {
                console::say(format_args!("note: {note}"));
            }
            if let Some(selected) = selected(verdicts) {
                console::say(format_args!("selected: {selected}"));
            }
            console::say(format_args!("results: {}", written.folder.display()));
        }
    }
    if let Err(error) = &written.page {
        // The numbers are there: a page can be made again from them.
        let typed = crate::system::as_typed(&[written.folder.display().to_string()]);
        let help = format!("`runner report {typed}` writes it");
        console::say(format_args!(
            "error: the report cannot be written: {error}\n  = help: {help}"
        ));
    }
}

/// What the process ends with.
///
/// # Errors
/// What ended the search before it was done, or why there is no table where one was asked for.
fn exit_code(
    outcome: Conclusion,
    trials: &Trials,
    tables: Result<Tables, report::Error>,
    written: &Written,
) -> Result<u8, Error> {
    let Conclusion { done, problem, .. } = outcome;
    if let Some(problem) = problem {
        return Err(problem);
    }
    let ending = RunEnding::of(done.iter().map(|done| done.end.ending()));
    if ending == RunEnding::Interrupted {
        console::say("interrupted; run the same command again to go on");
    }
    if ending != RunEnding::Done {
        let tables = tables.map(|it| it.tables).unwrap_or_default();
        let wrong = tables.into_iter().filter_map(|(_, table)| table.err());
        for error in wrong.filter(|error| !error.wants_trials()) {
            console::say(format_args!("note: no table: {error}"));
        }
        return Ok(ending.exit_code());
    }
    match tables?.all() {
        // Nobody asked for this one.
        Err(error) if !trials.resolved.contains_key("table") => {
            console::say(format_args!("note: no table: {error}; `[table]` can say what to show"));
        }
        tables => drop(tables?),
    }
    Ok(u8::from(written.page.is_err()))
}

/// Prints the tables of a run.
fn show(tables: Option<&Tables>) {
    let bold = std::io::stdout().is_terminal();
    for (at, table) in tables.into_iter().flat_map(Tables::good).enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        console::put(&format!("{gap}{}", table.render(TableFormat::Text, bold)));
    }
}

/// Says that a run found everything done.
fn say_nothing_to_do(done: &[Done]) {
    let pruned = done.iter().filter(|it| it.end.ending() == Ending::Paused).count();
    let cached = done.len() - pruned;
    console::say(match pruned {
        0 => format!("nothing to do: all {cached} stages are cached"),
        _ => format!("nothing to do: {cached} stages are cached, {pruned} pruned"),
    });
}

/// Says what standard output and standard error did not take, and puts it into the record of a new run
/// unless it is there, as `recorded`.
///
/// # Errors
/// When the record cannot be written.
fn account_for_lost_output(written: &Written, recorded: &[Lost]) -> Result<(), Error> {
    let lost = console::lost();
    if lost.is_empty() {
        return Ok(());
    }
    for Lost { stream, error, .. } in &lost {
        console::say(format_args!(
            "note: {stream} did not take everything ({error}); the results are not touched by this"
        ));
    }
    if written.new && lost != recorded {
        Record::add_lost_output(&written.folder, lost)?;
    }
    Ok(())
}

/// The selected trials, with what they were selected by.
fn selected(verdicts: &[Verdict]) -> Option<String> {
    let selected = verdicts.iter().enumerate().filter(|it| it.1.selected == Some(true));
    let texts: Vec<String> = selected
        .map(|(trial, verdict)| match verdict.objective {
            Some(objective) => format!("{trial:03} ({})", rounded(objective)),
            None => format!("{trial:03}"),
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

/// What a run is of, for whoever looks on.
pub(super) fn begun(plan: &Plan, trials: &Trials, options: &RunOptions) -> String {
    let store = std::path::absolute(&*options.store);
    let store = store.unwrap_or_else(|_| options.store.to_path_buf());
    let begun = live::Begun {
        text: to_toml(&trials.resolved),
        file: plan.trials[0].pipeline.path.display().to_string(),
        sweep: !plan.trials[0].labels.is_empty(),
        backend: plan.backend.clone(),
        store: store.into_os_string().into_string().ok(),
        folder: std::env::current_dir().ok().and_then(|it| it.into_os_string().into_string().ok()),
    };
    serde_json::to_string(&begun).expect("it is plain data")
}

pub(super) fn provenance(
    plan: &Plan,
    resolved: &toml::Table,
    start: chrono::DateTime<chrono::Utc>,
    lost_output: Vec<Lost>,
) -> RunProvenance {
    let pipeline = &plan.trials[0].pipeline;
    let home = match pipeline.path.parent() {
        Some(path) if path != Path::new("") => path,
        _ => Path::new("."),
    };
    let git = |words: &[&str]| {
        let output = Command::new("git").arg("-C").arg(home).args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    RunProvenance {
        pipeline: pipeline.name.clone(),
        text: to_toml(resolved),
        sweep: !plan.trials[0].labels.is_empty(),
        file: pipeline.path.display().to_string(),
        folder: std::env::current_dir().map_or_else(|_| ".".into(), |it| it.display().to_string()),
        runner: env!("CARGO_PKG_VERSION").to_owned(),
        command: crate::system::command_line(),
        git_commit: git(&["rev-parse", "HEAD"]),
        git_dirty: git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
        device: pipeline.device.to_string(),
        backend: plan.backend.clone(),
        instruction_set: Isa::current().map_or_else(|error| error.to_string(), |it| it.to_string()),
        architecture: std::env::consts::ARCH.to_owned(),
        threads: rayon::current_num_threads(),
        host: host.ok().map(|it| it.trim().to_owned()),
        start: start.to_rfc3339(),
        end: crate::system::now().to_rfc3339(),
        lost_output,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Reference;
    use crate::exec::tests::{Fault, pipeline, stage};

    fn options(root: &Path) -> RunOptions {
        RunOptions {
            store: root.join("store").into(),
            results: root.join("results").into(),
            offline: true,
            quiet: true,
            ..RunOptions::default()
        }
    }

    fn trial() -> Trials {
        let (a, _) = stage("a", "a", Fault::None, 0, &[]);
        let (mut score, _) = stage("score", "s", Fault::None, 1, &["a"]);
        score.inputs.push(Reference { key: "on.0".into(), ..score.inputs[0].clone() });
        Trials::single(pipeline(vec![a, score]))
    }

    #[test]
    fn the_record_of_a_run_says_why_a_stage_failed_and_what_waited_for_it() {
        let root = tempfile::tempdir().unwrap();
        let (a, _) = stage("a", "a", Fault::Fails, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, 1, &["a"]);
        let mut pipeline = pipeline(vec![a, b]);
        pipeline.resolved = toml::from_str("[stages.a]\n[stages.b]\n").unwrap();
        execute(
            Trials::single(pipeline),
            Failures::new(),
            &options(root.path()),
            Asked { reporter: &Quiet, cancel: &AtomicBool::new(false), share: None },
        )
        .unwrap();
        let record = fs::read(root.path().join("results/x/latest/run.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let stages = &record["trials"][0];
        assert_eq!(stages[0]["state"], "failed");
        assert!(!stages[0]["error"]["message"].as_str().unwrap().is_empty(), "{record:#}");
        assert_eq!(
            (&stages[1]["state"], &stages[1]["waited_for"]),
            (&json!("skipped"), &json!("a"))
        );
    }

    #[test]
    fn two_stores_give_the_same_bytes_and_a_cached_run_makes_no_folder() {
        let bytes = [(); 2].map(|()| {
            let root = tempfile::tempdir().unwrap();
            for _ in 0..2 {
                execute(
                    trial(),
                    Failures::new(),
                    &options(root.path()),
                    Asked { reporter: &Quiet, cancel: &AtomicBool::new(false), share: None },
                )
                .unwrap();
            }
            let home = root.path().join("results/x");
            // One run and `latest`.
            assert_eq!(fs::read_dir(&home).unwrap().count(), 2);
            ["score.csv", "table.csv", "table.md", "table.tex"]
                .map(|name| fs::read_to_string(home.join("latest").join(name)).unwrap())
        });
        assert_eq!(bytes[0], bytes[1]);
        assert_eq!(bytes[0][0], "model,dataset,metric,value\na,a,accuracy,0.5\n");
    }
}
