//! How much of a product of matrices a block of threads computes, and what it needs for that. The kernels' own constants are in
//! `kernels/tile.cuh` and `kernels/group.cuh`.

use super::kernel::Kernel;
use crate::device::Precision;

/// Rows and columns of a product that a block of threads computes.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory that a block asks for when it is launched.
    pub shared: u32,
}

impl Tile {
    /// One of four warps (`tile.cuh`).
    const fn of_warps(rows: usize, columns: usize) -> Self {
        const DEPTH: usize = 16;
        let each = (rows + 8 + columns + 8) * DEPTH;
        Self { rows, columns, threads: 128, shared: shared(each) }
    }

    /// One of warpgroups, of 64 rows each (`group.cuh`).
    const fn of_groups(rows: usize, columns: usize) -> Self {
        const DEPTH: usize = 32;
        #[expect(clippy::cast_possible_truncation, reason = "at most 1024")]
        let threads = (2 * rows) as u32;
        Self { rows, columns, threads, shared: shared((rows + 8 + columns) * DEPTH) }
    }

    /// The same where the right operand lies there in bf16.
    const fn in_bf16(self) -> Self {
        const DEPTH: usize = 32;
        Self { shared: shared((self.rows + 4) * DEPTH + self.columns * DEPTH / 2), ..self }
    }

    /// How many of them a layer of so many rows and columns has, at least one.
    pub fn count(self, rows: usize, columns: usize) -> usize {
        (rows.div_ceil(self.rows) * columns.div_ceil(self.columns)).max(1)
    }
}

/// Bytes for the stages of operands with so many values in each stage.
const fn shared(values: usize) -> u32 {
    const STAGES: usize = 3;
    #[expect(clippy::cast_possible_truncation, reason = "a GPU has less than 256 KiB")]
    {
        (STAGES * values * size_of::<f32>()) as u32
    }
}

impl Kernel {
    /// The tile of a kernel that multiplies matrices.
    pub(in crate::nn) fn tile(self) -> Option<Tile> {
        Some(match self {
            Self::ConvForwardLarge
            | Self::ConvForwardLargeBf16
            | Self::ConvInputGradientLarge
            | Self::ConvInputGradientLargeBf16
            | Self::ConvFilterGradientLarge
            | Self::ConvFilterGradientLargeBf16 => Tile::of_warps(128, 128),
            Self::ConvForwardMedium
            | Self::ConvForwardMediumBf16
            | Self::ConvInputGradientMedium
            | Self::ConvInputGradientMediumBf16
            | Self::ConvFilterGradientMedium
            | Self::ConvFilterGradientMediumBf16 => Tile::of_warps(128, 64),
            Self::ConvForwardSmall
            | Self::ConvForwardSmallBf16
            | Self::ConvInputGradientSmall
            | Self::ConvInputGradientSmallBf16
            | Self::ConvFilterGradientSmall
            | Self::ConvFilterGradientSmallBf16
            | Self::ConvForwardPrecise
            | Self::ConvInputGradientPrecise
            | Self::ConvFilterGradientPrecise
            | Self::MatmulNn
            | Self::MatmulNnBf16
            | Self::MatmulNt
            | Self::MatmulNtBf16
            | Self::MatmulTn
            | Self::MatmulTnBf16 => Tile::of_warps(64, 64),
            Self::ConvFilterGradientGroupHuge => Tile::of_groups(256, 128),
            Self::ConvFilterGradientGroupHugeBf16 => Tile::of_groups(256, 128).in_bf16(),
            Self::ConvForwardGroupLarge | Self::ConvInputGradientGroupLarge => {
                Tile::of_groups(128, 128)
            }
            Self::ConvForwardGroupLargeBf16 | Self::ConvInputGradientGroupLargeBf16 => {
                Tile::of_groups(128, 128).in_bf16()
            }
            Self::ConvForwardGroupFew
            | Self::ConvForwardGroupMedium
            | Self::ConvInputGradientGroupMedium => Tile::of_groups(128, 64),
            Self::ConvForwardGroupFewBf16
            | Self::ConvForwardGroupMediumBf16
            | Self::ConvInputGradientGroupMediumBf16 => Tile::of_groups(128, 64).in_bf16(),
            Self::ConvForwardGroupWide | Self::ConvInputGradientGroupWide => {
                Tile::of_groups(64, 128)
            }
            Self::ConvForwardGroupWideBf16 | Self::ConvInputGradientGroupWideBf16 => {
                Tile::of_groups(64, 128).in_bf16()
            }
            Self::ConvForwardGroupSmall | Self::ConvInputGradientGroupSmall => {
                Tile::of_groups(64, 64)
            }
            Self::ConvForwardGroupSmallBf16 | Self::ConvInputGradientGroupSmallBf16 => {
                Tile::of_groups(64, 64).in_bf16()
            }
            _ => return None,
        })
    }

