//! Small stages and pipelines by hand.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::node::{Node, Table, Value};
use crate::config::source::{Sources, Span};
use crate::config::{Reference, Wants};
use crate::device::Device;
use crate::metrics::{Metrics, ScoreRow};
use crate::nn::dispatch;
use crate::plan::graph::OutsideDigests;
use crate::plan::pipeline::{Pipeline, PlannedStage};
use crate::plan::table_spec::TableSpec;
use crate::plan::trial::Trial;
use crate::stages::{
    Context, Described, Failure, Halt, Measures, Outcome, Problem, Product, Stage,
};

/// Writes `text`, counts its runs, and does as told.
#[derive(Debug, Default)]
pub struct FakeStage {
    text: String,
    runs: Arc<AtomicUsize>,
    fault: Fault,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub enum Fault {
    #[default]
    None,
    Fails,
    Panics,
    Stops,
    Slow,
    /// As if it had stood still while another runner made the same, and another swept up after it.
    Overtaken,
}

impl Stage for FakeStage {
    fn kind(&self) -> &'static str {
        "fake"
    }
    fn revision(&self) -> u32 {
        1
    }
    fn describe(&self, _: &Described) -> Result<Product, Vec<Problem>> {
        Ok(Product::Scores)
    }
    fn run(&self, context: &Context) -> Result<Outcome, Halt> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        for input in context.inputs {
            assert!(input.path.join("manifest.json").exists(), "an input is there, and whole");
        }
        fs::write(context.out.join("data"), &self.text).unwrap();
        match self.fault {
            Fault::Fails => return Err(Failure::new("it broke").help("mend it").into()),
            Fault::Panics => panic!("oh no"),
            Fault::Stops => context.cancel.store(true, Ordering::SeqCst),
            Fault::Slow => std::thread::sleep(std::time::Duration::from_millis(300)),
            Fault::Overtaken => {
                overtake(context.out, &self.text);
                fs::write(context.out.join("data"), &self.text)
                    .map_err(|error| Failure::new(error.to_string()))?;
            }
            Fault::None => {}
        }
        context.check_cancelled()?;
        let mut rows = Vec::new();
        if context.find("models.0").is_some() {
            let [model, dataset, metric] =
                ["@models.0", "@models.0", "accuracy"].map(str::to_owned);
            rows.push(ScoreRow { model, dataset, metric, value: 0.5 });
        }
        let metrics = Metrics::Scores(rows);
        Ok(Outcome { metrics, timings: vec![("all".into(), 0.1)], ..Outcome::default() })
    }
}

/// Takes the lock of whoever writes to `out`, and makes the artifact with `text`.
fn overtake(out: &Path, text: &str) {
    let root = out.parent().unwrap().parent().unwrap();
    let (task, _) = out.file_name().unwrap().to_str().unwrap().split_once('-').unwrap();
    fs::remove_file(root.join("locks").join(format!("{task}.0.lock"))).unwrap();
    let checkpoint = root.join("checkpoints").join(task);
    let (stage, _) = stage("a", text, Fault::None, 0, &[]);
    assert_eq!(words(&execute(root, vec![stage])), ["ran"]);
    assert!(!out.exists(), "it was swept, as nobody held its lock");
    // What the one that stood still wrote after it woke up.
    fs::create_dir_all(checkpoint).unwrap();
}

pub type Runs = Arc<AtomicUsize>;

/// A stage called `name` that writes `text` and reads `inputs`.
pub fn stage(
    name: &str,
    text: &str,
    fault: Fault,
    seed: i64,
    inputs: &[&str],
) -> (PlannedStage, Runs) {
    let mut sources = Sources::default();
    let span = Span::new(sources.add("x", ""), 0..0);
    let runs = Runs::default();
    let inputs = inputs.iter().enumerate().map(|(at, input)| Reference {
        key: format!("models.{at}"),
        stage: (*input).to_owned(),
        split: None,
        wants: Wants::Model,
        span,
    });
    let stage = PlannedStage {
        resources: crate::plan::resources::Resources::default(),
        name: name.to_owned(),
        stage: Arc::new(FakeStage { text: text.to_owned(), runs: Arc::clone(&runs), fault }),
        settings: toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(seed))]),
        inputs: inputs.collect(),
        oracles: Vec::new(),
        after: Vec::new(),
        measures: Measures::Scores,
        product: Product::Scores,
    };
    (stage, runs)
}

