//! Part of MNIST, inside the program. See assets/mnist-10k/README.md.

use indexmap::IndexMap;

use super::{CatalogEntry, DIGITS, Delivery};
use crate::data::checksum;
use crate::data::dataset::{Dataset, Split};
use crate::data::error::DataError;
use crate::data::readers::{gzip, idx};

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "mnist-10k",
    title: "MNIST, the first 11,000 training and all 10,000 test images",
    licence: super::mnist::LICENCE,
    citation: super::mnist::CITATION,
    home: super::mnist::HOME,
    classes: DIGITS,
    channels: 1,
    size: Some((28, 28)),
    splits: &[("train", Some(TRAIN)), ("valid", Some(1_000)), ("test", Some(10_000))],
    content: Delivery::BuiltIn(make),
};

const TRAIN: usize = 10_000;

struct Asset {
    name: &'static str,
    bytes: &'static [u8],
    /// Of what is unpacked from it; printed by make.py.
    sha256: &'static str,
}

const TRAIN_IMAGES: Asset = Asset {
    name: "train-images-idx3-ubyte.gz",
    bytes: include_bytes!("../../../assets/mnist-10k/train-images-idx3-ubyte.gz"),
    sha256: "bf84b3a9884163747d43b945e39b32fc9ff102c59494459f11bb21b30b47901c",
};
const TRAIN_LABELS: Asset = Asset {
    name: "train-labels-idx1-ubyte.gz",
    bytes: include_bytes!("../../../assets/mnist-10k/train-labels-idx1-ubyte.gz"),
    sha256: "01f897acfab271901570a32bd81102d473725056ab3f53df0f3c76735e25c147",
};
const TEST_IMAGES: Asset = Asset {
    name: "t10k-images-idx3-ubyte.gz",
    bytes: include_bytes!("../../../assets/mnist-10k/t10k-images-idx3-ubyte.gz"),
    sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
};
const TEST_LABELS: Asset = Asset {
    name: "t10k-labels-idx1-ubyte.gz",
    bytes: include_bytes!("../../../assets/mnist-10k/t10k-labels-idx1-ubyte.gz"),
    sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
};

fn make() -> Result<Dataset, DataError> {
    let both = pair(&TRAIN_IMAGES, &TRAIN_LABELS)?;
    let part = |range: std::ops::Range<usize>| both.select(&range.collect::<Vec<_>>());
    let splits = IndexMap::from([
        ("train".to_owned(), part(0..TRAIN)?),
        ("valid".to_owned(), part(TRAIN..both.len())?),
        ("test".to_owned(), pair(&TEST_IMAGES, &TEST_LABELS)?),
    ]);
    Ok(Dataset::plain(ENTRY.class_names(), 1, splits, vec![ENTRY.provenance()]))
}

fn pair(images: &Asset, labels: &Asset) -> Result<Split, DataError> {
    let images = idx::parse_images(images.unpack()?).map_err(|reason| images.broken(reason))?;
    let labels = idx::parse_labels(&labels.unpack()?).map_err(|reason| labels.broken(reason))?;
    Ok(Split { images, labels })
}

impl Asset {
    fn unpack(&self) -> Result<Vec<u8>, DataError> {
        let bytes = gzip::inflate(self.bytes.to_vec()).map_err(|reason| self.broken(reason))?;
        let found = checksum::of_bytes(&bytes);
        if found != self.sha256 {
            return Err(self.broken(format!("its sha256 is {found}, not {}", self.sha256)));
        }
        Ok(bytes)
    }

    fn broken(&self, reason: impl Into<String>) -> DataError {
        let path = format!("{} inside the program", self.name);
        DataError::malformed(path.as_ref(), reason)
    }
}
