//! Checkpoints: everything that a training needs to resume between two steps, and where that is kept.
//! Knows nothing of stages or of the store.
//!
//! A checkpoint is a safetensors file whose name ends with the digest of its bytes, so that a damaged
//! one is never taken for a whole one; its `training` metadata is JSON. A training that resumes from a
//! checkpoint gives the bytes of one that never stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype as StoredType, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::bench::{Bench, Network};
use super::method::{Learner, Visit};
use super::monitor::{BestEpoch, ValidationScores};
use super::networks::NetId;
use super::summary::{Summary, Times};
use crate::fault::fail_point;
use crate::metrics::TrainingRow;
use crate::nn::weights::{from_little_endian, little_endian};
use crate::system;

/// The format that this runner writes and reads.
const VERSION: u32 = 4;

/// How many checkpoints are kept: if the newest is damaged, the one before it is still there.
const KEPT: usize = 2;

/// At the end of an epoch a checkpoint is due once this many times the duration of the last one has
/// passed, so that writing takes at most a twentieth of the time.
const SHARE: u32 = 20;

/// Where the checkpoints of one training are.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    every: Duration,
}

impl Slot {
    /// Checkpoints in `folder`, which is created when needed; one is written at least every `every`.
    pub fn new(folder: PathBuf, every: Duration) -> Self {
        Self { folder, every }
    }

    /// The files, the newest first.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "safetensors") {
                files.push(path);
            }
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// The bytes of every whole checkpoint, the newest first.
    fn whole(&self) -> io::Result<impl Iterator<Item = Vec<u8>>> {
        let whole = |path: PathBuf| {
            let bytes = fs::read(&path).ok()?;
            (Some(digest(&bytes).as_str()) == digest_in(&path)).then_some(bytes)
        };
        Ok(self.files()?.into_iter().filter_map(whole))
    }

    /// The rows of the first `epochs` epochs of a training, by its newest checkpoint; `None` while it did not come
    /// that far. Changes nothing, so that it may be asked while another process trains on.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn rows_after(&self, epochs: usize) -> io::Result<Option<Vec<TrainingRow>>> {
        let mut files = self.files()?;
        loop {
            let newest = self.whole()?.find_map(|bytes| Position::read(&bytes));
            if let Some(position) = newest.filter(|position| position.epoch >= epochs) {
                let mut rows = position.rows;
                rows.retain(|row| row.epoch <= epochs);
                return Ok(Some(rows));
            }
            // Whoever trains may have replaced the files that were to be read.
            let now = self.files()?;
            if now == files {
                return Ok(None);
            }
            files = now;
        }
    }

    /// Keeps `bytes` as the checkpoint after `steps` steps; it is on the disk when this returns.
    fn keep(&self, steps: u64, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        let path = self.folder.join(format!("{steps:012}-{}.safetensors", digest(bytes)));
        system::publish_file(file, &self.folder, &path)?;
        for old in self.files()?.into_iter().skip(KEPT) {
            match fs::remove_file(old) {
                // A runner that stood still and was taken over clears up here as well.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        fail_point("old checkpoints removed");
        Ok(())
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

fn digest_in(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()?.split_once('-').map(|(_, digest)| digest)
}

/// The state of a training besides its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    version: u32,
    /// Epochs that are over.
    pub epoch: usize,
    /// Steps of the next one that are done.
    pub step: usize,
    /// Updates of each parameter that learns at some time, by network.
    updates: Vec<(String, Vec<i32>)>,
    /// Which parameters of a network without an optimizer learn, by network: by those of the one that it follows,
    /// batch norm is frozen in it or not.
    learning: Vec<(String, Vec<bool>)>,
    /// Bits of what validation gave after each epoch: loss and accuracy.
    validation: Vec<[u64; 2]>,
    /// The best epoch so far, whose tensors begin with `best.`.
    best: Option<BestEpoch>,
    /// Bits of the last loss.
    last_loss: Option<u64>,
    /// Rows of the metrics so far.
    pub rows: Vec<TrainingRow>,
    /// Name, bits of the sum and weight of every reading of the epoch.
    summary: Vec<(String, u64, usize)>,
    /// Layer and batches seen of every running statistic.
    batches: Vec<(String, i64)>,
    /// Seconds spent so far, for `timings.csv`.
    times: [f64; 4],
}

impl Position {
    /// After `epoch` epochs and `step` steps that gave `rows`; the rest is filled in on writing.
    pub fn at(epoch: usize, step: usize, rows: Vec<TrainingRow>) -> Self {
        Self { epoch, step, rows, ..Self::default() }
    }

    /// That of a checkpoint's `bytes`; `None` where they are not of this format.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let text = header.metadata().as_ref()?.get("training")?;
        serde_json::from_str(text).ok().filter(|position: &Self| position.version == VERSION)
    }
}

/// The parts of a training that a checkpoint holds.
pub(super) struct Checkpointed<'a, 'b> {
    pub bench: &'a mut Bench<'b>,
    /// What the method remembers; `None` where there is no method.
    pub learner: Option<&'a mut (dyn Learner + 'a)>,
    pub validation: &'a mut Vec<ValidationScores>,
    pub best: &'a mut Option<BestWeights>,
    pub summary: &'a mut Summary,
    pub times: &'a mut Times,
}

