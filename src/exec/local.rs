//! Runs tasks in this process, one at a time: training uses the whole machine from inside.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use petgraph::graph::NodeIndex;

use super::events::{Event, TaskProgress};
use super::{Done, Executor, Job, State, display_name};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::graph::Plan;
use crate::report::csv;
use crate::stages::{Context, Failure, Input, Outcome};
use crate::store::{self, Artifact, Found, InputRecord, Manifest, Staging};

/// The executor of this process.
pub struct Local;

impl Executor for Local {
    fn execute(&self, plan: &Plan, job: &Job) -> Vec<Done> {
        let since = Instant::now();
        let mut run = Run { plan, job, done: HashMap::new() };
        for task in &plan.order {
            let done = run.task(*task);
            run.done.insert(*task, done);
        }
        let count = |word: &str| run.done.values().filter(|it| it.state.word() == word).count();
        job.reporter.event(&Event::RunFinished {
            cached: count("cached"),
            ran: count("ran"),
            failed: count("failed"),
            skipped: count("skipped") + count("interrupted"),
            seconds: since.elapsed().as_secs_f64(),
        });
        plan.graph
            .node_indices()
            .map(|task| run.done.remove(&task).expect("every task ended"))
            .collect()
    }
}

struct Run<'a> {
    plan: &'a Plan,
    job: &'a Job<'a>,
    done: HashMap<NodeIndex, Done>,
}

