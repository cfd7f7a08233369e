//! VGG with 11 layers and batch norm (Simonyan & Zisserman 2015) with torchvision's names for every
//! parameter and buffer.

use super::{
    Arch, ArchSettings, batch_norm, conv, linear, max_pool, named, two_heads,
    wide_domain_classifier,
};
use crate::nn::spec::{Init, Layer, Named, Spec};

/// 25,088 features; 132.9 million parameters with 1,000 classes.
pub const ARCH: Arch = Arch {
    name: "vgg11_bn",
    about: "11-layer VGG with batch norm, torchvision's names (Simonyan & Zisserman 2015)",
    channels: None,
    small_input: true,
    build,
};

fn build(ArchSettings { input, classes, small_input }: ArchSettings) -> Spec {
    let mut features = Vec::new();
    let mut number = 0;
    let stages: [&[usize]; 5] = [&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];
    for (at, filters) in stages.into_iter().enumerate() {
        for filters in filters {
            for layer in [conv(*filters, 3, 1), batch_norm(), Layer::Relu] {
                features.push(Named::new(format!("features.{number}"), layer));
                number += 1;
            }
        }
        // Small images keep their size through the first stage; the place in the names stays.
        if !small_input || at > 0 {
            features.push(Named::new(format!("features.{number}"), max_pool()));
        }
        number += 1;
    }
    features.push(Named::new("avgpool", Layer::AdaptiveAvgPool { output: (7, 7) }));
    features.push(Named::new("flatten", Layer::Flatten));
    Spec {
        arch: ARCH.name.into(),
        input,
        middle_of: None,
        classes,
        init: Init::FanOut,
        features,
        heads: two_heads(
            named([
                ("classifier.0", linear(4096)),
                ("classifier.1", Layer::Relu),
                ("classifier.2", Layer::Dropout { p: 0.5 }),
                ("classifier.3", linear(4096)),
                ("classifier.4", Layer::Relu),
                ("classifier.5", Layer::Dropout { p: 0.5 }),
                ("classifier.6", linear(classes)),
            ]),
            wide_domain_classifier(),
        ),
    }
}
