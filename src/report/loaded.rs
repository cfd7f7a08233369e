//! A finished run as its folder holds it: trials, stages, their CSVs. Reads only; what a folder does not
//! have is empty, so that half a run can be looked at too.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::csv::Rows;
use super::error::{Error, read_rows};
use super::record::{Record, Stage};
use super::scores::NUMBERING;
use super::trial_files::trial_folder;
use crate::plan::resolve;

/// A run.
#[derive(Debug)]
pub struct Run {
    /// Its folder.
    pub folder: PathBuf,
    /// Its record.
    pub record: Record,
    /// Its resolved pipeline.
    pub pipeline: toml::Table,
    /// The dotted keys that its sweep changes.
    pub axes: Vec<String>,
    /// Its trials; one without labels when it is no sweep.
    pub trials: Vec<Trial>,
    /// The names of its stages with the places of those that they need.
    pub stages: Vec<(String, Vec<usize>)>,
    metrics: BTreeMap<(usize, String), Rows>,
}

/// A trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Values of the axes.
    pub labels: Vec<String>,
    /// What became of it.
    pub state: String,
    /// What trials are selected by.
    pub objective: Option<f64>,
    /// Whether it was selected.
    pub selected: bool,
    /// Why it is in this state.
    pub reason: String,
}

/// Trials in which a stage was the same but for its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The settings that tell it from others; empty when there is only one.
    pub label: String,
    /// A trial for each artifact: one for each seed.
    pub trials: Vec<usize>,
    /// Every trial that has one of them.
    every: Vec<usize>,
}

/// The names of classes in the order of their numbers; none where they are not known.
#[derive(Debug)]
pub struct Classes<'a>(Vec<Cow<'a, str>>);

impl Classes<'_> {
    /// The name of the class with this label; the label itself where there is none.
    pub fn name(&self, label: &str) -> String {
        let known = label.parse().ok().and_then(|at: usize| self.0.get(at));
        known.map_or(label, AsRef::as_ref).to_owned()
    }
}

/// The columns of a stage that scores.
const SCORES: [&str; 4] = ["model", "dataset", "metric", "value"];

impl Variant {
    /// Whether `trial` has one of its artifacts.
    pub fn has(&self, trial: usize) -> bool {
        self.every.contains(&trial)
    }
}

