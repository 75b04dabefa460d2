//! AVX2 with FMA and F16C: eight lanes.

#![allow(
    unsafe_code,
    reason = "intrinsics, proven by the token, and loads and stores at addresses that slices give"
)]

use super::intrinsics::{op, operators};
use super::{Line, Part, Simd, Stored, load_lines, row, store_lines, store_rows};
use crate::isa::has;
#[allow(clippy::wildcard_imports, reason = "intrinsics, each by its full name")]
use core::arch::x86_64::*;
use core::ops::{Add, Mul, Sub};
use half::{bf16, f16};

/// Proof that this CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        has::avx2().then_some(Self(()))
    }
}

/// A vector; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// One truth a lane, all bits of it.
#[derive(Clone, Copy)]
pub(crate) struct Mask8(__m256);

operators! { F32x8:
    Add add _mm256_add_ps;
    Sub sub _mm256_sub_ps;
    Mul mul _mm256_mul_ps;
}

/// A vector of `f64`; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F64x4(__m256d);

operators! { F64x4:
    Add add _mm256_add_pd;
    Sub sub _mm256_sub_pd;
    Mul mul _mm256_mul_pd;
}

/// All bits of the first `n` lanes of four.
#[inline(always)]
#[allow(clippy::cast_possible_wrap, reason = "at most four")]
fn wide_lanes(n: usize) -> __m256i {
    let n = op!(_mm256_set1_epi64x(n.min(4) as i64));
    let index = op!(_mm256_setr_epi64x(0, 1, 2, 3));
    op!(_mm256_cmpgt_epi64(n, index))
}

