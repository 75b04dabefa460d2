//! AVX2 with FMA: two registers.

#![allow(
    unsafe_code,
    reason = "intrinsics, proven by the token, and loads and stores at addresses of arrays"
)]

use super::{Doubles, EIGHT};
use crate::simd::avx2::Avx2;
use crate::simd::intrinsics::op;
#[allow(clippy::wildcard_imports, reason = "intrinsics, each by its full name")]
use core::arch::x86_64::*;
use core::ops::{Add, Div, Mul, Sub};

/// A vector; only a token makes one.
#[derive(Clone, Copy)]
pub(crate) struct F64x8([__m256d; 2]);

/// One truth a lane, all bits of it.
#[derive(Clone, Copy)]
pub(crate) struct Mask8([__m256d; 2]);

/// An intrinsic on the halves of vectors.
macro_rules! halves {
    ($intrinsic:ident $(::<$c:tt>)? ($a:expr)) => {{
        let [low, high] = $a.0;
        [op!($intrinsic $(::<$c>)? (low)), op!($intrinsic $(::<$c>)? (high))]
    }};
    ($intrinsic:ident $(::<$c:tt>)? ($a:expr, $b:expr)) => {{
        let ([low_a, high_a], [low_b, high_b]) = ($a.0, $b.0);
        [op!($intrinsic $(::<$c>)? (low_a, low_b)), op!($intrinsic $(::<$c>)? (high_a, high_b))]
    }};
    ($intrinsic:ident $(::<$c:tt>)? ($a:expr, $b:expr, $d:expr)) => {{
        let ([low_a, high_a], [low_b, high_b], [low_d, high_d]) = ($a.0, $b.0, $d.0);
        [op!($intrinsic $(::<$c>)? (low_a, low_b, low_d)), op!($intrinsic $(::<$c>)? (high_a, high_b, high_d))]
    }};
}

macro_rules! operators {
    ($($trait:ident $method:ident $intrinsic:ident;)+) => {$(
        impl $trait for F64x8 {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(halves!($intrinsic(self, other)))
            }
        }
    )+};
}

operators! {
    Add add _mm256_add_pd;
    Sub sub _mm256_sub_pd;
    Mul mul _mm256_mul_pd;
    Div div _mm256_div_pd;
}

/// 2^n for an integer n up to 1023; 0 from -1023 down.
#[inline(always)]
fn power(n: __m256d) -> __m256d {
    // 2^52 and the bias: the low bits of the sum are those of n + 1023.
    let magic = op!(_mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0));
    let lowest = op!(_mm256_set1_pd(-1023.0));
    let n = op!(_mm256_max_pd(n, lowest));
    let shifted = op!(_mm256_add_pd(n, magic));
    let bits = op!(_mm256_castpd_si256(shifted));
    let bits = op!(_mm256_slli_epi64::<52>(bits));
    op!(_mm256_castsi256_pd(bits))
}

impl Doubles for Avx2 {
    #[cfg(test)]
    const FUSED: bool = true;
    type D = F64x8;
    type T = Mask8;

    #[inline(always)]
    fn splat(self, x: f64) -> F64x8 {
        F64x8([op!(_mm256_set1_pd(x)); 2])
    }

    #[inline(always)]
    fn load(self, from: &[f64; EIGHT]) -> F64x8 {
        let (low, high) = from.split_at(EIGHT / 2);
        // SAFETY: half of the array has four numbers; the token proves the features.
        let low = unsafe { _mm256_loadu_pd(low.as_ptr()) };
        // SAFETY: as above.
        let high = unsafe { _mm256_loadu_pd(high.as_ptr()) };
        F64x8([low, high])
    }

    #[inline(always)]
    fn store(self, F64x8([a, b]): F64x8, to: &mut [f64; EIGHT]) {
        let (low, high) = to.split_at_mut(EIGHT / 2);
        // SAFETY: half of the array has room for four numbers; the token proves the features.
        unsafe { _mm256_storeu_pd(low.as_mut_ptr(), a) }
        // SAFETY: as above.
        unsafe { _mm256_storeu_pd(high.as_mut_ptr(), b) }
    }

    #[inline(always)]
    fn fma(self, a: F64x8, b: F64x8, c: F64x8) -> F64x8 {
        F64x8(halves!(_mm256_fmadd_pd(a, b, c)))
    }

    #[inline(always)]
    fn above(self, a: F64x8, b: F64x8) -> F64x8 {
        F64x8(halves!(_mm256_max_pd(a, b)))
    }

    #[inline(always)]
    fn sqrt(self, x: F64x8) -> F64x8 {
        F64x8(halves!(_mm256_sqrt_pd(x)))
    }

    #[inline(always)]
    fn nearest(self, x: F64x8) -> F64x8 {
        F64x8(halves!(_mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)))
    }

    #[inline(always)]
    fn scale(self, p: F64x8, F64x8([low, high]): F64x8) -> F64x8 {
        p * F64x8([power(low), power(high)])
    }

    #[inline(always)]
    fn less(self, a: F64x8, b: F64x8) -> Mask8 {
        Mask8(halves!(_mm256_cmp_pd::<_CMP_LT_OQ>(a, b)))
    }

    #[inline(always)]
    fn equal(self, a: F64x8, b: F64x8) -> Mask8 {
        Mask8(halves!(_mm256_cmp_pd::<_CMP_EQ_OQ>(a, b)))
    }

    #[inline(always)]
    fn select(self, m: Mask8, a: F64x8, b: F64x8) -> F64x8 {
        F64x8(halves!(_mm256_blendv_pd(b, a, m)))
    }

    #[inline(always)]
    fn all(self, Mask8([low, high]): Mask8) -> bool {
        let both = op!(_mm256_and_pd(low, high));
        op!(_mm256_movemask_pd(both)) == 15
    }
}
