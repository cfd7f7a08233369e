//! The output of the frozen first layers of a network, computed once per image and used in every epoch
//! and by every head of a sweep.
//!
//! Results are byte-identical either way: [`Model::frozen_entry`] ends where anything learns, is drawn
//! or depends on the batch. Activations are kept in memory while they fit, else in a file of the store
//! that is mapped into memory. Knows nothing of stages.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::Mmap;
use rayon::prelude::*;

pub use super::activation_files::check;
use super::activation_files::{self as files, ActivationWriter};
use super::contract::Stop;
use super::pictures::Pictures;
use crate::data::{Images, Normalisation};
use crate::memory;
use crate::nn::model::{EntryLayer, Model};
use crate::nn::weights::little_endian;
use crate::progress::{Unit, Watch};

/// Multiplications per value from which reading it is faster than computing it again.
const WORTH_MEMORY: usize = 64;
/// The same for a value on a disk.
const WORTH_DISK: usize = 1024;

/// Bytes of images that go through the frozen layers at a time; it changes no number.
const TOGETHER: usize = 64 << 20;

/// Where activations are kept, shared by everything that trains in this process.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    /// Bytes.
    memory: usize,
    /// The entry that was used last comes last.
    held: Mutex<Vec<(blake3::Hash, Arc<Activations>)>>,
}

/// A cache, and the backend that computes what is put there.
#[derive(Debug, Clone, Copy)]
pub struct Caching<'a> {
    /// The cache.
    pub cache: &'a Cache,
    /// Everything besides weights and images that decides the last bits of a number.
    pub backend: &'a str,
    /// How many times the activations will be used.
    pub uses: usize,
}

/// The output of the layers before `entry` for each image of a set.
#[derive(Debug)]
pub struct Activations {
    /// Where a pass continues with them.
    pub entry: EntryLayer,
    /// A digest of everything that decides the values.
    key: blake3::Hash,
    /// Number of values per image.
    len: usize,
    rows: Backing,
}

#[derive(Debug)]
enum Backing {
    Memory(Vec<f32>),
    /// A safetensors file whose values begin at this byte.
    Mapped(Mmap, usize),
}

impl Activations {
    /// A digest of everything that decides the values, which stands for them.
    pub fn key(&self) -> blake3::Hash {
        self.key
    }

    /// The values of all images, one after the other.
    pub fn values(&self) -> &[f32] {
        match &self.rows {
            Backing::Memory(values) => values,
            Backing::Mapped(file, start) => {
                // SAFETY: any four bytes are a number.
                let (before, values, after) = unsafe { file[*start..].align_to::<f32>() };
                assert!(before.is_empty() && after.is_empty(), "the header is padded");
                values
            }
        }
    }

    /// The activations of the images at `indices`, `[N, C*H*W]`.
    pub fn batch(&self, indices: &[usize]) -> Vec<f32> {
        let all = self.values();
        let mut values = memory::take(indices.len() * self.len);
        values.par_chunks_mut(self.len).zip(indices).for_each(|(to, index)| {
            to.copy_from_slice(&all[index * self.len..(index + 1) * self.len]);
        });
        values
    }
}

impl Cache {
    /// A cache that keeps up to `memory` bytes in memory, and larger sets in `folder`.
    pub fn new(folder: PathBuf, memory: usize) -> Self {
        Self { folder, memory, held: Mutex::default() }
    }

    fn find(&self, key: blake3::Hash) -> Option<Arc<Activations>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.iter().position(|(of, _)| *of == key)?;
        let found = held.remove(at);
        held.push(found.clone());
        Some(found.1)
    }

    /// Keeps `activations`; the longest unused ones make room.
    fn keep(&self, key: blake3::Hash, activations: &Arc<Activations>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push((key, Arc::clone(activations)));
        let bytes = |held: &[(_, Arc<Activations>)]| -> usize {
            held.iter()
                .map(|(_, it)| match &it.rows {
                    Backing::Memory(values) => size_of_val(values.as_slice()),
                    Backing::Mapped(..) => 0,
                })
                .sum()
        };
        while held.len() > 1 && bytes(&held) > self.memory {
            held.remove(0);
        }
    }
}

