//! Photographs for backgrounds, from Debian's wallpapers for MATE 1.26. Licence and authors are those
//! of the package's copyright file.

use std::path::PathBuf;

use super::{CatalogEntry, CatalogFile, Delivery, FileSource};
use crate::data::Watch;
use crate::data::dataset::Dataset;
use crate::data::error::DataError;
use crate::data::readers;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "photographs",
    title: "Photographs of nature from the wallpapers of the MATE desktop",
    licence: "GPL-2.0-or-later",
    citation: "photographs by Charles Barbin (Aqua, Garden, LadyBird, YellowFlower), Lennart \
               Poettering and Andrea Cimitan (Blinds), Marco Cogoni and Hylke Bons (Dune), Jens \
               Ansorg (FreshFlower), Timothy Schellhase and Lapo Calamandrei (GreenMeadow), \
               blackcombwhistler07 (RainDrops), Sergey Nazarov (Storm), Charles Barbin and Hylke \
               Bons (TwoWings), Jean-François Fortin Tam (Wood)",
    home: "https://tracker.debian.org/pkg/mate-backgrounds",
    classes: &[CLASS],
    channels: 3,
    size: None,
    splits: &[("train", Some(FILES.len()))],
    content: Delivery::Computed {
        files: FILES,
        sources: &[FileSource::Apt { package: "mate-backgrounds" }],
        compute,
    },
};

const CLASS: &str = "photograph";

/// Every file in the package's folder `nature`. The other pictures are drawings.
const FILES: &[CatalogFile] = &[
    CatalogFile {
        name: "Aqua.jpg",
        sha256: "5c30118205982da441bf7e6a1ada636a8a0be879408140b3148280c665ed6bce",
    },
    CatalogFile {
        name: "Blinds.jpg",
        sha256: "f7aac0dcc2e06d0491643e84df3da1d9db7c4610f58806a880d56e074799f600",
    },
    CatalogFile {
        name: "Dune.jpg",
        sha256: "8a67c2cb0be8c46b70c237311a4fa4d2b4ac7d39568135384787801fa5cc9a91",
    },
    CatalogFile {
        name: "FreshFlower.jpg",
        sha256: "972b0a0c4e5e3fa93f4f244fc84bc64b121a5eac3aaa5856f1308c1f38a02f8e",
    },
    CatalogFile {
        name: "Garden.jpg",
        sha256: "d3095ee09d425ef23d27155412136cf14fc3c9af76ca58b452f55e23da324e78",
    },
    CatalogFile {
        name: "GreenMeadow.jpg",
        sha256: "8fa0de0aa4089f7319c9fb7a6d006d4cab6023e8c8853731557cff53567b4832",
    },
    CatalogFile {
        name: "LadyBird.jpg",
        sha256: "e35a9a4126ef969c90b29c038058c5a575a20eadd84106a37bf1fa9931e7b61d",
    },
    CatalogFile {
        name: "RainDrops.jpg",
        sha256: "3e4ea9671c28c90a86cf67b3db9daf18c4741587c596333a7529ca589aaa0c16",
    },
    CatalogFile {
        name: "Storm.jpg",
        sha256: "77ca53077831d3237f73393a91fc879158abc046d852941c26e90de336356957",
    },
    CatalogFile {
        name: "TwoWings.jpg",
        sha256: "665e5abf8a5399070a91a9a8e455fe071e5b61697ff78fdeda4e9843ef545aeb",
    },
    CatalogFile {
        name: "Wood.jpg",
        sha256: "19c78500ac00a622e19907ab9cc7d06d46fe08c4a6142759a84195696150ec07",
    },
    CatalogFile {
        name: "YellowFlower.jpg",
        sha256: "254da96256acb7add685679775a04d1e4a5bc8cd13e5a5a3d61351ce198a5306",
    },
];

fn compute(files: &[PathBuf], watch: &Watch) -> Result<Dataset, DataError> {
    readers::of_one_class(CLASS, files.to_vec(), watch)
}
