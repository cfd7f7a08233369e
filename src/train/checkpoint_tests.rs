//! What a training does when its checkpoints cannot be written.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dfdx::prelude::Cpu;
use indexmap::IndexMap;

use super::checkpoint::Slot;
use super::contract::Data;
use super::fit::{RunOptions, fit};
use super::groups::Groups;
use super::optimizer::Optimizer;
use super::schedule::Scheduled;
use super::settings::Settings;
use crate::adapt::Method;
use crate::config::Keys;
use crate::config::node::Table;
use crate::config::source::{SourceId, Span};
use crate::data::{Dataset, Images, Split};
use crate::nn::{Model, Spec};
use crate::progress::{Progress, Unit, Watch};

/// Hears of checkpoints that fail, and after some steps takes away what is in their way.
struct Unblocks {
    way: PathBuf,
    steps: AtomicUsize,
    heard: Mutex<Vec<String>>,
}

impl Progress for Unblocks {
    fn begin(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, by: u64) {
        let by = usize::try_from(by).unwrap();
        if self.steps.fetch_add(by, Ordering::SeqCst) + by == 4 {
            fs::remove_file(&self.way).unwrap();
        }
    }
    fn status(&self, _: &str) {}
    fn note(&self, text: &str) {
        if text.contains("could not be written") {
            self.heard.lock().unwrap().push(text.to_owned());
        }
    }
}

#[test]
fn a_checkpoint_that_could_not_be_written_is_tried_again_and_only_the_failure_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let way = folder.path().join("way");
    fs::write(&way, "a file where a folder must be").unwrap();
    let slot = Slot::new(way.join("slot"), Duration::ZERO);
    let spec: Spec = serde_json::from_str(include_str!("../../fuzz/spec.json")).unwrap();
    let mut model = Model::new(spec, &Cpu::default(), 0).unwrap();
    let pixels: Vec<u8> = (0..6 * 48).map(|it: u32| u8::try_from(it % 251).unwrap()).collect();
    let images = Images::same(3, (4, 4), pixels);
    let split = Split { images, labels: vec![0, 1, 0, 1, 0, 1] };
    let classes = vec!["a".into(), "b".into()];
    let dataset = Dataset::plain(classes, 3, IndexMap::new(), Vec::new());
    let settings = Settings {
        epochs: 3,
        epoch: None,
        batch_size: 2,
        optimizer: Optimizer::Sgd { lr: 0.01, momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        groups: Groups::default(),
        schedule: constant(),
        augment: None,
        label_smoothing: 0.0,
        early_stopping: None,
        keep_best: None,
        target_scores: None,
        log_every: None,
        seed: 0,
    };
    let data = Data { source: (&dataset, &split), target: None, validate: None, scored: None };
    let (steps, heard) = (AtomicUsize::new(0), Mutex::default());
    let unblocks = Unblocks { way: way.clone(), steps, heard };
    let watch = Watch { progress: &unblocks, cancel: &AtomicBool::new(false) };
    let options = RunOptions { checkpoints: Some(&slot), ..RunOptions::default() };
    fit(&mut model, &[], &Method::Supervised, &data, &settings, options, &watch).unwrap();
    let heard = unblocks.heard.into_inner().unwrap();
    // Those of three steps failed for one reason.
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("tried when it is due"), "{heard:?}");
    assert_eq!(fs::read_dir(way.join("slot")).unwrap().count(), 2, "the last two");
}

/// The schedule of a table that says nothing of it.
fn constant() -> Scheduled {
    let table = Table::default();
    Scheduled::read(&mut Keys::new(&table, Span::new(SourceId(0), 0..0))).unwrap()
}
