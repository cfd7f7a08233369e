//! How much of a product of matrices a block of threads computes, and what it needs for that. The kernels' own constants are in
//! `kernels/tile.cuh` and `kernels/group.cuh`.

use super::kernel::Kernel;

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
            | Self::ConvInputGradientLarge
            | Self::ConvFilterGradientLarge => Tile::of_warps(128, 128),
            Self::ConvForwardMedium
            | Self::ConvInputGradientMedium
            | Self::ConvFilterGradientMedium => Tile::of_warps(128, 64),
            Self::ConvForwardSmall
            | Self::ConvInputGradientSmall
            | Self::ConvFilterGradientSmall
            | Self::ConvForwardPrecise
            | Self::ConvInputGradientPrecise
            | Self::ConvFilterGradientPrecise
            | Self::MatmulNn
            | Self::MatmulNt
            | Self::MatmulTn => Tile::of_warps(64, 64),
            Self::ConvFilterGradientGroupHuge => Tile::of_groups(256, 128),
            Self::ConvForwardGroupLarge | Self::ConvInputGradientGroupLarge => {
                Tile::of_groups(128, 128)
            }
            Self::ConvForwardGroupFew
            | Self::ConvForwardGroupMedium
            | Self::ConvInputGradientGroupMedium => Tile::of_groups(128, 64),
            Self::ConvForwardGroupWide | Self::ConvInputGradientGroupWide => {
                Tile::of_groups(64, 128)
            }
            Self::ConvForwardGroupSmall | Self::ConvInputGradientGroupSmall => {
                Tile::of_groups(64, 64)
            }
            _ => return None,
        })
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
