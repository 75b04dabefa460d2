//! Logarithms without branches, for loops over many numbers.

use crate::arithmetic::LN_2;
use crate::simd::Doubles;
use core::ops::{Add, Div, Mul, Sub};

/// log x for x from 2^-1022 on, within 1 ulp; infinity and NaN stay.
#[inline(always)]
pub(crate) fn ln_fast(x: f64) -> f64 {
    let (k, m) = split(x);
    let log = assemble(|x| x, k, m - 1.0, 0.0);
    if x < f64::INFINITY { log } else { x }
}

/// log(1 + x) for x from -0.7 to 1.8, within 1 ulp; NaN stays.
#[inline(always)]
pub(crate) fn ln_1p_fast(x: f64) -> f64 {
    let u = 1.0 + x;
    let (k, m) = split(u);
    // What the sum has lost, over it: the first term of what it adds to the logarithm.
    let lost = (x - (u - 1.0)) / u;
    if k == 0.0 { assemble(|x| x, 0.0, x, 0.0) } else { assemble(|x| x, k, m - 1.0, lost) }
}

/// log(1 + x), the fast way where that holds.
#[inline(always)]
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x > -0.7 && x < 1.8 { ln_1p_fast(x) } else { libm::log1p(x) }
}

/// [`ln_fast`] in vectors.
#[inline(always)]
pub(crate) fn ln_lanes<L: Doubles>(l: L, x: L::D) -> L::D {
    let [k, m] = split_lanes(l, x);
    let log = assemble(|x| l.splat(x), k, m - l.splat(1.0), l.splat(0.0));
    l.select(l.less(x, l.splat(f64::INFINITY)), log, x)
}

/// [`ln_1p_fast`] in vectors.
#[inline(always)]
pub(crate) fn ln_1p_lanes<L: Doubles>(l: L, x: L::D) -> L::D {
    let (zero, one) = (l.splat(0.0), l.splat(1.0));
    let u = one + x;
    let [k, m] = split_lanes(l, u);
    let lost = (x - (u - one)) / u;
    // One division for both, where the scalar form has a branch.
    let whole = l.equal(k, zero);
    assemble(|x| l.splat(x), k, l.select(whole, x, m - one), l.select(whole, zero, lost))
}

/// log(1 + e^x) in vectors; e^-|x| is 0 beyond 708.
#[inline(always)]
pub(crate) fn softplus_lanes<L: Doubles>(l: L, x: L::D) -> L::D {
    let zero = l.splat(0.0);
    l.above(x, zero) + ln_1p_lanes(l, l.exp(zero - l.abs(x)))
}

#[inline(always)]
fn split_lanes<L: Doubles>(l: L, x: L::D) -> [L::D; 2] {
    let parts = l.lanes(x).map(split);
    [l.load(&parts.map(|(k, _)| k)), l.load(&parts.map(|(_, m)| m))]
}

/// x = 2^k m, m from sqrt(1/2) to sqrt(2).
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    const ONE: u64 = 0x3ff0_0000_0000_0000;
    const ROOT: u64 = 0x3fe6_a09e_0000_0000;
    // 2^52: a number below it in the low bits is that much more.
    const MAGIC: u64 = 0x4330_0000_0000_0000;
    let shifted = x.to_bits().wrapping_add(ONE - ROOT);
    let k = f64::from_bits((shifted >> 52) | MAGIC) - (4_503_599_627_370_496.0 + 1023.0);
    (k, f64::from_bits((shifted & 0x000f_ffff_ffff_ffff) + ROOT))
}

/// k log 2 + log(1 + f) + c for a small c, of one number or of several side by side.
///
/// Source: with s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)), R the minimax
/// polynomial of fdlibm's `e_log.c` (error below 2^-58); log 2 in two terms, the first of 32 bits.
#[inline(always)]
fn assemble<T>(of: impl Fn(f64) -> T, k: T, f: T, c: T) -> T
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<Output = T> + Div<Output = T>,
{
    let s = f / (of(2.0) + f);
    let (z, half) = (s * s, of(0.5) * f * f);
    let w = z * z;
    let odd = w
        * (of(0.399_999_999_994_094_2)
            + w * (of(0.222_221_984_321_497_84) + w * of(0.153_138_376_992_093_73)));
    let even = z
        * (of(0.666_666_666_666_673_5)
            + w * (of(0.285_714_287_436_623_9)
                + w * (of(0.181_835_721_616_180_5) + w * of(0.147_981_986_051_165_86))));
    s * (half + (odd + even)) + (k * of(LN_2[1]) + c) - half + f + k * of(LN_2[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Simd, Vectors, on};

    /// [`ln_lanes`], [`ln_1p_lanes`] and [`softplus_lanes`] of some numbers.
    struct Of([f64; 3]);

    impl Vectors for Of {
        type Output = [f64; 3];

        #[inline(always)]
        fn run<L: Simd>(self, l: L) -> [f64; 3] {
            let l = l.doubles();
            let [x, y, z] = self.0.map(|x| l.splat(x));
            [ln_lanes(l, x), ln_1p_lanes(l, y), softplus_lanes(l, z)].map(|x| l.lanes(x)[6])
        }
    }

    #[test]
    fn logarithms_stay_within_an_ulp() {
        let is_near = |got: f64, want: f64| (got - want).abs() <= 2.3e-16 * want.abs();
        for i in 0..200_000 {
            let x = libm::exp(f64::from(i) * 7e-3 - 700.0);
            let (got, want) = (ln_fast(x), libm::log(x));
            assert!(is_near(got, want), "{x:e}: {got:e}, not {want:e}");
            let y = f64::from(i) * 1.25e-5 - 0.7;
            for y in [y, y * 1e-9] {
                let (got, want) = (ln_1p_fast(y), libm::log1p(y));
                assert!(is_near(got, want), "1 + {y:e}: {got:e}, not {want:e}");
                if i % 16 == 0 {
                    for isa in Isa::available() {
                        assert_eq!(on(isa, Of([x, y, 0.0]))[..2], [ln_fast(x), got], "{x:e} {y:e}");
                    }
                }
            }
        }
        assert_eq!((ln_fast(1.0), ln_1p_fast(0.0)), (0.0, 0.0));
    }

    #[test]
    fn softplus_keeps_its_digits() {
        for (i, isa) in (0..20_000).flat_map(|i| Isa::available().map(move |isa| (i, isa))) {
            let x = f64::from(i) * 0.14 - 700.0;
            let [_, _, got] = on(isa, Of([1.0, 0.0, x]));
            let want = x.max(0.0) + libm::log1p(libm::exp(-x.abs()));
            assert!((got - want).abs() <= 5e-16 * want, "{x}: {got:e}, not {want:e}");
        }
    }

    #[test]
    fn what_is_not_finite_stays() {
        let (infinity, nan) = (f64::INFINITY, f64::NAN);
        assert!(ln_fast(nan).is_nan() && ln_1p_fast(nan).is_nan() && ln_fast(infinity) == infinity);
        for isa in Isa::available() {
            assert!(on(isa, Of([nan; 3])).iter().all(|x| x.is_nan()));
            assert_eq!(on(isa, Of([infinity, 0.0, infinity])), [infinity, 0.0, infinity]);
            assert_eq!(on(isa, Of([1.0, 0.0, -infinity])), [0.0; 3]);
        }
    }
}
