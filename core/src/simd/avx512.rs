//! AVX-512 F, VL, DQ and BW: sixteen lanes.

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

/// Proof that this CPU has AVX-512 F, VL, DQ and BW.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        has::avx512().then_some(Self(()))
    }
}

/// A vector; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

operators! { F32x16:
    Add add _mm512_add_ps;
    Sub sub _mm512_sub_ps;
    Mul mul _mm512_mul_ps;
}

/// A vector of `f64`; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

operators! { F64x8:
    Add add _mm512_add_pd;
    Sub sub _mm512_sub_pd;
    Mul mul _mm512_mul_pd;
}

/// The lower `n` bits.
#[inline(always)]
fn lanes(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { !(!0 << n) }
}

/// Sixteen `bf16`: each `f32` rounded to the nearest, ties to even.
#[inline(always)]
fn to_bf16(v: __m512) -> __m256i {
    let bits = op!(_mm512_castps_si512(v));
    let high = op!(_mm512_srli_epi32::<16>(bits));
    let one = op!(_mm512_set1_epi32(1));
    let odd = op!(_mm512_and_si512(high, one));
    let half = op!(_mm512_set1_epi32(0x7fff));
    let up = op!(_mm512_add_epi32(odd, half));
    let rounded = op!(_mm512_add_epi32(bits, up));
    let rounded = op!(_mm512_srli_epi32::<16>(rounded));
    let quiet = op!(_mm512_set1_epi32(0x40));
    let quiet = op!(_mm512_or_si512(high, quiet));
    let nan = op!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v));
    let words = op!(_mm512_mask_mov_epi32(rounded, nan, quiet));
    op!(_mm512_cvtepi32_epi16(words))
}

#[inline(always)]
fn to_f16(v: __m512) -> __m256i {
    op!(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v))
}

/// The first sixteen words of a slice, 0 beyond its end.
#[inline(always)]
fn load_words<T>(from: &[T]) -> __m256i {
    const { assert!(size_of::<T>() == 2) };
    let at = from.as_ptr().cast();
    if from.len() >= 16 {
        // SAFETY: the slice has 32 bytes and any bits are words; the token of the caller proves the features.
        unsafe { _mm256_loadu_si256(at) }
    } else {
        // SAFETY: only the lanes of the slice's own words are read; the features as above.
        unsafe { _mm256_maskz_loadu_epi16(lanes(from.len()), at.cast()) }
    }
}

/// Writes as many words as there is room for.
#[inline(always)]
fn store_words<T>(words: __m256i, to: &mut [T]) {
    const { assert!(size_of::<T>() == 2) };
    let at = to.as_mut_ptr().cast();
    if to.len() >= 16 {
        // SAFETY: the slice has 32 bytes, and words are any bits; the token of the caller proves the features.
        unsafe { _mm256_storeu_si256(at, words) }
    } else {
        // SAFETY: only the lanes of the slice's own words are written; the features as above.
        unsafe { _mm256_mask_storeu_epi16(at.cast(), lanes(to.len()), words) }
    }
}

impl Simd for Avx512 {
    const WIDTH: usize = 16;
    const FUSED: bool = true;
    const WIDENS: bool = true;
    type V = F32x16;
    type W = F64x8;
    type M = __mmask16;
    type Doubles = Self;

