//! Residual networks (He et al. 2016) with torchvision's names for every parameter and buffer.

use super::{Arch, batch_norm, chain, linear};
use crate::nn::ops::Chw;
use crate::nn::spec::{Init, Layer, Named, Part, Spec};

/// 512 features; 11.7 million parameters with 1,000 classes.
pub const RESNET18: Arch = Arch {
    name: "resnet18",
    about: "18-layer residual network, torchvision's names (He et al. 2016)",
    channels: None,
    build: |input, classes| build("resnet18", [2, 2, 2, 2], input, classes),
};

/// 512 features; 21.8 million parameters with 1,000 classes.
pub const RESNET34: Arch = Arch {
    name: "resnet34",
    about: "34-layer residual network, torchvision's names (He et al. 2016)",
    channels: None,
    build: |input, classes| build("resnet34", [3, 4, 6, 3], input, classes),
};

/// `depths` is the number of blocks of each of the four layers.
fn build(arch: &str, depths: [usize; 4], input: Chw, classes: usize) -> Spec {
    let pool = Layer::MaxPool { kernel: (3, 3), stride: (2, 2), padding: (1, 1) };
    let mut features = vec![
        Named::new("conv1", conv(64, 7, 2)),
        Named::new("bn1", batch_norm()),
        Named::new("relu", Layer::Relu),
        Named::new("maxpool", pool),
    ];
    let mut channels = 64;
    for (at, depth) in depths.into_iter().enumerate() {
        let filters = 64 << at;
        for block in 0..depth {
            let name = format!("layer{}.{block}", at + 1);
            let stride = if at > 0 && block == 0 { 2 } else { 1 };
            features.push(Named::new(&name, basic_block(channels, filters, stride)));
            features.push(Named::new(format!("{name}.relu"), Layer::Relu));
            channels = filters;
        }
    }
    features.push(Named::new("avgpool", Layer::GlobalAvgPool));
    Spec {
        arch: arch.into(),
        input,
        classes,
        init: Init::FanOut,
        features,
        classifier: vec![Named::new("fc", linear(classes))],
        // The domain classifier for large networks of Ganin et al. 2016, figure 4.
        domain_classifier: chain(
            Part::DomainClassifier,
            [
                ("fc1", linear(1024)),
                ("relu1", Layer::Relu),
                ("fc2", linear(1024)),
                ("relu2", Layer::Relu),
                ("fc3", linear(2)),
            ],
        ),
    }
}

fn basic_block(channels: usize, filters: usize, stride: usize) -> Layer {
    let named = |layers: Vec<(&str, Layer)>| {
        layers.into_iter().map(|(name, layer)| Named::new(name, layer)).collect()
    };
    let body = named(vec![
        ("conv1", conv(filters, 3, stride)),
        ("bn1", batch_norm()),
        ("relu", Layer::Relu),
        ("conv2", conv(filters, 3, 1)),
        ("bn2", batch_norm()),
    ]);
    let shortcut = if stride != 1 || channels != filters {
        named(vec![("downsample.0", conv(filters, 1, stride)), ("downsample.1", batch_norm())])
    } else {
        Vec::new()
    };
    Layer::Residual { body, shortcut }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_many_as_torchvision_has() {
        let input = Chw { channels: 3, height: 224, width: 224 };
        for (arch, expected) in [(RESNET18, 11_689_512), (RESNET34, 21_797_672)] {
            let layers = (arch.build)(input, 1000).place().unwrap().layers;
            let count: usize = layers
                .iter()
                .filter(|layer| layer.part != Part::DomainClassifier)
                .flat_map(crate::nn::spec::Placed::parameters)
                .map(|slot| slot.shape.iter().product::<usize>())
                .sum();
            assert_eq!(count, expected, "{}", arch.name);
        }
    }
}
