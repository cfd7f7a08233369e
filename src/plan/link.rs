//! Joins stages by their references: names, products, splits, cycles, shapes.
//!
//! Never reads a setting; each stage knows its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::draft::StageDraft;
use super::pipeline::{PlannedStage, place};
use crate::config::diagnostic::suggest;
use crate::config::source::Span;
use crate::config::{Diagnostic, Noted, Reference, Wants};
use crate::stages::{DatasetShape, Described, Problem, Product};

/// The stages of a file.
pub(super) struct Linked {
    /// Complete only when no problem was noted.
    pub planned: Vec<PlannedStage>,
    /// `stages` as `runner show` prints it.
    pub resolved: toml::Table,
}

/// Resolves the references of `drafts`, in the order of the file, and notes every problem.
pub(super) fn link(drafts: Vec<StageDraft>, problems: &mut Vec<Diagnostic>) -> Linked {
    let places: HashMap<&str, usize> =
        drafts.iter().enumerate().map(|(at, draft)| (draft.name.as_str(), at)).collect();
    let graph = graph(&drafts, &places, problems);
    // Of the stages without problems, by their places.
    let mut products: HashMap<usize, Product> = HashMap::new();
    // Edges lead from a stage to what it needs, so components come needed ones first.
    for mut component in tarjan_scc(&graph) {
        component.sort();
        let at = component[0];
        if component.len() > 1 || graph.contains_edge(at, at) {
            problems.push(cycle(&graph, &drafts, at));
            continue;
        }
        if let Ok(product) = describe(&drafts, &places, at.index(), &products, problems) {
            products.insert(at.index(), product);
        }
    }
    let mut linked = Linked { planned: Vec::new(), resolved: toml::Table::new() };
    for (at, draft) in drafts.into_iter().enumerate() {
        linked.resolved.insert(draft.name.clone(), draft.gathered.resolved.clone().into());
        let (Ok(read), Some(product)) = (draft.stage, products.remove(&at)) else { continue };
        let mut settings = settings(draft.gathered.resolved, &draft.gathered.references);
        for key in read.stage.apart() {
            settings.remove(*key);
        }
        let (after, inputs): (Vec<_>, Vec<_>) =
            draft.gathered.references.into_iter().partition(is_after);
        linked.planned.push(PlannedStage {
            name: draft.name,
            stage: Arc::from(read.stage),
            measures: read.measures,
            resources: read.resources,
            settings,
            inputs,
            oracles: Vec::new(),
            after: after.into_iter().map(|reference| reference.stage).collect(),
            product,
        });
    }
    linked
}

fn is_after(reference: &Reference) -> bool {
    reference.wants == Wants::Anything && reference.key.starts_with("after.")
}

/// An edge from every stage to each stage it needs, with the place that says so.
fn graph(
    drafts: &[StageDraft],
    places: &HashMap<&str, usize>,
    problems: &mut Vec<Diagnostic>,
) -> DiGraph<(), Span> {
    let mut graph = DiGraph::new();
    let nodes: Vec<NodeIndex> = drafts.iter().map(|_| graph.add_node(())).collect();
    for (from, draft) in drafts.iter().enumerate() {
        for reference in &draft.gathered.references {
            if let Some(to) = places.get(reference.stage.as_str()) {
                graph.add_edge(nodes[from], nodes[*to], reference.span);
                continue;
            }
            let message = format!("there is no stage `{}`", reference.stage);
            let label = format!("`{}` names it", reference.key);
            let mut problem = Diagnostic::at(reference.span, message, label);
            let others = drafts.iter().map(|other| other.name.as_str());
            problem
                .help
                .extend(suggest(&reference.stage, others.filter(|name| *name != draft.name)));
            problems.push(problem);
        }
    }
    graph
}

/// The shortest way from `start` back to itself.
fn cycle(graph: &DiGraph<(), Span>, drafts: &[StageDraft], start: NodeIndex) -> Diagnostic {
    let mut came: BTreeMap<NodeIndex, (NodeIndex, Span)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        if came.contains_key(&start) {
            break;
        }
        let mut edges: Vec<_> = graph.edges(at).collect();
        edges.sort_by_key(EdgeRef::id);
        for edge in edges {
            came.entry(edge.target()).or_insert_with(|| {
                queue.push_back(edge.target());
                (at, *edge.weight())
            });
        }
    }
    let name = |at: NodeIndex| drafts[at.index()].name.as_str();
    let mut steps = Vec::new();
    let mut at = start;
    loop {
        let (from, span) = came[&at];
        steps.push((span, format!("`{}` needs `{}`", name(from), name(at)), name(from)));
        at = from;
        if at == start {
            break;
        }
    }
    steps.reverse();
    let names: Vec<&str> = steps.iter().map(|step| step.2).chain([name(start)]).collect();
    let message = format!("stages need each other in a cycle: {}", names.join(" -> "));
    let mut steps = steps.into_iter();
    let (span, label, _) = steps.next().expect("a cycle has a step");
    let mut problem = Diagnostic::at(span, message, label);
    for (span, label, _) in steps {
        problem = problem.related(span, label);
    }
    problem.help("remove one of these references")
}

