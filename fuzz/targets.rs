//! One function for each reader of files that may hold anything: whatever the bytes, it answers, and
//! never panics. Called by cargo-fuzz (`fuzz_targets/`) and, with the corpora, by a plain test.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use runner::data::npy::{AnyArray, NpyArray};
use runner::data::readers::{DataFormat, Decoding, FeatureNames, Layout};
use runner::data::{Dataset, Watch};
use runner::digest::{Digest, Fingerprint};
use runner::nn::ops::CpuOps;
use runner::nn::{Model, Saved, Spec, state_dict};
use runner::plan::{resolve, trials};
use runner::progress::Silent;
use runner::report::record::Record;
use runner::store::Store;
use runner::train::checkpoint;
use runner::train::{Adam, Bench, NetId, Optimizer, TrainingSettings};
use tempfile::TempDir;

/// A reader of bytes that may be anything.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const ALL: [(&str, Target); 18] = [
    ("manifest", manifest),
    ("checkpoint", checkpoint),
    ("idx", idx),
    ("image_list", image_list),
    ("image", image),
    ("tensors", tensors),
    ("cifar", cifar),
    ("usps", usps),
    ("optdigits", optdigits),
    ("weights", weights),
    ("dataset", dataset),
    ("model", model),
    ("record", record),
    ("pipeline", pipeline),
    ("npy", npy),
    ("npz", npz),
    ("csv", csv),
    ("mat", mat),
];

/// A folder whose only file is `name`.
fn folder(name: &str, bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), name, bytes);
    folder
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn read(format: DataFormat, path: &Path) {
    let cancel = AtomicBool::new(false);
    let _ = format.read(path, &Decoding::strict(), &Watch { progress: &Silent, cancel: &cancel });
}

/// `manifest.json` of an artifact, from the look to the comparison of every byte.
pub fn manifest(bytes: &[u8]) {
    let name = "01".repeat(32);
    let root = folder(&format!("artifacts/01/{name}/manifest.json"), bytes);
    let fingerprint = Fingerprint(name.parse::<Digest>().unwrap());
    let _ = Store::peek(root.path()).verify(&fingerprint);
}

/// A training that has not begun.
pub fn training() -> Bench<'static> {
    static START: LazyLock<Spec> =
        LazyLock::new(|| serde_json::from_str(include_str!("spec.json")).unwrap());
    static SETTINGS: LazyLock<TrainingSettings> = LazyLock::new(|| {
        let adam = Adam { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0 };
        TrainingSettings::plain(2, Optimizer::Adam(adam))
    });
    let model = Model::new(START.clone(), &CpuOps::shared(), 0).unwrap();
    Bench::alone(model, &SETTINGS).unwrap()
}

/// A training's checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    checkpoint::restore(bytes, &mut training());
}

/// A file of images in MNIST's format, with labels that fit.
pub fn idx(bytes: &[u8]) {
    let folder = folder("train-images-idx3-ubyte", bytes);
    put(folder.path(), "train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 0, 1]);
    read(DataFormat::Idx, folder.path());
}

/// A list of images and labels.
pub fn image_list(bytes: &[u8]) {
    let folder = folder("train.txt", bytes);
    read(DataFormat::ImageList, folder.path());
}

/// An image file of any format: the content decides on it, not the name.
pub fn image(bytes: &[u8]) {
    let folder = folder("1.png", bytes);
    put(folder.path(), "train.txt", b"1.png 0\n");
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &Silent, cancel: &cancel };
    let _ = DataFormat::ImageList.read(folder.path(), &Decoding::strict().upright(true), &watch);
}

/// The training images of CIFAR-100, with a good test image.
pub fn cifar(bytes: &[u8]) {
    let folder = folder("train.bin", bytes);
    put(folder.path(), "test.bin", &[7; 2 + 3072]);
    read(DataFormat::Cifar, folder.path());
}

/// An array of NumPy's, whose numbers are read in every form.
pub fn npy(bytes: &[u8]) {
    let folder = folder("a.npy", bytes);
    if let Ok(array) = NpyArray::open(&folder.path().join("a.npy")) {
        let _ = (array.bytes(), array.floats(), array.integers());
    }
    let _ = AnyArray::parse(&bytes.to_vec().into());
}

/// Arrays of features and labels that NumPy zipped together.
pub fn npz(bytes: &[u8]) {
    read(DataFormat::Npz, &folder("d.npz", bytes).path().join("d.npz"));
}

/// A table of features, with columns that are told by their names and with columns that are named.
pub fn csv(bytes: &[u8]) {
    let folder = folder("d.csv", bytes);
    let path = folder.path().join("d.csv");
    read(DataFormat::Csv, &path);
    let arrays = FeatureNames {
        features: Vec::new(),
        labels: Some("species".into()),
        groups: Some("domain".into()),
    };
    let layout = Layout { arrays, ..Layout::default() };
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &Silent, cancel: &cancel };
    let _ = DataFormat::Csv.read_as(&path, &layout, &Decoding::strict(), &watch);
}

/// MATLAB's arrays of features and labels.
pub fn mat(bytes: &[u8]) {
    read(DataFormat::Mat, &folder("d.mat", bytes).path().join("d.mat"));
}

/// The MATLAB file of USPS.
pub fn usps(bytes: &[u8]) {
    let folder = folder("usps_resampled.mat", bytes);
    read(DataFormat::UspsGpml, folder.path());
}

/// The table of optdigits.
pub fn optdigits(bytes: &[u8]) {
    let folder = folder("digits.csv", bytes);
    read(DataFormat::Optdigits, folder.path());
}

/// Weights in any form, of the entry that is usual and of one that is named.
pub fn weights(bytes: &[u8]) {
    let folder = folder("weights.pth", bytes);
    let path = folder.path().join("weights.pth");
    for entry in [None, Some("model")] {
        if let Err(error) = state_dict::read(&path, entry) {
            let _ = error.help();
        }
    }
}

/// Tensors `images` and `labels`.
pub fn tensors(bytes: &[u8]) {
    let folder = folder("train.safetensors", bytes);
    read(DataFormat::Safetensors, folder.path());
}

/// `dataset.json` of a data set of our own.
pub fn dataset(bytes: &[u8]) {
    let folder = folder("dataset.json", bytes);
    let split = include_bytes!("corpus/tensors/split.safetensors");
    put(folder.path(), "train.safetensors", split);
    let _ = Dataset::open(folder.path());
}

/// `model.json`, beside weights that fit the one of the corpus.
pub fn model(bytes: &[u8]) {
    static WEIGHTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let model = training().model(NetId::MAIN).clone();
        let saved = Saved { model, classes: Vec::new() };
        saved.save(folder.path()).unwrap();
        fs::read(folder.path().join("weights.safetensors")).unwrap()
    });
    let folder = folder("model.json", bytes);
    put(folder.path(), "weights.safetensors", &WEIGHTS);
    let _ = Saved::open(folder.path(), &CpuOps::shared());
}

/// `run.json`.
pub fn record(bytes: &[u8]) {
    let folder = folder("run.json", bytes);
    let _ = Record::read(folder.path());
}

/// A pipeline file and its sweep.
pub fn pipeline(bytes: &[u8]) {
    let folder = folder("pipeline.toml", bytes);
    let path = folder.path().join("pipeline.toml");
    if let Err(report) = resolve::load(&path, &[]) {
        let _ = report.render(false);
    }
    // A sweep of a million trials is a long wait, not a bug.
    if !bytes.windows(5).any(|word| word == b"sweep") {
        return;
    }
    if bytes.len() < 2000 {
        let _ = trials::load(&path, &[]);
    }
}
