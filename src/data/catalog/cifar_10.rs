//! CIFAR-10: small photographs of things.

use super::{CatalogEntry, Delivery};
use crate::data::checksum::Checksum;
use crate::data::readers::DataFormat;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "cifar-10",
    title: "CIFAR-10, small photographs of ten kinds of things",
    licence: "not stated",
    citation: "A. Krizhevsky, \"Learning multiple layers of features from tiny images\", technical \
               report, University of Toronto, 2009",
    home: "https://www.cs.toronto.edu/~kriz/cifar.html",
    classes: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    channels: 3,
    size: Some((32, 32)),
    splits: &[("train", Some(50_000)), ("test", Some(10_000))],
    content: Delivery::Archive {
        name: "cifar-10-binary.tar.gz",
        checksum: Checksum::Md5("c32a1d4ab5d03f1284b67883e8d87530"),
        urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
        format: DataFormat::Cifar,
    },
};
