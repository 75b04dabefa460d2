//! One entry of a row in each lane: exponents about references, e^r - 1 and the Bregman term.

use crate::arithmetic::EXPM1_REST;
use crate::row::two_terms::{Pair, Scale, times};
use crate::simd::Simd;

impl<L: Simd> Scale<L> {
    /// e to a distance in units of the inputs. `DEEP`: with the last digits of large exponents, in the lanes where
    /// `deep` is 1 and not 0.
    #[inline(always)]
    pub(super) fn exp<const DEEP: bool>(&self, l: L, (high, low): Pair<L::V>, deep: L::V) -> L::V {
        let x = times(l, high, self.bits);
        if !DEEP {
            return l.exp2(x);
        }
        let product = high * self.bits.0;
        // Beyond, all is 0, and an overflowed product has no rest.
        let deep = l.and(l.less(l.splat(0.0), deep), l.less(l.abs(product), l.splat(1e3)));
        let lost = lost(l, high, self.bits.0, product);
        let rest = lost + l.fma(high, self.bits.1, low * self.bits.0);
        let w = l.exp2(l.select(deep, product, x));
        l.select(deep, l.fma(w, rest * l.splat(core::f32::consts::LN_2), w), w)
    }
}

/// What a product has been rounded by.
#[inline(always)]
fn lost<L: Simd>(l: L, a: L::V, b: L::V, product: L::V) -> L::V {
    if L::FUSED {
        return l.fma(a, b, l.splat(0.0) - product);
    }
    // Halves of a number, whose products are exact (Dekker).
    let halves = |x: L::V| {
        let far = x * l.splat(4097.0);
        let high = far - (far - x);
        (high, x - high)
    };
    let ((a, a_low), (b, b_low)) = (halves(a), halves(b));
    (((a * b - product) + a * b_low) + a_low * b) + a_low * b_low
}

/// (e^r - 1 - r) / r^2 on |r| <= 1, `r2` being r^2; by twos, as [`Simd::exp2`].
#[inline(always)]
pub(super) fn rest<L: Simd>(l: L, r: L::V, r2: L::V) -> L::V {
    let [a, b, c, d, e, f, g, h] = EXPM1_REST;
    let q = pair(l, r, (g, h));
    let q = l.fma(q, r2, pair(l, r, (e, f)));
    let q = l.fma(q, r2, pair(l, r, (c, d)));
    l.fma(q, r2, pair(l, r, (a, b)))
}

#[inline(always)]
fn pair<L: Simd>(l: L, r: L::V, (low, high): (f32, f32)) -> L::V {
    l.fma(l.splat(high), r, l.splat(low))
}
