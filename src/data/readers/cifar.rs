//! CIFAR-10 and CIFAR-100 in their binary form: records of one or two label bytes and 3,072 pixels,
//! a plane of 32x32 for red, green and blue each (Krizhevsky 2009).

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::{ReadSplits, same, visible_files};
use crate::data::dataset::{Images, Split};
use crate::data::error::DataError;

/// Pixels of a plane.
const AREA: usize = 32 * 32;

/// What the files of one of the two sets are called.
struct CifarFiles {
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    /// Bytes of labels before the pixels; the last one counts.
    labels: usize,
    classes: usize,
}

const CIFAR_10: CifarFiles = CifarFiles {
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    labels: 1,
    classes: 10,
};

/// The coarse label comes first, the fine one counts.
const CIFAR_100: CifarFiles = CifarFiles {
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    labels: 2,
    classes: 100,
};

impl CifarFiles {
    /// What its files of images are called.
    fn images(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }
}

/// Whether the name of a file is that of one of either set.
pub(super) fn is_part(file: &Path) -> bool {
    let is = |name| file.file_name().is_some_and(|it| it == name);
    [&CIFAR_10, &CIFAR_100].iter().any(|it| it.images().any(is) || is(it.names))
}

/// Reads the files of either set anywhere below `folder`.
///
/// # Errors
/// When a batch is missing, cut, or holds a label that is no class, or there is more than one data set.
pub fn read(folder: &Path) -> Result<ReadSplits, DataError> {
    let files = visible_files(folder)?;
    let find = |name: &str| -> Vec<PathBuf> {
        let is = |file: &&PathBuf| file.file_name().is_some_and(|it| it == name);
        files.iter().filter(is).cloned().collect()
    };
    let holds = |layout: &CifarFiles| layout.images().any(|name| !find(name).is_empty());
    let layout = match (holds(&CIFAR_10), holds(&CIFAR_100)) {
        (true, true) => {
            let message = format!("{}: it holds CIFAR-10 and CIFAR-100", folder.display());
            return Err(DataError::rejected(message)
                .advise("`root = \"FOLDER\"` points to the folder of one of them"));
        }
        (true, false) => &CIFAR_10,
        (false, _) => &CIFAR_100,
    };
    let need = |name: &str| -> Result<Vec<PathBuf>, DataError> {
        let found = find(name);
        if !found.is_empty() {
            return Ok(found);
        }
        Err(DataError::rejected(format!("{}: there is no {name}", folder.display())).advise(
            "expected the binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin, \
             test_batch.bin) or of CIFAR-100 (train.bin, test.bin)",
        ))
    };
    let train: Vec<Vec<PathBuf>> =
        layout.train.iter().map(|name| need(name)).collect::<Result<_, _>>()?;
    let test = need(layout.test)?;
    let splits = IndexMap::from([
        ("train".to_owned(), split(&train, layout)?),
        ("test".to_owned(), split(&[test], layout)?),
    ]);
    let classes = match find(layout.names).as_slice() {
        [] => (0..layout.classes).map(|class| class.to_string()).collect(),
        copies => class_names(copies, layout.classes)?,
    };
    Ok(ReadSplits { classes, splits })
}

