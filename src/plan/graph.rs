//! The graph of tasks over all trials. Two stages with the same recipe are one task. Runs nothing
//! and writes nothing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;
use petgraph::Direction;
use petgraph::algo::has_path_connecting;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Dfs;

use super::fingerprint::{self, Ingredient, Ingredients};
use super::pipeline::PlannedStage;
use super::resources::Resources;
use super::trial::Trial;
use crate::device::Device;
use crate::digest::{Content, Fingerprint, Recipe};
use crate::stages::Stage;

/// Work to be done once, whoever asks for it.
#[derive(Debug, Clone)]
pub struct Task {
    /// The stage's name in the first trial that needs it.
    pub name: String,
    /// The stage with its settings.
    pub stage: Arc<dyn Stage>,
    /// Every setting that counts.
    pub settings: toml::Table,
    /// Its inputs, in the order of reading.
    pub inputs: Vec<TaskInput>,
    /// Digest of outside files.
    pub external: Option<String>,
    /// Where tensors live.
    pub device: Device,
    /// The backend that it is planned for; nothing where no byte depends on it.
    pub backend: Option<String>,
    /// What it needs of the machine that builds it: the most that any of its stages asks for.
    pub resources: Resources,
    /// What it would build.
    pub recipe: Recipe,
    /// Numbers of the trials that need it.
    pub trials: Vec<usize>,
}

/// An input of a task.
#[derive(Debug, Clone)]
pub struct TaskInput {
    /// Dotted key of the reference.
    pub key: String,
    /// The split that it names.
    pub split: Option<String>,
    /// The task that builds it.
    pub task: NodeIndex,
}

/// Why one task comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Its artifact is read.
    Input,
    /// `after`: order only.
    Order,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Stages wait for each other, or for stages that do not exist.
    #[error("these stages cannot be put in order: {0}")]
    Unordered(String),
}

/// Digests of the files outside the store that stages read. Whoever may read files gathers them.
#[derive(Debug, Default)]
pub struct OutsideDigests {
    /// Of every trial, by the name of the stage.
    by_trial: Vec<HashMap<String, String>>,
}

impl OutsideDigests {
    /// Notes that of a stage.
    pub fn put(&mut self, trial: usize, stage: &str, digest: String) {
        if self.by_trial.len() <= trial {
            self.by_trial.resize_with(trial + 1, HashMap::new);
        }
        self.by_trial[trial].insert(stage.to_owned(), digest);
    }

    fn get(&self, trial: usize, stage: &str) -> Option<&String> {
        self.by_trial.get(trial)?.get(stage)
    }
}

/// All tasks of all trials.
#[derive(Debug)]
pub struct Plan {
    /// The trials.
    pub trials: Vec<Trial>,
    /// The tasks; an edge leads to what depends on it.
    pub graph: DiGraph<Task, Edge>,
    /// A fixed order in which every task comes after what it needs.
    pub order: Vec<NodeIndex>,
    /// For every trial, stage name to task, in the order of the file.
    pub stages: Vec<IndexMap<String, NodeIndex>>,
    /// The backend that the first trial is planned for.
    pub backend: String,
}

impl Plan {
    /// The graph of `trials`, whose stages read the files `outside` the store. `backend` names what the numbers of
    /// a device are computed with, on the machine that is to run the plan.
    ///
    /// # Errors
    /// When stages cannot be put in order.
    pub fn new(
        trials: Vec<Trial>,
        outside: &OutsideDigests,
        backend: &dyn Fn(Device) -> String,
    ) -> Result<Self, Error> {
        let (graph, by_recipe) = (DiGraph::new(), HashMap::new());
        let mut builder = Builder { outside, backend, graph, by_recipe };
        let stages = trials
            .iter()
            .enumerate()
            .map(|(number, trial)| builder.add(number, trial))
            .collect::<Result<_, _>>()?;
        let order = ordered(&builder.graph);
        let backend = trials.first().map(|first| backend(first.pipeline.device));
        let backend = backend.unwrap_or_default();
        Ok(Self { trials, graph: builder.graph, order, stages, backend })
    }

    /// The fingerprint of `task`, when the content of all its inputs is known.
    pub fn fingerprint(
        &self,
        task: NodeIndex,
        content: impl Fn(NodeIndex) -> Option<Content>,
    ) -> Option<Fingerprint> {
        let task = &self.graph[task];
        let inputs = task
            .inputs
            .iter()
            .map(|input| {
                let digest = content(input.task)?.0;
                Some(Ingredient { key: input.key.clone(), split: input.split.clone(), digest })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(fingerprint::fingerprint(task.ingredients(), &inputs))
    }

    /// The stage of `task` in the first trial that has it.
    pub fn planned(&self, task: NodeIndex) -> Option<&PlannedStage> {
        let node = &self.graph[task];
        let trial = node.trials.first().copied()?;
        // Both are in the order of the file.
        let place = self.stages[trial].get_index_of(&node.name)?;
        self.trials[trial].pipeline.stages.get(place)
    }

    /// The inputs of `task` for people: `train = photos.train`.
    pub fn input_texts(&self, task: NodeIndex) -> Vec<String> {
        let text = |input: &TaskInput| {
            let split = input.split.as_ref().map(|it| format!(".{it}")).unwrap_or_default();
            format!("{} = {}{split}", input.key, self.graph[input.task].name)
        };
        self.graph[task].inputs.iter().map(text).collect()
    }

    /// These tasks and everything that comes after one of them.
    pub fn with_descendants(&self, tasks: &[NodeIndex]) -> HashSet<NodeIndex> {
        let mut search = Dfs::empty(&self.graph);
        search.stack.extend(tasks);
        let mut found = HashSet::new();
        while let Some(next) = search.next(&self.graph) {
            found.insert(next);
        }
        found
    }

    /// The tasks that `task` waits for, in order.
    pub fn needs(&self, task: NodeIndex) -> Vec<(NodeIndex, Edge)> {
        let mut needs: Vec<(NodeIndex, Edge)> = self
            .graph
            .edges_directed(task, Direction::Incoming)
            .map(|edge| (petgraph::visit::EdgeRef::source(&edge), *edge.weight()))
            .collect();
        needs.sort_by_key(|(task, _)| *task);
        needs
    }
}

impl Task {
    fn ingredients(&self) -> Ingredients<'_> {
        Ingredients {
            kind: self.stage.kind(),
            revision: self.stage.revision(),
            settings: &self.settings,
            external: self.external.as_deref(),
            backend: self.backend.as_deref(),
        }
    }
}

struct Builder<'a> {
    outside: &'a OutsideDigests,
    backend: &'a dyn Fn(Device) -> String,
    graph: DiGraph<Task, Edge>,
    by_recipe: HashMap<Recipe, NodeIndex>,
}

