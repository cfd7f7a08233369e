//! Fashion-MNIST: clothes in the shape of MNIST.

use super::{CatalogEntry, CatalogFile, Delivery, FileSource};
use crate::data::readers::DataFormat;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "fashion-mnist",
    title: "Fashion-MNIST, articles of clothing",
    licence: "MIT",
    citation: "H. Xiao, K. Rasul and R. Vollgraf, \"Fashion-MNIST: a novel image dataset for \
               benchmarking machine learning algorithms\", arXiv:1708.07747, 2017",
    home: "https://github.com/zalandoresearch/fashion-mnist",
    classes: &[
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ],
    channels: 1,
    size: Some((28, 28)),
    splits: &[("train", Some(60_000)), ("test", Some(10_000))],
    content: Delivery::Files {
        files: &[
            CatalogFile {
                name: "train-images-idx3-ubyte",
                sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            },
            CatalogFile {
                name: "train-labels-idx1-ubyte",
                sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            },
            CatalogFile {
                name: "t10k-images-idx3-ubyte",
                sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            },
            CatalogFile {
                name: "t10k-labels-idx1-ubyte",
                sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            },
        ],
        sources: &[
            FileSource::Web {
                base: "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            },
            FileSource::Web {
                base: "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            },
            FileSource::Apt { package: "dataset-fashion-mnist" },
        ],
        format: DataFormat::Idx,
    },
};
