//! Vectors of `f32` in the processor's registers: one interface, an implementation for each
//! instruction set. A kernel is written once against [`Vector`].

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A register of `f32`.
///
/// # Safety
/// The functions compile to instructions that the processor must have; they may be called only
/// from what [`Isa::run`](super::isa::Isa::run) runs with the type. Pointers must be valid for
/// [`LEN`](Self::LEN) numbers; no alignment is needed.
pub unsafe trait Vector: Copy {
    /// Numbers in one vector; divides [`LANES`](super::LANES).
    const LEN: usize;
    /// Registers that the processor has; what a kernel keeps in registers must fit.
    const REGISTERS: usize;

    /// All the same number.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn splat(value: f32) -> Self;
    /// Reads.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store(self, to: *mut f32);
    /// Sum.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn add(self, other: Self) -> Self;
    /// Difference.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn sub(self, other: Self) -> Self;
    /// Product.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + summand`, in one rounding where the processor can.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// `yes` where `self > other`, else `no`. False where either is NaN.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self;
    /// `yes` where `self == other`, else `no`.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn select_equal(self, other: Self, yes: Self, no: Self) -> Self;
    /// Reads bytes as numbers from 0 to 255.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn load_bytes(from: *const u8) -> Self;
    /// Writes whole numbers from 0 to 255 as bytes.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn store_bytes(self, to: *mut u8);
    /// The sum of its numbers, in an order fixed for the type.
    ///
    /// # Safety
    /// See the trait.
    unsafe fn sum(self) -> f32;

    /// `max(self, 0)`; NaN is not below zero and stays.
    ///
    /// # Safety
    /// See the trait.
    #[inline(always)]
    unsafe fn rectify(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::zero().select_greater(self, Self::zero(), self) }
    }

    /// Zeros.
    ///
    /// # Safety
    /// See the trait.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(0.0) }
    }
}

/// Sixteen numbers, AVX-512.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

// SAFETY: each function is the intrinsic of its name; the caller promises that it is available and
// that pointers are valid.
#[cfg(target_arch = "x86_64")]
unsafe impl Vector for Avx512 {
    const LEN: usize = 16;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as said above the implementation; so in all that follow.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(greater, no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn select_equal(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let equal = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(equal, no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: see above; `LEN` bytes are readable.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            Self(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: see above; `LEN` bytes are writable.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
}

/// Eight numbers, AVX2 with fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(__m256);

// SAFETY: each function is the intrinsic of its name; the caller promises that it is available and
// that pointers are valid.
#[cfg(target_arch = "x86_64")]
unsafe impl Vector for Avx2 {
    const LEN: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as said above the implementation; so in all that follow.
        Self(unsafe { _mm256_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, summand.0) })
    }
    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0);
            Self(_mm256_blendv_ps(no.0, yes.0, greater))
        }
    }
    #[inline(always)]
    unsafe fn select_equal(self, other: Self, yes: Self, no: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let equal = _mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0);
            Self(_mm256_blendv_ps(no.0, yes.0, equal))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: see above; `LEN` bytes are readable.
        unsafe {
            let bytes = _mm_loadl_epi64(from.cast());
            Self(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        // SAFETY: see above; `LEN` bytes are writable.
        unsafe {
            let whole = _mm256_cvttps_epi32(self.0);
            let (low, high) = (_mm256_castsi256_si128(whole), _mm256_extracti128_si256::<1>(whole));
            let words = _mm_packus_epi32(low, high);
            _mm_storel_epi64(to.cast(), _mm_packus_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let four =
                _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

/// Eight numbers in plain Rust, which the compiler turns into what the target has.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|at| f(self.0[at], other.0[at])))
    }
}

// SAFETY: needs no instruction that the target may lack; the caller promises that pointers are
// valid.
unsafe impl Vector for Portable {
    const LEN: usize = 8;
    const REGISTERS: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight readable numbers.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises eight writable numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // Two roundings: without the instruction, a fused one is a slow library call.
        Self(std::array::from_fn(|at| self.0[at] * factor.0[at] + summand.0[at]))
    }
    #[inline(always)]
    unsafe fn select_greater(self, other: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|at| if self.0[at] > other.0[at] { yes.0[at] } else { no.0[at] }))
    }
    #[inline(always)]
    unsafe fn select_equal(self, other: Self, yes: Self, no: Self) -> Self {
        #[expect(clippy::float_cmp, reason = "that is what is asked")]
        Self(std::array::from_fn(|at| if self.0[at] == other.0[at] { yes.0[at] } else { no.0[at] }))
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self {
        // SAFETY: the caller promises eight readable bytes.
        let bytes = unsafe { from.cast::<[u8; 8]>().read_unaligned() };
        Self(bytes.map(f32::from))
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        let bytes = self.0.map(|number| number as u8);
        // SAFETY: the caller promises eight writable bytes.
        unsafe { to.cast::<[u8; 8]>().write_unaligned(bytes) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Isa, Kernel};
    use super::*;

    /// The numbers written as bytes and read again.
    #[inline(always)]
    unsafe fn through_bytes<V: Vector>(numbers: V) -> V {
        let mut bytes = [0; 16];
        // SAFETY: sixteen bytes are at least `LEN`; the caller runs the instruction set.
        unsafe {
            numbers.store_bytes(bytes.as_mut_ptr());
            V::load_bytes(bytes.as_ptr())
        }
    }

    /// Every operation on `LEN` numbers of `a` and `b`.
    struct Everything<'a>(&'a [f32; 16], &'a [f32; 16]);

    impl Kernel for Everything<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<V: Vector>(self) -> Vec<f32> {
            let mut out = vec![0.0; 8 * 16];
            for at in (0..16).step_by(V::LEN) {
                // SAFETY: `run` is called by `Isa::run`; `at + LEN` is at most 16.
                unsafe {
                    let (a, b) =
                        (V::load(self.0.as_ptr().add(at)), V::load(self.1.as_ptr().add(at)));
                    let results = [
                        a.add(b),
                        a.sub(b),
                        a.mul(b),
                        a.mul_add(b, V::splat(1.0)),
                        a.select_greater(b, V::splat(2.0), V::zero()),
                        a.select_equal(b, V::splat(3.0), V::splat(1.0)),
                        through_bytes(a),
                        V::splat(a.sum()),
                    ];
                    for (row, result) in results.into_iter().enumerate() {
                        result.store(out.as_mut_ptr().add(row * 16 + at));
                    }
                }
            }
            // The sums of all parts, whatever their length.
            let total = out[112..].chunks(V::LEN).map(|part| part[0]).sum();
            out[112..].fill(total);
            out
        }
    }

    #[test]
    fn every_instruction_set_computes_the_same_of_whole_numbers() {
        let a: [f32; 16] = std::array::from_fn(|at| at as f32);
        let b: [f32; 16] = std::array::from_fn(|at| (at as f32 - 7.0) * 2.0);
        let plain: Vec<f32> = (0..8 * 16)
            .map(|at| {
                let (x, y) = (a[at % 16], b[at % 16]);
                match at / 16 {
                    0 => x + y,
                    1 => x - y,
                    2 => x * y,
                    3 => x * y + 1.0,
                    4 => f32::from(u8::from(x > y) * 2),
                    5 => f32::from(u8::from(x == y) * 2 + 1),
                    6 => x,
                    _ => 120.0,
                }
            })
            .collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            assert_eq!(isa.run(Everything(&a, &b)), plain, "{isa}");
        }
    }
}
