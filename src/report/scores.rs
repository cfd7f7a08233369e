//! What the stages of a run scored, and what they should have: the rows of its score CSVs, the trials
//! they come from, and the states of those. Computes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexSet;

use super::csv::Rows;
use super::record::Record;
use super::results::Error;
use crate::digest::Fingerprint;
use crate::plan::table_spec::TableSpec;
use crate::stages::KINDS;

/// Header of the CSV of a stage that scores.
const HEADER: [&str; 4] = ["model", "dataset", "metric", "value"];

/// The table of a stage that scores, of models that number classes otherwise than a data set does.
pub(super) const NUMBERING: &str = "classes.csv";

/// A number that a stage scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Index in [`Scores::trials`].
    pub trial: usize,
    /// The stage that scored.
    pub stage: String,
    /// The model.
    pub model: String,
    /// The split.
    pub dataset: String,
    /// What was measured.
    pub metric: String,
    /// As it stands in the CSV.
    pub value: String,
}

/// A trial of a sweep, or the only one of a plain run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trial {
    /// `000`; empty of a plain run.
    pub name: String,
    /// Swept keys with their values as text.
    pub labels: Vec<(String, String)>,
    /// `done`, `failed`, `pruned`, `interrupted`, `skipped`.
    pub state: String,
    /// Why, if the file says so.
    pub reason: String,
    /// Whether `[sweep.select]` chose it; `None` without one.
    pub selected: Option<bool>,
    /// Its stages, as the record has them.
    pub stages: Vec<Stage>,
}

/// What became of a stage of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// `ran`, `cached`, `failed`, `interrupted` or `skipped`.
    pub state: String,
    /// Of its artifact.
    pub fingerprint: Option<Fingerprint>,
    /// Why it failed.
    pub message: Option<String>,
}

/// A pair that a stage scores, by the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The stage that scores it.
    pub stage: String,
    /// The model.
    pub model: String,
    /// The split.
    pub dataset: String,
}

/// Everything that a table of a run can show.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// In the order of the trials, the stages and the files.
    pub scores: Vec<Score>,
    /// In the order of `trials.csv`.
    pub trials: Vec<Trial>,
    /// What every trial should have scored, in the order of the files.
    pub pairs: Vec<Pair>,
    /// The swept keys, without those of a plain run.
    pub axes: Vec<String>,
    /// Whether the run has trials at all.
    pub sweep: bool,
    /// Whether labels of the target chose the trials.
    pub oracle: bool,
    /// How the trials were selected, for people.
    pub selection: Option<String>,
    /// Pairs whose classes were matched by nothing but their numbers.
    pub by_number: IndexSet<Pair>,
    /// Pairs of a data set and a model that numbers its classes otherwise.
    pub renumbered: IndexSet<Pair>,
}

impl Trial {
    /// The value of a swept key.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// What became of a stage.
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}

impl Scores {
    /// Reads the scores of the run in `folder`, `pipeline` being its resolved form and `specs` its
    /// tables.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(pipeline: &toml::Table, specs: &[TableSpec], folder: &Path) -> Result<Self, Error> {
        let stages = scoring(pipeline);
        let mut all = Self { pairs: pairs(&stages), ..Self::default() };
        let select = pipeline.get("sweep").and_then(|sweep| sweep.get("select"));
        if let Some(select) = select.and_then(toml::Value::as_table) {
            all.oracle = select.get("oracle").and_then(toml::Value::as_bool) == Some(true);
            all.selection = Some(selection(select));
        }
        let path = folder.join("trials.csv");
        match read_rows(&path)? {
            Some(rows) => {
                all.sweep = true;
                (all.axes, all.trials) =
                    trials(rows).map_err(|reason| Error::Malformed { path, reason })?;
            }
            None => {
                let trial = Trial { labels: settings(pipeline, specs), ..Trial::default() };
                all.trials.push(trial);
            }
        }
        let record = Record::read(folder).ok();
        for (number, trial) in all.trials.iter_mut().enumerate() {
            // Trials are numbered in their files as in the record.
            let number = trial.name.parse().unwrap_or(number);
            let stages = record.as_ref().and_then(|record| record.trials.get(number));
            trial.stages = stages.into_iter().flatten().map(stage).collect();
        }
        for number in 0..all.trials.len() {
            all.collect(folder, &stages, number)?;
        }
        Ok(all)
    }

    /// The CSV that a score of `stage` in `trial` stands in.
    pub fn file(&self, folder: &Path, trial: usize, stage: &str) -> PathBuf {
        let name = format!("{stage}.csv");
        if self.sweep {
            return folder.join("trials").join(&self.trials[trial].name).join(name);
        }
        folder.join(name)
    }

    /// What `key` is of something scored: a fact of the score, or a label of its trial.
    pub fn fact<'a>(&'a self, key: &str, trial: usize, pair: &'a Pair) -> Option<&'a str> {
        match key {
            "model" => Some(&pair.model),
            "stage" => Some(&pair.stage),
            "dataset" => Some(&pair.dataset),
            _ => self.trials[trial].label(key),
        }
    }

    fn collect(&mut self, folder: &Path, stages: &[Scoring], trial: usize) -> Result<(), Error> {
        for stage in stages {
            let file = self.file(folder, trial, &stage.name);
            let Some(rows) = read_rows(&file)? else { continue };
            let beside = read_rows(&file.with_extension("").join(NUMBERING))?;
            for row in beside.unwrap_or_default().rows {
                let [model, dataset, _, _, _, by] = row.as_slice() else { continue };
                let (model, dataset) = (model.clone(), dataset.clone());
                let pair = Pair { stage: stage.name.clone(), model, dataset };
                let pairs = if by == "number" { &mut self.by_number } else { &mut self.renumbered };
                pairs.insert(pair);
            }
            if rows.header != HEADER {
                continue;
            }
            for row in rows.rows {
                let [model, dataset, metric, value] =
                    <[String; 4]>::try_from(row).expect("rows are as wide as their header");
                let stage = stage.name.clone();
                self.scores.push(Score { trial, stage, model, dataset, metric, value });
            }
        }
        Ok(())
    }
}

