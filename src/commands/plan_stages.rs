//! `runner plan`: what a run would do, and why. Writes nothing.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use petgraph::graph::NodeIndex;
use serde_json::json;

use super::Error;
use super::comparison::Comparison;
use super::forecast::{PastTimes, duration};
use super::outlook::Outlook;
use crate::cli::{BackendOption, PlanArgs, PlanFormat, RunOptions};
use crate::cluster::{Order, Site, Width, widths};
use crate::data::outside::Known;
use crate::exec::{Holdings, display_name};
use crate::nn::dispatch;
use crate::plan::graph::{Edge, Plan};
use crate::plan::print::to_toml;
use crate::plan::search::Search;
use crate::plan::trials::Trials;
use crate::store::Store;

/// Prints the plan of a pipeline, or of its whole sweep.
///
/// # Errors
/// When the file is wrong or the store cannot be read.
pub fn run(args: &PlanArgs) -> Result<ExitCode, Error> {
    let Some(name) = &args.on else {
        super::outside::read_for(&args.backend);
        let trials = super::trials_of(&args.file, args.sweep)?;
        super::outside::say_untried();
        let text = plan(trials, &args.store, &args.results, (&args.backend, args.format))?;
        super::print(text)?;
        return Ok(ExitCode::SUCCESS);
    };
    if args.format != PlanFormat::Text {
        let problem = "`--on` shows what is typed for a queue, which is text: leave out `--format`";
        return Err(Error::Missing(problem.into()));
    }
    let site = Site::find(&args.store, name)?;
    let backend = args.backend.backend.clone().or_else(|| site.backend.clone());
    dispatch::read_for(backend.as_deref());
    let trials = super::trials_of(&args.file, args.sweep)?;
    let backend = BackendOption { backend };
    let workers = workers(args, (name, &site), &trials, &backend)?;
    let text = plan(trials, &args.store, &args.results, (&backend, args.format))?;
    super::print(text + &workers)?;
    Ok(ExitCode::SUCCESS)
}

/// Which workers of a site would be asked for, and how one would type it.
///
/// # Errors
/// When there is a stage that none of the classes has room for.
fn workers(
    args: &PlanArgs,
    (name, site): (&str, &Site),
    trials: &Trials,
    backend: &BackendOption,
) -> Result<String, Error> {
    let store = Store::peek(&*args.store);
    let known = Known::from_folder(store.outside());
    let plan = super::outside::plan(trials.trials.clone(), &known, backend)?;
    let holdings = Holdings::look_up(&plan, &store);
    let widths = widths(site, &plan, |task| holdings.get(task).is_none());
    let widths = widths.map_err(super::driver::no_room)?;
    let id = super::shared_run::id_of(&to_toml(&trials.resolved));
    let logs = store.root().join("runs").join(&id).join("lives");
    let folder = std::env::current_dir().map_err(|error| Error::Machine(error.to_string()))?;
    let options = RunOptions {
        store: args.store.clone(),
        results: args.results.clone(),
        ..RunOptions::default()
    };
    let of = (&*id, store.label(&id));
    let order = super::driver::order_of(of, folder, &logs, &options)?;
    let order = Order { setup: site.setup.clone(), ..order };
    let mut text = format!("\nrun {id} on {name}:\n");
    for class in &site.classes {
        let Width { tasks, at_once } = widths.get(&class.name).copied().unwrap_or_default();
        text +=
            &format!("class `{}`: {tasks} stages, {at_once} of them side by side\n", class.name);
        if tasks > 0 {
            let at_once = at_once.min(class.at_once);
            text += &site.engine.typed(&order.of_class(site.engine.as_ref(), class, at_once));
        }
    }
    Ok(text)
}

/// The plan of `trials` against the store in `root`, as text.
///
/// # Errors
/// When there is no plan or the store cannot be read.
fn plan(
    trials: Trials,
    root: &Path,
    results: &Path,
    (backend, format): (&BackendOption, PlanFormat),
) -> Result<String, Error> {
    let Trials { trials, search, .. } = trials;
    let store = Store::peek(root);
    let plan = super::outside::plan(trials, &Known::from_folder(store.outside()), backend)?;
    let holdings = Holdings::look_up(&plan, &store);
    super::outside::all_to_build(&plan, &holdings)?;
    Comparison::new(&plan, &holdings)?;
    let Outlook { why, .. } = Outlook::new(&plan, (&store, holdings), results, 0)?;
    Ok(match format {
        PlanFormat::Text => {
            let past = PastTimes::read(results)?;
            text(&plan, &why) + &totals(&plan, &why, search.as_ref(), &past)
        }
        PlanFormat::Json => json(&plan, &why),
        PlanFormat::Mermaid => drawing(&plan, "flowchart TD\n", "", |from, to, edge| {
            let arrow = if edge == Edge::Input { "-->" } else { "-.->" };
            format!("  t{from} {arrow} t{to}\n")
        }),
        PlanFormat::Dot => drawing(&plan, "digraph plan {\n", "}\n", |from, to, edge| {
            let style = if edge == Edge::Input { "" } else { " [style=dashed]" };
            format!("  t{from} -> t{to}{style};\n")
        }),
    })
}

