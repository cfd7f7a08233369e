//! The convolutional network of the domain-adversarial digits experiment: the SVHN-style extractor
//! of Ganin et al. 2016 as commonly written for MNIST -> MNIST-M, with batch norm before pooling.

use super::{Arch, ArchSettings, batch_norm, chain, conv, linear, max_pool, two_heads};
use crate::nn::spec::{Init, Layer, Part, Spec};

/// 1,250 features of a 3x28x28 image.
pub const ARCH: Arch = Arch {
    name: "dacnn",
    about: "two 5x5 convolutions with batch norm for 28-pixel RGB digits (Ganin et al. 2016)",
    channels: Some(3),
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
                ("conv1", conv(64, 5, 1)),
                ("bn1", batch_norm()),
                ("pool1", max_pool()),
                ("relu1", Layer::Relu),
                ("conv2", conv(50, 5, 1)),
                ("bn2", batch_norm()),
                ("pool2", max_pool()),
                ("relu2", Layer::Relu),
                ("drop2", Layer::Dropout2d { p: 0.5 }),
                ("flatten", Layer::Flatten),
            ],
        ),
        heads: two_heads(
            chain(
                Part::CLASSIFIER,
                [
                    ("fc1", linear(100)),
                    ("bn1", batch_norm()),
                    ("relu1", Layer::Relu),
                    ("fc2", linear(100)),
                    ("bn2", batch_norm()),
                    ("relu2", Layer::Relu),
                    ("fc3", linear(classes)),
                ],
            ),
            chain(
                Part::DOMAIN,
                [
                    ("fc1", linear(100)),
                    ("bn1", batch_norm()),
                    ("relu1", Layer::Relu),
                    ("fc2", linear(2)),
                ],
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::geometry::Chw;

    #[test]
    fn shapes_and_parameter_count_are_those_of_the_paper_experiment() {
        let spec = build(ArchSettings::new(Chw { channels: 3, height: 28, width: 28 }, 10));
        assert_eq!(spec.feature_len(), Ok(1250));
        let parameters: usize = spec
            .place()
            .unwrap()
            .layers
            .iter()
            .flat_map(crate::nn::placement::Placed::parameters)
            .map(|slot| slot.shape.iter().product::<usize>())
            .sum();
        // Convolutions 4,864 + 80,050, their batch norms 128 + 100, label head 136,610, domain
        // head 125,502: counted by PyTorch for the same modules.
        assert_eq!(parameters, 4864 + 128 + 80050 + 100 + 136_610 + 125_502);
    }
}
