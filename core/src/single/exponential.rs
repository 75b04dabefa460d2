//! e^x in `f32`, as a type: a table and a polynomial, the crate `libm`, or the user's own.

use core::f32::consts::{LN_2, LOG2_E};

/// How exponentials are evaluated: made for a temperature, which a reduction of its own may then hold.
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

    /// `e^(x / tau)`: 0 far below and at minus infinity, infinity from 89 tau on, NaN for NaN.
    fn exp(&self, x: f32) -> f32;
}

/// A table of 64 roots of 2, and a polynomial of degree 2 between them, without a branch but for the ends.
///
/// Source: Cody and Waite's reduction `x = n tau log 2 / 64 + f`, in the units of `x`, so that the exponent of a large `x` is as
/// exact as that of a small one; Tang's table for `2^(n/64)`, 256 bytes, each bit for bit what is nearest; between two of them
/// `1 + h (h + D)`, h being `f / tau` in the unit of which the square has the factor 1, within 7e-9.
///
/// ```
/// use densekd_core::single::{Exponential, Polynomial};
/// let half = Polynomial::new(2.0);
/// assert!((half.exp(-3.0) / (-1.5_f32).exp() - 1.0).abs() < Polynomial::ERROR);
/// assert_eq!(half.exp(f32::NEG_INFINITY), 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Polynomial {
    /// 1 / tau in units of log 2 / 64, and in the polynomial's.
    steps: f32,
    unit: f32,
    /// tau log 2 / 64 in two terms, the first of 11 bits: up to 8192 times it is exact.
    step: (f32, f32),
}

/// Bits of a root's index.
const INDEX: u32 = 6;
const ROOTS: usize = 1 << INDEX;

/// How many they are as a number, 2^6.
const STEPS: f32 = f32::from_bits((127 + INDEX) << 23);

/// The bits of 2^(i/64), less those that i itself will have added once it is shifted with its exponent.
const TABLE: [u32; ROOTS] = table();

#[allow(clippy::cast_possible_truncation, reason = "rounded to the nearest, and an index")]
const fn table() -> [u32; ROOTS] {
    const STEP: f64 = 1.010_889_286_051_700_5;
    let (mut table, mut root, mut i) = ([0; ROOTS], 1.0, 0);
    while i < ROOTS {
        table[i] = (root as f32).to_bits() - ((i as u32) << (23 - INDEX));
        root *= STEP;
        i += 1;
    }
    table
}

/// The first `24 - N` bits of a number.
#[inline(always)]
fn head<const N: u32>(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & (!0 << N))
}

impl Exponential for Polynomial {
    const ERROR: f32 = 1.2e-7;

    fn new(tau: f32) -> Self {
        // log 2 in two terms of 12 and 24 bits; the product with the 12 first bits of tau is exact.
        const HIGH: f32 = 0.693_115_23;
        const LOW: f32 = 3.194_618_5e-5;
        const ROOT: f32 = 1.0 / STEPS;
        const UNIT: f32 = 0.707_106_9;
        let first = head::<12>(tau);
        let step = head::<13>(tau * LN_2);
        let rest = (first * HIGH - step) + (first * LOW + (tau - first) * LN_2);
        Self { steps: STEPS * LOG2_E / tau, unit: UNIT / tau, step: (step * ROOT, rest * ROOT) }
    }

    #[inline(always)]
    fn exp(&self, x: f32) -> f32 {
        /// The bits of the least exponent whose exponential is normal, and how many there are from there on.
        const LEAST: u32 = MAGIC.to_bits() - (126 << INDEX);
        const NORMAL: u32 = (126 + 128) << INDEX;
        let shifted = x * self.steps + MAGIC;
        if shifted.to_bits().wrapping_sub(LEAST) >= NORMAL { self.beyond(x) } else { self.normal(x, shifted) }
    }
}

/// 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
const MAGIC: f32 = 12_582_912.0;

impl Polynomial {
    /// Of an exponent and its integer, where the exponential is a normal number.
    #[inline(always)]
    fn normal(&self, x: f32, shifted: f32) -> f32 {
        const D: f32 = 1.414_218_6;
        let (whole, n) = (shifted - MAGIC, shifted.to_bits());
        let h = ((x - whole * self.step.0) - whole * self.step.1) * self.unit;
        let root = TABLE[n as usize % ROOTS].wrapping_add(n << (23 - INDEX));
        let root = f32::from_bits(root);
        root + root * (h * (h + D))
    }

    /// Elsewhere: a square, down to the least number that there is and up to infinity.
    #[cold]
    #[inline(never)]
    fn beyond(&self, x: f32) -> f32 {
        const MOST: f32 = 126.0 * STEPS;
        let half = 0.5 * x;
        let steps = half * self.steps;
        if steps.abs() < MOST {
            let root = self.normal(half, steps + MAGIC);
            return root * root;
        }
        // What is no number stays none.
        if x < 0.0 { 0.0 } else { x * f32::INFINITY }
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
    fn exponentials_end_in_0_and_infinity_and_keep_what_is_no_number() {
        let one = Polynomial::new(1.0);
        assert_eq!([one.exp(-104.0), one.exp(-200.0), one.exp(-3e38), one.exp(f32::NEG_INFINITY)], [0.0; 4]);
        assert_eq!(one.exp(0.0), 1.0);
        assert!(one.exp(f32::NAN).is_nan());
        assert_eq!([one.exp(89.0), one.exp(3e38), one.exp(f32::INFINITY)], [f32::INFINITY; 3]);
        // Below the normal numbers there are digits as long as there are bits.
        assert!((f64::from(one.exp(-87.5)) - libm::exp(-87.5)).abs() < 3e-7 * libm::exp(-87.5));
        assert!((f64::from(one.exp(-100.0)) - libm::exp(-100.0)).abs() < 8e-46);
        assert!((f64::from(one.exp(88.5)) / libm::exp(88.5) - 1.0).abs() < 3e-7);
    }
}