/// Writes checkpoints when they are due.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    slot: &'a Slot,
    /// When the last one was done, and how long it took.
    last: (Instant, Duration),
    /// Why the last one could not be written; the whole error names another temporary file each time.
    failed: Option<io::ErrorKind>,
}

impl<'a> Keeper<'a> {
    pub fn new(slot: &'a Slot) -> Self {
        Self { slot, last: (Instant::now(), Duration::ZERO), failed: None }
    }

    /// Whether one is due, within an epoch or at its end.
    pub fn is_due(&self, epoch_ends: bool) -> bool {
        let (at, took) = self.last;
        let since = at.elapsed();
        since >= self.slot.every || (epoch_ends && since >= took * SHARE)
    }

    /// Writes one; `at` says where the training is, its rows included. Gives the reason why it could
    /// not be written, but not the same one twice in a row.
    pub fn keep(
        &mut self,
        at: Position,
        steps: u64,
        progress: &mut Checkpointed,
    ) -> Option<io::Error> {
        let start = Instant::now();
        let bytes = write(at, progress);
        // What a device that failed gave is not kept.
        let kept = match progress.bench.ops().submit() {
            Ok(()) => self.slot.keep(steps, &bytes),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        self.last = (Instant::now(), start.elapsed());
        let before = self.failed.take();
        let error = kept.err()?;
        self.failed = Some(error.kind());
        (self.failed != before).then_some(error)
    }

    /// Puts the newest checkpoint that fits into `progress` and says where it stood.
    pub fn restore(&self, progress: &mut Checkpointed) -> io::Result<Option<Position>> {
        Ok(self.slot.whole()?.find_map(|bytes| read(&bytes, progress)))
    }
}

/// The name of what a learner remembers, in a file.
const STATE: &str = "state.";

fn write(at: Position, progress: &mut Checkpointed) -> Vec<u8> {
    let Checkpointed { bench, learner, validation, best, summary, times } = progress;
    let mut stored = Vec::new();
    let (mut updates, mut learning, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for (id, network) in bench.networks() {
        let prefix = id.prefix();
        stored.extend(floats(&prefix, moving(network)));
        let stats = network.model.stats().iter();
        batches.extend(stats.map(|it| (format!("{prefix}{}", it.layer), it.batches)));
        if let Some(optimizer) = &network.optimizer {
            stored.extend(floats(&prefix, optimizer.tensors(&network.model)));
            updates.push((prefix, optimizer.updates()));
        } else {
            let learns = network.model.parameters().iter().map(|it| it.trainable).collect();
            learning.push((prefix, learns));
        }
    }
    if let Some(best) = best {
        stored.extend(floats("best.", best.tensors.clone()));
    }
    if let Some(learner) = learner {
        learner.state(&mut Saving(&mut stored));
    }
    let position = Position {
        version: VERSION,
        updates,
        learning,
        validation: validation
            .iter()
            .map(|scores| [scores.loss.to_bits(), scores.accuracy.to_bits()])
            .collect(),
        best: best.as_ref().map(|best| best.what.clone()),
        last_loss: bench.last_loss.map(f64::to_bits),
        summary: summary.parts().map(|(name, sum, weight)| (name, sum.to_bits(), weight)).collect(),
        batches,
        times: times.parts(),
        ..at
    };
    let views = stored.iter().map(|Stored { name, kind, len, bytes }| {
        let view = TensorView::new(*kind, vec![*len], bytes);
        (name, view.expect("as many bytes as the shape says"))
    });
    let text = serde_json::to_string(&position).expect("a plain value");
    let metadata = HashMap::from([("training".to_owned(), text)]);
    safetensors::serialize(views, Some(metadata)).expect("valid tensors")
}

/// A tensor as a file has it.
struct Stored {
    name: String,
    kind: StoredType,
    len: usize,
    bytes: Vec<u8>,
}

fn floats(prefix: &str, tensors: Vec<(String, Vec<f32>)>) -> impl Iterator<Item = Stored> {
    tensors.into_iter().map(move |(name, values)| Stored {
        name: format!("{prefix}{name}"),
        kind: StoredType::F32,
        len: values.len(),
        bytes: little_endian(&values),
    })
}

/// The walk that saves what a learner remembers.
struct Saving<'a>(&'a mut Vec<Stored>);

impl Visit for Saving<'_> {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        self.0.extend(floats(STATE, vec![(name.to_owned(), values.clone())]));
    }

    fn integers(&mut self, name: &str, values: &mut Vec<u32>) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let (name, kind) = (format!("{STATE}{name}"), StoredType::U32);
        self.0.push(Stored { name, kind, len: values.len(), bytes });
    }
}

