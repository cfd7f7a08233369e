//! Training that can be taken up again: everything that a training has become between two steps, and
//! where that is kept. Knows nothing of stages and of the store.
//!
//! A checkpoint is a safetensors file whose name ends with the digest of its bytes, so that a damaged
//! one is never taken for a whole one; its `training` metadata is JSON. A training that goes on from a
//! checkpoint gives the bytes of one that never stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dfdx::prelude::*;
use safetensors::tensor::{Dtype as StoredType, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::fit::{Summary, Times};
use super::optimizer::OptimizerState;
use crate::fault::fail_point;
use crate::nn::Model;
use crate::nn::model::host;
use crate::nn::ops::Ops;
use crate::nn::weights::{from_little_endian, little_endian};
use crate::system;

/// The format that this runner writes and reads.
const VERSION: u32 = 1;

/// Checkpoints kept: should the newest be damaged, there is the one before.
const KEPT: usize = 2;

/// An epoch's end waits for its checkpoint until so many times what the last one took has passed:
/// writing takes at most a twentieth of the time.
const SHARE: u32 = 20;

/// Where the checkpoints of one training are.
#[derive(Debug)]
pub struct Slot {
    folder: PathBuf,
    every: Duration,
}

impl Slot {
    /// In `folder`, made when needed; at least one checkpoint `every` so often.
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

    /// Keeps `bytes` as the checkpoint after `steps` steps; it is on the disk when this returns.
    fn keep(&self, steps: u64, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        let path = self.folder.join(format!("{steps:012}-{}.safetensors", digest(bytes)));
        system::publish_file(file, &self.folder, &path)?;
        for old in self.files()?.into_iter().skip(KEPT) {
            fs::remove_file(old)?;
        }
        fail_point("old checkpoints removed");
        Ok(())
    }

    /// Removes all checkpoints: the training is over.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

fn digest_in(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()?.split_once('-').map(|(_, digest)| digest)
}

/// What is known of a training besides its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    version: u32,
    /// Epochs that are over.
    pub epoch: usize,
    /// Steps of the next one that are done.
    pub step: usize,
    /// Updates of the optimizer.
    updates: i32,
    /// Bits of the last loss.
    last_loss: Option<u64>,
    /// Rows of the metrics so far.
    pub rows: Vec<Vec<String>>,
    /// Name, bits of the sum and weight of every reading of the epoch.
    summary: Vec<(String, u64, usize)>,
    /// Layer and batches seen of every running statistic.
    batches: Vec<(String, i64)>,
    /// Seconds spent so far, for `timings.csv`.
    times: [f64; 4],
}

impl Position {
    /// After `epoch` epochs and `step` steps that gave `rows`; the rest is filled in on writing.
    pub fn at(epoch: usize, step: usize, rows: Vec<Vec<String>>) -> Self {
        Self { epoch, step, rows, ..Self::default() }
    }
}

/// What a training has become.
pub(super) struct Checkpointed<'a, D: Ops> {
    pub model: &'a mut Model<D>,
    pub optimizer: &'a mut OptimizerState<D>,
    pub summary: &'a mut Summary,
    pub last_loss: &'a mut Option<f64>,
    pub times: &'a mut Times,
}

/// Writes checkpoints when it is time.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    slot: &'a Slot,
    /// When the last one was done, and how long it took.
    last: (Instant, Duration),
}

impl<'a> Keeper<'a> {
    pub fn new(slot: &'a Slot) -> Self {
        Self { slot, last: (Instant::now(), Duration::ZERO) }
    }

    /// Whether one is due, within an epoch or at its end.
    pub fn is_due(&self, epoch_ends: bool) -> bool {
        let (at, took) = self.last;
        let since = at.elapsed();
        since >= self.slot.every || (epoch_ends && since >= took * SHARE)
    }

    /// Writes one; `at` says where the training is, its rows included.
    pub fn keep<D: Ops>(
        &mut self,
        at: Position,
        steps: u64,
        progress: &mut Checkpointed<D>,
    ) -> io::Result<()> {
        let start = Instant::now();
        let kept = self.slot.keep(steps, &write(at, progress));
        self.last = (Instant::now(), start.elapsed());
        kept
    }

    /// Puts the newest checkpoint that fits into `progress` and says where it stood.
    pub fn restore<D: Ops>(&self, progress: &mut Checkpointed<D>) -> io::Result<Option<Position>> {
        Ok(self.slot.whole()?.find_map(|bytes| read(&bytes, progress)))
    }
}

