//! Products of strided matrices on one thread, by the crate `gemm`. That crate goes by the best instructions and the
//! caches of the processor. Where other instructions are asked for, its kernels for those are called, and sums are
//! divided here and not by caches: a product has the same bits on every processor that has the instructions.

use std::sync::OnceLock;

use gemm_common::gemm::gemm_basic_generic;
use gemm_common::simd::{self, MixedSimd};

use crate::nn::kernels::isa::Isa;

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
pub(super) fn add_product(
    (m, k, n): (usize, usize, usize),
    c: &mut [f32],
    c_row: usize,
    a: Strided<'_>,
    b: Strided<'_>,
) {
    static PINNED: OnceLock<Option<Isa>> = OnceLock::new();
    let pinned = PINNED.get_or_init(|| {
        let isa = Isa::current().expect("the instruction set was checked");
        (isa != Isa::best()).then_some(isa)
    });
    add_product_by(*pinned, (m, k, n), c, c_row, a, b);
}

/// [`add_product`] with the instructions of `isa`; without one, with those that the crate chooses.
#[expect(clippy::cast_possible_wrap, reason = "strides lie within a slice")]
fn add_product_by(
    isa: Option<Isa>,
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
    let factor = |it: Strided| Factor {
        values: it.values.as_ptr(),
        row: it.row as isize,
        column: it.column as isize,
    };
    let (a, b) = (factor(a), factor(b));
    let product = Product { m, n, k, c: c.as_mut_ptr(), c_row: c_row as isize, c_column: 1, a, b };
    let product = product.turned();
    let block = product.block();
    for from in (0..k).step_by(block) {
        let part = product.part(from, block.min(k - from));
        // SAFETY: every index that m, k, n and the strides allow lies in its slice, as asserted; the
        // rows of `c` do not overlap, and `c` is borrowed alone.
        unsafe {
            match isa {
                None => part.by_the_best(),
                Some(isa) => part.by(isa),
            }
        }
    }
}

/// So many terms of a sum are added up at most before they are added to the result: what the crate takes on a
/// processor with 32 KiB of first cache.
const TERMS: usize = 512;

/// A factor of a product, as the crate takes it.
#[derive(Clone, Copy)]
struct Factor {
    values: *const f32,
    row: isize,
    column: isize,
}

impl Factor {
    fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }
}

/// A product to be added, as the crate takes it.
#[derive(Clone, Copy)]
struct Product {
    m: usize,
    n: usize,
    k: usize,
    c: *mut f32,
    c_row: isize,
    c_column: isize,
    a: Factor,
    b: Factor,
}

/// The product with the crate's kernels of one instruction set, as the crate itself calls them.
macro_rules! by_kernels_of {
    ($product:expr, $kernels:ident, $simd:ident, $lanes:literal) => {{
        use gemm_f32::microkernel::$kernels::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
        let Product { m, n, k, c, c_row, c_column, a, b } = $product;
        let simd = <simd::$simd as MixedSimd<f32, f32, f32, f32>>::try_new();
        gemm_basic_generic::<
            simd::$simd,
            f32,
            $lanes,
            { MR_DIV_N * $lanes },
            NR,
            MR_DIV_N,
            H_M,
            H_N,
        >(
            simd.expect("the instruction set was checked"),
            m,
            n,
            k,
            c,
            c_column,
            c_row,
            true,
            a.values,
            a.column,
            a.row,
            b.values,
            b.column,
            b.row,
            1.0,
            1.0,
            false,
            false,
            false,
            |a, b, c| a * b + c,
            &UKR,
            &H_UKR,
            false,
            gemm_common::Parallelism::None,
        );
    }};
}

impl Product {
    /// The same with rows and columns exchanged where the rows of `c` are rows in memory, as the crate does it: its
    /// kernels prefer columns.
    fn turned(self) -> Self {
        let Self { m, n, k, c, c_row, c_column, a, b } = self;
        if c_column >= c_row {
            return self;
        }
        let (a, b) = (b.transposed(), a.transposed());
        Self { m: n, n: m, k, c, c_row: c_column, c_column: c_row, a, b }
    }