impl Caching<'_> {
    /// The output of the frozen layers of `model` for `images`; `None` where keeping it gains nothing.
    ///
    /// # Errors
    /// When the device fails or the user asks to stop. A file that cannot be written is no error:
    /// the watcher is told, and everything is computed every time.
    pub fn of<'a>(
        &self,
        model: &mut Model,
        images: &Images,
        normalisation: impl Into<Normalisation<'a>>,
        watch: &Watch,
    ) -> Result<Option<Arc<Activations>>, Stop> {
        let (entry, normalisation) = (model.frozen_entry(), normalisation.into());
        let shape = model.entry_shape(entry);
        let bytes = images.len() * shape.len() * size_of::<f32>();
        let worth = work(model, entry) / shape.len();
        if worth < WORTH_MEMORY {
            return Ok(None);
        }
        let key = self.key(model, entry, images, normalisation);
        if let Some(found) = self.cache.find(key) {
            return Ok(Some(found));
        }
        let header = header(&[images.len(), shape.channels, shape.height, shape.width]);
        let len = shape.len();
        let mapped =
            |file| Activations { entry, key, len, rows: Backing::Mapped(file, header.len()) };
        let in_memory = bytes <= self.cache.memory;
        let kept = files::find(&self.cache.folder, key, &header, bytes);
        for path in kept.damaged {
            let text = "are damaged: removed, and computed again when they are needed";
            watch.progress.note(&format!("the kept activations in {} {text}", path.display()));
        }
        let activations = match kept.whole {
            Some(file) => mapped(file),
            None if in_memory => {
                let mut values = Vec::with_capacity(images.len() * len);
                let mut job = FrozenPass { model, entry, images, normalisation, watch };
                job.run(|rows| {
                    values.extend_from_slice(&rows);
                    Ok(())
                })?
                .expect("memory takes everything");
                Activations { entry, key, len, rows: Backing::Memory(values) }
            }
            None if worth < WORTH_DISK || self.uses < 2 => return Ok(None),
            None => {
                let mut job = FrozenPass { model, entry, images, normalisation, watch };
                match self.write(key, &header, &mut job)? {
                    Ok(file) => mapped(file),
                    Err(error) => {
                        watch.progress.note(&format!(
                            "what the frozen layers make of the images is computed in every epoch: \
                             {} cannot be written: {error}",
                            self.cache.folder.display()
                        ));
                        return Ok(None);
                    }
                }
            }
        };
        let activations = Arc::new(activations);
        self.cache.keep(key, &activations);
        Ok(Some(activations))
    }

    /// Writes what `job` gives to the file of `key`, and maps it.
    fn write(
        &self,
        key: blake3::Hash,
        header: &[u8],
        job: &mut FrozenPass,
    ) -> Result<io::Result<Mmap>, Stop> {
        let folder = &self.cache.folder;
        let mut file = match ActivationWriter::begin(folder, header) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let done = job.run(|rows| file.add(&little_endian(&rows)))?;
        Ok(done.and_then(|()| file.publish(folder, key)))
    }

    /// A digest of everything that decides the activations: layers, weights, statistics, images and how
    /// they become numbers, and the backend.
    fn key(
        &self,
        model: &Model,
        entry: EntryLayer,
        images: &Images,
        normalisation: Normalisation,
    ) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let layers = model.layers_before(entry);
        let mut texts = vec![
            "activations 1".to_owned(),
            self.backend.to_owned(),
            format!("{:?}", (model.precise(), model.spec().input, entry)),
            format!("{:?}", (normalisation, images.channels, &images.sizes)),
        ];
        texts.extend(layers.iter().map(|placed| format!("{} {:?}", placed.name, placed.layer)));
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        for values in model.tensors_of_layers(layers.len()) {
            hasher.update(&(values.len() as u64).to_le_bytes());
            hasher.update(&little_endian(&values));
        }
        hasher.update_rayon(&images.pixels);
        hasher.finalize()
    }
}

