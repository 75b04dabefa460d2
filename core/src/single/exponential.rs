//! e^x and log x in `f32`, as a type: a polynomial, the crate `libm`, or the user's own.

use core::f32::consts::{LN_2, LOG2_E};

/// How exponentials and logarithms are evaluated: made for a temperature, which a reduction of its own may then hold.
///
/// A core with a coprocessor for exponentials, or a table that it has anyway, brings its own:
///
/// ```
/// use densekd_core::single::{Exponential, RowKl};
/// /// The standard library's functions.
/// #[derive(Clone, Copy)]
/// struct Own {
///     per_unit: f32,
/// }
/// impl Exponential for Own {
///     const ERROR: f32 = 1.5e-7;
///     fn new(tau: f32) -> Self {
///         Self { per_unit: 1.0 / tau }
///     }
///     fn exp(&self, x: f32) -> f32 {
///         (x * self.per_unit).exp()
///     }
///     fn ln(x: f32) -> f32 {
///         x.ln()
///     }
/// }
/// let (teacher, student) = ([0.5_f32, -1.0, 2.0], [0.25_f32, -1.0, 1.0]);
/// let (own, usual) = (RowKl::<Own>::new(4.0), RowKl::<densekd_core::single::Polynomial>::new(4.0));
/// let value = |kl: f32| kl / usual.map_or(0.0, |usual| usual.value(&teacher, &student));
/// assert!((own.map_or(0.0, |own| value(own.value(&teacher, &student))) - 1.0).abs() < 1e-6);
/// ```
pub trait Exponential: Copy {
    /// The largest relative error of [`Self::exp`] where `x / tau` is from -1 to 0, that of the quotient included: what
    /// a divergence of ordinary rows may be off by, beside some 5e-7 of the sums.
    const ERROR: f32;

    /// For this temperature, from 1e-30 to 1e30.
    fn new(tau: f32) -> Self;

    /// `e^(x / tau)` for `x` up to 88 tau: 0 far below and at minus infinity, NaN for NaN.
    fn exp(&self, x: f32) -> f32;

    /// `log x` of a positive finite number; a few digits are enough, since it moves a reference alone.
    fn ln(x: f32) -> f32;
}

/// The polynomial of degree 6 that the inner loops of this library use, without a branch but for the ends.
///
/// Source: Cody and Waite's reduction `x = n tau ln 2 + f`, in the units of `x`, so that the exponent of a large `x` is as
/// exact as that of a small one; then `1 + g + g^2 P(g)` for `g = f / tau`, as in [`crate::Arithmetic::exp_fast`].
///
/// ```
/// use densekd_core::single::{Exponential, Polynomial};
/// let half = Polynomial::new(2.0);
/// assert!((half.exp(-3.0) / (-1.5_f32).exp() - 1.0).abs() < Polynomial::ERROR);
/// assert_eq!(half.exp(f32::NEG_INFINITY), 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Polynomial {
    /// 1 / tau, and in units of log 2.
    nats: f32,
    bits: f32,
    /// tau log 2 in two terms, the first of 16 bits: up to 256 times it is exact.
    step: (f32, f32),
}

/// The first `24 - N` bits of a number.
#[inline(always)]
fn head<const N: u32>(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & (!0 << N))
}

impl Exponential for Polynomial {
    const ERROR: f32 = 1.5e-7;

    fn new(tau: f32) -> Self {
        // log 2 in two terms of 12 and 24 bits; the product with the 12 first bits of tau is exact.
        const HIGH: f32 = 0.693_115_23;
        const LOW: f32 = 3.194_618_5e-5;
        let first = head::<12>(tau);
        let step = head::<8>(tau * LN_2);
        let rest = (first * HIGH - step) + (first * LOW + (tau - first) * LN_2);
        Self { nats: 1.0 / tau, bits: LOG2_E / tau, step: (step, rest) }
    }