fn write<D: Ops>(at: Position, progress: &mut Checkpointed<D>) -> Vec<u8> {
    let Checkpointed { model, optimizer, summary, last_loss, times } = progress;
    let position = Position {
        version: VERSION,
        updates: optimizer.updates(),
        last_loss: last_loss.map(f64::to_bits),
        summary: summary.parts().map(|(name, sum, weight)| (name, sum.to_bits(), weight)).collect(),
        batches: model.stats().iter().map(|it| (it.layer.clone(), it.batches)).collect(),
        times: times.parts(),
        ..at
    };
    let mut tensors: Vec<(String, Vec<f32>)> = Vec::new();
    for parameter in model.parameters().iter().filter(|it| it.trainable) {
        tensors.push((format!("value.{}", parameter.name), host(&parameter.value)));
    }
    for stats in model.stats() {
        tensors.push((format!("mean.{}", stats.layer), host(&stats.mean)));
        tensors.push((format!("var.{}", stats.layer), host(&stats.var)));
    }
    tensors.extend(optimizer.tensors(model));
    let stored: Vec<(String, usize, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, values)| (name, values.len(), little_endian(&values)))
        .collect();
    let views = stored.iter().map(|(name, len, bytes)| {
        let view = TensorView::new(StoredType::F32, vec![*len], bytes);
        (name, view.expect("as many bytes as the shape says"))
    });
    let text = serde_json::to_string(&position).expect("a plain value");
    let metadata = HashMap::from([("training".to_owned(), text)]);
    safetensors::serialize(views, Some(metadata)).expect("valid tensors")
}

/// Puts the state that a checkpoint's `bytes` hold into `model` and `optimizer`; `false`, and nothing is
/// changed, where they are not of this format or not of such a training.
pub fn restore<D: Ops>(
    bytes: &[u8],
    model: &mut Model<D>,
    optimizer: &mut OptimizerState<D>,
) -> bool {
    let (mut summary, mut last_loss, mut times) = (Summary::default(), None, Times::default());
    let (summary, last_loss, times) = (&mut summary, &mut last_loss, &mut times);
    read(bytes, &mut Checkpointed { model, optimizer, summary, last_loss, times }).is_some()
}

/// `None` where the bytes are not of this format or not of this training; then nothing is changed.
fn read<D: Ops>(bytes: &[u8], progress: &mut Checkpointed<D>) -> Option<Position> {
    let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
    let text = header.metadata().as_ref()?.get("training")?;
    let position: Position = serde_json::from_str(text).ok()?;
    if position.version != VERSION {
        return None;
    }
    let found = SafeTensors::deserialize(bytes).ok()?;
    let take = |name: &str, len: usize| -> Option<Vec<f32>> {
        let view = found.tensor(name).ok()?;
        (view.dtype() == StoredType::F32 && view.shape() == [len])
            .then(|| from_little_endian(view.data()))
    };
    let Checkpointed { model, optimizer, summary, last_loss, times } = progress;
    let named: Vec<(String, usize)> =
        model.stats().iter().map(|it| (it.layer.clone(), it.mean.shape().0)).collect();
    if position.batches.iter().map(|it| &it.0).ne(named.iter().map(|it| &it.0)) {
        return None;
    }
    let parameters = model.parameters().iter().filter(|it| it.trainable);
    let parameters: Vec<Vec<f32>> = parameters
        .map(|it| take(&format!("value.{}", it.name), it.value.shape().0))
        .collect::<Option<_>>()?;
    let statistics: Vec<[Vec<f32>; 2]> = named
        .iter()
        .map(|(layer, len)| {
            Some([take(&format!("mean.{layer}"), *len)?, take(&format!("var.{layer}"), *len)?])
        })
        .collect::<Option<_>>()?;
    optimizer.restore(model, position.updates, take)?;
    for ((_, parameter), values) in model.trainable_mut().zip(parameters) {
        parameter.value.copy_from(&values);
    }
    let seen = position.batches.iter().map(|it| it.1);
    for ((stats, [mean, var]), batches) in model.stats_mut().iter_mut().zip(statistics).zip(seen) {
        stats.mean.copy_from(&mean);
        stats.var.copy_from(&var);
        stats.batches = batches;
    }
    let parts = position.summary.iter().cloned();
    **summary = parts.map(|(name, sum, weight)| (name, f64::from_bits(sum), weight)).collect();
    **last_loss = position.last_loss.map(f64::from_bits);
    **times = Times::of_parts(position.times);
    Some(position)
}