pub fn pipeline(stages: Vec<PlannedStage>) -> Pipeline {
    let mut sources = Sources::default();
    let span = Span::new(sources.add("x", ""), 0..0);
    Pipeline {
        path: "x.toml".into(),
        sources,
        root: Arc::new(Node { span, value: Value::Table(Table::default()) }),
        name: "x".into(),
        title: None,
        seed: 0,
        device: Device::Cpu,
        stages,
        tables: vec![TableSpec::default()],
        select: None,
        pairs: None,
        resolved: toml::Table::new(),
    }
}

pub fn execute(root: &Path, stages: Vec<PlannedStage>) -> Vec<Done> {
    execute_with(root, stages, 1, false)
}

fn execute_with(
    root: &Path,
    stages: Vec<PlannedStage>,
    workers: usize,
    fail_fast: bool,
) -> Vec<Done> {
    with_job(root, stages, fail_fast, |plan, execution| {
        carry_out(plan, &Execution { workers, ..*execution })
    })
}

/// The plan of `trials` for this machine.
fn planned(trials: Vec<Trial>) -> Plan {
    Plan::new(trials, &OutsideDigests::default(), &dispatch::backend).unwrap()
}

fn carry_out(plan: &Plan, execution: &Execution) -> Vec<Done> {
    super::execute(plan, execution, &Holdings::look_up(plan, execution.store))
}

/// What `act` makes of the graph of `stages` and an execution on the store at `root`.
fn with_job<T>(
    root: &Path,
    stages: Vec<PlannedStage>,
    fail_fast: bool,
    act: impl FnOnce(&Plan, &Execution) -> T,
) -> T {
    let plan = planned(vec![Trial::single(pipeline(stages))]);
    let store = Store::open(root).unwrap();
    let cancel = AtomicBool::new(false);
    let environment = Environment {
        offline: true,
        downloads: store.downloads(),
        activations: None,
        home: ".".into(),
        save_every: Duration::from_secs(60),
    };
    let execution =
        Execution { fail_fast, ..Execution::new(&store, &environment, &Quiet, &cancel) };
    act(&plan, &execution)
}

fn words(done: &[Done]) -> Vec<&'static str> {
    done.iter().map(|done| done.end.ending().word()).collect()
}

#[test]
fn a_failed_stage_stops_only_what_depends_on_it() {
    let root = tempfile::tempdir().unwrap();
    for fault in [Fault::Fails, Fault::Panics] {
        let (a, _) = stage("a", "a", fault, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, 1, &["a"]);
        let (c, _) = stage("c", "c", Fault::None, fault as i64 + 10, &[]);
        let done = execute(root.path(), vec![a, b, c]);
        assert_eq!(words(&done), ["failed", "skipped", "ran"]);
        assert!(done[0].artifact.is_none());
    }
}