fn text(plan: &Plan, why: &HashMap<NodeIndex, Vec<String>>) -> String {
    let mut text = String::new();
    for task in &plan.order {
        let needs: Vec<String> =
            plan.needs(*task).iter().map(|(it, _)| display_name(plan, *it)).collect();
        let from =
            if needs.is_empty() { String::new() } else { format!(" <- {}", needs.join(", ")) };
        let state = match why.get(task).map(Vec::as_slice) {
            None => "cached".to_owned(),
            Some([one]) => format!("will run: {one}"),
            Some(several) => format!("will run:\n      {}", several.join("\n      ")),
        };
        let kind = plan.graph[*task].stage.kind();
        text += &format!("{} ({kind}){from}\n    {state}\n", display_name(plan, *task));
    }
    text
}

/// What there is to do in all, and how long it will take.
fn totals(
    plan: &Plan,
    why: &HashMap<NodeIndex, Vec<String>>,
    search: Option<&Search>,
    past: &PastTimes,
) -> String {
    let all = plan.order.len();
    let mut text = format!("{all} stages: {} cached, {} will run\n", all - why.len(), why.len());
    if let Some(search) = search {
        let trials = plan.trials.len();
        let stages: usize = plan.stages.iter().map(indexmap::IndexMap::len).sum();
        let of = |wanted: &dyn Fn(usize) -> bool| {
            plan.graph.node_weights().filter(|task| wanted(task.trials.len())).count()
        };
        text += &format!(
            "{trials} trials: {all} stages instead of {stages}; {} shared by all trials, {} by some, {} of \
             one\n",
            of(&|count| count == trials && trials > 1),
            of(&|count| count > 1 && count < trials),
            of(&|count| count == 1),
        );
        let expected = search.expected_trials();
        if expected > trials {
            text += &format!("{} trials more will be decided on by results\n", expected - trials);
        } else if search.decides() {
            text += "results decide how far each trial goes\n";
        }
    }
    for note in search.into_iter().flat_map(Search::notes) {
        text += &format!("note: {note}\n");
    }
    let left: Vec<NodeIndex> =
        plan.order.iter().copied().filter(|task| why.contains_key(task)).collect();
    let (seconds, unknown) = past.total(plan, &left);
    if unknown < left.len() {
        let known = match unknown {
            0 => String::new(),
            count => format!("; nothing is known of {count} stages"),
        };
        text += &format!("about {} of work, by past timings{known}\n", duration(seconds));
    }
    text
}

fn json(plan: &Plan, why: &HashMap<NodeIndex, Vec<String>>) -> String {
    let stages = plan.order.iter().map(|task| {
        let needs = plan.needs(*task).into_iter().map(|(it, _)| display_name(plan, it));
        json!({
            "name": display_name(plan, *task),
            "kind": plan.graph[*task].stage.kind(),
            "needs": needs.collect::<Vec<_>>(),
            "cached": !why.contains_key(task),
            "why": why.get(task),
        })
    });
    format!("{:#}\n", serde_json::Value::Array(stages.collect()))
}

fn drawing(
    plan: &Plan,
    open: &str,
    close: &str,
    edge: impl Fn(usize, usize, Edge) -> String,
) -> String {
    let mut text = open.to_owned();
    for task in &plan.order {
        let (number, name) = (task.index(), display_name(plan, *task));
        text += &match close {
            "" => format!("  t{number}[\"{name}\"]\n"),
            _ => format!("  t{number} [label=\"{name}\"];\n"),
        };
    }
    for task in &plan.order {
        for (before, kind) in plan.needs(*task) {
            text += &edge(before.index(), task.index(), kind);
        }
    }
    text + close
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::tests::{Fault, execute, pipeline, stage};

    #[test]
    fn a_plan_says_what_is_cached_and_why_the_rest_runs() {
        let root = tempfile::tempdir().unwrap();
        let (a, _) = stage("a", "a", Fault::None, 0, &[]);
        let (b, _) = stage("b", "b", Fault::None, 1, &["a"]);
        let (c, _) = stage("c", "c", Fault::None, 2, &["b"]);
        execute(root.path(), vec![a.clone()]);
        let said = |format| {
            let trial = Trials::single(pipeline(vec![a.clone(), b.clone(), c.clone()]));
            let backend = BackendOption::default();
            plan(trial, root.path(), root.path(), (&backend, format)).unwrap()
        };
        insta::assert_snapshot!(said(PlanFormat::Text), @r"
        a (fake)
            cached
        b (fake) <- a
            will run: no artifact with these settings and inputs yet
        c (fake) <- b
            will run: `b` will run first
        3 stages: 1 cached, 2 will run
        ");
        let mermaid = said(PlanFormat::Mermaid);
        assert!(mermaid.ends_with("  t0 --> t1\n  t1 --> t2\n"), "{mermaid}");
    }
}
