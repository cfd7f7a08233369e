//! Shapes of images, convolutions and pooling windows, and what a rectification lets through: the
//! words that kernels, operations and layers share. Says what fits; computes no values.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Channels, height and width of one image or feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chw {
    /// Number of channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Chw {
    /// Number of values.
    #[expect(clippy::len_without_is_empty, reason = "a count of values, not a container")]
    pub fn len(&self) -> usize {
        self.channels * self.area()
    }

    /// Pixels of one channel.
    pub fn area(&self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for Chw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// Why a layer does not fit its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A size that must be at least 1 is 0.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// The window does not fit into the padded input.
    #[error(
        "a {kernel_height}x{kernel_width} kernel does not fit into a {input} input with padding {padding_height}x{padding_width}"
    )]
    KernelTooLarge {
        /// The input.
        input: Chw,
        /// Rows of the kernel.
        kernel_height: usize,
        /// Columns of the kernel.
        kernel_width: usize,
        /// Padding above and below.
        padding_height: usize,
        /// Padding left and right.
        padding_width: usize,
    },
    /// Channels or filters cannot be split evenly.
    #[error("{what} ({count}) cannot be split into {groups} groups")]
    Groups {
        /// `channels` or `filters`.
        what: &'static str,
        /// How many.
        count: usize,
        /// Into how many groups.
        groups: usize,
    },
    /// A pooling window could lie in the padding alone.
    #[error(
        "padding {padding_height}x{padding_width} is more than half of a {kernel_height}x{kernel_width} pooling window"
    )]
    PaddingTooLarge {
        /// Rows of the window.
        kernel_height: usize,
        /// Columns of the window.
        kernel_width: usize,
        /// Padding above and below.
        padding_height: usize,
        /// Padding left and right.
        padding_width: usize,
    },
}

/// A 2-D convolution, as PyTorch's `Conv2d` with dilation 1. Pairs are (rows, columns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// One input image.
    pub input: Chw,
    /// Output channels.
    pub filters: usize,
    /// Kernel size.
    pub kernel: (usize, usize),
    /// Stride.
    pub stride: (usize, usize),
    /// Zeros on each side.
    pub padding: (usize, usize),
    /// Groups that channels and filters are split into.
    pub groups: usize,
}

impl Conv2d {
    /// One output image.
    ///
    /// # Panics
    /// When the shape is not [valid](Self::validate).
    pub fn output(&self) -> Chw {
        let (height, width) = slid(self.input, self.kernel, self.stride, self.padding);
        Chw { channels: self.filters, height, width }
    }

    /// Weights: `[filters, channels / groups, kernel rows, kernel columns]`.
    pub fn weight_len(&self) -> usize {
        self.filters * self.patch()
    }

    /// Whether the sizes fit together.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn validate(&self) -> Result<(), ShapeError> {
        if self.filters == 0 {
            return Err(ShapeError::Zero("filters"));
        }
        if self.groups == 0 {
            return Err(ShapeError::Zero("groups"));
        }
        validate_window(self.input, self.kernel, self.stride, self.padding)?;
        for (what, count) in [("channels", self.input.channels), ("filters", self.filters)] {
            if !count.is_multiple_of(self.groups) {
                return Err(ShapeError::Groups { what, count, groups: self.groups });
            }
        }
        Ok(())
    }

    /// Input values under a filter: `channels / groups * kernel rows * kernel columns`.
    pub(in crate::nn) fn patch(&self) -> usize {
        self.input.channels / self.groups * self.kernel.0 * self.kernel.1
    }
}

/// A pooling window, as PyTorch's pooling layers with `ceil_mode=False`. Pairs are (rows, columns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// One input image.
    pub input: Chw,
    /// Window size.
    pub kernel: (usize, usize),
    /// Stride.
    pub stride: (usize, usize),
    /// Padding on each side.
    pub padding: (usize, usize),
    /// Whether windows that lie partly beyond the end count (PyTorch's `ceil_mode`).
    pub ceil: bool,
}

impl Pool2d {
    /// Windows of one pixel each.
    pub(in crate::nn) fn of_one_pixel(input: Chw) -> Self {
        Self { input, kernel: (1, 1), stride: (1, 1), padding: (0, 0), ceil: false }
    }

    /// One output image.
    ///
    /// # Panics
    /// When the shape is not [valid](Self::validate).
    pub fn output(&self) -> Chw {
        let along = |size: usize, kernel: usize, stride: usize, padding: usize| {
            let room = size + 2 * padding - kernel;
            if !self.ceil {
                return room / stride + 1;
            }
            // A window must begin inside the image or the padding before it.
            let count = room.div_ceil(stride) + 1;
            if (count - 1) * stride >= size + padding { count - 1 } else { count }
        };
        let Chw { channels, height, width } = self.input;
        Chw {
            channels,
            height: along(height, self.kernel.0, self.stride.0, self.padding.0),
            width: along(width, self.kernel.1, self.stride.1, self.padding.1),
        }
    }

