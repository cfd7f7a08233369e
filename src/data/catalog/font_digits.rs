//! Digits in the fonts of DejaVu: a source that nobody wrote by hand.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::{CatalogEntry, CatalogFile, DIGITS, Delivery, FileSource};
use crate::data::Watch;
use crate::data::dataset::Dataset;
use crate::data::error::DataError;
use crate::data::glyphs::Glyphs;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "font-digits",
    title: "Digits set in the 21 text fonts of DejaVu 2.37",
    licence: "Bitstream Vera and Arev font licences; changes by DejaVu in the public domain",
    citation: "in the manner of the synthetic digits of Y. Ganin and V. Lempitsky, \"Unsupervised \
               domain adaptation by backpropagation\", International Conference on Machine \
               Learning, 2015",
    home: "https://dejavu-fonts.github.io/",
    classes: DIGITS,
    channels: 1,
    size: Some((28, 28)),
    splits: &[("train", Some(10_000)), ("valid", Some(1_000)), ("test", Some(2_000))],
    content: Delivery::Computed {
        files: FONTS,
        sources: &[FileSource::Npm { package: "dejavu-fonts-ttf@2.37.3" }],
        compute,
    },
};

/// Of the images, which are the same in every pipeline.
const SEED: u64 = 0;

/// Every font of the package but the one for mathematics.
const FONTS: &[CatalogFile] = &[
    CatalogFile {
        name: "DejaVuSans-Bold.ttf",
        sha256: "e6476c1b80502924294eed40894c5b18e06c181444ca953e5334262df9c27724",
    },
    CatalogFile {
        name: "DejaVuSans-BoldOblique.ttf",
        sha256: "eb436dca0c2594b73d8b603b892e374fdfd8d885d25ffb4f18df4c4c0b49e50f",
    },
    CatalogFile {
        name: "DejaVuSans-ExtraLight.ttf",
        sha256: "6cb0746a1f68d176bebe83752cee35ebdf726cb1a1e88a01fc038ddf76de9ea8",
    },
    CatalogFile {
        name: "DejaVuSans-Oblique.ttf",
        sha256: "4af75fa16ee6d3ad43e1ecec41862c24954af26a55c6bb1ebb27bd486a50f5f4",
    },
    CatalogFile {
        name: "DejaVuSans.ttf",
        sha256: "7da195a74c55bef988d0d48f9508bd5d849425c1770dba5d7bfc6ce9ed848954",
    },
    CatalogFile {
        name: "DejaVuSansCondensed-Bold.ttf",
        sha256: "38098d0b8edd8430a0f53fb2831b5d36037563a998a620d3c87a4d7591766d20",
    },
    CatalogFile {
        name: "DejaVuSansCondensed-BoldOblique.ttf",
        sha256: "43f9fd6b77edf174553cf94857c77c63de7ddb0c6751fd1390e73223518e128f",
    },
    CatalogFile {
        name: "DejaVuSansCondensed-Oblique.ttf",
        sha256: "dc3526fa25fae4278c4e34b47d4c049b6923421c70921032a0db11bfe9c1b0cf",
    },
    CatalogFile {
        name: "DejaVuSansCondensed.ttf",
        sha256: "8550cd5ca1acb65a8fc7877c46939cd0b4d909f8e7bc1e24716873d918c5e549",
    },
    CatalogFile {
        name: "DejaVuSansMono-Bold.ttf",
        sha256: "bce60f1b4421acd9ea51ba6623d7024ecbe6817a953e3654df62a5e6bdf8f769",
    },
    CatalogFile {
        name: "DejaVuSansMono-BoldOblique.ttf",
        sha256: "91713a71d550bba22c2a6b2bb2a9ad8f9a159e12e4e9f0a5b2677998ba21213e",
    },
    CatalogFile {
        name: "DejaVuSansMono-Oblique.ttf",
        sha256: "742097840c541870e8d6dc5c9b37bb1ceeea6c0dedd1d475faf903ef9df734b0",
    },
    CatalogFile {
        name: "DejaVuSansMono.ttf",
        sha256: "b4a6c3e4faab8773f4ff761d56451646409f29abedd68f05d38c2df667d3c582",
    },
    CatalogFile {
        name: "DejaVuSerif-Bold.ttf",
        sha256: "c47b5527bcdc8dcf9ea8c77054454c5a884beaca2f44851a2a823ee639cbf07f",
    },
    CatalogFile {
        name: "DejaVuSerif-BoldItalic.ttf",
        sha256: "8d3dd3d31350309042ed226af82b34539bd773518e6107cb352712853ba80308",
    },
    CatalogFile {
        name: "DejaVuSerif-Italic.ttf",
        sha256: "2e39b1d50f90b933b00c7bb54a96afd3f86419b3d717c7cf202e36f2d4973e47",
    },
    CatalogFile {
        name: "DejaVuSerif.ttf",
        sha256: "42d1edeb7952f31b1f96d767ed7030b08a39e0c372b0071641518864e2bffb51",
    },
    CatalogFile {
        name: "DejaVuSerifCondensed-Bold.ttf",
        sha256: "e09aa87c60c3e8de7f4e6c7bfeec8fd9489b6cd975e3033259bca3d6009aed18",
    },
    CatalogFile {
        name: "DejaVuSerifCondensed-BoldItalic.ttf",
        sha256: "4cfc5a3700c72413f51c4bb54f09617401a0a63eccb9ff577713e20afa047fa5",
    },
    CatalogFile {
        name: "DejaVuSerifCondensed-Italic.ttf",
        sha256: "dfe5bf5336d62ca71de419cccf7fd18ab19a57245dc392891ee76347129807e1",
    },
    CatalogFile {
        name: "DejaVuSerifCondensed.ttf",
        sha256: "685dcdfb8daf32a453d3426a4eb8d881c72146ddd999229354fb757511357995",
    },
];

fn compute(fonts: &[PathBuf], watch: &Watch) -> Result<Dataset, DataError> {
    let glyphs = Glyphs::read(fonts, &DIGITS.concat())?;
    let mut splits = IndexMap::new();
    for (name, count) in ENTRY.splits {
        let split = glyphs.draw(name, count.unwrap_or_default(), SEED, watch)?;
        splits.insert((*name).to_owned(), split);
    }
    Ok(Dataset::plain(ENTRY.class_names(), ENTRY.channels, splits, vec![ENTRY.provenance()]))
}
