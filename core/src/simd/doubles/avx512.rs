//! AVX-512: one register.

#![allow(
    unsafe_code,
    reason = "intrinsics, proven by the token, and loads and stores at addresses of arrays"
)]

use super::{Doubles, EIGHT};
use crate::simd::avx512::Avx512;
use crate::simd::intrinsics::{op, operators};
#[allow(clippy::wildcard_imports, reason = "intrinsics, each by its full name")]
use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

/// A vector; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F64x8(__m512d);

operators! { F64x8:
    Add add _mm512_add_pd;
    Sub sub _mm512_sub_pd;
    Mul mul _mm512_mul_pd;
    Div div _mm512_div_pd;
}

impl Doubles for Avx512 {
    #[cfg(test)]
    const FUSED: bool = true;
    type D = F64x8;
    type T = __mmask8;

    #[inline(always)]
    fn splat(self, x: f64) -> F64x8 {
        F64x8(op!(_mm512_set1_pd(x)))
    }

    #[inline(always)]
    fn load(self, from: &[f64; EIGHT]) -> F64x8 {
        // SAFETY: the array has eight numbers; the token proves the features.
        F64x8(unsafe { _mm512_loadu_pd(from.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, v: F64x8, to: &mut [f64; EIGHT]) {
        // SAFETY: the array has room for eight numbers; the token proves the features.
        unsafe { _mm512_storeu_pd(to.as_mut_ptr(), v.0) }
    }

    #[inline(always)]
    fn fma(self, a: F64x8, b: F64x8, c: F64x8) -> F64x8 {
        F64x8(op!(_mm512_fmadd_pd(a.0, b.0, c.0)))
    }

    #[inline(always)]
    fn above(self, a: F64x8, b: F64x8) -> F64x8 {
        F64x8(op!(_mm512_max_pd(a.0, b.0)))
    }

    #[inline(always)]
    fn sqrt(self, x: F64x8) -> F64x8 {
        F64x8(op!(_mm512_sqrt_pd(x.0)))
    }

    #[inline(always)]
    fn nearest(self, x: F64x8) -> F64x8 {
        F64x8(op!(_mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x.0)))
    }

    #[inline(always)]
    fn scale(self, p: F64x8, n: F64x8) -> F64x8 {
        F64x8(op!(_mm512_scalef_pd(p.0, n.0)))
    }

    #[inline(always)]
    fn less(self, a: F64x8, b: F64x8) -> __mmask8 {
        op!(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a.0, b.0))
    }

    #[inline(always)]
    fn equal(self, a: F64x8, b: F64x8) -> __mmask8 {
        op!(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a.0, b.0))
    }

    #[inline(always)]
    fn select(self, m: __mmask8, a: F64x8, b: F64x8) -> F64x8 {
        F64x8(op!(_mm512_mask_mov_pd(b.0, m, a.0)))
    }

    #[inline(always)]
    fn all(self, m: __mmask8) -> bool {
        m == !0
    }
}