    #[inline(always)]
    fn call<P: Part<Self>>(self, part: P) -> P::Output {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma,f16c")]
        #[inline(never)]
        fn called<P: Part<Avx512>>(part: P, token: Avx512) -> P::Output {
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
    fn splat(self, x: f32) -> F32x16 {
        F32x16(op!(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    fn splat_f64(self, x: f64) -> F64x8 {
        F64x8(op!(_mm512_set1_pd(x)))
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "at most eight bits")]
    fn load_f64(self, from: &[f64]) -> F64x8 {
        F64x8(if from.len() >= 8 {
            // SAFETY: the slice has eight numbers; the token proves the features.
            unsafe { _mm512_loadu_pd(from.as_ptr()) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are read; the token proves the features.
            unsafe { _mm512_maskz_loadu_pd(lanes(from.len()) as __mmask8, from.as_ptr()) }
        })
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "at most eight bits")]
    fn store_f64(self, w: F64x8, to: &mut [f64]) {
        if to.len() >= 8 {
            // SAFETY: the slice has room for eight numbers; the token proves the features.
            unsafe { _mm512_storeu_pd(to.as_mut_ptr(), w.0) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are written; the token proves the features.
            unsafe { _mm512_mask_storeu_pd(to.as_mut_ptr(), lanes(to.len()) as __mmask8, w.0) }
        }
    }

    #[inline(always)]
    fn widen(self, v: F32x16) -> [F64x8; 2] {
        let low = op!(_mm512_castps512_ps256(v.0));
        let high = op!(_mm512_extractf32x8_ps::<1>(v.0));
        [F64x8(op!(_mm512_cvtps_pd(low))), F64x8(op!(_mm512_cvtps_pd(high)))]
    }

    #[inline(always)]
    fn narrow(self, [low, high]: [F64x8; 2]) -> F32x16 {
        let low = op!(_mm512_cvtpd_ps(low.0));
        let low = op!(_mm512_castps256_ps512(low));
        let high = op!(_mm512_cvtpd_ps(high.0));
        F32x16(op!(_mm512_insertf32x8::<1>(low, high)))
    }

    #[inline(always)]
    fn fma_f64(self, a: F64x8, b: F64x8, c: F64x8) -> F64x8 {
        F64x8(op!(_mm512_fmadd_pd(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn sum_f64(self, w: F64x8) -> f64 {
        op!(_mm512_reduce_add_pd(w.0))
    }

    #[inline(always)]
    fn load_f32(self, from: &[f32]) -> F32x16 {
        F32x16(if from.len() >= 16 {
            // SAFETY: the slice has sixteen numbers; the token proves the features.
            unsafe { _mm512_loadu_ps(from.as_ptr()) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are read; the token proves the features.
            unsafe { _mm512_maskz_loadu_ps(lanes(from.len()), from.as_ptr()) }
        })
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16]) -> F32x16 {
        let words = load_words(from);
        F32x16(op!(_mm512_cvtph_ps(words)))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> F32x16 {
        let words = load_words(from);
        let wide = op!(_mm512_cvtepu16_epi32(words));
        let bits = op!(_mm512_slli_epi32::<16>(wide));
        F32x16(op!(_mm512_castsi512_ps(bits)))
    }

    #[inline(always)]
    fn store_f32(self, v: F32x16, to: &mut [f32]) {
        if to.len() >= 16 {
            // SAFETY: the slice has room for sixteen numbers; the token proves the features.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v.0) }
        } else {
            // SAFETY: only the lanes of the slice's own numbers are written; the token proves the features.
            unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), lanes(to.len()), v.0) }
        }
    }

    #[inline(always)]
    fn store_f16(self, v: F32x16, to: &mut [f16]) {
        store_words(to_f16(v.0), to);
    }

    #[inline(always)]
    fn store_bf16(self, v: F32x16, to: &mut [bf16]) {
        store_words(to_bf16(v.0), to);
    }

    #[inline(always)]
    fn stream_f32(self, v: F32x16, to: &mut [f32]) {
        if to.len() >= 16 && to.as_ptr().addr().is_multiple_of(64) {
            // SAFETY: the slice has room for sixteen numbers at an address divisible by 64; the token proves the
            // features, and `fence` orders the store before the borrow ends for another thread.
            unsafe { _mm512_stream_ps(to.as_mut_ptr(), v.0) }
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
    fn fma(self, a: F32x16, b: F32x16, c: F32x16) -> F32x16 {
        F32x16(op!(_mm512_fmadd_ps(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        F32x16(op!(_mm512_max_ps(a.0, b.0)))
    }

    #[inline(always)]
    fn abs(self, v: F32x16) -> F32x16 {
        F32x16(op!(_mm512_abs_ps(v.0)))
    }

    #[inline(always)]
    fn max_abs(self, a: F32x16, b: F32x16) -> F32x16 {
        // 0b10_11: the larger magnitude, with its sign cleared.
        F32x16(op!(_mm512_range_ps::<0b1011>(a.0, b.0)))
    }

    #[inline(always)]
    fn fraction(self, x: F32x16) -> F32x16 {
        F32x16(op!(_mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x.0)))
    }

    #[inline(always)]
    fn scale(self, p: F32x16, x: F32x16) -> F32x16 {
        F32x16(op!(_mm512_scalef_ps(p.0, x.0)))
    }

    #[inline(always)]
    fn less(self, a: F32x16, b: F32x16) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0))
    }

    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        lanes(n)
    }

    #[inline(always)]
    fn and(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }

    #[inline(always)]
    fn not(self, m: __mmask16) -> __mmask16 {
        !m
    }

    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }

    #[inline(always)]
    fn select(self, m: __mmask16, a: F32x16, b: F32x16) -> F32x16 {
        F32x16(op!(_mm512_mask_mov_ps(b.0, m, a.0)))
    }

    #[inline(always)]
    fn sum(self, v: F32x16) -> f64 {
        let [low, high] = self.widen(v);
        self.sum_f64(low + high)
    }

    #[inline(always)]
    fn largest(self, v: F32x16) -> f32 {
        op!(_mm512_reduce_max_ps(v.0))
    }

    #[inline(always)]
    fn bits(self, m: __mmask16) -> u32 {
        m.into()
    }

    #[inline(always)]
    fn transpose<E: Stored>(self, from: &[E], pitch: usize, to: &mut [Line]) {
        let (a, b, c, d) = four_rows(self, from, 0, pitch);
        let (e, f, g, h) = four_rows(self, from, 4, pitch);
        let (i, j, k, l) = four_rows(self, from, 8, pitch);
        let (m, n, o, p) = four_rows(self, from, 12, pitch);
        store_lines(self, square([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]), to);
    }

    #[inline(always)]
    fn transpose_back(self, from: &[Line], to: &mut [f32], pitch: usize) {
        store_rows(self, square(load_lines(self, from)), to, pitch);
    }
}

/// The transpose of a square.
#[inline(always)]
fn square([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [F32x16; 16]) -> [F32x16; 16] {
    let rows = [fours(a, b, c, d), fours(e, f, g, h), fours(i, j, k, l), fours(m, n, o, p)];
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = rows;
    let columns = [sixteen(a, e, i, m), sixteen(b, f, j, n), sixteen(c, g, k, o), sixteen(d, h, l, p)];
    let [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]] = columns;
    [a, e, i, m, b, f, j, n, c, g, k, o, d, h, l, p]
}

#[inline(always)]
fn four_rows<E: Stored>(
    l: Avx512,
    from: &[E],
    first: usize,
    pitch: usize,
) -> (F32x16, F32x16, F32x16, F32x16) {
    let at = first * pitch;
    (row(l, from, at), row(l, from, at + pitch), row(l, from, at + 2 * pitch), row(l, from, at + 3 * pitch))
}

/// Four rows: in vector k, four of each fourth column from k on.
#[inline(always)]
fn fours(a: F32x16, b: F32x16, c: F32x16, d: F32x16) -> [__m512d; 4] {
    let ab = (op!(_mm512_unpacklo_ps(a.0, b.0)), op!(_mm512_unpackhi_ps(a.0, b.0)));
    let cd = (op!(_mm512_unpacklo_ps(c.0, d.0)), op!(_mm512_unpackhi_ps(c.0, d.0)));
    let ((first, second), (third, fourth)) = (pairs(ab.0, cd.0), pairs(ab.1, cd.1));
    [first, second, third, fourth]
}

#[inline(always)]
fn pairs(x: __m512, y: __m512) -> (__m512d, __m512d) {
    let (x, y) = (op!(_mm512_castps_pd(x)), op!(_mm512_castps_pd(y)));
    (op!(_mm512_unpacklo_pd(x, y)), op!(_mm512_unpackhi_pd(x, y)))
}

/// Each fourth column, of sixteen rows, from four rows a vector.
#[inline(always)]
fn sixteen(a: __m512d, b: __m512d, c: __m512d, d: __m512d) -> [F32x16; 4] {
    let (a, b) = (op!(_mm512_castpd_ps(a)), op!(_mm512_castpd_ps(b)));
    let (c, d) = (op!(_mm512_castpd_ps(c)), op!(_mm512_castpd_ps(d)));
    let even = (op!(_mm512_shuffle_f32x4::<0x88>(a, b)), op!(_mm512_shuffle_f32x4::<0x88>(c, d)));
    let odd = (op!(_mm512_shuffle_f32x4::<0xdd>(a, b)), op!(_mm512_shuffle_f32x4::<0xdd>(c, d)));
    [
        F32x16(op!(_mm512_shuffle_f32x4::<0x88>(even.0, even.1))),
        F32x16(op!(_mm512_shuffle_f32x4::<0x88>(odd.0, odd.1))),
        F32x16(op!(_mm512_shuffle_f32x4::<0xdd>(even.0, even.1))),
        F32x16(op!(_mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1))),
    ]
}
