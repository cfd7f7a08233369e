//! MobileNetV2 (Sandler et al. 2018) with torchvision's names for every parameter and buffer.

use super::{Arch, ArchSettings, batch_norm, linear, named, two_heads, wide_domain_classifier};
use crate::nn::spec::{Init, Layer, Named, Spec};

/// 1,280 features; 3.5 million parameters with 1,000 classes.
pub const ARCH: Arch = Arch {
    name: "mobilenet_v2",
    about: "inverted residuals with depthwise convolutions, torchvision's names (Sandler et al. 2018)",
    channels: None,
    small_input: true,
    build,
};

/// Expansion, channels, blocks and first stride of each stage: table 2 of the paper.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

fn build(ArchSettings { input, classes, small_input }: ArchSettings) -> Spec {
    let mut features = Vec::new();
    // Small images keep their size through the stem and the second stage.
    let stem = if small_input { 1 } else { 2 };
    features.extend(block("features.0", conv(32, 3, stem, 1)));
    let (mut channels, mut number) = (32, 1);
    for (at, (expansion, outputs, depth, stride)) in STAGES.into_iter().enumerate() {
        let first = if small_input && at == 1 { 1 } else { stride };
        for stride in [first].into_iter().chain(std::iter::repeat_n(1, depth - 1)) {
            let name = format!("features.{number}");
            let keeps = stride == 1 && channels == outputs;
            let layers = inverted(channels, expansion, outputs, stride);
            if keeps {
                let residual = Layer::Residual { body: layers, shortcut: Vec::new() };
                features.push(Named::new(name, residual));
            } else {
                let full = |layer: Named| Named::new(format!("{name}.{}", layer.name), layer.layer);
                features.extend(layers.into_iter().map(full));
            }
            channels = outputs;
            number += 1;
        }
    }
    features.extend(block(&format!("features.{number}"), conv(1280, 1, 1, 1)));
    features.push(Named::new("avgpool", Layer::GlobalAvgPool));
    Spec {
        arch: ARCH.name.into(),
        input,
        middle_of: None,
        classes,
        init: Init::FanOut,
        features,
        heads: two_heads(
            named([("classifier.0", Layer::Dropout { p: 0.2 }), ("classifier.1", linear(classes))]),
            wide_domain_classifier(),
        ),
    }
}

/// The layers of an inverted residual: expansion, depthwise convolution, linear projection.
fn inverted(channels: usize, expansion: usize, outputs: usize, stride: usize) -> Vec<Named> {
    let hidden = channels * expansion;
    let mut layers = Vec::new();
    let mut number = 0;
    if expansion != 1 {
        layers.extend(block("conv.0", conv(hidden, 1, 1, 1)));
        number = 1;
    }
    layers.extend(block(&format!("conv.{number}"), conv(hidden, 3, stride, hidden)));
    layers.push(Named::new(format!("conv.{}", number + 1), conv(outputs, 1, 1, 1)));
    layers.push(Named::new(format!("conv.{}", number + 2), batch_norm()));
    layers
}

/// A convolution with batch norm and rectification.
fn block(name: &str, conv: Layer) -> [Named; 3] {
    [
        Named::new(format!("{name}.0"), conv),
        Named::new(format!("{name}.1"), batch_norm()),
        Named::new(format!("{name}.2"), Layer::Relu6),
    ]
}

/// A square convolution without bias that keeps the size but for its stride.
fn conv(filters: usize, kernel: usize, stride: usize, groups: usize) -> Layer {
    Layer::Conv2d {
        filters,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (kernel / 2, kernel / 2),
        groups,
        bias: false,
    }
}