    /// Whether the sizes fit together.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn validate(&self) -> Result<(), ShapeError> {
        validate_window(self.input, self.kernel, self.stride, self.padding)?;
        if self.padding.0 > self.kernel.0 / 2 || self.padding.1 > self.kernel.1 / 2 {
            return Err(ShapeError::PaddingTooLarge {
                kernel_height: self.kernel.0,
                kernel_width: self.kernel.1,
                padding_height: self.padding.0,
                padding_width: self.padding.1,
            });
        }
        Ok(())
    }

    /// Rows and columns of the input under the window of an output pixel, without the padding.
    #[inline]
    pub(in crate::nn) fn window(&self, row: usize, column: usize) -> (Range<usize>, Range<usize>) {
        let span = |at: usize, kernel: usize, stride: usize, padding: usize, size: usize| {
            let start = at * stride;
            start.saturating_sub(padding)..(start + kernel).saturating_sub(padding).min(size)
        };
        let Chw { height, width, .. } = self.input;
        (
            span(row, self.kernel.0, self.stride.0, self.padding.0, height),
            span(column, self.kernel.1, self.stride.1, self.padding.1, width),
        )
    }
}

/// What a rectification lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rectifier {
    /// max(0, x).
    Relu,
    /// min(max(0, x), 6) (Krizhevsky 2010; MobileNets).
    Relu6,
}

impl Rectifier {
    /// The largest value that comes out.
    pub fn ceiling(self) -> f32 {
        match self {
            Self::Relu => f32::INFINITY,
            Self::Relu6 => 6.0,
        }
    }
}

fn slid(
    input: Chw,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
) -> (usize, usize) {
    (
        (input.height + 2 * padding.0 - kernel.0) / stride.0 + 1,
        (input.width + 2 * padding.1 - kernel.1) / stride.1 + 1,
    )
}

fn validate_window(
    input: Chw,
    kernel: (usize, usize),
    stride: (usize, usize),
    padding: (usize, usize),
) -> Result<(), ShapeError> {
    let sizes = [
        ("the input's channels", input.channels),
        ("the input's height", input.height),
        ("the input's width", input.width),
        ("the kernel's height", kernel.0),
        ("the kernel's width", kernel.1),
        ("the vertical stride", stride.0),
        ("the horizontal stride", stride.1),
    ];
    for (what, size) in sizes {
        if size == 0 {
            return Err(ShapeError::Zero(what));
        }
    }
    if input.height + 2 * padding.0 < kernel.0 || input.width + 2 * padding.1 < kernel.1 {
        return Err(ShapeError::KernelTooLarge {
            input,
            kernel_height: kernel.0,
            kernel_width: kernel.1,
            padding_height: padding.0,
            padding_width: padding.1,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv() -> Conv2d {
        Conv2d {
            input: Chw { channels: 4, height: 13, width: 9 },
            filters: 6,
            kernel: (5, 3),
            stride: (2, 1),
            padding: (1, 0),
            groups: 2,
        }
    }

    #[test]
    fn outputs_are_those_of_pytorch() {
        assert_eq!(conv().output(), Chw { channels: 6, height: 6, width: 7 });
        assert_eq!(conv().weight_len(), 6 * 2 * 15);
        assert_eq!(conv().output().to_string(), "6x6x7");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(conv().validate(), Ok(()));
        let error = Conv2d { kernel: (16, 3), ..conv() }.validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a 16x3 kernel does not fit into a 4x13x9 input with padding 1x0"
        );
        let error = Conv2d { groups: 4, ..conv() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "filters (6) cannot be split into 4 groups");
        assert_eq!(
            Conv2d { stride: (0, 1), ..conv() }.validate(),
            Err(ShapeError::Zero("the vertical stride"))
        );
        let pool = Pool2d {
            input: conv().input,
            kernel: (2, 2),
            stride: (2, 2),
            padding: (0, 2),
            ceil: false,
        };
        assert!(pool.validate().is_err());
        let pool = |size, stride, ceil| Pool2d {
            input: Chw { channels: 1, height: size, width: size },
            kernel: (3, 3),
            stride: (stride, stride),
            padding: (0, 0),
            ceil,
        };
        // As MaxPool2d(3, stride, ceil_mode) of PyTorch.
        assert_eq!(pool(6, 2, false).output().height, 2);
        assert_eq!(pool(6, 2, true).output().height, 3);
        assert_eq!(pool(7, 2, true).output().height, 3);
        assert_eq!(pool(4, 5, true).output().height, 1);
    }
}