    #[inline(always)]
    fn exp(&self, x: f32) -> f32 {
        // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
        const MAGIC: f32 = 12_582_912.0;
        let bits = x * self.bits;
        if bits < -126.0 {
            return 0.0;
        }
        let shifted = bits + MAGIC;
        let n = shifted - MAGIC;
        let g = ((x - n * self.step.0) - n * self.step.1) * self.nats;
        let p = 8.363_2e-3 + g * 1.390_131e-3;
        let p = 4.166_685_4e-2 + g * p;
        let p = 0.166_665_77 + g * p;
        let p = 0.5 + g * p;
        let p = 1.0 + g * (1.0 + g * p);
        f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
    }

    /// Within 3e-7 of itself, or of 1 where that is more, for `x` from 2e-38 on.
    fn ln(x: f32) -> f32 {
        const ROOT: u32 = 0x3f35_04f3;
        let bits = x.to_bits().wrapping_sub(ROOT);
        let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(ROOT));
        #[allow(clippy::cast_precision_loss, reason = "an exponent")]
        let k = (bits.cast_signed() >> 23) as f32;
        let s = (m - 1.0) / (m + 1.0);
        k * LN_2 + 2.0 * s * (1.0 + s * s * super::atanh_rest(s * s))
    }
}

/// The crate `libm`'s functions: no polynomial beside those that a program links already.
///
/// ```
/// use densekd_core::single::{Exponential, Libm};
/// assert!((Libm::new(2.0).exp(-3.0) / (-1.5_f32).exp() - 1.0).abs() < Libm::ERROR);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Libm {
    per_unit: f32,
}

impl Exponential for Libm {
    const ERROR: f32 = 2.5e-7;

    fn new(tau: f32) -> Self {
        Self { per_unit: 1.0 / tau }
    }

    fn exp(&self, x: f32) -> f32 {
        libm::expf(x * self.per_unit)
    }

    fn ln(x: f32) -> f32 {
        libm::logf(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error for x / tau from `low` to 0.
    fn worst<X: Exponential>(tau: f32, low: f32) -> f64 {
        let exponential = X::new(tau);
        let off = |i: u16| {
            let x = f32::from(i) / 20_000.0 * low * tau;
            (f64::from(exponential.exp(x)) / libm::exp(f64::from(x) / f64::from(tau)) - 1.0).abs()
        };
        (0..=20_000).map(off).fold(0.0, f64::max)
    }

    #[test]
    fn exponentials_are_within_what_they_state() {
        for tau in [1.0, 0.7, 4.0, 3.3, 20.0, 1e-12, 1e12] {
            let (polynomial, own) = (worst::<Polynomial>(tau, -1.0), worst::<Libm>(tau, -1.0));
            assert!(polynomial <= f64::from(Polynomial::ERROR), "{tau}: {polynomial:e}");
            assert!(own <= f64::from(Libm::ERROR), "{tau}: {own:e}");
            // The reduction is in the units of x: a large exponent is as good as a small one.
            let far = worst::<Polynomial>(tau, -86.0);
            assert!(far <= 1.2 * f64::from(Polynomial::ERROR), "{tau}: {far:e}");
        }
    }

    #[test]
    fn exponentials_end_in_0_and_keep_what_is_no_number() {
        let one = Polynomial::new(1.0);
        assert_eq!([one.exp(-88.0), one.exp(-3e38), one.exp(f32::NEG_INFINITY)], [0.0; 3]);
        assert_eq!(one.exp(0.0), 1.0);
        assert!(one.exp(f32::NAN).is_nan());
        assert!((f64::from(one.exp(87.5)) / libm::exp(87.5) - 1.0).abs() < 3e-7);
    }

    #[test]
    fn logarithms_move_a_reference_well_enough() {
        for i in -360..380_i16 {
            let x = libm::exp(f64::from(i) * 0.23);
            #[allow(clippy::cast_possible_truncation, reason = "any number is as good")]
            let single = x as f32;
            let want = libm::log(f64::from(single));
            for got in [Polynomial::ln(single), Libm::ln(single)] {
                assert!(
                    (f64::from(got) - want).abs() <= 3e-7 * want.abs().max(1.0),
                    "{single:e}: {got}, not {want}"
                );
            }
        }
    }
}
