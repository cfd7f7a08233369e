//! Products of strided matrices on one thread, by the crate `gemm`, which picks the processor's
//! best instructions at run time.

/// A matrix within a slice: the value at (i, j) is at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(super) struct Strided<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> Strided<'a> {
    /// Rows one after the other, `row` apart.
    pub fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { values: self.values, row: self.column, column: self.row }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// `c += a b` where `a` is `[m, k]`, `b` is `[k, n]` and `c` is `[m, n]` with rows `c_row` apart.
///
/// # Panics
/// When a slice is too short for its matrix.
#[expect(clippy::cast_possible_wrap, reason = "strides lie within a slice")]
pub(super) fn add_product(
    (m, k, n): (usize, usize, usize),
    c: &mut [f32],
    c_row: usize,
    a: Strided<'_>,
    b: Strided<'_>,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(c_row >= n && (m - 1) * c_row + n <= c.len(), "the product does not fit its place");
    assert!(a.holds(m, k) && b.holds(k, n), "a factor is shorter than its matrix");
    // SAFETY: every index that m, k, n and the strides allow lies in its slice, as asserted; the
    // rows of `c` do not overlap, and `c` is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            true,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_and_transposes_are_respected() {
        // a = [[1, 2], [3, 4], [5, 6]] stored by columns, b = [[1, 0, 2], [0, 1, 3]].
        let a = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0];
        let mut c = [10.0; 12];
        let (a, b) = (Strided::rows(&a, 3).transposed(), Strided::rows(&b, 3));
        add_product((3, 2, 3), &mut c, 4, a, b);
        assert_eq!(c, [11.0, 12.0, 18.0, 10.0, 13.0, 14.0, 28.0, 10.0, 15.0, 16.0, 38.0, 10.0]);
    }
}
