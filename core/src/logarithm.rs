//! Logarithms without branches, for loops over many numbers.

use crate::arithmetic::Arithmetic as _;

/// log x for x from 2^-1022 on, within 1 ulp; infinity and NaN stay.
#[inline(always)]
pub(crate) fn ln_fast(x: f64) -> f64 {
    let (k, m) = split(x);
    let log = assemble(k, m - 1.0, 0.0);
    if x < f64::INFINITY { log } else { x }
}

/// log(1 + x) for x from -0.7 to 1.8, within 1 ulp; NaN stays.
#[inline(always)]
pub(crate) fn ln_1p_fast(x: f64) -> f64 {
    let u = 1.0 + x;
    let (k, m) = split(u);
    // What the sum has lost, over it: the first term of what it adds to the logarithm.
    let lost = (x - (u - 1.0)) / u;
    if k == 0.0 { assemble(0.0, x, 0.0) } else { assemble(k, m - 1.0, lost) }
}

/// log(1 + x), the fast way where that holds.
#[inline(always)]
pub(crate) fn ln_1p(x: f64) -> f64 {
    if x > -0.7 && x < 1.8 { ln_1p_fast(x) } else { libm::log1p(x) }
}

/// log(1 + e^x); e^-|x| is 0 beyond 708.
#[inline(always)]
pub(crate) fn softplus_fast(x: f64) -> f64 {
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + ln_1p_fast((-x.abs()).exp_fast())
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

/// k log 2 + log(1 + f) + c for a small c.
///
/// Source: with s = f / (2 + f), log(1 + f) = 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)), R the minimax
/// polynomial of fdlibm's `e_log.c` (error below 2^-58); log 2 in two terms, the first of 32 bits.
#[inline(always)]
fn assemble(k: f64, f: f64, c: f64) -> f64 {
    let s = f / (2.0 + f);
    let (z, half) = (s * s, 0.5 * f * f);
    let w = z * z;
    let odd = w * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
    let even = z
        * (0.666_666_666_666_673_5
            + w * (0.285_714_287_436_623_9 + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
    s * (half + (odd + even)) + (k * 1.908_214_929_270_587_7e-10 + c) - half
        + f
        + k * 6.931_471_803_691_238e-1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_stay_within_an_ulp() {
        for i in 0..200_000 {
            let x = libm::exp(f64::from(i) * 7e-3 - 700.0);
            let (got, want) = (ln_fast(x), libm::log(x));
            assert!((got - want).abs() <= 2.3e-16 * want.abs(), "{x:e}: {got:e}, not {want:e}");
            let x = f64::from(i) * 1.25e-5 - 0.7;
            for x in [x, x * 1e-9] {
                let (got, want) = (ln_1p_fast(x), libm::log1p(x));
                assert!((got - want).abs() <= 2.3e-16 * want.abs(), "1 + {x:e}: {got:e}, not {want:e}");
            }
        }
        assert_eq!((ln_fast(1.0), ln_1p_fast(0.0)), (0.0, 0.0));
    }

    #[test]
    fn what_is_not_finite_stays() {
        assert!(
            ln_fast(f64::NAN).is_nan() && ln_1p_fast(f64::NAN).is_nan() && softplus_fast(f64::NAN).is_nan()
        );
        assert_eq!(ln_fast(f64::INFINITY), f64::INFINITY);
        assert_eq!([f64::INFINITY, f64::NEG_INFINITY].map(softplus_fast), [f64::INFINITY, 0.0]);
    }
}