impl Run {
    /// The run in `folder`.
    ///
    /// # Errors
    /// When it has no record, or a file is not what it should be.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let record = Record::read(folder)?;
        let path = folder.join("pipeline.toml");
        let malformed =
            |path: &Path, reason: String| Error::Malformed { path: path.to_owned(), reason };
        let text = fs::read_to_string(&path).unwrap_or_else(|_| record.provenance.text.clone());
        let pipeline: toml::Table =
            toml::from_str(&text).map_err(|error| malformed(&path, error.to_string()))?;
        let (axes, trials) = trials(folder, &record)?;
        let stages = stages(folder, &record, &pipeline);
        let mut run = Self {
            folder: folder.to_owned(),
            record,
            pipeline,
            axes,
            trials,
            stages,
            metrics: BTreeMap::new(),
        };
        run.read_metrics()?;
        Ok(run)
    }

    /// Each artifact's CSV once: trials that share a stage share its numbers.
    fn read_metrics(&mut self) -> Result<(), Error> {
        let mut known: BTreeMap<String, Rows> = BTreeMap::new();
        for (trial, stages) in self.record.trials.iter().enumerate() {
            for stage in stages {
                let print = stage.fingerprint.map(|it| format!("{} {it}", stage.name));
                let rows = match print.as_ref().and_then(|it| known.get(it)) {
                    Some(rows) => Some(rows.clone()),
                    None => {
                        read_rows(&self.trial_folder(trial).join(format!("{}.csv", stage.name)))?
                    }
                };
                let Some(rows) = rows else { continue };
                if let Some(print) = print {
                    known.entry(print).or_insert_with(|| rows.clone());
                }
                self.metrics.insert((trial, stage.name.clone()), rows);
            }
        }
        Ok(())
    }

    /// Whether it is a sweep.
    pub fn is_sweep(&self) -> bool {
        self.record.provenance.sweep
    }

    /// The folder of a trial's CSVs.
    pub fn trial_folder(&self, trial: usize) -> PathBuf {
        trial_folder(&self.folder, self.is_sweep(), trial)
    }

    /// The metrics of a stage in a trial.
    pub fn metrics(&self, trial: usize, stage: &str) -> Option<&Rows> {
        self.metrics.get(&(trial, stage.to_owned()))
    }

    /// Another CSV of a stage in a trial.
    ///
    /// # Errors
    /// When it is there and is no CSV.
    pub fn extra(&self, trial: usize, stage: &str, file: &str) -> Result<Option<Rows>, Error> {
        read_rows(&self.trial_folder(trial).join(stage).join(file))
    }

    /// The classes that `stage` counted the answers of `model` on `dataset` by: as the data set's stage
    /// lists them, unless `stage` says that the model numbers them otherwise.
    pub fn classes(&self, trial: usize, stage: &str, model: &str, dataset: &str) -> Classes<'_> {
        // A table that cannot be read is said to be wrong by `verify`; numbers stand for themselves then.
        if let Ok(Some(rows)) = self.extra(trial, stage, NUMBERING) {
            let names = numbering(&rows, model, dataset);
            if !names.is_empty() {
                return Classes(names.into_iter().map(Cow::Owned).collect());
            }
        }
        let rows = dataset.rsplit_once('.').and_then(|(stage, split)| {
            let rows = self.metrics(trial, stage)?.rows.iter().filter(move |row| row[0] == split);
            Some(rows.filter_map(|row| Some(row.get(1)?.strip_prefix("class.")?.into())).collect())
        });
        Classes(rows.unwrap_or_default())
    }

    /// Whether trials were selected by labels of the target.
    pub fn is_oracle(&self) -> bool {
        let select = self.pipeline.get("sweep").and_then(|it| it.get("select"));
        select.and_then(|it| it.get("oracle")).and_then(toml::Value::as_bool) == Some(true)
    }

    /// The trial whose pictures stand for all: the selected one, else the first that is done.
    pub fn shown(&self) -> usize {
        let of = |which: &dyn Fn(&Trial) -> bool| self.trials.iter().position(which);
        of(&|it| it.selected).or_else(|| of(&|it| it.state == "done")).unwrap_or(0)
    }

    /// Places of the axes that are seeds.
    pub fn is_seed(&self, axis: usize) -> bool {
        self.axes[axis].rsplit('.').next() == Some("seed")
    }

    /// A short name of an axis: its last two words, where no other axis has the same.
    pub fn axis(&self, at: usize) -> &str {
        let short = |key: &'_ str| -> usize {
            let whole = brief(key).len();
            let mut dots = key.rmatch_indices('.').map(|it| key.len() - it.0 - 1);
            dots.nth(1).map_or(whole, |it| it.min(whole))
        };
        let key = self.axes[at].as_str();
        let tail = &key[key.len() - short(key)..];
        let dotted = format!(".{tail}");
        let alone = self.axes.iter().filter(|it| *it == tail || it.ends_with(&dotted)).count() == 1;
        if alone { tail } else { brief(key) }
    }

    /// The settings of a trial in words, without seeds; all when `seeds`.
    pub fn label(&self, trial: usize, seeds: bool) -> String {
        let named = self.axes.iter().zip(&self.trials[trial].labels).enumerate();
        let words: Vec<String> = named
            .filter(|(at, _)| seeds || !self.is_seed(*at))
            .map(|(at, (_, value))| format!("{} = {value}", self.axis(at)))
            .collect();
        words.join(", ")
    }

    /// The different forms that `stage` has, in the order of the trials.
    pub fn variants(&self, stage: &str) -> Vec<Variant> {
        let mut groups: Vec<(Vec<String>, Vec<usize>)> = Vec::new();
        for trial in 0..self.trials.len() {
            let labels = &self.trials[trial].labels;
            let key: Vec<String> = (0..self.axes.len())
                .filter(|at| !self.is_seed(*at))
                .map(|at| labels.get(at).cloned().unwrap_or_default())
                .collect();
            match groups.iter_mut().find(|it| it.0 == key) {
                Some(group) => group.1.push(trial),
                None => groups.push((key, vec![trial])),
            }
        }
        let print = |trial: usize| {
            let stage = self.record.stage(trial, stage)?;
            stage.fingerprint.map(|it| it.to_string())
        };
        // Settings that this stage does not know give the same artifacts: they are one variant.
        let mut merged: Vec<(BTreeSet<String>, Vec<usize>, Vec<usize>)> = Vec::new();
        for (_, trials) in groups {
            let prints: BTreeSet<String> = trials.iter().filter_map(|it| print(*it)).collect();
            match merged.iter_mut().find(|it| !prints.is_empty() && it.0 == prints) {
                Some(same) => same.2.extend(trials),
                None => merged.push((prints, trials.clone(), trials)),
            }
        }
        let several = merged.len() > 1;
        let constant = |axis: usize, trials: &[usize]| {
            trials.iter().all(|it| {
                self.trials[*it].labels.get(axis) == self.trials[trials[0]].labels.get(axis)
            })
        };
        let all: Vec<usize> = (0..self.trials.len()).collect();
        merged
            .into_iter()
            .map(|(_, trials, every)| {
                let words = (0..self.axes.len())
                    .filter(|at| several && !self.is_seed(*at))
                    .filter(|at| constant(*at, &every) && !constant(*at, &all))
                    .map(|at| format!("{} = {}", self.axis(at), self.trials[every[0]].labels[at]));
                let label = words.collect::<Vec<_>>().join(", ");
                let mut seen = BTreeSet::new();
                let trials =
                    trials.into_iter().filter(|it| print(*it).is_none_or(|it| seen.insert(it)));
                Variant { label, trials: trials.collect(), every }
            })
            .collect()
    }

    /// The different forms of `model` with, for each seed, a trial whose `stage` scored it: what does not
    /// touch the model makes no difference, and a trial that failed later takes nothing away.
    pub fn scored(&self, stage: &str, model: &str) -> Vec<Variant> {
        if !self.stages.iter().any(|it| it.0 == model) {
            return self.variants(stage);
        }
        let mut variants = self.variants(model);
        for variant in &mut variants {
            let mut seen = BTreeSet::new();
            variant.trials.clear();
            for trial in &variant.every {
                let print = self.record.stage(*trial, model).and_then(|it| it.fingerprint);
                if self.metrics(*trial, stage).is_some()
                    && print.is_none_or(|it| seen.insert(it.to_string()))
                {
                    variant.trials.push(*trial);
                }
            }
        }
        variants.retain(|it| !it.trials.is_empty());
        variants
    }

    /// The models that `stage` scored, in order.
    pub fn models(&self, stage: &str) -> Vec<String> {
        let mut models: Vec<String> = Vec::new();
        for trial in 0..self.trials.len() {
            let Some(rows) = self.metrics(trial, stage) else { continue };
            if rows.header.iter().map(String::as_str).ne(SCORES) {
                return Vec::new();
            }
            for row in &rows.rows {
                if !models.contains(&row[0]) {
                    models.push(row[0].clone());
                }
            }
        }
        models
    }

    /// The artifacts of `stage`, each once, with the first trial that has it.
    pub fn tasks(&self, stage: &str) -> Vec<(usize, &Stage)> {
        let mut seen = BTreeSet::new();
        (0..self.record.trials.len())
            .filter_map(|trial| Some((trial, self.record.stage(trial, stage)?)))
            .filter(|(_, it)| it.fingerprint.is_none_or(|print| seen.insert(print.to_string())))
            .collect()
    }
}

