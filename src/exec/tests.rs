//! Small stages and pipelines by hand.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::config::source::{Sources, Span};
use crate::config::{Reference, Wants};
use crate::device::Device;
use crate::metrics::Metrics;
use crate::plan::pipeline::{Pipeline, PlannedStage};
use crate::plan::trial::Trial;
use crate::stages::{Context, Described, Failure, Outcome, Problem, Product, Stage};

/// Writes `text`, counts its runs, and does as told.
#[derive(Debug, Default)]
pub struct Fake {
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
}

impl Stage for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }
    fn revision(&self) -> u32 {
        1
    }
    fn describe(&self, _: &Described) -> Result<Product, Vec<Problem>> {
        Ok(Product::Scores)
    }
    fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        fs::write(context.out.join("data"), &self.text).unwrap();
        match self.fault {
            Fault::Fails => return Err(Failure::new("it broke").help("mend it")),
            Fault::Panics => panic!("oh no"),
            Fault::Stops => context.cancel.store(true, Ordering::SeqCst),
            Fault::Slow => std::thread::sleep(std::time::Duration::from_millis(300)),
            Fault::None => {}
        }
        context.check_cancelled()?;
        let mut metrics = Metrics::scores();
        if context.find("models.0").is_some() {
            let cells = ["@models.0", "@models.0", "accuracy", "0.5"];
            metrics.push(cells.map(str::to_owned));
        }
        Ok(Outcome { metrics, summary: String::new(), timings: vec![("all".into(), 0.1)] })
    }
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
        name: name.to_owned(),
        stage: Arc::new(Fake { text: text.to_owned(), runs: Arc::clone(&runs), fault }),
        settings: toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(seed))]),
        inputs: inputs.collect(),
        after: Vec::new(),
        product: Product::Scores,
        span,
    };
    (stage, runs)
}

pub fn pipeline(stages: Vec<PlannedStage>) -> Pipeline {
    Pipeline {
        path: "x.toml".into(),
        sources: Sources::default(),
        name: "x".into(),
        title: None,
        seed: 0,
        device: Device::Cpu,
        stages,
        table: None,
        resolved: toml::Table::new(),
    }
}

pub fn execute(root: &Path, stages: Vec<PlannedStage>) -> Vec<Done> {
    let plan = Plan::new(vec![Trial::single(pipeline(stages))]).unwrap();
    let store = Store::open(root).unwrap();
    let cancel = AtomicBool::new(false);
    let job = Job {
        store: &store,
        offline: true,
        activations: None,
        checkpoint_every: Duration::from_secs(60),
        fail_fast: false,
        reporter: &Quiet,
        cancel: &cancel,
    };
    Local { workers: 1 }.execute(&plan, &job)
}

fn words(done: &[Done]) -> Vec<&'static str> {
    done.iter().map(|done| done.state.word()).collect()
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
    let plan = Plan::new(vec![make(1), make(2)]).unwrap();
    assert_eq!(plan.graph.node_count(), 3);
    assert_eq!(plan.stages[0]["a"], plan.stages[1]["a"]);
}
