//! Known architectures: one file each, registered in [`ZOO`].

use super::ops::Chw;
use super::spec::{Layer, Named, Part, Spec};

mod dacnn;
mod lenet;
mod resnet;

/// An architecture.
pub struct Arch {
    /// The word after `arch =`.
    pub name: &'static str,
    /// One line: what it is and where it is from.
    pub about: &'static str,
    /// Channels it takes; `None` for any number.
    pub channels: Option<usize>,
    /// Builds it for an image shape and a number of classes.
    pub build: fn(Chw, usize) -> Spec,
}

/// Every architecture. A new one is a file in this folder and a line here.
pub const ZOO: &[Arch] = &[dacnn::ARCH, lenet::ARCH, resnet::RESNET18, resnet::RESNET34];

/// The names, for messages.
pub const NAMES: &[&str] =
    &[dacnn::ARCH.name, lenet::ARCH.name, resnet::RESNET18.name, resnet::RESNET34.name];

/// The architecture called `name`.
pub fn find(name: &str) -> Option<&'static Arch> {
    ZOO.iter().find(|arch| arch.name == name)
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
    Layer::MaxPool { kernel: (2, 2), stride: (2, 2), padding: (0, 0) }
}

/// A linear layer with a bias.
pub(super) fn linear(outputs: usize) -> Layer {
    Layer::Linear { outputs, bias: true }
}

/// Layers of a part that its parameters' names begin with.
fn chain<const N: usize>(part: Part, layers: [(&str, Layer); N]) -> Vec<Named> {
    let name = |name| format!("{}.{name}", part.name());
    layers.into_iter().map(|(word, layer)| Named::new(name(word), layer)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_listed_by_name_and_fits_28_pixel_rgb_images() {
        assert_eq!(ZOO.iter().map(|arch| arch.name).collect::<Vec<_>>(), NAMES);
        for arch in ZOO {
            let spec = (arch.build)(Chw { channels: 3, height: 28, width: 28 }, 10);
            assert!(spec.place().is_ok(), "{}", arch.name);
        }
    }
}
