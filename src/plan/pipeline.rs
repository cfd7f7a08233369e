//! A checked pipeline: every stage parsed, every reference resolved, every shape compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::resources::Resources;
use super::table_spec::TableSpec;
use crate::config::node::{KeyValue, Node, Value};
use crate::config::source::{Sources, Span};
use crate::config::sweep::{PairKeys, Select};
use crate::config::{Reference, document};
use crate::device::Device;
use crate::metrics::TrainingSplit;
use crate::stages::{Measures, Product, Stage};

/// A pipeline without problems.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The texts it was read from; the first is the file.
    pub sources: Sources,
    /// What stands in them after everything was put in, for the places of problems that are found later.
    pub root: Arc<Node>,
    /// `pipeline.name`.
    pub name: String,
    /// `pipeline.title`.
    pub title: Option<String>,
    /// `pipeline.seed`.
    pub seed: u64,
    /// `pipeline.device`, resolved for this build.
    pub device: Device,
    /// The stages in the order of the file.
    pub stages: Vec<PlannedStage>,
    /// `[table]` or every `[[table]]`; the usual table where the file has neither.
    pub tables: Vec<TableSpec>,
    /// `[sweep.select]`.
    pub select: Option<Select>,
    /// The keys that `[sweep.pairs]` gives the domains of pairs.
    pub pairs: Option<PairKeys>,
    /// The whole file with overrides and every default, as `runner show` prints it.
    pub resolved: toml::Table,
}

impl Pipeline {
    /// The folder of its file, where the files lie that it names; of one that came through a pipe, the current one.
    pub fn home(&self) -> &Path {
        let folder = self.path.parent().filter(|it| *it != Path::new(""));
        folder.filter(|_| !document::is_input(&self.path)).unwrap_or(Path::new("."))
    }

    /// Where the dotted `key` of `stage` stands: the deepest part of it that is written, or the stage's header.
    pub fn place(&self, stage: &str, key: &str) -> Span {
        let Value::Table(stages) = &self.root.nearest("stages").value else {
            return self.root.span;
        };
        stages.entries.get(stage).map_or(self.root.span, |entry| place(entry, key))
    }
}

/// As [`Pipeline::place`], of the stage that is written as `entry`.
pub(super) fn place(entry: &KeyValue, key: &str) -> Span {
    match entry.node.nearest(key) {
        nearest if std::ptr::eq(nearest, &raw const entry.node) => entry.key,
        nearest => nearest.span,
    }
}

/// A stage of a checked pipeline.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    /// The name in `[stages.NAME]`.
    pub name: String,
    /// The stage with its settings.
    pub stage: Arc<dyn Stage>,
    /// What its metrics say.
    pub measures: Measures,
    /// What each of its tasks needs of a machine.
    pub resources: Resources,
    /// Every setting that counts, defaults included, without `kind`, `after`, `resources` and references:
    /// the settings part of the fingerprint.
    pub settings: toml::Table,
    /// The inputs in the order of reading; each names a stage of this pipeline.
    pub inputs: Vec<Reference>,
    /// The keys of inputs with labels of a target that it measures by and never learns from: `validate.1`.
    pub oracles: Vec<String>,
    /// Stages that must come before without being inputs.
    pub after: Vec<String>,
    /// What it will build.
    pub product: Product,
}

impl PlannedStage {
    /// What one of its tasks needs, where it computes on `device`.
    pub fn needs(&self, device: Device) -> Resources {
        let on_gpu = match device {
            Device::Cuda { .. } | Device::DfdxCuda(_) => self.stage.computes(),
            Device::Cpu | Device::Dfdx => false,
        };
        self.resources.with(Resources { gpus: u32::from(on_gpu), ..Resources::default() })
    }

    /// What stands in the rows of its metrics for the splits that it records and that decide nothing, by the words that
    /// its artifact has for them.
    pub fn recorded(&self) -> IndexMap<String, String> {
        let recorded = self.inputs.iter().filter(|input| TrainingSplit::is_recorded(&input.key));
        let word = |input: &Reference| {
            let is_oracle = self.oracles.contains(&input.key);
            TrainingSplit::word_of(&input.key, &input.text(), is_oracle)
        };
        recorded.map(|input| (format!("@{}", input.key), word(input))).collect()
    }

    /// The model and the split of every pair that it scores, in the order of its CSV. Kinds of stages that
    /// measure no scores have none.
    pub fn scored(&self) -> Vec<(String, String)> {
        if !matches!(self.product, Product::Scores) {
            return Vec::new();
        }
        let named = |key: &str| -> Vec<String> {
            let inputs = self.inputs.iter().filter(|input| input.key.starts_with(key));
            inputs.map(Reference::text).collect()
        };
        let models = named("models.");
        let on = named("on.").into_iter();
        on.flat_map(|split| models.iter().map(move |model| (model.clone(), split.clone())))
            .collect()
    }
}
