//! Known architectures: one file each, registered in [`ZOO`].

use super::spec::{Layer, Named, Part, Spec, two_heads};
use crate::config::Word;
use crate::nn::geometry::Chw;

mod dacnn;
mod lenet;
mod mobilenet_v2;
mod resnet;
mod squeezenet;
mod vgg;

/// The example of docs/extending.md, compiled and tested here, where such a file would be.
#[cfg(test)]
#[path = "../../../docs/extending/small_cnn.rs"]
mod small_cnn;

/// An architecture.
#[derive(Debug)]
pub struct Arch {
    /// The word after `arch =`.
    pub name: &'static str,
    /// One line: what it is and where it is from.
    pub about: &'static str,
    /// Channels it takes; `None` for any number.
    pub channels: Option<usize>,
    /// Whether it has a form for images of some 30 pixels.
    pub small_input: bool,
    /// Builds it.
    pub build: fn(ArchSettings) -> Spec,
}

/// What an architecture is built for.
#[derive(Debug, Clone, Copy)]
pub struct ArchSettings {
    /// Shape of an image.
    pub input: Chw,
    /// Number of classes.
    pub classes: usize,
    /// For images of some 30 pixels: the first layers keep their size.
    pub small_input: bool,
}

impl ArchSettings {
    /// The usual form for images of shape `input`.
    pub fn new(input: Chw, classes: usize) -> Self {
        Self { input, classes, small_input: false }
    }
}

/// Every architecture. A new one is a file in this folder and a line here.
pub const ZOO: &[Arch] = &[
    dacnn::ARCH,
    lenet::ARCH,
    resnet::RESNET18,
    resnet::RESNET34,
    resnet::RESNET50,
    mobilenet_v2::ARCH,
    squeezenet::ARCH,
    vgg::ARCH,
];

impl Word for &'static Arch {
    fn all() -> impl Iterator<Item = Self> {
        ZOO.iter()
    }

    fn word(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> Option<&'static str> {
        Some(self.about)
    }
}

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Arch> {
    Word::named(name)
}

/// A square convolution with stride 1 and a bias.
fn conv(filters: usize, kernel: usize, padding: usize) -> Layer {
    Layer::Conv2d {
        filters,
        kernel: (kernel, kernel),
        stride: (1, 1),
        padding: (padding, padding),
        groups: 1,
        bias: true,
    }
}

/// PyTorch's batch norm.
pub(super) fn batch_norm() -> Layer {
    Layer::BatchNorm { eps: 1e-5, momentum: 0.1 }
}

/// Halves height and width.
fn max_pool() -> Layer {
    Layer::MaxPool { kernel: (2, 2), stride: (2, 2), padding: (0, 0), ceil: false }
}

/// The domain classifier for large networks of Ganin et al. 2016, figure 4.
fn wide_domain_classifier() -> Vec<Named> {
    chain(
        Part::DOMAIN,
        [
            ("pool", Layer::GlobalAvgPool),
            ("fc1", linear(1024)),
            ("relu1", Layer::Relu),
            ("fc2", linear(1024)),
            ("relu2", Layer::Relu),
            ("fc3", linear(2)),
        ],
    )
}

/// Layers with names of their own.
fn named<'a>(layers: impl IntoIterator<Item = (&'a str, Layer)>) -> Vec<Named> {
    layers.into_iter().map(|(name, layer)| Named::new(name, layer)).collect()
}

/// A linear layer with a bias.
pub(super) fn linear(outputs: usize) -> Layer {
    Layer::Linear { outputs, bias: true }
}

/// Layers of a part that its parameters' names begin with.
#[expect(clippy::needless_pass_by_value, reason = "a name that callers write where they need it")]
fn chain<const N: usize>(part: Part, layers: [(&str, Layer); N]) -> Vec<Named> {
    let name = |name| format!("{}.{name}", part.name());
    layers.into_iter().map(|(word, layer)| Named::new(name(word), layer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_as_many_as_torchvision_has() {
        let input = Chw { channels: 3, height: 224, width: 224 };
        let counts = [
            ("resnet18", 11_689_512),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
            ("mobilenet_v2", 3_504_872),
            ("squeezenet1_1", 1_235_496),
            ("vgg11_bn", 132_868_840),
        ];
        for (name, expected) in counts {
            let spec = (find(name).unwrap().build)(ArchSettings::new(input, 1000));
            let layers = spec.place().unwrap().layers;
            let count: usize = layers
                .iter()
                .filter(|layer| layer.part != Part::DOMAIN)
                .flat_map(crate::nn::placement::Placed::parameters)
                .map(|slot| slot.shape.iter().product::<usize>())
                .sum();
            assert_eq!(count, expected, "{name}");
        }
    }

    #[test]
    fn every_architecture_fits_small_rgb_images() {
        for arch in ZOO {
            let input = Chw { channels: 3, height: 32, width: 32 };
            for small_input in [false, true] {
                let spec = (arch.build)(ArchSettings { input, classes: 10, small_input });
                assert!(spec.place().is_ok(), "{} {small_input}", arch.name);
            }
        }
    }
}
