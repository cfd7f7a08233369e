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
        }
    }

    /// The size of what becomes of images of `size`, rows and columns.
    pub fn size_after(&self, size: (usize, usize)) -> (usize, usize) {
        match self {
            Self::Window { size, .. } | Self::Resize { size, .. } => *size,
            Self::Flip(_) | Self::Turn(_) | Self::Recolor(_) | Self::Blank(_) => size,
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
