//! Which class builds a stage, and how many workers of each class a plan can keep at work.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::classes::WorkerClass;
use super::site::Site;
use crate::plan::graph::{Plan, Task};
use crate::plan::resources::Resources;
use crate::stages::Stage;

impl Site {
    /// The class that builds `task`: the first one with room for it.
    ///
    /// # Errors
    /// What each class lacks.
    pub fn class_of(&self, task: &Task) -> Result<&WorkerClass, String> {
        self.class_for(task.resources, task.stage.as_ref())
    }

    /// The class that builds what needs this: the first one with room for it.
    ///
    /// # Errors
    /// What each class lacks.
    pub fn class_for(&self, needs: Resources, stage: &dyn Stage) -> Result<&WorkerClass, String> {
        let mut lacking = Vec::new();
        for class in &self.classes {
            match class.lacks(needs, stage.keeps_checkpoints()) {
                None => return Ok(class),
                Some(lacks) => lacking.push(format!("`{}` has {lacks}", class.name)),
            }
        }
        Err(lacking.join("; "))
    }
}

/// What a plan has for a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Width {
    /// Tasks in all.
    pub tasks: u32,
    /// How many of them could be built side by side.
    pub at_once: u32,
}

/// For each class that has some of the tasks of `plan` which `are_left`: how many.
///
/// # Errors
/// When there is a task that no class has room for: its name and what the classes lack.
pub fn widths(
    site: &Site,
    plan: &Plan,
    are_left: impl Fn(NodeIndex) -> bool,
) -> Result<BTreeMap<String, Width>, (String, String)> {
    let mut widths: BTreeMap<String, Width> = BTreeMap::new();
    // How many tasks of a class are so many steps from the beginning: these do not wait for each other.
    let mut levels: BTreeMap<(String, usize), u32> = BTreeMap::new();
    let mut depths = vec![0; plan.graph.node_count()];
    for task in &plan.order {
        let needs = plan.needs(*task);
        let depth = needs.iter().map(|(before, _)| depths[before.index()] + 1).max().unwrap_or(0);
        depths[task.index()] = depth;
        let node = &plan.graph[*task];
        let class = site.class_of(node).map_err(|lacks| (node.name.clone(), lacks))?;
        if !are_left(*task) {
            continue;
        }
        let level = levels.entry((class.name.clone(), depth)).or_default();
        *level += 1;
        let width = widths.entry(class.name.clone()).or_default();
        width.tasks += 1;
        width.at_once = width.at_once.max(*level);
    }
    Ok(widths)
}