/// All bits of the first `n` lanes.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "at most eight")]
fn lanes(n: usize) -> __m256i {
    let n = op!(_mm256_set1_epi32(n.min(8) as i32));
    let index = op!(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    op!(_mm256_cmpgt_epi32(n, index))
}

/// Eight `bf16`: each `f32` rounded to the nearest, ties to even.
#[inline(always)]
fn to_bf16(v: __m256) -> __m128i {
    let bits = op!(_mm256_castps_si256(v));
    let high = op!(_mm256_srli_epi32::<16>(bits));
    let one = op!(_mm256_set1_epi32(1));
    let odd = op!(_mm256_and_si256(high, one));
    let half = op!(_mm256_set1_epi32(0x7fff));
    let up = op!(_mm256_add_epi32(odd, half));
    let rounded = op!(_mm256_add_epi32(bits, up));
    let rounded = op!(_mm256_srli_epi32::<16>(rounded));
    let quiet = op!(_mm256_set1_epi32(0x40));
    let quiet = op!(_mm256_or_si256(high, quiet));
    let nan = op!(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
    let nan = op!(_mm256_castps_si256(nan));
    let words = op!(_mm256_blendv_epi8(rounded, quiet, nan));
    let low = op!(_mm256_castsi256_si128(words));
    let high = op!(_mm256_extracti128_si256::<1>(words));
    op!(_mm_packus_epi32(low, high))
}

#[inline(always)]
fn to_f16(v: __m256) -> __m128i {
    op!(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v))
}

/// The first eight words of a slice, 0 beyond its end.
#[inline(always)]
fn load_words<T: Copy>(from: &[T], zero: T) -> __m128i {
    const { assert!(size_of::<T>() == 2) };
    let mut padded = [zero; 8];
    let from = if from.len() >= 8 {
        from
    } else {
        padded.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        &padded
    };
    // SAFETY: the slice has 16 bytes and any bits are words; the token of the caller proves the features.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// Writes as many words as there is room for.
#[inline(always)]
fn store_words<T: Copy>(words: __m128i, to: &mut [T], zero: T) {
    const { assert!(size_of::<T>() == 2) };
    if to.len() >= 8 {
        // SAFETY: the slice has 16 bytes, and words are any bits; the token of the caller proves the features.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), words) }
    } else {
        let mut whole = [zero; 8];
        // SAFETY: the array has 16 bytes; the features as above.
        unsafe { _mm_storeu_si128(whole.as_mut_ptr().cast(), words) };
        to.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
    }
}

impl Simd for Avx2 {
    const WIDTH: usize = 8;
    const FUSED: bool = true;
    const WIDENS: bool = true;
    type V = F32x8;
    type W = F64x4;
    type M = Mask8;
    type Doubles = Self;

    #[inline(always)]
    fn call<P: Part<Self>>(self, part: P) -> P::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        fn called<P: Part<Avx2>>(part: P, token: Avx2) -> P::Output {
            part.run(token)
        }
        // SAFETY: the token exists, so this CPU has the features that the function is compiled for.
        unsafe { called(part, self) }
    }

    #[inline(always)]
    fn doubles(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        F32x8(op!(_mm256_set1_ps(x)))
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> F64x4 {
        F64x4(op!(_mm256_set1_pd(x)))
    }

    #[inline(always)]
    fn load_f64(self, from: &[f64]) -> F64x4 {
        F64x4(if from.len() >= 4 {
            // SAFETY: the slice has four numbers; the token proves the features.
            unsafe { _mm256_loadu_pd(from.as_ptr()) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are read; the token proves the features.
            unsafe { _mm256_maskload_pd(from.as_ptr(), wide_lanes(from.len())) }
        })
    }

    #[inline(always)]
    fn store_f64(self, w: F64x4, to: &mut [f64]) {
        if to.len() >= 4 {
            // SAFETY: the slice has room for four numbers; the token proves the features.
            unsafe { _mm256_storeu_pd(to.as_mut_ptr(), w.0) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are written; the token proves the features.
            unsafe { _mm256_maskstore_pd(to.as_mut_ptr(), wide_lanes(to.len()), w.0) }
        }
    }

    #[inline(always)]
    fn widen(self, v: F32x8) -> [F64x4; 2] {
        let low = op!(_mm256_castps256_ps128(v.0));
        let high = op!(_mm256_extractf128_ps::<1>(v.0));
        [F64x4(op!(_mm256_cvtps_pd(low))), F64x4(op!(_mm256_cvtps_pd(high)))]
    }

    #[inline(always)]
    fn narrow(self, [low, high]: [F64x4; 2]) -> F32x8 {
        let low = op!(_mm256_cvtpd_ps(low.0));
        let low = op!(_mm256_castps128_ps256(low));
        let high = op!(_mm256_cvtpd_ps(high.0));
        F32x8(op!(_mm256_insertf128_ps::<1>(low, high)))
    }

    #[inline(always)]
    fn fma_f64(self, a: F64x4, b: F64x4, c: F64x4) -> F64x4 {
        F64x4(op!(_mm256_fmadd_pd(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn sum_f64(self, w: F64x4) -> f64 {
        let low = op!(_mm256_castpd256_pd128(w.0));
        let high = op!(_mm256_extractf128_pd::<1>(w.0));
        let two = op!(_mm_add_pd(low, high));
        let odd = op!(_mm_unpackhi_pd(two, two));
        let one = op!(_mm_add_sd(two, odd));
        op!(_mm_cvtsd_f64(one))
    }

    #[inline(always)]
    fn load_f32(self, from: &[f32]) -> F32x8 {
        F32x8(if from.len() >= 8 {
            // SAFETY: the slice has eight numbers; the token proves the features.
            unsafe { _mm256_loadu_ps(from.as_ptr()) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are read; the token proves the features.
            unsafe { _mm256_maskload_ps(from.as_ptr(), lanes(from.len())) }
        })
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> F32x8 {
        let words = load_words(from, f16::ZERO);
        F32x8(op!(_mm256_cvtph_ps(words)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> F32x8 {
        let words = load_words(from, bf16::ZERO);
        let wide = op!(_mm256_cvtepu16_epi32(words));
        let bits = op!(_mm256_slli_epi32::<16>(wide));
        F32x8(op!(_mm256_castsi256_ps(bits)))
    }

    #[inline(always)]
    fn store_f32(self, v: F32x8, to: &mut [f32]) {
        if to.len() >= 8 {
            // SAFETY: the slice has room for eight numbers; the token proves the features.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v.0) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are written; the token proves the features.
            unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), lanes(to.len()), v.0) }
        }
    }

    #[inline(always)]
    fn store_f16(self, v: F32x8, to: &mut [f16]) {
        store_words(to_f16(v.0), to, f16::ZERO);
    }

    #[inline(always)]
    fn store_bf16(self, v: F32x8, to: &mut [bf16]) {
        store_words(to_bf16(v.0), to, bf16::ZERO);
    }

    #[inline(always)]
    fn stream_f32(self, v: F32x8, to: &mut [f32]) {
        if to.len() >= 8 && to.as_ptr().addr().is_multiple_of(32) {
            // SAFETY: the slice has room for eight numbers at an address divisible by 32; the token proves the
            // features, and `fence` orders the store before the borrow ends for another thread.
            unsafe { _mm256_stream_ps(to.as_mut_ptr(), v.0) }
        } else {
            self.store_f32(v, to);
        }
    }

    #[inline(always)]
    fn fence(self) {
        op!(_mm_sfence());
    }

    #[inline(always)]
    fn prefetch<T>(self, from: &[T], ahead: usize) {
        let at = from.as_ptr().wrapping_add(ahead).cast();
        // SAFETY: a prefetch reads nothing that the program sees and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) }
    }

    #[inline(always)]
    fn fma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        F32x8(op!(_mm256_fmadd_ps(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn max(self, a: F32x8, b: F32x8) -> F32x8 {
        F32x8(op!(_mm256_max_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn abs(self, v: F32x8) -> F32x8 {
        let sign = op!(_mm256_set1_ps(-0.0));
        F32x8(op!(_mm256_andnot_ps(sign, v.0)))
    }

    #[inline(always)]
    fn fraction(self, x: F32x8) -> F32x8 {
        let floor = op!(_mm256_floor_ps(x.0));
        F32x8(op!(_mm256_sub_ps(x.0, floor)))
    }

    #[inline(always)]
    fn scale(self, p: F32x8, x: F32x8) -> F32x8 {
        // The least and the largest of the biased exponents are those of 0 and of infinity.
        let floor = op!(_mm256_floor_ps(x.0));
        let lowest = op!(_mm256_set1_ps(-127.0));
        let floor = op!(_mm256_max_ps(floor, lowest));
        let highest = op!(_mm256_set1_ps(128.0));
        let floor = op!(_mm256_min_ps(floor, highest));
        let n = op!(_mm256_cvtps_epi32(floor));
        let bias = op!(_mm256_set1_epi32(127));
        let biased = op!(_mm256_add_epi32(n, bias));
        let bits = op!(_mm256_slli_epi32::<23>(biased));
        let power = op!(_mm256_castsi256_ps(bits));
        F32x8(op!(_mm256_mul_ps(p.0, power)))
    }

    #[inline(always)]
    fn less(self, a: F32x8, b: F32x8) -> Mask8 {
        Mask8(op!(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0)))
    }

    #[inline(always)]
    fn first(self, n: usize) -> Mask8 {
        let bits = lanes(n);
        Mask8(op!(_mm256_castsi256_ps(bits)))
    }

    #[inline(always)]
    fn and(self, a: Mask8, b: Mask8) -> Mask8 {
        Mask8(op!(_mm256_and_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn not(self, m: Mask8) -> Mask8 {
        let all = self.first(8);
        Mask8(op!(_mm256_xor_ps(m.0, all.0)))
    }

    #[inline(always)]
    fn any(self, m: Mask8) -> bool {
        op!(_mm256_movemask_ps(m.0)) != 0
    }

    #[inline(always)]
    fn select(self, m: Mask8, a: F32x8, b: F32x8) -> F32x8 {
        F32x8(op!(_mm256_blendv_ps(b.0, a.0, m.0)))
    }

    #[inline(always)]
    fn sum(self, v: F32x8) -> f64 {
        let [low, high] = self.widen(v);
        self.sum_f64(low + high)
    }

    #[inline(always)]
    fn largest(self, v: F32x8) -> f32 {
        let low = op!(_mm256_castps256_ps128(v.0));
        let high = op!(_mm256_extractf128_ps::<1>(v.0));
        let four = op!(_mm_max_ps(low, high));
        let high = op!(_mm_movehl_ps(four, four));
        let two = op!(_mm_max_ps(four, high));
        let odd = op!(_mm_shuffle_ps::<1>(two, two));
        let one = op!(_mm_max_ss(two, odd));
        op!(_mm_cvtss_f32(one))
    }

    #[inline(always)]
    #[allow(clippy::cast_sign_loss, reason = "the bits of eight lanes")]
    fn bits(self, m: Mask8) -> u32 {
        op!(_mm256_movemask_ps(m.0)) as u32
    }

    #[inline(always)]
    fn transpose<E: Stored>(self, from: &[E], pitch: usize, to: &mut [Line]) {
        let (a, b) = (row(self, from, 0), row(self, from, pitch));
        let (c, d) = (row(self, from, 2 * pitch), row(self, from, 3 * pitch));
        let (e, f) = (row(self, from, 4 * pitch), row(self, from, 5 * pitch));
        let (g, h) = (row(self, from, 6 * pitch), row(self, from, 7 * pitch));
        store_lines(self, square([a, b, c, d, e, f, g, h]), to);
    }

    #[inline(always)]
    fn transpose_back(self, from: &[Line], to: &mut [f32], pitch: usize) {
        store_rows(self, square(load_lines(self, from)), to, pitch);
    }
}

/// The transpose of a square.
#[inline(always)]
fn square([a, b, c, d, e, f, g, h]: [F32x8; 8]) -> [F32x8; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (fours(a, b, c, d), fours(e, f, g, h));
    let ((a, e), (b, f), (c, g), (d, h)) = (eights(a, e), eights(b, f), eights(c, g), eights(d, h));
    [a, b, c, d, e, f, g, h]
}

/// Four rows: in vector k, four of the columns k and k + 4.
#[inline(always)]
fn fours(a: F32x8, b: F32x8, c: F32x8, d: F32x8) -> [__m256; 4] {
    let ab = (op!(_mm256_unpacklo_ps(a.0, b.0)), op!(_mm256_unpackhi_ps(a.0, b.0)));
    let cd = (op!(_mm256_unpacklo_ps(c.0, d.0)), op!(_mm256_unpackhi_ps(c.0, d.0)));
    [
        op!(_mm256_shuffle_ps::<0x44>(ab.0, cd.0)),
        op!(_mm256_shuffle_ps::<0xee>(ab.0, cd.0)),
        op!(_mm256_shuffle_ps::<0x44>(ab.1, cd.1)),
        op!(_mm256_shuffle_ps::<0xee>(ab.1, cd.1)),
    ]
}

/// A column and the fourth after it, of eight rows, from four rows a vector.
#[inline(always)]
fn eights(low: __m256, high: __m256) -> (F32x8, F32x8) {
    (
        F32x8(op!(_mm256_permute2f128_ps::<0x20>(low, high))),
        F32x8(op!(_mm256_permute2f128_ps::<0x31>(low, high))),
    )
}