/// Asks a stage what it will build, once everything that it names is known.
fn describe(
    drafts: &[StageDraft],
    places: &HashMap<&str, usize>,
    at: usize,
    products: &HashMap<usize, Product>,
    problems: &mut Vec<Diagnostic>,
) -> Result<Product, Noted> {
    let draft = &drafts[at];
    let mut described = Described::default();
    let before = problems.len();
    for reference in &draft.gathered.references {
        let Some(to) = places.get(reference.stage.as_str()) else { continue };
        let Some(product) = products.get(to) else { continue };
        match misfit(reference, product, &drafts[*to]) {
            Some(problem) => problems.push(problem),
            None if is_after(reference) => {}
            None => {
                let input = (product.clone(), reference.split.clone());
                described.inputs.insert(reference.key.clone(), input);
            }
        }
    }
    let fits = Noted::none_in(&problems[before..]);
    let told = |problem: Problem| {
        let span = place(draft.entry, &problem.key);
        problem.placed(span, format!("in stage `{}`", draft.name))
    };
    let read = draft.stage.as_ref().map_err(|noted| *noted)?;
    read.stage
        .describe(&described)
        .map_err(|found| {
            let noted = found.into_iter().map(|it| Noted::among(problems, told(it))).last();
            noted.unwrap_or_else(|| {
                let message = format!("stage `{}` does not fit its inputs", draft.name);
                Noted::among(
                    problems,
                    Diagnostic::at(draft.entry.key, message, "it does not say why"),
                )
            })
        })
        .and_then(|product| fits.map(|()| product))
}

/// Why `product`, which `target` builds, is not what `reference` wants.
fn misfit(reference: &Reference, product: &Product, target: &StageDraft) -> Option<Diagnostic> {
    let wanted = match (reference.wants, product) {
        (Wants::Anything, _)
        | (Wants::Dataset, Product::Dataset(_))
        | (Wants::Model | Wants::Classifier, Product::Model(_))
        | (Wants::Classifier, Product::Predictions(_)) => return None,
        (Wants::Split(_) | Wants::Artifact, Product::Dataset(shape)) => {
            return missing_split(reference, shape);
        }
        (Wants::Artifact, _) if reference.split.is_none() => return None,
        (Wants::Dataset | Wants::Split(_) | Wants::Artifact, _) => "a data set",
        (Wants::Model, _) => "a model",
        (Wants::Classifier, _) => "a model or predictions",
    };
    let message = format!("`{}` must be {wanted}", reference.key);
    let label = format!("`{}` makes {}", target.name, product.name());
    Some(
        Diagnostic::at(reference.span, message, label)
            .related(target.entry.node.nearest("kind").span, "made here")
            .help(format!("name a stage that makes {wanted}")),
    )
}

/// Why a data set of this `shape` does not have the split that `reference` names, as far as its splits are known.
pub(super) fn missing_split(reference: &Reference, shape: &DatasetShape) -> Option<Diagnostic> {
    let split = reference.split.as_deref()?;
    let splits = shape.splits.as_ref()?;
    if splits.contains_key(split) {
        return None;
    }
    let names: Vec<String> = splits.keys().map(|name| format!("`{name}`")).collect();
    let message = format!("`{}` has no split `{split}`", reference.stage);
    let label = format!("`{}` names it", reference.key);
    let problem = Diagnostic::at(reference.span, message, label);
    Some(problem.help(format!("its splits are {}", names.join(", "))))
}

/// `resolved` without what is not a setting: the kind, the order, what it needs of a machine, the references.
fn settings(mut resolved: toml::Table, references: &[Reference]) -> toml::Table {
    resolved.remove("kind");
    resolved.remove("after");
    resolved.remove("resources");
    // From the last, so that the index of an element still holds when its turn comes.
    for reference in references.iter().rev().filter(|reference| !is_after(reference)) {
        let parts: Vec<&str> = reference.key.split('.').collect();
        remove(&mut resolved, &parts);
    }
    resolved
}

fn remove(table: &mut toml::Table, parts: &[&str]) {
    match parts {
        [] => {}
        [key] => {
            table.remove(*key);
        }
        [key, rest @ ..] => match table.get_mut(*key) {
            Some(toml::Value::Table(below)) => remove(below, rest),
            Some(toml::Value::Array(items)) => {
                let Some(at) = rest[0].parse().ok().filter(|at: &usize| *at < items.len()) else {
                    return;
                };
                match (&mut items[at], &rest[1..]) {
                    (toml::Value::Table(below), rest @ [_, ..]) => remove(below, rest),
                    _ => {
                        items.remove(at);
                    }
                }
                if items.is_empty() {
                    table.remove(*key);
                }
            }
            _ => {}
        },
    }
}
