//! Vectors of eight `f64` on every instruction set, for loops that keep all digits: a trait beside
//! [`Simd`](super::Simd), whose tokens it shares. Lanes are the same everywhere; only what is fused differs.

#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx2;
#[cfg(all(feature = "simd", target_arch = "x86_64"))]
mod avx512;
mod portable;
#[cfg(test)]
mod tests;

use crate::arithmetic::{EXP, EXPM1_REST_F64, LN_2};
use core::ops::{Add, Div, Mul, Sub};

/// Numbers of a vector.
pub(crate) const EIGHT: usize = 8;

/// The operations on eight `f64` of one instruction set; `self` is its token.
pub(crate) trait Doubles: Copy {
    /// Whether [`Self::fma`] rounds once.
    #[cfg(test)]
    const FUSED: bool;
    /// Eight numbers.
    type D: Copy
        + Add<Output = Self::D>
        + Sub<Output = Self::D>
        + Mul<Output = Self::D>
        + Div<Output = Self::D>;
    /// One truth a lane.
    type T: Copy;

    /// The same number in every lane.
    fn splat(self, x: f64) -> Self::D;

    fn load(self, from: &[f64; EIGHT]) -> Self::D;

    fn store(self, v: Self::D, to: &mut [f64; EIGHT]);

    /// `a * b + c`, rounded once or twice, as the instruction set has it.
    fn fma(self, a: Self::D, b: Self::D, c: Self::D) -> Self::D;

    /// `a` where it is above `b`, else `b`: `b` where either is NaN.
    fn above(self, a: Self::D, b: Self::D) -> Self::D;

    /// The square root.
    fn sqrt(self, x: Self::D) -> Self::D;

    /// The nearest integer; for |x| up to 2^31.
    fn nearest(self, x: Self::D) -> Self::D;

    /// `p * 2^n` for p from 1/2 to 2 and an integer n up to 1022; where it is below the smallest normal number, it or
    /// 0. NaN where p is NaN.
    fn scale(self, p: Self::D, n: Self::D) -> Self::D;

    /// Where `a < b`.
    fn less(self, a: Self::D, b: Self::D) -> Self::T;

    /// Where `a == b`.
    fn equal(self, a: Self::D, b: Self::D) -> Self::T;

    /// `a` where true, `b` elsewhere.
    fn select(self, m: Self::T, a: Self::D, b: Self::D) -> Self::D;

    /// Whether it is true in every lane.
    fn all(self, m: Self::T) -> bool;

    /// The lanes.
    #[inline(always)]
    fn lanes(self, v: Self::D) -> [f64; EIGHT] {
        let mut lanes = [0.0; EIGHT];
        self.store(v, &mut lanes);
        lanes
    }

    /// The sum of the lanes in one order.
    #[inline(always)]
    fn sum(self, v: Self::D) -> f64 {
        let [a, b, c, d, e, f, g, h] = self.lanes(v);
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }

    /// The magnitude.
    #[inline(always)]
    fn abs(self, v: Self::D) -> Self::D {
        self.above(v, self.splat(0.0) - v)
    }

    /// e^x for x up to 709, within 1.5 ulp; where it is below the smallest normal number, it or 0; NaN for NaN, NaN or
    /// infinity for infinity.
    ///
    /// Source: as [`exp_fast`](crate::arithmetic::Arithmetic::exp_fast).
    #[inline(always)]
    fn exp(self, x: Self::D) -> Self::D {
        // Far enough down for 0, near enough for the rest to be a number.
        let x = self.above(self.splat(-750.0), x);
        let n = self.nearest(x * self.splat(core::f64::consts::LOG2_E));
        let f = self.fma(n, self.splat(-LN_2[0]), x);
        let f = self.fma(n, self.splat(-LN_2[1]), f);
        let p = self.polynomial(&EXP, f);
        self.scale(self.splat(1.0) + self.fma(f * f, p, f), n)
    }

    /// [`expm1_rest`](crate::arithmetic::Arithmetic::expm1_rest).
    #[inline(always)]
    fn expm1_rest(self, r: Self::D) -> Self::D {
        self.polynomial(&EXPM1_REST_F64, r)
    }

    /// The polynomial of these coefficients, of rising degree: even and odd powers side by side, since one chain of all
    /// of them is waited for longer than it is worked on.
    #[inline(always)]
    fn polynomial<const K: usize>(self, coefficients: &[f64; K], x: Self::D) -> Self::D {
        let square = x * x;
        let (mut even, mut odd) = (self.splat(0.0), self.splat(0.0));
        for (i, pair) in coefficients.chunks(2).enumerate().rev() {
            let &[c, ref next @ ..] = pair else { continue };
            even = if 2 * i + 2 < K { self.fma(even, square, self.splat(c)) } else { self.splat(c) };
            if let &[c] = next {
                odd = if 2 * i + 3 < K { self.fma(odd, square, self.splat(c)) } else { self.splat(c) };
            }
        }
        self.fma(odd, x, even)
    }
}

/// `a - b` as an unevaluated sum of two numbers, exactly, barring overflow: as
/// [`two_difference`](crate::arithmetic::two_difference).
#[inline(always)]
pub(crate) fn difference<D: Copy + Add<Output = D> + Sub<Output = D>>(a: D, b: D) -> (D, D) {
    let high = a - b;
    let v = high - a;
    (high, (a - (high - v)) - (b + v))
}
