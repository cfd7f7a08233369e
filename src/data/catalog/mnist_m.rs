//! MNIST-M, the archive of its authors.

use super::{ArchiveSource, Content, DIGITS, Entry};
use crate::data::readers::Format;

pub(super) const ENTRY: Entry = Entry {
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
    content: Content::Archive {
        name: "mnist_m.tar.gz",
        // Neither the authors nor the mirrors publish a sha256.
        sources: &[
            ArchiveSource {
                url: "https://cornell.box.com/shared/static/jado7quprg6hzzdubvwzh9umr75damwi",
                sha256: None,
            },
            ArchiveSource {
                url: "https://drive.google.com/uc?export=download&id=0B_tExHiYS-0veklUZHFYT19KYjg&confirm=t",
                sha256: None,
            },
        ],
        format: Format::ImageList,
    },
};