#[test]
fn a_runner_that_stood_still_takes_what_another_made_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let (a, _) = stage("a", "a", Fault::Overtaken, 0, &[]);
    let (b, _) = stage("b", "b", Fault::None, 1, &["a"]);
    assert_eq!(words(&execute(root.path(), vec![a, b])), ["cached", "ran"]);
    for folder in ["locks", "staging", "checkpoints"] {
        assert_eq!(fs::read_dir(root.path().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

/// How stage `a` ends on `store`, and how often it was run.
fn ends_on(store: &Store, fault: Fault) -> (End, usize) {
    let (a, runs) = stage("a", "a", fault, 0, &[]);
    let plan = planned(vec![Trial::single(pipeline(vec![a]))]);
    let cancel = AtomicBool::new(false);
    let environment = Environment {
        offline: true,
        downloads: store.downloads(),
        activations: None,
        home: ".".into(),
        save_every: Duration::from_secs(60),
    };
    let execution = Execution::new(store, &environment, &Quiet, &cancel);
    let done = carry_out(&plan, &execution).remove(0);
    assert!(done.is_recorded);
    (done.end, runs.load(Ordering::SeqCst))
}

#[test]
fn a_failure_holds_for_every_run_that_was_at_work_and_for_those_that_join_it() {
    let root = tempfile::tempdir().unwrap();
    let results = root.path().join("results");
    fs::create_dir(&results).unwrap();
    let open = || Store::open(root.path().join("store")).unwrap();
    let enter = |store: Store| store.enter("run", &results, |_| {}).unwrap();
    let (one, two) = (enter(open()), enter(open()));
    let (end, runs) = ends_on(&one, Fault::Fails);
    assert_eq!(runs, 1);
    drop(one);
    // The cause is repaired, but a search of the other run must not see what the first did not.
    let held = ends_on(&two, Fault::None);
    assert_eq!(held, (end.clone(), 0));
    let joined = enter(open());
    drop(two);
    assert_eq!(ends_on(&joined, Fault::None), (end.clone(), 0));
    // Who joins one that joined, joins them all.
    let last = enter(open());
    drop(joined);
    assert_eq!(ends_on(&last, Fault::None), (end, 0));
    // Told to, a run tries again although others are at work, and what comes of it counts for all.
    let retries = enter(open().forgiving().unwrap());
    let (again, runs) = ends_on(&retries, Fault::Panics);
    assert!(matches!(&again, End::Failed(failure) if failure.message.contains("oh no")));
    assert_eq!((runs, ends_on(&retries, Fault::None)), (1, (again.clone(), 0)));
    assert_eq!(ends_on(&last, Fault::None), (again, 0));
    drop((last, retries));
    // All are over: the next one tries again by itself, and leaves no record once it succeeded.
    let next = enter(open());
    assert_eq!(ends_on(&next, Fault::None), (End::Built, 1));
    assert_eq!(fs::read_dir(root.path().join("store/failed")).unwrap().count(), 0);
}

#[test]
fn a_record_of_a_failure_that_no_runner_wrote_says_nothing() {
    for text in ["", "{", "[1, 2]"] {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        ends_on(&store, Fault::Fails);
        let [record] = &fs::read_dir(root.path().join("failed"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()[..]
        else {
            panic!("one record")
        };
        fs::write(record, text).unwrap();
        assert!(matches!(ends_on(&store, Fault::Fails), (End::Failed(_), 1)), "{text}");
        assert!(matches!(ends_on(&store, Fault::Fails), (End::Failed(_), 0)), "{text}");
    }
}

#[test]
fn a_second_run_is_cached_and_names_do_not_matter() {
    let root = tempfile::tempdir().unwrap();
    let make = |first: &str| {
        let (a, _) = stage(first, "a", Fault::None, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, 1, &[first]);
        vec![b, a]
    };
    assert_eq!(words(&execute(root.path(), make("a"))), ["ran", "ran"]);
    assert_eq!(words(&execute(root.path(), make("renamed"))), ["cached", "cached"]);
}

#[test]
fn an_input_rebuilt_to_the_same_bytes_stops_the_rebuild_there() {
    let root = tempfile::tempdir().unwrap();
    let make = |seed, text| {
        let (a, _) = stage("a", text, Fault::None, seed, &[]);
        let (b, _) = stage("b", "b", Fault::None, 9, &["a"]);
        vec![a, b]
    };
    execute(root.path(), make(0, "same"));
    assert_eq!(words(&execute(root.path(), make(1, "same"))), ["ran", "cached"]);
    assert_eq!(words(&execute(root.path(), make(2, "other"))), ["ran", "ran"]);
}

#[test]
fn an_interrupted_run_resumes_where_it_stopped() {
    let root = tempfile::tempdir().unwrap();
    let make = |fault| {
        let (a, _) = stage("a", "a", Fault::None, 0, &[]);
        let (b, _) = stage("b", "b", fault, 1, &["a"]);
        vec![a, b]
    };
    assert_eq!(words(&execute(root.path(), make(Fault::Stops))), ["ran", "interrupted"]);
    assert_eq!(words(&execute(root.path(), make(Fault::None))), ["cached", "ran"]);
}

#[test]
fn two_runners_on_one_store_do_a_task_once() {
    let root = tempfile::tempdir().unwrap();
    let (a, runs) = stage("a", "a", Fault::Slow, 0, &[]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| execute(root.path(), vec![a.clone()]));
        }
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[test]
fn a_damaged_artifact_is_made_again() {
    let root = tempfile::tempdir().unwrap();
    let (a, runs) = stage("a", "whole", Fault::None, 0, &[]);
    let done = execute(root.path(), vec![a.clone()]);
    fs::write(done[0].artifact.as_ref().unwrap().1.join("data"), "").unwrap();
    assert_eq!(words(&execute(root.path(), vec![a.clone()])), ["ran"]);
    assert_eq!(words(&execute(root.path(), vec![a])), ["cached"]);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[test]
fn equal_stages_of_a_sweep_are_one_task() {
    let make = |seed| {
        let (a, _) = stage("a", "a", Fault::None, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, seed, &["a"]);
        Trial { labels: vec![("seed".into(), seed.into())], pipeline: pipeline(vec![a, b]) }
    };
    let plan = planned(vec![make(1), make(2)]);
    assert_eq!(plan.graph.node_count(), 3);
    assert_eq!(plan.stages[0]["a"], plan.stages[1]["a"]);
}

#[test]
fn fail_fast_begins_nothing_new_after_a_failure_and_the_next_run_does_what_is_left() {
    let root = tempfile::tempdir().unwrap();
    let make = |fault| {
        let (a, _) = stage("a", "a", fault, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, 1, &[]);
        vec![a, b]
    };
    let done = execute_with(root.path(), make(Fault::Fails), 1, true);
    assert_eq!(words(&done), ["failed", "skipped"]);
    assert_eq!(done[1].end, End::Skipped { because: "a".into() });
    assert_eq!(words(&execute_with(root.path(), make(Fault::None), 1, true)), ["ran", "ran"]);
}

#[test]
fn a_flipped_bit_in_an_input_is_found_before_it_is_used_and_the_input_made_again() {
    let root = tempfile::tempdir().unwrap();
    let (a, a_runs) = stage("a", "whole", Fault::None, 0, &[]);
    let (b, b_runs) = stage("b", "b", Fault::None, 1, &["a"]);
    let done = execute(root.path(), vec![a.clone()]);
    let data = done[0].artifact.as_ref().unwrap().1.join("data");
    fs::write(&data, "whale").unwrap();
    let done = execute(root.path(), vec![a, b]);
    assert_eq!(words(&done), ["ran", "ran"]);
    assert_eq!(fs::read_to_string(data).unwrap(), "whole");
    assert!(done[0].log.iter().any(|line| line.contains("damaged")), "{:?}", done[0].log);
    assert_eq!((a_runs.load(Ordering::SeqCst), b_runs.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn an_input_that_several_tasks_find_damaged_is_built_again_once() {
    for workers in [1, 3] {
        let root = tempfile::tempdir().unwrap();
        let (a, a_runs) = stage("a", "whole", Fault::None, 0, &[]);
        let (b, b_runs) = stage("b", "b", Fault::None, 1, &["a"]);
        let (c, c_runs) = stage("c", "c", Fault::None, 2, &["a"]);
        let (d, d_runs) = stage("d", "d", Fault::None, 3, &["a", "b"]);
        let done = execute(root.path(), vec![a.clone()]);
        fs::write(folder(&done[0]).join("data"), "whale").unwrap();
        let done = execute_with(root.path(), vec![a, b, c, d], workers, false);
        assert_eq!(words(&done), ["ran", "ran", "ran", "ran"], "{workers} workers");
        let runs = [a_runs, b_runs, c_runs, d_runs].map(|runs| runs.load(Ordering::SeqCst));
        assert_eq!(runs, [2, 1, 1, 1], "{workers} workers");
    }
}

#[test]
fn what_needs_a_damaged_input_that_cannot_be_built_again_is_skipped() {
    let root = tempfile::tempdir().unwrap();
    let (a, _) = stage("a", "whole", Fault::None, 0, &[]);
    let (broken, _) = stage("a", "whole", Fault::Fails, 0, &[]);
    let (b, b_runs) = stage("b", "b", Fault::None, 1, &["a"]);
    let done = execute(root.path(), vec![a]);
    fs::write(folder(&done[0]).join("data"), "whale").unwrap();
    let done = execute(root.path(), vec![broken, b]);
    assert_eq!(words(&done), ["failed", "skipped"]);
    assert_eq!(done[1].end, End::Skipped { because: "a".into() });
    assert_eq!(b_runs.load(Ordering::SeqCst), 0);
}

#[test]
fn a_task_that_is_held_back_begins_after_the_other_and_not_at_all_once_that_is_refused() {
    for refuses in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let (training, runs) = stage("training", "t", Fault::None, 0, &[]);
        let (data, _) = stage("data", "d", Fault::None, 1, &[]);
        let done = with_job(root.path(), vec![training, data], false, |plan, execution| {
            let [training, data] = ["training", "data"].map(|name| plan.stages[0][name]);
            let goes_on = |task, folder: &Path| {
                assert!(
                    folder.join("manifest.json").exists(),
                    "it is there when it is asked about"
                );
                assert!(task == training || runs.load(Ordering::SeqCst) == 0, "data comes first");
                task != data || !refuses
            };
            let holds = BTreeMap::from([(training, vec![data])]);
            carry_out(
                plan,
                &Execution { holds: &holds, goes_on: &goes_on, workers: 2, ..*execution },
            )
        });
        let wanted = if refuses { ["skipped", "ran"] } else { ["ran", "ran"] };
        assert_eq!(words(&done), wanted);
        assert_eq!(runs.load(Ordering::SeqCst), usize::from(!refuses));
    }
}

/// Carries out a graph and looks at what results would be written from, after `damage` to the store.
fn mended(root: &Path, stages: Vec<PlannedStage>, damage: impl Fn(&[Done])) -> Vec<Done> {
    with_job(root, stages, false, |plan, execution| {
        let done = carry_out(plan, execution);
        damage(&done);
        mend(plan, execution, done, |name| name == "data")
    })
}

fn folder(done: &Done) -> &Path {
    &done.artifact.as_ref().unwrap().1
}

#[test]
fn what_results_are_written_from_is_built_again_when_it_is_damaged_or_gone() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("flipped", |at| fs::write(at.join("data"), "whale").unwrap()),
        ("no file", |at| fs::remove_file(at.join("data")).unwrap()),
        ("no manifest", |at| fs::remove_file(at.join("manifest.json")).unwrap()),
        ("gone", |at| fs::remove_dir_all(at).unwrap()),
    ];
    for (what, damage) in damages {
        let root = tempfile::tempdir().unwrap();
        let (a, a_runs) = stage("a", "whole", Fault::None, 0, &[]);
        let (b, b_runs) = stage("b", "whole", Fault::None, 1, &["a"]);
        // Both go: the one cannot be built without the other.
        let done = mended(root.path(), vec![a, b], |done| {
            done.iter().for_each(|done| damage(folder(done)));
        });
        assert_eq!(words(&done), ["ran", "ran"], "{what}");
        for done in &done {
            assert_eq!(fs::read_to_string(folder(done).join("data")).unwrap(), "whole", "{what}");
        }
        assert_eq!((a_runs.load(Ordering::SeqCst), b_runs.load(Ordering::SeqCst)), (2, 2));
    }
}

#[test]
fn what_results_are_not_written_from_and_what_failed_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let (a, a_runs) = stage("a", "a", Fault::None, 0, &[]);
    let (b, b_runs) = stage("b", "b", Fault::Fails, 1, &["a"]);
    let (c, c_runs) = stage("c", "c", Fault::None, 2, &[]);
    let done = mended(root.path(), vec![a, b, c], |done| {
        // A digit of a time: as many bytes as before.
        let times = folder(&done[0]).join("timings.csv");
        let text = fs::read_to_string(&times).unwrap();
        fs::write(&times, text.replace("0.1", "0.2")).unwrap();
        fs::write(folder(&done[2]).join("data"), "d").unwrap();
    });
    assert_eq!(words(&done), ["ran", "failed", "ran"]);
    let runs = [a_runs, b_runs, c_runs].map(|runs| runs.load(Ordering::SeqCst));
    assert_eq!(runs, [1, 1, 2]);
    assert!(done[2].log.iter().any(|line| line.contains("the bytes of `data` have changed")));
}

/// Every stage of a random graph reads some of those before it.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    proptest::collection::vec(
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
        1..24,
    )
    .prop_map(|stages| {
        let inputs = |(at, inputs): (usize, Vec<proptest::sample::Index>)| {
            let mut inputs: Vec<usize> = match at {
                0 => Vec::new(),
                _ => inputs.into_iter().map(|input| input.index(at)).collect(),
            };
            inputs.sort_unstable();
            inputs.dedup();
            inputs
        };
        stages.into_iter().enumerate().map(inputs).collect()
    })
}

/// The stages of a graph, named by `name` and with the setting that `seed` gives.
fn stages_of(
    graph: &[Vec<usize>],
    name: impl Fn(usize) -> String,
    seed: impl Fn(usize) -> i64,
) -> (Vec<PlannedStage>, Vec<Runs>) {
    let stage = |(at, inputs): (usize, &Vec<usize>)| {
        let inputs: Vec<String> = inputs.iter().map(|input| name(*input)).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        stage(&name(at), &at.to_string(), Fault::None, seed(at), &inputs)
    };
    graph.iter().enumerate().map(stage).unzip()
}

#[expect(clippy::cast_possible_wrap, reason = "a small number")]
fn number(at: usize) -> i64 {
    at as i64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// That no stage runs before its inputs is asserted by the stages themselves.
    #[test]
    fn any_number_of_workers_runs_each_stage_of_any_graph_once_and_after_its_inputs(
        graph in graphs(),
        workers in 1_usize..=16,
    ) {
        let root = tempfile::tempdir().unwrap();
        let (stages, runs) = stages_of(&graph, |at| format!("s{at}"), number);
        let done = execute_with(root.path(), stages.clone(), workers, false);
        prop_assert!(words(&done).iter().all(|word| *word == "ran"), "{:?}", words(&done));
        let done = execute_with(root.path(), stages, workers, false);
        prop_assert!(words(&done).iter().all(|word| *word == "cached"), "{:?}", words(&done));
        for runs in runs {
            prop_assert_eq!(runs.load(Ordering::SeqCst), 1);
        }
    }

    #[test]
    fn fingerprints_depend_on_neither_names_nor_order_and_a_setting_changes_what_follows_from_it(
        graph in graphs(),
        rotate in any::<proptest::sample::Index>(),
        changed in any::<proptest::sample::Index>(),
    ) {
        let recipes = |stages: Vec<PlannedStage>, name: &dyn Fn(usize) -> String| {
            let plan = planned(vec![Trial::single(pipeline(stages))]);
            let recipe = |at: usize| plan.graph[plan.stages[0][&name(at)]].recipe;
            (0..graph.len()).map(recipe).collect::<Vec<_>>()
        };
        let plain = |at: usize| format!("s{at}");
        let before = recipes(stages_of(&graph, plain, number).0, &plain);

        let renamed = |at: usize| format!("other{}", at * 7);
        let mut moved = stages_of(&graph, renamed, number).0;
        moved.rotate_left(rotate.index(graph.len()));
        prop_assert_eq!(&recipes(moved, &renamed), &before);

        let changed = changed.index(graph.len());
        let seed = |at| if at == changed { -1 } else { number(at) };
        let after = recipes(stages_of(&graph, plain, seed).0, &plain);
        let mut follows = vec![false; graph.len()];
        for at in 0..graph.len() {
            follows[at] = at == changed || graph[at].iter().any(|input| follows[*input]);
            prop_assert_eq!(after[at] != before[at], follows[at], "stage {}", at);
        }
    }
}

#[test]
fn what_failed_in_an_earlier_run_is_written_to_the_store_only_where_processes_decide_by_it() {
    for shares_failures in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let (a, runs) = stage("a", "a", Fault::None, 0, &[]);
        let recorded = with_job(root.path(), vec![a], false, |plan, execution| {
            let fingerprint = carry_out(plan, execution)[0].fingerprint.unwrap();
            fs::remove_dir_all(execution.store.folder(&fingerprint)).unwrap();
            let failures = BTreeMap::from([(fingerprint, Failure::new("it failed"))]);
            let execution = Execution { failures: &failures, shares_failures, ..*execution };
            assert_eq!(words(&carry_out(plan, &execution)), ["failed"]);
            execution.store.failures().unwrap().len()
        });
        assert_eq!(recorded, usize::from(shares_failures));
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
