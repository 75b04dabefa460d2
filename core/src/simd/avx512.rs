//! AVX-512 F, VL, DQ and BW: sixteen lanes.

#![allow(
    unsafe_code,
    reason = "intrinsics, proven by the token, and loads and stores at addresses that slices give"
)]

use super::Simd;
use super::intrinsics::{op, operators};
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
    type V = F32x16;
    type M = __mmask16;
    type Doubles = Self;

    #[inline(always)]
    fn doubles(self) -> Self {
        self
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x16 {
        F32x16(op!(_mm512_set1_ps(x)))
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
        let low = op!(_mm512_castps512_ps256(v.0));
        let low = op!(_mm512_cvtps_pd(low));
        let high = op!(_mm512_extractf32x8_ps::<1>(v.0));
        let high = op!(_mm512_cvtps_pd(high));
        let both = op!(_mm512_add_pd(low, high));
        op!(_mm512_reduce_add_pd(both))
    }

    #[inline(always)]
    fn largest(self, v: F32x16) -> f32 {
        op!(_mm512_reduce_max_ps(v.0))
    }
}