impl Builder<'_> {
    fn add(&mut self, number: usize, trial: &Trial) -> Result<IndexMap<String, NodeIndex>, Error> {
        let stages = &trial.pipeline.stages;
        let places: HashMap<&str, usize> =
            stages.iter().enumerate().map(|(at, stage)| (stage.name.as_str(), at)).collect();
        let mut needs: DiGraph<(), ()> = DiGraph::with_capacity(stages.len(), stages.len());
        let nodes: Vec<NodeIndex> = stages.iter().map(|_| needs.add_node(())).collect();
        for (node, stage) in nodes.iter().zip(stages) {
            let inputs = stage.inputs.iter().map(|input| input.stage.as_str());
            for needed in inputs.chain(stage.after.iter().map(String::as_str)) {
                // What needs a stage that does not exist waits for ever, as for itself.
                let needed = places.get(needed).map_or(*node, |place| nodes[*place]);
                needs.add_edge(needed, *node, ());
            }
        }
        let mut done: HashMap<&str, NodeIndex> = HashMap::with_capacity(stages.len());
        for node in ordered(&needs) {
            let stage = &stages[node.index()];
            let task = self.task(number, trial.pipeline.device, stage, &done);
            done.insert(&stage.name, task);
        }
        if done.len() < stages.len() {
            let rest = stages.iter().map(|stage| stage.name.as_str());
            let rest: Vec<&str> = rest.filter(|name| !done.contains_key(name)).collect();
            return Err(Error::Unordered(rest.join(", ")));
        }
        Ok(stages.iter().map(|stage| (stage.name.clone(), done[stage.name.as_str()])).collect())
    }

    fn task(
        &mut self,
        number: usize,
        device: Device,
        planned: &PlannedStage,
        done: &HashMap<&str, NodeIndex>,
    ) -> NodeIndex {
        let external = self.outside.get(number, &planned.name).cloned();
        let inputs: Vec<TaskInput> = planned
            .inputs
            .iter()
            .map(|input| TaskInput {
                key: input.key.clone(),
                split: input.split.clone(),
                task: done[input.stage.as_str()],
            })
            .collect();
        let recipes: Vec<Ingredient> = inputs
            .iter()
            .map(|input| Ingredient {
                key: input.key.clone(),
                split: input.split.clone(),
                digest: self.graph[input.task].recipe.0,
            })
            .collect();
        let resources = planned.needs(device);
        let mut task = Task {
            name: planned.name.clone(),
            stage: Arc::clone(&planned.stage),
            settings: planned.settings.clone(),
            inputs,
            external,
            device,
            backend: planned.stage.computes().then(|| (self.backend)(device)),
            resources,
            recipe: Recipe(blake3::Hash::from_bytes([0; 32]).into()),
            trials: Vec::new(),
        };
        task.recipe = fingerprint::recipe(task.ingredients(), &recipes);
        let sources: Vec<NodeIndex> = task.inputs.iter().map(|input| input.task).collect();
        let known = self.by_recipe.get(&task.recipe).copied();
        let node = match known {
            Some(node) => {
                let shared = &mut self.graph[node].resources;
                *shared = shared.with(resources);
                node
            }
            None => {
                let recipe = task.recipe;
                let node = self.graph.add_node(task);
                self.by_recipe.insert(recipe, node);
                for source in sources {
                    self.graph.update_edge(source, node, Edge::Input);
                }
                node
            }
        };
        // Trials are added one after the other.
        if self.graph[node].trials.last() != Some(&number) {
            self.graph[node].trials.push(number);
        }
        for name in &planned.after {
            let before = done[name.as_str()];
            // Stages that became one task may ask for orders that contradict each other; the
            // order that came first stands. An input edge already says more than an order.
            // Nothing depends yet on a task that is new.
            if before != node
                && self.graph.find_edge(before, node).is_none()
                && (known.is_none() || !has_path_connecting(&self.graph, node, before, None))
            {
                self.graph.add_edge(before, node, Edge::Order);
            }
        }
        node
    }
}

/// Kahn's algorithm, the lowest number first, so that the order is the same on every run. Nodes that
/// wait for each other are left out.
fn ordered<N, E>(graph: &DiGraph<N, E>) -> Vec<NodeIndex> {
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let mut ready: BinaryHeap<Reverse<NodeIndex>> =
        graph.node_indices().filter(|node| waiting[node.index()] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(node);
        for next in graph.neighbors(node) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order
}
