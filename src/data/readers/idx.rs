//! IDX, the format of MNIST and its kin: a big-endian header, then bytes.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::gzip::inflate;
use super::{ReadSplits, same, split_word, visible_files};
use crate::data::dataset::{Images, Split};
use crate::data::error::DataError;

const IMAGES: u32 = 0x0803;
const COLOUR_IMAGES: u32 = 0x0804;
const LABELS: u32 = 0x0801;

/// Reads every pair of an image and a label file below `folder`: `train-images-idx3-ubyte` with
/// `train-labels-idx1-ubyte` and so on, gzipped or not.
///
/// # Errors
/// When a file lacks its other half, or does not hold what it should.
pub fn read_folder(folder: &Path) -> Result<ReadSplits, DataError> {
    let mut halves: IndexMap<(String, String), Halves> = IndexMap::new();
    for file in visible_files(folder)? {
        let Some((prefix, is_images)) = half(&file) else { continue };
        let split = split_word(&prefix).map(str::to_owned).ok_or_else(|| {
            DataError::malformed(&file, "its name says neither train, valid nor test (t10k)")
        })?;
        let half = halves.entry((split, prefix)).or_default();
        let copies = if is_images { &mut half.images } else { &mut half.labels };
        copies.push(file);
    }
    // Each with the file that its images are from.
    let mut splits: IndexMap<String, (PathBuf, Split)> = IndexMap::new();
    for ((split, _), half) in halves {
        let (images, labels) = match (half.images.as_slice(), half.labels.as_slice()) {
            ([_, ..], [_, ..]) => (half.images, half.labels),
            ([only, ..], []) => {
                return Err(DataError::malformed(only, "its label file is missing"));
            }
            ([], [only, ..]) => {
                return Err(DataError::malformed(only, "its image file is missing"));
            }
            ([], []) => continue,
        };
        let read = pair(&images, &labels)?;
        let image = images[0].clone();
        if let Some((first, _)) = splits.insert(split.clone(), (image.clone(), read)) {
            let message = format!("{}: a second image file for `{split}`", image.display());
            return Err(DataError::rejected(message).advise(same::one_of(&first, &image)));
        }
    }
    if splits.is_empty() {
        return Err(DataError::rejected(format!("no IDX files in {}", folder.display())).advise(
            "expected pairs such as train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz",
        ));
    }
    let splits = splits.into_iter().map(|(name, (_, split))| (name, split)).collect();
    ReadSplits::with_numbered_classes(splits, folder)
}

/// Whether the name of a file is that of an image or a label file.
pub(super) fn is_part(file: &Path) -> bool {
    half(file).is_some()
}

/// How the name of a file begins, and whether it is of images; `None` when it is of neither.
fn half(file: &Path) -> Option<(String, bool)> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let bare = name.strip_suffix(".gz").unwrap_or(&name);
    if !(bare.contains("idx") || bare.contains("ubyte")) {
        return None;
    }
    match (bare.split_once("images"), bare.split_once("labels")) {
        (Some((prefix, _)), _) => Some((prefix.to_owned(), true)),
        (None, Some((prefix, _))) => Some((prefix.to_owned(), false)),
        (None, None) => None,
    }
}

/// The copies of each file of a pair.
#[derive(Default)]
struct Halves {
    images: Vec<PathBuf>,
    labels: Vec<PathBuf>,
}

fn pair(images: &[PathBuf], labels: &[PathBuf]) -> Result<Split, DataError> {
    let malformed = |file: &Path| {
        let file = file.to_owned();
        move |reason: String| DataError::malformed(&file, reason)
    };
    let (image, label) = (&images[0], &labels[0]);
    let pixels = parse_images(same::content(images, inflate)?).map_err(malformed(image))?;
    let numbers = parse_labels(&same::content(labels, inflate)?).map_err(malformed(label))?;
    if pixels.len() != numbers.len() {
        let reason = format!("{} images but {} labels", pixels.len(), numbers.len());
        return Err(DataError::malformed(image, reason));
    }
    Ok(Split { images: pixels, labels: numbers })
}

/// The header's numbers after the magic one, and where the data start.
fn header(bytes: &[u8], dimensions: usize) -> Result<Vec<usize>, String> {
    let numbers: Vec<usize> = bytes
        .get(4..4 + 4 * dimensions)
        .ok_or("too short for its header")?
        .as_chunks::<4>()
        .0
        .iter()
        .map(|number| u32::from_be_bytes(*number) as usize)
        .collect();
    let expected = numbers
        .iter()
        .try_fold(1_usize, |product, number| product.checked_mul(*number))
        .and_then(|body| body.checked_add(4 + 4 * dimensions))
        .ok_or("its header asks for more than fits the memory")?;
    if bytes.len() != expected {
        return Err(format!("{} bytes where its header asks for {expected}", bytes.len()));
    }
    Ok(numbers)
}

fn magic(bytes: &[u8]) -> Result<u32, String> {
    let first = bytes.first_chunk().ok_or("too short for an IDX file")?;
    Ok(u32::from_be_bytes(*first))
}

