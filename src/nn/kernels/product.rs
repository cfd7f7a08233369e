//! Products of small matrices that are in the cache already.
//!
//! `c += a b` with the columns of `b` and `c` in vectors. A tile of `c` stays in registers while `k`
//! runs: eight rows by three vectors with 32 registers, four by three with 16, so that one load of
//! `b` serves several rows and one broadcast of `a` several columns. Nothing is packed here: `a`
//! comes with its rows in groups ([`PackedRows`]), `b` is contiguous where the caller made it.

use std::array;

use super::finish::FinishRows;
use super::vector::Vector;

/// Rows of `a` that one tile takes.
pub fn tile_rows<V: Vector>() -> usize {
    if V::REGISTERS >= 32 { 8 } else { 4 }
}

/// Vectors of columns that one tile takes.
pub(super) const TILE_COLUMNS: usize = 3;

/// A matrix whose rows lie in groups of `group`: `[rows / group, k, group]`, the last group filled
/// up with zeros.
#[derive(Debug, Clone, Default)]
pub struct PackedRows {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub k: usize,
    /// Rows of a group.
    pub group: usize,
    values: Vec<f32>,
}

impl PackedRows {
    /// Packs the matrix whose value at (row, column) `value` gives.
    pub fn new(
        rows: usize,
        k: usize,
        group: usize,
        mut value: impl FnMut(usize, usize) -> f32,
    ) -> Self {
        let mut values = vec![0.0; rows.div_ceil(group) * group * k];
        for row in 0..rows {
            let start = (row / group * k) * group + row % group;
            for column in 0..k {
                values[start + column * group] = value(row, column);
            }
        }
        Self { rows, k, group, values }
    }

    /// The matrix.
    pub fn panels(&self) -> Panels<'_> {
        let Self { rows, k, group, ref values } = *self;
        Panels { rows, k, group, apart: k * group, values }
    }
}

/// A matrix whose rows lie in groups as those of [`PackedRows`], but the groups anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a> {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub k: usize,
    /// Rows of a group.
    pub group: usize,
    /// Distance of the groups.
    pub apart: usize,
    /// What the first group begins with.
    pub values: &'a [f32],
}

impl<'a> Panels<'a> {
    /// The group that begins with row `row`, `[k, group]`.
    #[inline(always)]
    pub fn group_at(&self, row: usize) -> &'a [f32] {
        &self.values[row / self.group * self.apart..][..self.k * self.group]
    }
}

/// Where `b` and `c` lie: rows of `b` are `b_row` apart, rows of `c` are `c_row`.
#[derive(Debug, Clone, Copy)]
pub struct ProductColumns {
    /// Numbers in a row; a multiple of [`LANES`](super::LANES).
    pub count: usize,
    /// Distance of the rows of `b`.
    pub b_row: usize,
    /// Distance of the rows of `c`.
    pub c_row: usize,
}

/// `c = a b`, or `c += a b` with `add`.
///
/// # Panics
/// When a matrix is shorter than `columns` says.
///
/// # Safety
/// To be called from what [`Isa::run`](super::isa::Isa::run) runs with `V`.
#[inline(always)]
pub unsafe fn product<V: Vector>(
    a: Panels,
    b: &[f32],
    c: &mut [f32],
    columns: ProductColumns,
    add: bool,
) {
    let ProductColumns { count, b_row, c_row } = columns;
    assert!(count % super::LANES == 0 && a.group == tile_rows::<V>());
    if a.rows == 0 || count == 0 {
        return;
    }
    assert!(a.k == 0 || (a.k - 1) * b_row + count <= b.len());
    assert!((a.rows - 1) * c_row + count <= c.len());
    let (vectors, k) = (count / V::LEN, a.k);
    for row in (0..a.rows).step_by(a.group) {
        let rows = (a.rows - row).min(a.group);
        for first in (0..vectors).step_by(TILE_COLUMNS) {
            let start = if add { TileStart::Sum } else { TileStart::Zero };
            // SAFETY: the asserts above hold for every row and column of the tile.
            unsafe {
                let c = c.as_mut_ptr().add(row * c_row);
                let a = TileRows::Packed(a.group_at(row).as_ptr());
                let tile = Tile { a, rows, k, b: b.as_ptr(), c, c_row, start, finish: None };
                let last = (vectors - first).min(TILE_COLUMNS);
                tile.run::<V>(last, |at| (first + at) * V::LEN, (first * V::LEN, |i| i * b_row));
            }
        }
    }
}

/// What a tile of `c` begins with.
#[derive(Clone, Copy)]
pub(super) enum TileStart<'a> {
    /// Nothing.
    Zero,
    /// What is there.
    Sum,
    /// A number for each of its rows.
    Rows(&'a [f32]),
}

/// Rows of `a`.
#[derive(Clone, Copy)]
pub(super) enum TileRows {
    /// A group of [`PackedRows`].
    Packed(*const f32),
    /// Contiguous rows, so far apart.
    Apart(*const f32, usize),
}

/// A tile of a product: up to [`tile_rows`] rows by three vectors.
pub(super) struct Tile<'a> {
    /// The rows of `a`.
    pub a: TileRows,
    /// How many there are.
    pub rows: usize,
    /// Number of summands.
    pub k: usize,
    /// The first number of `b`.
    pub b: *const f32,
    /// The first row of the tile in `c`, at its column 0.
    pub c: *mut f32,
    /// Distance of the rows of `c`.
    pub c_row: usize,
    /// What the sums begin with.
    pub start: TileStart<'a>,
    /// What is done to them before they are written.
    pub finish: Option<FinishRows<'a>>,
}

