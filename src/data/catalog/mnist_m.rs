//! MNIST-M, the archive of its authors.

use super::{CatalogEntry, DIGITS, Delivery};
use crate::data::checksum::Checksum;
use crate::data::readers::DataFormat;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "mnist-m",
    title: "MNIST-M, digits blended with photographs",
    licence: "not stated; made from MNIST (CC BY-SA 3.0) and BSDS500 (non-commercial research)",
    citation: "Y. Ganin et al., \"Domain-adversarial training of neural networks\", Journal of \
               Machine Learning Research 17(59), 2016",
    home: "http://yaroslav.ganin.net/",
    classes: DIGITS,
    channels: 3,
    // Not stated by any of the sources, so known once the archive was read.
    size: None,
    splits: &[("train", None), ("test", None)],
    content: Delivery::Archive {
        name: "mnist_m.tar.gz",
        // Not published by the authors: the one that libraries for domain adaptation check by.
        checksum: Checksum::Md5("859df31c91afe82e80e5012ba928f279"),
        urls: &[
            "https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi",
            "https://drive.google.com/uc?export=download&id=0B_tExHiYS-0veklUZHFYT19KYjg&confirm=t",
        ],
        format: DataFormat::ImageList,
    },
};