/// An IDX file of bytes `[N, H, W]`, or `[N, H, W, C]`.
pub(crate) fn parse_images(mut bytes: Vec<u8>) -> Result<Images, String> {
    let (dimensions, colour) = match magic(&bytes)? {
        IMAGES => (3, false),
        COLOUR_IMAGES => (4, true),
        other => return Err(format!("not an IDX file of images: it starts with {other:#010x}")),
    };
    let numbers = header(&bytes, dimensions)?;
    let channels = if colour { numbers[3] } else { 1 };
    // Of no images at all, the header may give any size.
    let area = numbers[1].checked_mul(numbers[2]).and_then(|area| area.checked_mul(channels));
    if !matches!(channels, 1 | 3) || area.is_none_or(|area| area == 0) {
        return Err(format!("images of the shape {:?}", &numbers[1..]));
    }
    let pixels = bytes.split_off(4 + 4 * dimensions);
    Ok(Images::same(channels, (numbers[1], numbers[2]), pixels))
}

/// An IDX file of bytes `[N]`.
pub(crate) fn parse_labels(bytes: &[u8]) -> Result<Vec<u32>, String> {
    match magic(bytes)? {
        LABELS => {
            header(bytes, 1)?;
            Ok(bytes[8..].iter().map(|label| u32::from(*label)).collect())
        }
        other => Err(format!("not an IDX file of labels: it starts with {other:#010x}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn images(count: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 1, 0, 0, 0, 2];
        bytes.extend((0..2 * count).collect::<Vec<u8>>());
        bytes
    }

    fn labels(labels: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, 1, 0, 0, 0, u8::try_from(labels.len()).unwrap()];
        bytes.extend(labels);
        bytes
    }

    fn gzipped(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn pairs_are_found_plain_or_gzipped() {
        let folder = folder(&[
            ("train-images-idx3-ubyte.gz", gzipped(&images(3))),
            ("train-labels-idx1-ubyte", labels(&[2, 0, 1])),
            ("t10k-images-idx3-ubyte", images(1)),
            ("t10k-labels-idx1-ubyte.gz", gzipped(&labels(&[1]))),
            ("readme.txt", b"hello".to_vec()),
        ]);
        let found = read_folder(folder.path()).unwrap();
        assert_eq!(found.classes, ["0", "1", "2"]);
        assert_eq!(found.splits.len(), 2);
        assert_eq!(found.splits["train"].labels, [2, 0, 1]);
        assert_eq!(found.splits["train"].images.size(), Some((1, 2)));
        assert_eq!(found.splits["test"].images.pixels, [0, 1]);
    }

    #[test]
    fn copies_of_a_file_count_once_and_must_be_the_same() {
        let pairs = [
            ("train-images-idx3-ubyte", images(3)),
            ("train-labels-idx1-ubyte", labels(&[2, 0, 1])),
        ];
        let folder = folder(&[]);
        for (name, bytes) in pairs {
            // As torchvision leaves them, and each in a folder of its own name.
            let double = folder.path().join(name.replace("-idx", ".idx"));
            fs::create_dir(&double).unwrap();
            fs::write(double.join(name), &bytes).unwrap();
            fs::write(folder.path().join(name), &bytes).unwrap();
            fs::write(folder.path().join(format!("{name}.gz")), gzipped(&bytes)).unwrap();
        }
        let found = read_folder(folder.path()).unwrap();
        assert_eq!(found.splits["train"].labels, [2, 0, 1]);
        let other = folder.path().join("train-labels-idx1-ubyte.gz");
        fs::write(other, gzipped(&labels(&[2, 0, 2]))).unwrap();
        let error = read_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("ubyte.gz and"), "{error}");
        assert!(error.to_string().contains("are not the same"), "{error}");
        assert!(error.help()[0].contains("only one can be meant"));
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let error =
            |files: &[(&str, Vec<u8>)]| read_folder(folder(files).path()).unwrap_err().to_string();
        let (name, other) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
        let cut = images(2)[..17].to_vec();
        let message = error(&[(name, cut), (other, labels(&[0, 1]))]);
        assert!(message.contains(name) && message.contains("17 bytes"), "{message}");
        let message = error(&[(name, images(2)), (other, labels(&[0]))]);
        assert!(message.contains("2 images but 1 labels"), "{message}");
        let message = error(&[(name, images(2))]);
        assert!(message.contains("label file is missing"), "{message}");
        let message = error(&[(name, labels(&[0, 1])), (other, labels(&[0, 1]))]);
        assert!(message.contains("0x00000801"), "{message}");
        let mut broken = gzipped(&images(2));
        broken.truncate(broken.len() - 9);
        let message = error(&[(name, broken), (other, labels(&[0, 1]))]);
        assert!(message.contains("gzip"), "{message}");
        assert!(error(&[("notes.txt", vec![])]).contains("no IDX files"));
    }

    #[test]
    fn a_header_that_asks_for_too_much_is_an_error() {
        let mut bytes = vec![0, 0, 8, 3];
        bytes.extend([0xff; 12]);
        assert!(parse_images(bytes).is_err());
        assert!(parse_images(vec![0, 0, 8]).is_err());
    }
}
