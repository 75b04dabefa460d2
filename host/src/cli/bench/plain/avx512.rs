//! Sixteen numbers in a register of AVX-512.
#![allow(unsafe_code, reason = "instructions of an instruction set, and memory by pointers that they take")]
#![allow(clippy::wildcard_imports, reason = "an instruction's name says where it is from")]

use super::lanes::{COUNT, Lanes, Stored, polynomial};
use half::{bf16, f16};
use std::arch::x86_64::*;

/// A register. Only functions compiled for AVX-512 make one, and they are entered after it was detected.
#[derive(Clone, Copy)]
pub(super) struct Wide(__m512);

/// An instruction on values.
macro_rules! on_values {
    ($instruction:expr) => {
        // SAFETY: a `Wide` or a call for one exists only where AVX-512 F and DQ were detected, and the
        // instruction reads no memory.
        unsafe { $instruction }
    };
}

impl Lanes for Wide {
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(on_values!(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    fn load(from: &[f32; COUNT]) -> Self {
        // SAFETY: AVX-512 was detected, and 64 bytes may be read at any alignment.
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; COUNT]) {
        // SAFETY: AVX-512 was detected, and 64 bytes may be written at any alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(on_values!(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(on_values!(_mm512_add_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(on_values!(_mm512_sub_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(on_values!(_mm512_mul_ps(self.0, b.0)))
    }

    /// x less its floor, the polynomial, then times 2^floor x.
    #[inline(always)]
    fn exp2(self) -> Self {
        let p = polynomial(Self(on_values!(_mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF }>(self.0))));
        Self(on_values!(_mm512_scalef_ps(p.0, self.0)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        on_values!(_mm512_reduce_add_ps(self.0))
    }
}

impl Stored<Wide> for f32 {
    const BOTTOM: Self = -3e4;

    #[inline(always)]
    fn load(from: &[Self; COUNT]) -> Wide {
        <Wide as Lanes>::load(from)
    }

    #[inline(always)]
    fn store(lanes: Wide, to: &mut [Self; COUNT]) {
        Lanes::store(lanes, to);
    }

    #[inline(always)]
    fn stream(lanes: Wide, to: &mut [Self; COUNT]) {
        // SAFETY: AVX-512 was detected, and the caller has aligned `to` to its 64 bytes.
        unsafe { _mm512_stream_ps(to.as_mut_ptr(), lanes.0) }
    }
}

/// A half type by its conversions between sixteen numbers in 32 bits and in 16.
macro_rules! half_type {
    ($half:ty, $bottom:expr, $widen:ident, $narrow:ident) => {
        impl Stored<Wide> for $half {
            const BOTTOM: Self = $bottom;

            #[inline(always)]
            fn load(from: &[Self; COUNT]) -> Wide {
                // SAFETY: AVX was detected, and 32 bytes may be read at any alignment.
                let bits = unsafe { _mm256_loadu_si256(from.as_ptr().cast()) };
                Wide($widen(bits))
            }

            #[inline(always)]
            fn store(lanes: Wide, to: &mut [Self; COUNT]) {
                let bits = $narrow(lanes.0);
                // SAFETY: AVX was detected, and 32 bytes may be written at any alignment.
                unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), bits) }
            }

            #[inline(always)]
            fn stream(lanes: Wide, to: &mut [Self; COUNT]) {
                let bits = $narrow(lanes.0);
                // SAFETY: AVX was detected, and the caller has aligned `to` to its 32 bytes.
                unsafe { _mm256_stream_si256(to.as_mut_ptr().cast(), bits) }
            }
        }
    };
}

half_type!(f16, f16::from_f32_const(-3e4), widen_f16, narrow_f16);
half_type!(bf16, bf16::from_f32_const(-3e4), widen_bf16, narrow_bf16);

#[inline(always)]
fn widen_f16(bits: __m256i) -> __m512 {
    on_values!(_mm512_cvtph_ps(bits))
}

#[inline(always)]
fn narrow_f16(x: __m512) -> __m256i {
    on_values!(_mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
}

#[inline(always)]
fn widen_bf16(bits: __m256i) -> __m512 {
    let wide = on_values!(_mm512_cvtepu16_epi32(bits));
    let shifted = on_values!(_mm512_slli_epi32::<16>(wide));
    on_values!(_mm512_castsi512_ps(shifted))
}

/// To the nearest, ties to even; of finite numbers.
#[inline(always)]
fn narrow_bf16(x: __m512) -> __m256i {
    let bits = on_values!(_mm512_castps_si512(x));
    let upper = on_values!(_mm512_srli_epi32::<16>(bits));
    let odd = on_values!(_mm512_and_si512(upper, _mm512_set1_epi32(1)));
    let half = on_values!(_mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    let rounded = on_values!(_mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half)));
    on_values!(_mm512_cvtepi32_epi16(rounded))
}