impl Run<'_> {
    fn task(&self, task: NodeIndex) -> Done {
        let since = Instant::now();
        let number = task.index();
        let name = display_name(self.plan, task);
        let lacking = self
            .plan
            .needs(task)
            .into_iter()
            .find(|(before, _)| self.done[before].artifact.is_none());
        if let Some((before, _)) = lacking {
            let because = display_name(self.plan, before);
            let event = Event::Skipped { task: number, name, because: because.clone() };
            self.job.reporter.event(&event);
            return Done {
                state: State::Skipped { because },
                fingerprint: None,
                artifact: None,
                seconds: 0.0,
            };
        }
        let fingerprint = self
            .plan
            .fingerprint(task, |input| self.done[&input].artifact.as_ref().map(|it| it.0))
            .expect("every input has an artifact");
        let (state, artifact) = match self.obtain(task, &name, fingerprint) {
            Ok((state, artifact)) => (state, Some((artifact.content(), artifact.path))),
            Err(failure) if failure.interrupted => {
                self.job.reporter.event(&Event::Interrupted { task: number, name });
                (State::Interrupted, None)
            }
            Err(Failure { message, help, .. }) => {
                let inputs = self.plan.graph[task].inputs.iter().map(|input| {
                    let split = input.split.as_ref().map(|it| format!(".{it}")).unwrap_or_default();
                    format!("{} = {}{split}", input.key, self.plan.graph[input.task].name)
                });
                self.job.reporter.event(&Event::Failed {
                    task: number,
                    name,
                    message: message.clone(),
                    inputs: inputs.collect(),
                    help: help.clone(),
                });
                (State::Failed { message, help }, None)
            }
        };
        let seconds = since.elapsed().as_secs_f64();
        Done { state, fingerprint: Some(fingerprint), artifact, seconds }
    }

    /// The artifact of `task`, from the store or made now.
    fn obtain(
        &self,
        task: NodeIndex,
        name: &str,
        fingerprint: Fingerprint,
    ) -> Result<(State, Artifact), Failure> {
        let Job { store, reporter, cancel, .. } = *self.job;
        let number = task.index();
        let cached = |artifact: Artifact| {
            let summary = summary(&artifact);
            reporter.event(&Event::Cached { task: number, name: name.to_owned(), summary });
            Ok((State::Cached, artifact))
        };
        if let Found::Whole(artifact) = store.find(&fingerprint)? {
            return cached(*artifact);
        }
        let stopping = || cancel.load(Ordering::Relaxed);
        if stopping() {
            return Err(Failure::interrupted());
        }
        let waiting = |holder: &str| {
            let (name, holder) = (name.to_owned(), holder.to_owned());
            reporter.event(&Event::Waiting { task: number, name, holder });
        };
        let Some(lock) = store.lock(&fingerprint, waiting, stopping)? else {
            return Err(Failure::interrupted());
        };
        // Whoever held the lock before may have made it meanwhile.
        match store.find(&fingerprint)? {
            Found::Whole(artifact) => return cached(*artifact),
            Found::Nothing => {}
            Found::Damaged(reason) => {
                let aside = store.set_aside(&fingerprint, &reason)?;
                let text = format!("damaged ({reason}): moved to {}, made again", aside.display());
                reporter.event(&Event::Note { task: number, name: name.to_owned(), text });
            }
        }
        let since = Instant::now();
        let kind = self.plan.graph[task].stage.kind().to_owned();
        reporter.event(&Event::TaskStarted { task: number, name: name.to_owned(), kind });
        let staging = store.stage(&fingerprint, &lock)?;
        let outcome = self.run_stage(task, name, &staging)?;
        let artifact = self.publish(task, fingerprint, staging, &outcome)?;
        let seconds = since.elapsed().as_secs_f64();
        let (name, summary) = (name.to_owned(), outcome.summary);
        reporter.event(&Event::Finished { task: number, name, summary, seconds });
        Ok((State::Ran, artifact))
    }

    fn run_stage(
        &self,
        task: NodeIndex,
        name: &str,
        staging: &Staging,
    ) -> Result<Outcome, Failure> {
        let node = &self.plan.graph[task];
        let inputs: Vec<Input> = node
            .inputs
            .iter()
            .map(|input| {
                let (_, path) =
                    self.done[&input.task].artifact.clone().expect("every input has an artifact");
                Input { key: input.key.clone(), path, split: input.split.clone() }
            })
            .collect();
        let progress = TaskProgress { task: task.index(), name, reporter: self.job.reporter };
        let downloads = self.job.store.downloads();
        let context = Context {
            inputs: &inputs,
            out: staging.path(),
            downloads: &downloads,
            offline: self.job.offline,
            activations: self.job.activations,
            device: node.device,
            progress: &progress,
            cancel: self.job.cancel,
        };
        // Nothing of the stage is looked at after a panic but the message.
        catch_unwind(AssertUnwindSafe(|| node.stage.run(&context))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let message = format!("stage `{name}` panicked: {text}");
            Err(Failure::new(message).help("this is a bug in runner; please report it"))
        })
    }

    fn publish(
        &self,
        task: NodeIndex,
        fingerprint: Fingerprint,
        staging: Staging,
        outcome: &Outcome,
    ) -> Result<Artifact, Failure> {
        let node = &self.plan.graph[task];
        staging.check_names()?;
        if !outcome.metrics.header.is_empty() {
            staging.add("metrics.csv", csv::write(&outcome.metrics).as_bytes())?;
        }
        let json = serde_json::json!({ "summary": outcome.summary });
        staging.add("outcome.json", json.to_string().as_bytes())?;
        staging.add("timings.csv", csv::timings(&outcome.timings).as_bytes())?;
        let inputs = node.inputs.iter().map(|input| {
            let done = &self.done[&input.task];
            InputRecord {
                key: input.key.clone(),
                split: input.split.clone(),
                fingerprint: done.fingerprint.expect("every input has a fingerprint"),
                content: done.artifact.as_ref().expect("every input has an artifact").0,
            }
        });
        let manifest = Manifest {
            version: store::VERSION,
            kind: node.stage.kind().to_owned(),
            revision: node.stage.revision(),
            backend: node.device.backend(),
            settings: serde_json::to_value(&node.settings)
                .map_err(|error| Failure::new(format!("settings cannot be JSON: {error}")))?,
            external: node.external.clone(),
            inputs: inputs.collect(),
            fingerprint,
            content: Staging::no_content(),
            files: Vec::new(),
            runner: env!("CARGO_PKG_VERSION").to_owned(),
            created: chrono::Utc::now().to_rfc3339(),
        };
        Ok(staging.publish(manifest)?)
    }
}

/// The line that the stage left for the terminal.
fn summary(artifact: &Artifact) -> String {
    std::fs::read(artifact.path.join("outcome.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .and_then(|value| value["summary"].as_str().map(str::to_owned))
        .unwrap_or_default()
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let mut failure = Self::new(error.to_string());
        failure.help = error.help();
        failure
    }
}
