//! SqueezeNet 1.1 (Iandola et al. 2016) with torchvision's names for every parameter.

use super::{Arch, ArchSettings, chain, named, two_heads, wide_domain_classifier};
use crate::nn::spec::{Init, Layer, Named, Part, Spec};

/// 512 maps; 1.2 million parameters with 1,000 classes.
pub const ARCH: Arch = Arch {
    name: "squeezenet1_1",
    about: "small network of fire modules, torchvision's names (Iandola et al. 2016)",
    channels: None,
    small_input: true,
    build,
};

fn build(ArchSettings { input, classes, small_input }: ArchSettings) -> Spec {
    let stem = if small_input { conv(64, 3, 1, 1) } else { conv(64, 3, 2, 0) };
    let mut features = named([("features.0", stem), ("features.1", Layer::Relu)]);
    if !small_input {
        features.push(Named::new("features.2", pool()));
    }
    for (number, squeezed, expanded) in [(3, 16, 64), (4, 16, 64)] {
        features.extend(fire(number, squeezed, expanded));
    }
    features.push(Named::new("features.5", pool()));
    for (number, squeezed, expanded) in [(6, 32, 128), (7, 32, 128)] {
        features.extend(fire(number, squeezed, expanded));
    }
    features.push(Named::new("features.8", pool()));
    for (number, squeezed, expanded) in [(9, 48, 192), (10, 48, 192), (11, 64, 256), (12, 64, 256)]
    {
        features.extend(fire(number, squeezed, expanded));
    }
    Spec {
        arch: ARCH.name.into(),
        input,
        middle_of: None,
        classes,
        init: Init::FanOut,
        features,
        heads: two_heads(
            chain(
                Part::CLASSIFIER,
                [
                    ("0", Layer::Dropout { p: 0.5 }),
                    ("1", conv(classes, 1, 1, 0)),
                    ("2", Layer::Relu),
                    ("3", Layer::GlobalAvgPool),
                ],
            ),
            wide_domain_classifier(),
        ),
    }
}

/// A 1x1 convolution, followed by a 1x1 and a 3x3 convolution side by side.
fn fire(number: usize, squeezed: usize, expanded: usize) -> [Named; 3] {
    let name = format!("features.{number}");
    let branch = |name: &str, layer| {
        vec![Named::new(name, layer), Named::new(format!("{name}_activation"), Layer::Relu)]
    };
    let branches = vec![
        branch("expand1x1", conv(expanded, 1, 1, 0)),
        branch("expand3x3", conv(expanded, 3, 1, 1)),
    ];
    [
        Named::new(format!("{name}.squeeze"), conv(squeezed, 1, 1, 0)),
        Named::new(format!("{name}.squeeze_activation"), Layer::Relu),
        Named::new(name, Layer::Parallel { branches }),
    ]
}

fn pool() -> Layer {
    Layer::MaxPool { kernel: (3, 3), stride: (2, 2), padding: (0, 0), ceil: true }
}

/// A square convolution with a bias.
fn conv(filters: usize, kernel: usize, stride: usize, padding: usize) -> Layer {
    Layer::Conv2d {
        filters,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (padding, padding),
        groups: 1,
        bias: true,
    }
}
