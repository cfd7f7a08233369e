//! Two convolutions with batch norm and one linear layer: enough for small images.

use super::{Arch, ArchSettings, batch_norm, chain, conv, linear, max_pool, two_heads};
use crate::nn::spec::{Init, Layer, Part, Spec};

/// 64 features of an image of any size.
pub const ARCH: Arch = Arch {
    name: "small_cnn",
    about: "two convolutions with batch norm, for images of 8 pixels and more",
    channels: None,
    small_input: false,
    build,
};

fn build(ArchSettings { input, classes, .. }: ArchSettings) -> Spec {
    Spec {
        arch: ARCH.name.into(),
        input,
        middle_of: None,
        classes,
        init: Init::Default,
        features: chain(
            Part::FEATURES,
            [
                ("conv1", conv(32, 3, 1)),
                ("bn1", batch_norm()),
                ("relu1", Layer::Relu),
                ("pool1", max_pool()),
                ("conv2", conv(64, 3, 1)),
                ("bn2", batch_norm()),
                ("relu2", Layer::Relu),
                ("pool2", Layer::GlobalAvgPool),
                ("flatten", Layer::Flatten),
            ],
        ),
        heads: two_heads(
            chain(Part::CLASSIFIER, [("fc", linear(classes))]),
            chain(Part::DOMAIN, [("fc1", linear(100)), ("relu1", Layer::Relu), ("fc2", linear(2))]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;

    #[test]
    fn an_image_of_any_size_gives_64_features() {
        for side in [8, 28, 96] {
            let input = Chw { channels: 3, height: side, width: side };
            assert_eq!(build(ArchSettings::new(input, 10)).feature_len(), Ok(64));
        }
    }
}