/// The walk that looks whether everything a learner remembers is there, or restores it.
struct Restoring<'a> {
    found: &'a SafeTensors<'a>,
    /// Whether values are put in place.
    puts: bool,
    /// Whether everything was there so far.
    whole: bool,
}

impl Restoring<'_> {
    fn bytes(&mut self, name: &str, kind: StoredType) -> Option<Vec<u8>> {
        let view = self.found.tensor(&format!("{STATE}{name}")).ok();
        let view = view.filter(|view| view.dtype() == kind && view.shape().len() == 1);
        self.whole &= view.is_some();
        view.filter(|_| self.puts).map(|view| view.data().to_vec())
    }
}

impl Visit for Restoring<'_> {
    fn numbers(&mut self, name: &str, values: &mut Vec<f32>) {
        if let Some(bytes) = self.bytes(name, StoredType::F32) {
            *values = from_little_endian(&bytes);
        }
    }

    fn integers(&mut self, name: &str, values: &mut Vec<u32>) {
        if let Some(bytes) = self.bytes(name, StoredType::U32) {
            let four = |four: &[u8]| u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            *values = bytes.chunks_exact(4).map(four).collect();
        }
    }
}

/// Puts the state that a checkpoint's `bytes` hold into `bench`; `false`, and nothing is changed, where
/// they are not of this format or not of such a training.
pub fn restore(bytes: &[u8], bench: &mut Bench) -> bool {
    alone(bench, |progress| read(bytes, progress)).is_some()
}

/// A checkpoint of a training that has not begun, as [`restore`] reads it.
pub fn of_start(bench: &mut Bench) -> Vec<u8> {
    alone(bench, |progress| write(Position::at(0, 0, Vec::new()), progress))
}

/// Does `work` with a training of which nothing but its bench has begun.
fn alone<T>(bench: &mut Bench, work: impl FnOnce(&mut Checkpointed) -> T) -> T {
    work(&mut Checkpointed {
        bench,
        learner: None,
        validation: &mut Vec::new(),
        best: &mut None,
        summary: &mut Summary::default(),
        times: &mut Times::default(),
    })
}

/// A network at its best epoch.
#[derive(Debug)]
pub(super) struct BestWeights {
    pub what: BestEpoch,
    /// As [`moving`] has them.
    tensors: Vec<(String, Vec<f32>)>,
}

impl BestWeights {
    /// The network as it is now, after epoch `epoch` (from 1).
    pub fn now(network: &Network, epoch: usize, value: f64) -> Self {
        let batches = network.model.stats().iter().map(|stats| stats.batches).collect();
        let what = BestEpoch { epoch, value: value.to_bits(), batches };
        Self { what, tensors: moving(network) }
    }

    /// Makes the network what it was.
    pub fn put_back(&self, network: &mut Network) {
        put(network, &self.tensors);
        for (stats, batches) in network.model.stats_mut().iter_mut().zip(&self.what.batches) {
            stats.batches = *batches;
        }
    }
}

impl Network {
    /// Whether training moves the parameter at `at`: by descent, or as a part of a copy that follows.
    fn moves(&self, at: usize) -> bool {
        self.optimizer.as_ref().is_none_or(|optimizer| optimizer.learns(at))
    }
}

/// Everything of a network that training moves: what learns at some time, and running statistics.
fn moving(network: &Network) -> Vec<(String, Vec<f32>)> {
    let mut tensors = Vec::new();
    for (at, parameter) in network.model.parameters().iter().enumerate() {
        if network.moves(at) {
            tensors.push((format!("value.{}", parameter.name), parameter.value.host()));
        }
    }
    for stats in network.model.stats() {
        tensors.push((format!("mean.{}", stats.layer), stats.mean.host()));
        tensors.push((format!("var.{}", stats.layer), stats.var.host()));
    }
    tensors
}

