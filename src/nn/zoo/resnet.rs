//! Residual networks (He et al. 2016) with torchvision's names for every parameter and buffer.

use super::{Arch, ArchSettings, batch_norm, linear, named, two_heads, wide_domain_classifier};
use crate::nn::spec::{Init, Layer, Named, Spec};

/// 512 features; 11.7 million parameters with 1,000 classes.
pub const RESNET18: Arch = Arch {
    name: "resnet18",
    about: "18-layer residual network, torchvision's names (He et al. 2016)",
    channels: None,
    small_input: true,
    build: |layout| build("resnet18", basic_block, 1, [2, 2, 2, 2], layout),
};

/// 512 features; 21.8 million parameters with 1,000 classes.
pub const RESNET34: Arch = Arch {
    name: "resnet34",
    about: "34-layer residual network, torchvision's names (He et al. 2016)",
    channels: None,
    small_input: true,
    build: |layout| build("resnet34", basic_block, 1, [3, 4, 6, 3], layout),
};

/// 2,048 features; 25.6 million parameters with 1,000 classes. The stride is in the 3x3
/// convolution, as in torchvision.
pub const RESNET50: Arch = Arch {
    name: "resnet50",
    about: "50-layer residual network with bottlenecks, torchvision's names (He et al. 2016)",
    channels: None,
    small_input: true,
    build: |layout| build("resnet50", bottleneck, 4, [3, 4, 6, 3], layout),
};

/// The layers of a block of so many filters and such a stride.
type BlockLayers = fn(usize, usize) -> Vec<Named>;

/// `depths` is the number of blocks of each of the four layers, which end in `expansion` times as
/// many channels as they have filters.
fn build(
    arch: &str,
    block: BlockLayers,
    expansion: usize,
    depths: [usize; 4],
    layout: ArchSettings,
) -> Spec {
    let ArchSettings { input, classes, small_input } = layout;
    let pool = Layer::MaxPool { kernel: (3, 3), stride: (2, 2), padding: (1, 1), ceil: false };
    let (kernel, stride) = if small_input { (3, 1) } else { (7, 2) };
    let mut features =
        named([("conv1", conv(64, kernel, stride)), ("bn1", batch_norm()), ("relu", Layer::Relu)]);
    if !small_input {
        features.push(Named::new("maxpool", pool));
    }
    let mut channels = 64;
    for (at, depth) in depths.into_iter().enumerate() {
        let filters = 64 << at;
        for number in 0..depth {
            let name = format!("layer{}.{number}", at + 1);
            let stride = if at > 0 && number == 0 { 2 } else { 1 };
            let outputs = expansion * filters;
            let shortcut = if stride != 1 || channels != outputs {
                named([("downsample.0", conv(outputs, 1, stride)), ("downsample.1", batch_norm())])
            } else {
                Vec::new()
            };
            let residual = Layer::Residual { body: block(filters, stride), shortcut };
            features.push(Named::new(&name, residual));
            features.push(Named::new(format!("{name}.relu"), Layer::Relu));
            channels = outputs;
        }
    }
    features.push(Named::new("avgpool", Layer::GlobalAvgPool));
    Spec {
        arch: arch.into(),
        input,
        middle_of: None,
        classes,
        init: Init::FanOut,
        features,
        heads: two_heads(vec![Named::new("fc", linear(classes))], wide_domain_classifier()),
    }
}

fn basic_block(filters: usize, stride: usize) -> Vec<Named> {
    named([
        ("conv1", conv(filters, 3, stride)),
        ("bn1", batch_norm()),
        ("relu", Layer::Relu),
        ("conv2", conv(filters, 3, 1)),
        ("bn2", batch_norm()),
    ])
}

fn bottleneck(filters: usize, stride: usize) -> Vec<Named> {
    named([
        ("conv1", conv(filters, 1, 1)),
        ("bn1", batch_norm()),
        ("relu1", Layer::Relu),
        ("conv2", conv(filters, 3, stride)),
        ("bn2", batch_norm()),
        ("relu2", Layer::Relu),
        ("conv3", conv(4 * filters, 1, 1)),
        ("bn3", batch_norm()),
    ])
}

/// A square convolution without bias that keeps the size but for its stride.
fn conv(filters: usize, kernel: usize, stride: usize) -> Layer {
    Layer::Conv2d {
        filters,
        kernel: (kernel, kernel),
        stride: (stride, stride),
        padding: (kernel / 2, kernel / 2),
        groups: 1,
        bias: false,
    }
}