/// The names in a [`NUMBERING`] of the classes of `model` on `dataset`: the model's, or those of the data
/// set where the model has only numbers.
fn numbering(rows: &Rows, model: &str, dataset: &str) -> Vec<String> {
    let name = |row: &Vec<String>| match row.as_slice() {
        [of, on, class, here, there, _] if of == model && on == dataset => {
            let nameless = here == class && !there.is_empty();
            Some(if nameless { there.clone() } else { here.clone() })
        }
        _ => None,
    };
    rows.rows.iter().filter_map(name).collect()
}

/// A dotted key without the word that all of its kind begin with.
fn brief(key: &str) -> &str {
    let short = key.strip_prefix("stages.").or_else(|| key.strip_prefix("pipeline."));
    short.unwrap_or(key)
}

/// The axes and trials of `trials.csv`; the axes stand between `trial` and `state`.
fn trials(folder: &Path, record: &Record) -> Result<(Vec<String>, Vec<Trial>), Error> {
    let none = Trial {
        labels: Vec::new(),
        state: record.state().to_owned(),
        objective: None,
        selected: false,
        reason: String::new(),
    };
    let Some(rows) = read_rows(&folder.join("trials.csv"))?.filter(|_| record.provenance.sweep)
    else {
        return Ok((Vec::new(), vec![none; record.trials.len()]));
    };
    let column = |name: &str| rows.header.iter().position(|it| it == name);
    let state = column("state").unwrap_or(rows.header.len()).max(1);
    let axes = rows.header.get(1..state).unwrap_or_default().to_vec();
    let cell =
        |row: &[String], name: &str| column(name).map(|at| row[at].clone()).unwrap_or_default();
    let mut trials =
        vec![Trial { labels: vec![String::new(); axes.len()], ..none }; record.trials.len()];
    for row in &rows.rows {
        let number = row.first().and_then(|it| it.parse().ok());
        let Some(trial) = number.and_then(|it: usize| trials.get_mut(it)) else {
            continue;
        };
        *trial = Trial {
            labels: row.get(1..state).unwrap_or_default().to_vec(),
            state: cell(row, "state"),
            objective: cell(row, "objective").parse().ok(),
            selected: cell(row, "selected") == "true",
            reason: cell(row, "reason"),
        };
    }
    Ok((axes, trials))
}

