//! Changes of images of bytes, with every number drawn: a device that keeps the images carries them out there, to the byte as
//! `data::augment` does on the host. Draws nothing.

/// One kind of change, for each image `[H, W, C]` of a batch in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum PixelChanges {
    /// Left becomes right where it is true.
    Flip(Vec<bool>),
    /// A window of one size for all images.
    Window {
        /// How far its first pixel lies from that of the image.
        each: Vec<Shift>,
        /// Its rows and columns, which the images have from then on.
        size: (usize, usize),
    },
    /// A part at one size for all images.
    Resize {
        /// The part.
        each: Vec<Area>,
        /// Rows and columns that the images have from then on.
        size: (usize, usize),
    },
    /// A turn about the middle.
    Turn(Vec<Turn>),
    /// Changes of colours, one after the other.
    Recolor(Vec<[Option<ColorChange>; 4]>),
    /// An area becomes zero.
    Blank(Vec<Area>),
    /// One of the operations of RandAugment.
    Alter(Vec<Alteration>),
}

impl PixelChanges {
    /// Number of images N.
    pub fn len(&self) -> usize {
        match self {
            Self::Flip(each) => each.len(),
            Self::Window { each, .. } => each.len(),
            Self::Resize { each, .. } | Self::Blank(each) => each.len(),
            Self::Turn(each) => each.len(),
            Self::Recolor(each) => each.len(),
            Self::Alter(each) => each.len(),
        }
    }

    /// The size of what becomes of images of `size`, rows and columns.
    pub fn size_after(&self, size: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Window { size, .. } | Self::Resize { size, .. } => *size,
            Self::Flip(_) | Self::Turn(_) | Self::Recolor(_) | Self::Blank(_) | Self::Alter(_) => {
                size
            }
        }
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How far a window lies from the image, which it sees; beyond the image it sees zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Rows that it lies lower; negative where it lies higher.
    pub down: isize,
    /// Columns that it lies further right; negative where it lies further left.
    pub right: isize,
}

/// A rectangle in an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Its first row.
    pub top: usize,
    /// Its first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A turn counterclockwise. The pixel of row y and column x, counted from the middle, becomes what lies at column `cos x - sin y` and
/// row `sin x + cos y`: between four pixels, of which those beyond the image are zero, and to the nearest byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    /// Sine of the angle.
    pub sin: f64,
    /// Cosine of the angle.
    pub cos: f64,
}

/// A change of an image's colours as torchvision makes it of bytes, each result cut off at its point. What changes saturation or hue
/// leaves a gray image as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorChange {
    /// Times a factor.
    Brightness(f32),
    /// Away from the mean gray of the image by a factor.
    Contrast(f32),
    /// Away from the pixel's gray by a factor.
    Saturation(f32),
    /// A turn of the colour wheel by a part of it.
    Hue(f32),
}

/// An operation of RandAugment on an image, as torchvision carries it out on bytes; what becomes of fractions is cut off at its point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Alteration {
    /// The image as it is.
    Identity,
    /// Every pixel shows the one that lies nearest to a place.
    Map(Map),
    /// A change of colours.
    Recolor(ColorChange),
    /// Away from a blurred image by a factor: a pixel counts five times there and each of its eight neighbours once, to the nearest
    /// byte. The outermost pixels stay, and so do images with a side of less than three.
    Sharpness(f32),
    /// Only the bits of each value that are set here.
    Posterize(u8),
    /// 255 minus the value, where that is at least this.
    Solarize(f32),
    /// The values of each channel stretched, so that the smallest is 0 and the largest 255; a channel of one value stays.
    AutoContrast,
    /// The values of each channel put in the place of others, so that all are about equally frequent: v becomes the number of pixels
    /// below v, divided by `step` and rounded, where `step` is the number of pixels below the largest value, divided by 255 and
    /// rounded down. A channel whose `step` is 0 stays, as one of fewer than 256 pixels does.
    Equalize,
}

/// Where each pixel of an image comes from: the one in column x and row y shows the pixel nearest to `column[0] x + column[1] y +
/// column[2]`, and the row alike; of two that are equally near the one further right or down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map {
    /// What makes the column.
    pub column: [f64; 3],
    /// What makes the row.
    pub row: [f64; 3],
    /// The value of every channel of what comes from beyond the image.
    pub fill: u8,
}