fn class_names(copies: &[PathBuf], classes: usize) -> Result<Vec<String>, DataError> {
    let path = &copies[0];
    let text = String::from_utf8(same::content(copies, Ok)?)
        .map_err(|error| DataError::malformed(path, error.to_string()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if names.len() == classes {
        return Ok(names);
    }
    Err(DataError::malformed(path, format!("{} names for {classes} classes", names.len())))
}

/// Reads files one after the other, of each the copies that there are.
fn split(files: &[Vec<PathBuf>], layout: &CifarFiles) -> Result<Split, DataError> {
    let record = layout.labels + 3 * AREA;
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for copies in files {
        let (file, bytes) = (&copies[0], same::content(copies, Ok)?);
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let reason = format!("{} bytes are not whole records of {record}", bytes.len());
            return Err(DataError::malformed(file, reason));
        }
        for (at, record) in bytes.chunks_exact(record).enumerate() {
            let (label, planes) = record.split_at(layout.labels);
            let label = label[layout.labels - 1];
            if usize::from(label) >= layout.classes {
                let reason = format!("record {at} has the label {label} of {}", layout.classes);
                return Err(DataError::malformed(file, reason));
            }
            labels.push(u32::from(label));
            let (red, rest) = planes.split_at(AREA);
            let (green, blue) = rest.split_at(AREA);
            for ((red, green), blue) in red.iter().zip(green).zip(blue) {
                pixels.extend([*red, *green, *blue]);
            }
        }
    }
    Ok(Split { images: Images::same(3, (32, 32), pixels), labels })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A record whose planes are filled with the three values.
    fn record(labels: &[u8], planes: [u8; 3]) -> Vec<u8> {
        let pixels = planes.into_iter().flat_map(|value| [value; AREA]);
        labels.iter().copied().chain(pixels).collect()
    }

    fn found(files: &[(&str, Vec<u8>)]) -> Result<ReadSplits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar");
        fs::create_dir(&inner).unwrap();
        for (name, bytes) in files {
            fs::write(inner.join(name), bytes).unwrap();
        }
        read(folder.path())
    }

    fn cifar_10() -> Vec<(&'static str, Vec<u8>)> {
        let mut files: Vec<_> = CIFAR_10
            .train
            .iter()
            .zip(0..)
            .map(|(name, at)| (*name, record(&[at], [at, 100, 200])))
            .collect();
        files.push((CIFAR_10.test, [record(&[9], [1, 2, 3]), record(&[0], [4, 5, 6])].concat()));
        files
    }

    #[test]
    fn batches_follow_each_other_and_planes_become_pixels() {
        let found = found(&cifar_10()).unwrap();
        assert_eq!(found.splits["train"].labels, [0, 1, 2, 3, 4]);
        assert_eq!(found.splits["test"].labels, [9, 0]);
        assert_eq!(found.splits["test"].images.pixels[..6], [1, 2, 3, 1, 2, 3]);
        assert_eq!(found.splits["train"].images.size(), Some((32, 32)));
        assert_eq!(found.classes.len(), 10);
    }

    #[test]
    fn the_fine_label_of_cifar_100_counts_and_names_come_along() {
        let names: Vec<String> = (0..100).map(|at| format!("name {at}")).collect();
        let files = [
            ("train.bin", record(&[19, 87], [1, 2, 3])),
            ("test.bin", record(&[3, 99], [1, 2, 3])),
            ("fine_label_names.txt", names.join("\n").into_bytes()),
        ];
        let found = found(&files).unwrap();
        assert_eq!((found.splits["train"].labels[0], found.splits["test"].labels[0]), (87, 99));
        assert_eq!(found.classes[87], "name 87");
    }

    #[test]
    fn what_is_missing_cut_or_mislabelled_is_named() {
        let message = |change: fn(&mut Vec<(&'static str, Vec<u8>)>)| {
            let mut files = cifar_10();
            change(&mut files);
            found(&files).unwrap_err().to_string()
        };
        assert!(message(|it| drop(it.remove(2))).contains("there is no data_batch_3.bin"));
        assert!(
            message(|it| it[1].1.truncate(3072)).contains("data_batch_2.bin: 3072 bytes are not")
        );
        assert!(message(|it| it[5].1.clear()).contains("test_batch.bin: 0 bytes"));
        assert!(message(|it| it[0].1[0] = 10).contains("record 0 has the label 10 of 10"));
        assert!(message(Vec::clear).contains("there is no train.bin"));
        assert!(
            message(|it| it.push(("batches.meta.txt", b"cat\n".to_vec())))
                .contains("1 names for 10 classes")
        );
    }

    #[test]
    fn copies_count_once_and_two_sets_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for part in ["a", "b"] {
            fs::create_dir(folder.path().join(part)).unwrap();
            for (name, bytes) in cifar_10() {
                fs::write(folder.path().join(part).join(name), bytes).unwrap();
            }
        }
        assert_eq!(read(folder.path()).unwrap().splits["train"].labels.len(), 5);
        fs::write(folder.path().join("b/test_batch.bin"), record(&[1], [0; 3])).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("test_batch.bin are not the same"), "{error}");
        fs::write(folder.path().join("test.bin"), record(&[0, 1], [0; 3])).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("CIFAR-10 and CIFAR-100"), "{error}");
    }
}
