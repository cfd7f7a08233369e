//! Ganin's network for MNIST: LeNet-5 widened (Ganin et al. 2016, figure 4a).

use super::{Arch, ArchSettings, chain, conv, linear, max_pool, two_heads};
use crate::nn::spec::{Init, Layer, Part, Spec};

/// 768 features of a 28-pixel image.
pub const ARCH: Arch = Arch {
    name: "lenet",
    about: "LeNet-like network for MNIST without batch norm (Ganin et al. 2016, figure 4a)",
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
                ("conv1", conv(32, 5, 0)),
                ("relu1", Layer::Relu),
                ("pool1", max_pool()),
                ("conv2", conv(48, 5, 0)),
                ("relu2", Layer::Relu),
                ("pool2", max_pool()),
                ("flatten", Layer::Flatten),
            ],
        ),
        heads: two_heads(
            chain(
                Part::CLASSIFIER,
                [
                    ("fc1", linear(100)),
                    ("relu1", Layer::Relu),
                    ("fc2", linear(100)),
                    ("relu2", Layer::Relu),
                    ("fc3", linear(classes)),
                ],
            ),
            chain(Part::DOMAIN, [("fc1", linear(100)), ("relu1", Layer::Relu), ("fc2", linear(2))]),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;

    #[test]
    fn a_28_pixel_digit_gives_768_features() {
        let spec = build(ArchSettings::new(Chw { channels: 1, height: 28, width: 28 }, 10));
        assert_eq!(spec.feature_len(), Ok(768));
    }
}
