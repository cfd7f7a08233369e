//! Files of features that numpy and scipy wrote: see tests/golden/features.py. And moons against scikit-learn's.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use runner::data::moons::TwoMoons;
use runner::data::readers::{DataFormat, Decoding, FeatureNames, Layout};
use runner::data::statistics::feature_moments;
use runner::data::{DataError, Dataset, Split, Watch};
use runner::progress::Silent;
use serde_json::Value;

fn held() -> Value {
    serde_json::from_str(include_str!("../golden/features.json")).expect("what the script wrote")
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/features").join(name)
}

/// Features, labels and groups, each by name; empty for what is usual.
fn try_read(format: DataFormat, name: &str, names: [&str; 3]) -> Result<Dataset, DataError> {
    let cancel = AtomicBool::new(false);
    let watch = Watch { progress: &Silent, cancel: &cancel };
    let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let arrays = FeatureNames {
        features: some(names[0]).into_iter().collect(),
        labels: some(names[1]),
        groups: some(names[2]),
    };
    let layout = Layout { arrays, ..Layout::default() };
    format.read_as(&path(name), &layout, &Decoding::strict(), &watch)
}

fn read(format: DataFormat, name: &str, names: [&str; 3]) -> Dataset {
    try_read(format, name, names).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rows of a split, in single precision, and the names of their classes.
fn rows(set: &Dataset, split: &Split) -> Vec<(Vec<f32>, String)> {
    let row = |at: usize| split.images.feature_row(at).collect();
    let class = |at: usize| set.classes[split.labels[at] as usize].clone();
    (0..split.len()).map(|at| (row(at), class(at))).collect()
}

/// The rows that the script wrote, with labels that `label` makes of it.
fn expected(
    rows: std::ops::Range<usize>,
    label: impl Fn(usize) -> String,
) -> Vec<(Vec<f32>, String)> {
    let held = held();
    let number = |it: &Value| it.as_f64().expect("a number");
    #[expect(clippy::cast_possible_truncation, reason = "they are single precision")]
    let row = |at: usize| -> Vec<f32> {
        held["features"][at].as_array().unwrap().iter().map(|it| number(it) as f32).collect()
    };
    rows.map(|at| (row(at), label(at))).collect()
}

#[test]
fn half_precision_is_exact_in_single() {
    let held = held();
    let rows_of = |name: &str| -> Vec<Vec<f64>> {
        let rows = held[name].as_array().unwrap().iter();
        rows.map(|row| row.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect())
            .collect()
    };
    for (format, name, known) in [
        (DataFormat::Npz, "half.npz", "half"),
        (DataFormat::Safetensors, "half.safetensors", "half"),
        (DataFormat::Safetensors, "brain.safetensors", "brain"),
    ] {
        let set = read(format, name, USUAL);
        let found = rows(&set, &set.splits["train"]).into_iter();
        let (found, labels): (Vec<Vec<f64>>, Vec<String>) =
            found.map(|(row, label)| (row.into_iter().map(f64::from).collect(), label)).unzip();
        assert_eq!(found, rows_of(known), "{name}");
        assert_eq!(labels, (0..7).map(number).collect::<Vec<_>>(), "{name}");
    }
}

fn number(at: usize) -> String {
    held()["labels"][at].to_string()
}

fn word(at: usize) -> String {
    held()["words"][at].as_str().unwrap().to_owned()
}

/// As labels that count from 1.
fn from_one(at: usize) -> String {
    (held()["labels"][at].as_i64().unwrap() + 1).to_string()
}

const USUAL: [&str; 3] = ["", "", ""];

#[test]
fn files_of_every_format_hold_what_was_written() {
    use DataFormat::{Csv, Mat, Npz, Safetensors};
    type Labels = fn(usize) -> String;
    let cases: [(DataFormat, &str, [&str; 3], Labels); 11] = [
        (Npz, "doubles.npz", USUAL, number),
        (Npz, "fortran.npz", USUAL, number),
        (Npz, "words.npz", USUAL, word),
        (Npz, "words.npz", ["X", "y", ""], word),
        (Npz, "bytes.npz", USUAL, word),
        (Mat, "amazon_SURF_L10.mat", USUAL, from_one),
        (Mat, "amazon_decaf.mat", USUAL, from_one),
        (Safetensors, "features.safetensors", USUAL, number),
        (Safetensors, "features.safetensors", ["features", "", ""], number),
        (Csv, "amazon_amazon.csv", USUAL, number),
        (Csv, "spaces.txt", USUAL, number),
    ];
    for (format, name, names, label) in cases {
        let set = read(format, name, names);
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["train"], "{name}");
        assert_eq!(rows(&set, &set.splits["train"]), expected(0..7, label), "{name}");
    }
}