    /// How many terms of each sum go together. On the crate's special paths that is none of the caches' business: it
    /// sums dot products of few rows and columns as a whole, and what is one row or column; where rows and columns are
    /// at most 64, it divides sums itself, by 512 terms whatever the caches. To divide there would move bits: a part of
    /// one or two terms takes another of its paths.
    fn block(&self) -> usize {
        let Self { m, n, k, c_row, c_column, a, b, .. } = *self;
        let are_dots = a.column == 1 && b.row == 1;
        let is_whole = k <= TERMS
            || (are_dots && m * n <= 16 * 16)
            || (n == 1 && (are_dots || (a.row == 1 && c_row == 1)))
            || (m == 1 && (are_dots || (b.column == 1 && c_column == 1)))
            || (m <= 64 && n <= 64);
        match is_whole {
            true => k,
            false => k.div_ceil(k.div_ceil(TERMS)),
        }
    }

    /// The terms of each sum from `from` on, `k` of them.
    fn part(self, from: usize, k: usize) -> Self {
        let (a, b) = (self.a, self.b);
        // Within both factors, whose matrices have more columns and rows than `from`.
        let [from_a, from_b] = [a.column, b.row].map(|step| from.wrapping_mul(step.unsigned_abs()));
        let a = Factor { values: a.values.wrapping_add(from_a), ..a };
        let b = Factor { values: b.values.wrapping_add(from_b), ..b };
        Self { k, a, b, ..self }
    }