/// Puts back what [`moving`] gave.
fn put(network: &mut Network, tensors: &[(String, Vec<f32>)]) {
    let mut values = tensors.iter().map(|(_, values)| values);
    let moves: Vec<bool> =
        (0..network.model.parameters().len()).map(|at| network.moves(at)).collect();
    for (parameter, moves) in network.model.parameters_mut().iter_mut().zip(moves) {
        if moves {
            parameter.value.write(values.next().expect("a tensor for each"));
        }
    }
    for stats in network.model.stats_mut() {
        stats.mean.write(values.next().expect("a mean for each"));
        stats.var.write(values.next().expect("a variance for each"));
    }
}

/// `None` where the bytes are not of this format or not of this training; then nothing is changed.
fn read(bytes: &[u8], progress: &mut Checkpointed) -> Option<Position> {
    let position = Position::read(bytes)?;
    let found = SafeTensors::deserialize(bytes).ok()?;
    let take = |name: &str, len: usize| -> Option<Vec<f32>> {
        let view = found.tensor(name).ok()?;
        (view.dtype() == StoredType::F32 && view.shape() == [len])
            .then(|| from_little_endian(view.data()))
    };
    let Checkpointed { bench, learner, validation, best, summary, times } = progress;
    let networks = bench.networks();
    let named = networks.iter().flat_map(|(id, network)| {
        network.model.stats().iter().map(move |it| format!("{}{}", id.prefix(), it.layer))
    });
    if !position.batches.iter().map(|it| it.0.clone()).eq(named) {
        return None;
    }
    let all = |prefix: &str, network: &Network| -> Option<Vec<(String, Vec<f32>)>> {
        let shapes = moving(network).into_iter().map(|(name, values)| (name, values.len()));
        shapes
            .map(|(name, len)| take(&format!("{prefix}{name}"), len).map(|it| (name, it)))
            .collect()
    };
    let mut now = Vec::with_capacity(networks.len());
    let (mut updates, mut learning) = (position.updates.iter(), position.learning.iter());
    for (id, network) in networks {
        let (prefix, mut moments, mut learns) = (id.prefix(), None, None);
        let values = all(&prefix, network)?;
        if let Some(optimizer) = &network.optimizer {
            let (_, updates) = updates.next().filter(|(of, _)| *of == prefix)?;
            let take = |name: &str, len| take(&format!("{prefix}{name}"), len);
            moments = Some((optimizer.found(&network.model, updates, take)?, updates.clone()));
        } else {
            let count = network.model.parameters().len();
            let (_, found) = learning.next().filter(|(of, _)| *of == prefix)?;
            learns = Some(found).filter(|found| found.len() == count);
            learns?;
        }
        now.push((values, moments, learns));
    }
    let predictor = learner.as_ref().map_or(NetId::MAIN, |learner| learner.predictor());
    let then = match &position.best {
        Some(what) => {
            let network = networks.get(&predictor)?;
            let whole = what.batches.len() == network.model.stats().len();
            let tensors = all("best.", network).filter(|_| whole)?;
            Some(BestWeights { what: what.clone(), tensors })
        }
        None => None,
    };
    if let Some(learner) = learner {
        let mut look = Restoring { found: &found, puts: false, whole: true };
        learner.state(&mut look);
        if !look.whole {
            return None;
        }
        learner.state(&mut Restoring { puts: true, ..look });
    }
    let mut batches = position.batches.iter().map(|(_, batches)| *batches);
    for (network, (values, moments, learns)) in bench.networks_mut().values_mut().zip(now) {
        put(network, &values);
        let parameters = network.model.parameters_mut().iter_mut();
        for (parameter, learns) in parameters.zip(learns.into_iter().flatten()) {
            parameter.trainable = *learns;
        }
        for (stats, batches) in network.model.stats_mut().iter_mut().zip(&mut batches) {
            stats.batches = batches;
        }
        if let (Some(optimizer), Some((moments, updates))) = (&mut network.optimizer, moments) {
            optimizer.put(&updates, moments);
        }
    }
    let scores = |[loss, accuracy]: [u64; 2]| ValidationScores {
        loss: f64::from_bits(loss),
        accuracy: f64::from_bits(accuracy),
    };
    **validation = position.validation.iter().copied().map(scores).collect();
    **best = then;
    let parts = position.summary.iter().cloned();
    **summary = parts.map(|(name, sum, weight)| (name, f64::from_bits(sum), weight)).collect();
    bench.last_loss = position.last_loss.map(f64::from_bits);
    **times = Times::of_parts(position.times);
    Some(position)
}
