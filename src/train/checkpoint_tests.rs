//! What a training does when its checkpoints cannot be written.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::checkpoint::Slot;
use super::contract::Data;
use super::fit::{FitOptions, fit};
use super::tiny;
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
    let (model, dataset, split) = (tiny::model(), tiny::dataset(), tiny::split());
    let settings = tiny::settings(3);
    let data = Data {
        source: Some((&dataset, &split)),
        target: None,
        validate: None,
        recorded: Vec::new(),
        scored: None,
    };
    let (steps, heard) = (AtomicUsize::new(0), Mutex::default());
    let unblocks = Unblocks { way: way.clone(), steps, heard };
    let watch = Watch { progress: &unblocks, cancel: &AtomicBool::new(false) };
    let options = FitOptions { checkpoints: Some(&slot), ..FitOptions::default() };
    fit(model, &[], &tiny::Plain, &data, &settings, options, &watch).unwrap();
    let heard = unblocks.heard.into_inner().unwrap();
    // Those of three steps failed for one reason.
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("tried when it is due"), "{heard:?}");
    assert_eq!(fs::read_dir(way.join("slot")).unwrap().count(), 2, "the last two");
}