    /// With the best instructions of this processor.
    ///
    /// # Safety
    /// Every index that the sizes and strides allow must be valid, and `c` belong to the caller alone.
    unsafe fn by_the_best(self) {
        let Self { m, n, k, c, c_row, c_column, a, b } = self;
        // SAFETY: as the caller promises.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c,
                c_column,
                c_row,
                true,
                a.values,
                a.column,
                a.row,
                b.values,
                b.column,
                b.row,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// With the instructions of `isa`, which this processor has.
    ///
    /// # Safety
    /// As [`by_the_best`](Self::by_the_best).
    unsafe fn by(self, isa: Isa) {
        // SAFETY: as the caller promises; `try_new` gives nothing where instructions are missing.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => by_kernels_of!(self, avx512f, V4, 16),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => by_kernels_of!(self, fma, V3, 8),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx512 | Isa::Avx2 => unreachable!("they are not available"),
                Isa::Portable => by_kernels_of!(self, scalar, Scalar, 1),
            }
        }
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
        for isa in sets() {
            let mut c = [10.0; 12];
            let (a, b) = (Strided::rows(&a, 3).transposed(), Strided::rows(&b, 3));
            add_product_by(isa, (3, 2, 3), &mut c, 4, a, b);
            let wanted = [11.0, 12.0, 18.0, 10.0, 13.0, 14.0, 28.0, 10.0, 15.0, 16.0, 38.0, 10.0];
            assert_eq!(c, wanted, "{isa:?}");
        }
    }

    /// What the crate chooses, and every instruction set that this processor has.
    fn sets() -> impl Iterator<Item = Option<Isa>> {
        Isa::ALL.into_iter().filter(|isa| isa.available()).map(Some).chain([None])
    }

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut stream = crate::random::stream(seed, "products", 0, 0);
        (0..count).map(|_| stream.uniform() - 0.5).collect()
    }

    /// Sizes of every path of the crate: few steps, one column or row, dot products, blocks, several blocks.
    const SIZES: [(usize, usize, usize); 12] = [
        (5, 1, 7),
        (33, 2, 19),
        (64, 300, 1),
        (1, 300, 64),
        (9, 77, 11),
        (16, 1500, 16),
        (17, 64, 40),
        (50, 513, 70),
        (64, 800, 500),
        (31, 1100, 129),
        (128, 128, 10),
        (10, 64, 800),
    ];

    /// The product of random matrices, whose factors lie in memory as told.
    fn product(
        isa: Option<Isa>,
        (m, k, n): (usize, usize, usize),
        turned: (bool, bool),
    ) -> Vec<u32> {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let mut c = numbers(m * n, 3);
        let lies = |values, rows, columns, turned| match turned {
            true => Strided::rows(values, rows).transposed(),
            false => Strided::rows(values, columns),
        };
        let (a, b) = (lies(&a, m, k, turned.0), lies(&b, k, n, turned.1));
        add_product_by(isa, (m, k, n), &mut c, n, a, b);
        c.into_iter().map(f32::to_bits).collect()
    }

    const LAYOUTS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_crate_and_its_kernels_of_the_best_instruction_set_give_the_same_bits() {
        for sizes in SIZES {
            for turned in LAYOUTS {
                let [chosen, pinned] =
                    [None, Some(Isa::best())].map(|isa| product(isa, sizes, turned));
                assert!(chosen == pinned, "{sizes:?} {turned:?}");
            }
        }
    }

    /// The digests are those of any processor that has the instructions: `qemu-x86_64 -cpu Haswell`, which has no
    /// AVX-512 and other caches, gave those of AVX2.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn products_of_an_instruction_set_have_the_same_bits_on_every_processor_that_has_it() {
        let digest = |isa| {
            let mut hasher = blake3::Hasher::new();
            for sizes in SIZES {
                for turned in LAYOUTS {
                    for bits in product(Some(isa), sizes, turned) {
                        hasher.update(&bits.to_le_bytes());
                    }
                }
            }
            hasher.finalize().to_hex()[..16].to_owned()
        };
        for (isa, wanted) in [
            (Isa::Avx512, "dc7552cb99edd422"),
            (Isa::Avx2, "c325329aa7e5005f"),
            (Isa::Portable, "982457a76129c030"),
        ] {
            if isa.available() {
                assert_eq!(digest(isa), wanted, "{isa}");
            }
        }
    }

    #[test]
    fn sums_of_few_rows_and_columns_are_left_to_the_crate() {
        for (m, k, n) in [(40, 514, 33), (64, 1025, 64), (20, 1026, 64), (33, 513, 20)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let mut whole = numbers(m * n, 3);
            let factor = |values: &[f32], row: usize| Factor {
                values: values.as_ptr(),
                row: row as isize,
                column: 1,
            };
            let (a, b) = (factor(&a, k), factor(&b, n));
            let (c, c_row) = (whole.as_mut_ptr(), n as isize);
            let uncut = Product { m, n, k, c, c_row, c_column: 1, a, b };
            // SAFETY: the slices hold the matrices.
            unsafe { uncut.by_the_best() };
            let whole: Vec<u32> = whole.into_iter().map(f32::to_bits).collect();
            assert!(product(None, (m, k, n), (false, false)) == whole, "{m} {k} {n}");
        }
    }

    #[test]
    fn long_sums_are_divided_the_same_way_whatever_the_caches() {
        let block = |sizes: (usize, usize, usize), turned: (bool, bool)| {
            let (m, k, n) = sizes;
            let factor = |row: usize, column: usize, turned| match turned {
                true => Factor { values: std::ptr::null(), row: 1, column: row as isize },
                false => Factor { values: std::ptr::null(), row: column as isize, column: 1 },
            };
            let (a, b) = (factor(m, k, turned.0), factor(k, n, turned.1));
            let c = std::ptr::null_mut();
            Product { m, n, k, c, c_row: n as isize, c_column: 1, a, b }.turned().block()
        };
        assert_eq!(block((64, 512, 500), (false, false)), 512);
        assert_eq!(block((64, 800, 500), (false, false)), 400);
        assert_eq!(block((64, 1100, 129), (true, false)), 367);
        assert_eq!(block((64, 800, 64), (false, false)), 800, "the crate divides it itself");
        assert_eq!(block((16, 1500, 16), (false, true)), 1500, "dot products");
        assert_eq!(block((1, 1500, 300), (false, false)), 1500, "a row");
    }
}
