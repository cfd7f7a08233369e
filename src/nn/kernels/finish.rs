//! What follows a convolution while its sums are still in registers: normalisation by constants,
//! the addition of other maps, rectification. Each of them saves a pass through memory.

use super::vector::Vector;
use crate::nn::geometry::Rectifier;

/// How a channel is normalised: `scale * x + shift`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Factor.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

/// What is done to a block's output `[filters, H, W, 16]` before it is written:
/// `relu(affine(x) + add)`.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// A scale and a shift for each filter.
    pub affine: &'a [Affine],
    /// Maps of the output's shape.
    pub add: Option<&'a [f32]>,
    /// How it is rectified.
    pub relu: Option<Rectifier>,
}

impl<'a> Finish<'a> {
    /// Whether it is for so many filters and an output of such a length.
    pub(super) fn fits(&self, filters: usize, len: usize) -> bool {
        self.affine.len() == filters && self.add.is_none_or(|add| add.len() == len)
    }

    /// The part for the filters from `first` on, for values at `place` of the output and beyond.
    #[inline(always)]
    pub(super) fn rows(&self, first: usize, place: usize) -> FinishRows<'a> {
        FinishRows {
            affine: &self.affine[first..],
            add: self.add.map(|add| &add[place..]),
            relu: self.relu.map(Rectifier::ceiling),
        }
    }
}

/// A [`Finish`] for some filters.
#[derive(Clone, Copy)]
pub(super) struct FinishRows<'a> {
    affine: &'a [Affine],
    add: Option<&'a [f32]>,
    /// The ceiling of rectification.
    relu: Option<f32>,
}

impl FinishRows<'_> {
    /// Finishes a vector of row `row` that will be written `place` beyond the first value.
    ///
    /// # Safety
    /// As [`Vector`]; the place is one of the output's.
    #[inline(always)]
    pub(super) unsafe fn apply<V: Vector>(&self, row: usize, place: usize, x: V) -> V {
        let Affine { scale, shift } = self.affine[row];
        // SAFETY: the caller's promise; `add` is as long as the output.
        unsafe {
            let mut y = x.mul_add(V::splat(scale), V::splat(shift));
            if let Some(add) = self.add {
                y = y.add(V::load(add.as_ptr().add(place)));
            }
            let Some(ceiling) = self.relu else { return y };
            y = y.rectify();
            if ceiling < f32::INFINITY {
                y = y.select_greater(V::splat(ceiling), V::splat(ceiling), y);
            }
            y
        }
    }
}