/// Multiplications per image before `entry`.
fn work(model: &Model, entry: EntryLayer) -> usize {
    let of = |conv: crate::nn::geometry::Conv2d| conv.output().area() * conv.weight_len();
    model.layers_before(entry).iter().filter_map(|placed| placed.conv2d()).map(of).sum()
}

/// Images on their way through the frozen layers.
struct FrozenPass<'a> {
    model: &'a mut Model,
    entry: EntryLayer,
    images: &'a Images,
    normalisation: Normalisation<'a>,
    watch: &'a Watch<'a>,
}

impl FrozenPass<'_> {
    /// Gives the output for the images to `sink`, some at a time, in their order. The outer error says
    /// that the device failed or the user asked to stop; the inner one comes from `sink`.
    fn run(
        &mut self,
        mut sink: impl FnMut(Vec<f32>) -> io::Result<()>,
    ) -> Result<io::Result<()>, Stop> {
        let count = self.images.len();
        let input = self.model.spec().input.len();
        let together = (TOGETHER / (input * size_of::<f32>())).clamp(16, 1024) / 16 * 16;
        self.watch.progress.begin("frozen layers", Some(count as u64), Unit::Images);
        let all: Vec<usize> = (0..count).collect();
        let inputs = Pictures::new(self.model, self.images, self.normalisation);
        for indices in all.chunks(together) {
            self.watch.check()?;
            let batch = inputs.batch(indices);
            let x = self.model.take_in(EntryLayer::IMAGES, batch, indices.len())?;
            let rows = self.model.features_up_to(self.entry, &x)?;
            let rows = rows.host();
            // What a device that failed gave is not kept.
            self.model.ops().submit()?;
            if let Err(error) = sink(rows) {
                return Ok(Err(error));
            }
            self.watch.progress.advance(indices.len() as u64);
        }
        Ok(Ok(()))
    }
}

/// The first bytes of a safetensors file with one tensor `activations`, padded so that its values
/// are aligned.
fn header(shape: &[usize]) -> Vec<u8> {
    let bytes = shape.iter().product::<usize>() * size_of::<f32>();
    let mut json = serde_json::json!({
        "activations": { "dtype": "F32", "shape": shape, "data_offsets": [0, bytes] }
    })
    .to_string();
    json.push_str(&" ".repeat(json.len().next_multiple_of(64) - json.len()));
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json.into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(cache: &Cache, key: &str, values: usize) -> blake3::Hash {
        let key = blake3::hash(key.as_bytes());
        let backing = Backing::Memory(vec![0.0; values]);
        let entry = EntryLayer::IMAGES;
        cache.keep(key, &Arc::new(Activations { entry, key, len: 1, rows: backing }));
        key
    }

    #[test]
    fn the_activations_that_were_unused_for_longest_make_room() {
        let cache = Cache::new(PathBuf::new(), 10 * size_of::<f32>());
        let (first, second) = (kept(&cache, "first", 4), kept(&cache, "second", 4));
        // Used again, so that the second is now the one unused for longest.
        assert!(cache.find(first).is_some());
        let third = kept(&cache, "third", 4);
        assert!(cache.find(second).is_none());
        assert!(cache.find(first).is_some() && cache.find(third).is_some());
    }

    #[test]
    fn the_newest_activations_stay_even_if_they_alone_are_too_large() {
        let cache = Cache::new(PathBuf::new(), 10 * size_of::<f32>());
        let small = kept(&cache, "small", 1);
        let large = kept(&cache, "large", 100);
        assert!(cache.find(small).is_none() && cache.find(large).is_some());
    }
}