    /// The kernel that takes the place of one of single precision or TF32: itself, or that of the same product in tiles of the same
    /// size whose factors are rounded to bf16.
    ///
    /// # Panics
    /// When there is none in bf16: this one multiplies no matrices, or it convolves in single precision.
    pub(in crate::nn) fn in_precision(self, precision: Precision) -> Self {
        match precision {
            Precision::Float32 | Precision::Tf32 => self,
            Precision::Bf16 => self.in_bf16(),
        }
    }

    fn in_bf16(self) -> Self {
        match self {
            Self::ConvFilterGradientGroupHuge => Self::ConvFilterGradientGroupHugeBf16,
            Self::ConvFilterGradientLarge => Self::ConvFilterGradientLargeBf16,
            Self::ConvFilterGradientMedium => Self::ConvFilterGradientMediumBf16,
            Self::ConvFilterGradientSmall => Self::ConvFilterGradientSmallBf16,
            Self::ConvForwardGroupFew => Self::ConvForwardGroupFewBf16,
            Self::ConvForwardGroupLarge => Self::ConvForwardGroupLargeBf16,
            Self::ConvForwardGroupMedium => Self::ConvForwardGroupMediumBf16,
            Self::ConvForwardGroupSmall => Self::ConvForwardGroupSmallBf16,
            Self::ConvForwardGroupWide => Self::ConvForwardGroupWideBf16,
            Self::ConvForwardLarge => Self::ConvForwardLargeBf16,
            Self::ConvForwardMedium => Self::ConvForwardMediumBf16,
            Self::ConvForwardSmall => Self::ConvForwardSmallBf16,
            Self::ConvInputGradientGroupLarge => Self::ConvInputGradientGroupLargeBf16,
            Self::ConvInputGradientGroupMedium => Self::ConvInputGradientGroupMediumBf16,
            Self::ConvInputGradientGroupSmall => Self::ConvInputGradientGroupSmallBf16,
            Self::ConvInputGradientGroupWide => Self::ConvInputGradientGroupWideBf16,
            Self::ConvInputGradientLarge => Self::ConvInputGradientLargeBf16,
            Self::ConvInputGradientMedium => Self::ConvInputGradientMediumBf16,
            Self::ConvInputGradientSmall => Self::ConvInputGradientSmallBf16,
            Self::MatmulNn => Self::MatmulNnBf16,
            Self::MatmulNt => Self::MatmulNtBf16,
            Self::MatmulTn => Self::MatmulTnBf16,
            _ => panic!("{} has no form in bf16", self.name()),
        }
    }

    /// Bytes of shared memory that it asks for when it is launched.
    pub(super) fn shared(self) -> u32 {
        self.tile().map_or(0, |tile| tile.shared)
    }

    /// Whether it needs the tensor cores of compute capability 9.0, which multiply for four warps at once.
    pub(in crate::nn) fn needs_warpgroups(self) -> bool {
        self.name().contains("_group_")
    }
}