/// The stages of the first trial and what each needs.
fn stages(folder: &Path, record: &Record, pipeline: &toml::Table) -> Vec<(String, Vec<usize>)> {
    let names: Vec<String> =
        record.trials.first().into_iter().flatten().map(|it| it.name.clone()).collect();
    let place = |name: &str| names.iter().position(|it| it == name);
    let resolved = resolve::load(&folder.join("pipeline.toml"), &[]).ok();
    let needs = |name: &String| -> Vec<usize> {
        let found: BTreeSet<usize> = match &resolved {
            Some(known) => {
                let stage = known.stages.iter().find(|it| it.name == *name);
                let inputs =
                    stage.into_iter().flat_map(|it| &it.inputs).map(|it| it.stage.as_str());
                let after = stage.into_iter().flat_map(|it| &it.after).map(String::as_str);
                inputs.chain(after).filter_map(place).collect()
            }
            // A pipeline of another version: what looks like a stage's name is taken for one.
            None => {
                let mut words = Vec::new();
                let stage = pipeline.get("stages").and_then(|it| it.get(name));
                mentions(stage, &mut words);
                words.iter().filter_map(|it| place(it.split('.').next()?)).collect()
            }
        };
        found.into_iter().filter(|it| names[*it] != *name).collect()
    };
    names.iter().map(|name| (name.clone(), needs(name))).collect()
}

fn mentions(value: Option<&toml::Value>, words: &mut Vec<String>) {
    match value {
        Some(toml::Value::String(word)) => words.push(word.clone()),
        Some(toml::Value::Array(items)) => items.iter().for_each(|it| mentions(Some(it), words)),
        Some(toml::Value::Table(table)) => table
            .iter()
            .filter(|(key, _)| {
                !["kind", "arch", "dataset", "recipe", "schedule"].contains(&key.as_str())
            })
            .for_each(|(_, it)| mentions(Some(it), words)),
        _ => {}
    }
}