/// Arrays of more dimensions are flattened as NumPy flattens them, whatever else the file holds.
#[test]
fn files_of_matlab_hold_what_scipy_reads_of_them() {
    let held: Value = serde_json::from_str(include_str!("../golden/features_matlab.json"))
        .expect("what the script wrote");
    for (name, known) in held.as_object().unwrap() {
        let set = read(DataFormat::Mat, name, USUAL);
        let found: Vec<(Vec<f64>, String)> = rows(&set, &set.splits["train"])
            .into_iter()
            .map(|(row, label)| (row.into_iter().map(f64::from).collect(), label))
            .collect();
        let known_row = |row: &Value| -> Vec<f64> {
            row.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
        };
        let features = known["features"].as_array().unwrap().iter().map(known_row);
        let labels = known["labels"].as_array().unwrap().iter().map(Value::to_string);
        assert_eq!(found, features.zip(labels).collect::<Vec<_>>(), "{name}");
    }
    for (named, what) in [
        (["note", "labels", ""], "`note`: it is text"),
        (["names", "labels", ""], "`names`: it is a cell array"),
        (["settings", "labels", ""], "`settings`: it is a structure"),
        (["adjacency", "labels", ""], "`adjacency`: it is a sparse array"),
        (["spectrum", "labels", ""], "`spectrum`: it holds complex numbers"),
        (["fts", "note", ""], "`note`: it is text"),
        (["fts", "labels", "names"], "`names`: it is a cell array"),
    ] {
        let error = try_read(DataFormat::Mat, "maps.mat", named).unwrap_err().to_string();
        assert!(error.contains("maps.mat") && error.contains(what), "{what}: {error}");
    }
}

#[test]
fn names_of_arrays_and_files_say_the_splits() {
    for (format, name) in [(DataFormat::Npz, "splits.npz"), (DataFormat::Npy, "npy")] {
        let set = read(format, name, USUAL);
        assert_eq!(set.splits.keys().collect::<Vec<_>>(), ["train", "test"], "{name}");
        assert_eq!(rows(&set, &set.splits["train"]), expected(0..4, number), "{name}");
        assert_eq!(rows(&set, &set.splits["test"]), expected(4..7, number), "{name}");
    }
}

#[test]
fn groups_become_splits() {
    let held = held();
    let cases = [
        (DataFormat::Npz, "words.npz", ["", "", "domain"]),
        (DataFormat::Csv, "pandas.csv", ["", "species", "domain"]),
    ];
    for (format, name, names) in cases {
        let set = read(format, name, names);
        let mut found = 0;
        for (group, split) in &set.splits {
            let of_group: Vec<_> = (0..7)
                .filter(|at| held["domains"][*at] == **group)
                .flat_map(|at| expected(at..at + 1, word))
                .collect();
            assert_eq!(rows(&set, split), of_group, "{name}, {group}");
            found += split.len();
        }
        assert_eq!((set.splits.len(), found), (2, 7), "{name}");
    }
}

#[test]
fn columns_may_be_chosen_by_name() {
    let set = read(DataFormat::Csv, "pandas.csv", ["b", "species", ""]);
    let second: Vec<_> =
        expected(0..7, word).into_iter().map(|(row, class)| (vec![row[1]], class)).collect();
    assert_eq!(rows(&set, &set.splits["train"]), second);
}

#[test]
fn moments_are_those_of_numpy() {
    let set = read(DataFormat::Npz, "doubles.npz", USUAL);
    let held = held();
    for (at, found) in feature_moments(&set.splits["train"]).iter().enumerate() {
        for (name, value) in [("mean", found.mean), ("std", found.std)] {
            let expected = held["moments"][name][at].as_f64().unwrap();
            assert!((value / expected - 1.0).abs() < 1e-12, "{name} {at}: {value}, {expected}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let error = try_read(DataFormat::Npz, "objects.npz", USUAL).unwrap_err().to_string();
    assert!(error.contains("objects.npz") && error.contains("array.astype(str)"), "{error}");
}

#[test]
fn moons_without_noise_are_those_of_scikit_learn() {
    let set = TwoMoons { samples: 9, angle: 0.0, noise: 0.0 }.generate(0);
    let train = &set.splits["train"];
    let held = held();
    let moons = held["moons"].as_array().unwrap();
    // Those of make_moons come upper moon first, which is its class 0.
    let theirs: Vec<(f64, f64, u32)> = moons
        .iter()
        .map(|row| [0, 1, 2].map(|at| row[at].as_f64().unwrap()))
        .map(|[x, y, class]| (x, y, u32::from(class < 0.5)))
        .collect();
    assert_eq!(theirs.len(), train.len());
    let upper = train.labels.iter().filter(|it| **it == 1).count();
    let ordered = theirs[upper..].iter().chain(&theirs[..upper]);
    for (at, (x, y, class)) in ordered.enumerate() {
        let found: Vec<f64> = train.images.feature_row(at).map(f64::from).collect();
        assert!((found[0] - x).abs() < 1e-6 && (found[1] - y).abs() < 1e-6, "{at}: {found:?}");
        assert_eq!(train.labels[at], *class, "{at}");
    }
}