impl Tile<'_> {
    /// Multiplies `vectors` vectors of columns: vector `at` of `b` is read at `from(at)` beyond its
    /// row's start `row(i)`, and written to `c` at `to + at * LEN`.
    ///
    /// # Safety
    /// As [`product`]; all that is read and written is valid.
    #[inline(always)]
    pub unsafe fn run<V: Vector>(
        self,
        vectors: usize,
        from: impl Fn(usize) -> usize + Copy,
        (to, row): (usize, impl Fn(usize) -> usize + Copy),
    ) {
        // SAFETY: the caller's promise; of a packed group every row is there, of rows apart the
        // last one stands for those that are not.
        unsafe {
            match (self.a, tile_rows::<V>()) {
                (TileRows::Packed(a), 8) => {
                    self.wide::<V, 8>(vectors, from, to, row, |at, i| *a.add(i * 8 + at));
                }
                (TileRows::Packed(a), _) => {
                    self.wide::<V, 4>(vectors, from, to, row, |at, i| *a.add(i * 4 + at));
                }
                (TileRows::Apart(a, apart), 8) => {
                    let rows: [_; 8] = array::from_fn(|at| a.add(at.min(self.rows - 1) * apart));
                    self.wide::<V, 8>(vectors, from, to, row, |at, i| *rows[at].add(i));
                }
                (TileRows::Apart(a, apart), _) => {
                    let rows: [_; 4] = array::from_fn(|at| a.add(at.min(self.rows - 1) * apart));
                    self.wide::<V, 4>(vectors, from, to, row, |at, i| *rows[at].add(i));
                }
            }
        }
    }

    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    unsafe fn wide<V: Vector, const ROWS: usize>(
        &self,
        vectors: usize,
        from: impl Fn(usize) -> usize + Copy,
        to: usize,
        row: impl Fn(usize) -> usize + Copy,
        a: impl Fn(usize, usize) -> f32 + Copy,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match vectors {
                3 => self.sized::<V, ROWS, 3>(from, to, row, a),
                2 => self.sized::<V, ROWS, 2>(from, to, row, a),
                _ => self.sized::<V, ROWS, 1>(from, to, row, a),
            }
        }
    }

    /// # Safety
    /// As [`Tile::run`].
    #[inline(always)]
    unsafe fn sized<V: Vector, const ROWS: usize, const COLUMNS: usize>(
        &self,
        from: impl Fn(usize) -> usize,
        to: usize,
        row: impl Fn(usize) -> usize,
        a: impl Fn(usize, usize) -> f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[V::zero(); COLUMNS]; ROWS];
            if let TileStart::Rows(numbers) = self.start {
                for (sums, number) in sums.iter_mut().zip(numbers) {
                    *sums = [V::splat(*number); COLUMNS];
                }
            }
            let columns: [usize; COLUMNS] = array::from_fn(from);
            for i in 0..self.k {
                let b = self.b.add(row(i));
                let mut values = [V::zero(); COLUMNS];
                for (value, column) in values.iter_mut().zip(columns) {
                    *value = V::load(b.add(column));
                }
                for (at, sums) in sums.iter_mut().enumerate() {
                    let factor = V::splat(a(at, i));
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = value.mul_add(factor, *sum);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate().take(self.rows) {
                for (at, sum) in sums.into_iter().enumerate() {
                    let place = row * self.c_row + to + at * V::LEN;
                    let to = self.c.add(place);
                    let before = matches!(self.start, TileStart::Sum);
                    let mut sum = if before { sum.add(V::load(to)) } else { sum };
                    if let Some(finish) = &self.finish {
                        sum = finish.apply(row, place, sum);
                    }
                    sum.store(to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Isa, Kernel};
    use super::*;

    struct Multiply<'a>(&'a [f32], &'a [f32], &'a mut [f32], (usize, usize, usize));

    impl Kernel for Multiply<'_> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vector>(self) {
            let Self(a, b, c, (m, k, n)) = self;
            let packed = PackedRows::new(m, k, tile_rows::<V>(), |row, column| a[row * k + column]);
            let columns = ProductColumns { count: n, b_row: n, c_row: n };
            // SAFETY: `run` is called by `Isa::run`.
            unsafe { product::<V>(packed.panels(), b, c, columns, true) }
        }
    }

    #[test]
    fn products_of_whole_numbers_are_exact_for_any_shape() {
        for (m, k, n) in [(1, 1, 16), (8, 5, 48), (13, 7, 80), (4, 0, 16)] {
            let a: Vec<f32> = (0..m * k).map(|at| (at % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..k * n).map(|at| (at % 5) as f32 - 2.0).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                let mut c = vec![1.0; m * n];
                isa.run(Multiply(&a, &b, &mut c, (m, k, n)));
                for row in 0..m {
                    for column in 0..n {
                        let sum: f32 = (0..k).map(|i| a[row * k + i] * b[i * n + column]).sum();
                        assert_eq!(c[row * n + column], 1.0 + sum, "{isa} {m} {k} {n}");
                    }
                }
            }
        }
    }
}