impl Score {
    /// What it is a score of.
    pub fn pair(&self) -> Pair {
        let Self { stage, model, dataset, .. } = self.clone();
        Pair { stage, model, dataset }
    }
}

/// A stage of the pipeline that scores.
struct Scoring {
    name: String,
    models: Vec<String>,
    on: Vec<String>,
}

fn scoring(pipeline: &toml::Table) -> Vec<Scoring> {
    let words = |stage: &toml::Value, key: &str| -> Vec<String> {
        let items = stage.get(key).and_then(toml::Value::as_array);
        items.into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let scores_something = |stage: &toml::Value| {
        let kind = stage.get("kind").and_then(toml::Value::as_str);
        KINDS.iter().any(|it| Some(it.name) == kind && it.scores)
    };
    let stages = pipeline.get("stages").and_then(toml::Value::as_table);
    stages
        .into_iter()
        .flatten()
        .filter(|(_, stage)| scores_something(stage))
        .map(|(name, stage)| Scoring {
            name: name.clone(),
            models: words(stage, "models"),
            on: words(stage, "on").into_iter().map(with_split).collect(),
        })
        .collect()
}

/// A stage that is swept stands in a resolved pipeline as it was written: a bare data set is its test
/// split.
fn with_split(on: String) -> String {
    if on.contains('.') { on } else { on + ".test" }
}

/// In the order in which stages write them.
fn pairs(stages: &[Scoring]) -> Vec<Pair> {
    let of_stage = |stage: &Scoring| -> Vec<Pair> {
        let pair = |dataset: &String, model: &String| Pair {
            stage: stage.name.clone(),
            model: model.clone(),
            dataset: dataset.clone(),
        };
        let on = stage.on.iter();
        on.flat_map(|dataset| stage.models.iter().map(move |model| pair(dataset, model))).collect()
    };
    stages.iter().flat_map(of_stage).collect()
}

/// `selected by validate.accuracy of dann (max), a best one for each pipeline.seed`.
fn selection(select: &toml::Table) -> String {
    let text = |key: &str| select.get(key).and_then(toml::Value::as_str);
    let mut words = "selected by".to_owned();
    words += &text("by").map(|by| format!(" {by}")).unwrap_or_default();
    words += &text("stage").map(|stage| format!(" of {stage}")).unwrap_or_default();
    let facts: Vec<&str> = ["model", "on", "mode"].into_iter().filter_map(text).collect();
    if !facts.is_empty() {
        words += &format!(" ({})", facts.join(", "));
    }
    let per = select.get("per").and_then(toml::Value::as_array);
    let per: Vec<&str> = per.into_iter().flatten().filter_map(toml::Value::as_str).collect();
    if !per.is_empty() {
        words += &format!(", a best one for each {}", per.join(", "));
    }
    words
}

/// The axes and the trials of a `trials.csv`: the axes are the columns between `trial` and `state`.
fn trials(rows: Rows) -> Result<(Vec<String>, Vec<Trial>), String> {
    let column = |name: &str| rows.header.iter().position(|it| it == name);
    let state = column("state").filter(|at| *at > 0).ok_or("it has no column `state`")?;
    let axes = rows.header[1..state].to_vec();
    let (selected, reason) = (column("selected"), column("reason"));
    let trial = |row: Vec<String>| Trial {
        name: row[0].clone(),
        labels: axes.iter().cloned().zip(row[1..state].iter().cloned()).collect(),
        state: row[state].clone(),
        reason: reason.map(|at| row[at].clone()).unwrap_or_default(),
        selected: selected.and_then(|at| row[at].parse().ok()),
        stages: Vec::new(),
    };
    Ok((axes.clone(), rows.rows.into_iter().map(trial).collect()))
}

/// The facts and keys that a table puts scores in their places by.
fn named(spec: &TableSpec) -> Vec<&String> {
    let only = spec.only.iter().map(|(key, _)| key);
    [&spec.rows, &spec.columns].into_iter().chain(only).collect()
}

/// What a run without a sweep has for the settings that its tables name.
fn settings(pipeline: &toml::Table, specs: &[TableSpec]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in specs.iter().flat_map(named) {
        let mut parts = name.split('.');
        let first = parts.next().and_then(|part| pipeline.get(part));
        let value = parts.try_fold(first, |value, part| Some(value?.get(part)));
        let text = match value.flatten() {
            Some(toml::Value::String(text)) => text.clone(),
            Some(value) if !value.is_table() => value.to_string(),
            _ => continue,
        };
        if !found.iter().any(|(key, _)| key == name) {
            found.push((name.clone(), text));
        }
    }
    found
}

fn stage(stage: &super::record::Stage) -> Stage {
    let message = stage.error.as_ref().and_then(|error| error.get("message"));
    Stage {
        name: stage.name.clone(),
        state: stage.state.clone(),
        fingerprint: stage.fingerprint,
        message: message.and_then(|it| it.as_str()).map(str::to_owned),
    }
}

/// The CSV at `path`; `None` when there is none.
pub(super) fn read_rows(path: &Path) -> Result<Option<Rows>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Rows::read(&text)
            .map(Some)
            .map_err(|error| Error::Malformed { path: path.to_owned(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}
