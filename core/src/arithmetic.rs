//! Computed numbers: the two types in which everything is evaluated, with the two functions of the inner
//! loops as branch-free polynomials, so that a loop over them can be vectorised.

use crate::access::{Place, Sink};
use crate::element::Element;
use crate::logarithm::ln_1p;
use core::ops::{Add, Div, Mul};
use num_traits::Float;

/// The arithmetic of an evaluation: `f32` for `f32`, `f16` and `bf16` tensors, `f64` for `f64` tensors and
/// for the rare rows that `f32` cannot hold. Half-precision numbers are storage only and have no arithmetic.
///
/// Sealed: the error bounds are derived for these two types.
///
/// ```
/// use densekd_core::Arithmetic;
/// let x = -1.25_f32;
/// assert!((x.exp_fast() - (-1.25_f64).exp() as f32).abs() < 1e-7);
/// ```
pub trait Arithmetic: Float + Default + Send + Sync + sealed::Sealed + 'static {
    /// What inputs are multiplied by before differences are taken, so that no difference overflows: in `f64`
    /// by a quarter; in `f32` not at all, since rows beyond its safe range are evaluated in `f64`.
    const UNIT: Self;

    /// The nearest value of this type.
    fn from_f64(x: f64) -> Self;

    /// The same value in this type, exactly.
    fn from_f32(x: f32) -> Self;

    /// The elements as they stand, where they are stored in this type.
    fn lend<E: Element>(data: &[E]) -> Option<&[Self]>;

    /// Hands a block of a gradient to its sink.
    fn store(sink: &mut dyn Sink, place: Place, values: &[Self]) -> bool;

    /// The `f32` whose nearest half is this number's nearest half: itself, or rounded to odd.
    fn before_half(self) -> f32;

    /// The same value in `f64`, exactly.
    fn to_double(self) -> f64;

    /// e^x for x in -87..=88 (`f32`) or -708..=709 (`f64`), within 1.5 ulp; exactly 0 below; NaN for NaN.
    ///
    /// Source: Cody and Waite's reduction x = n ln 2 + f in two terms, then `1 + f + f^2 P(f)` with a minimax
    /// polynomial on |f| <= ln 2 / 2 (relative error of `P`: 1.3e-7 of degree 4, 2.8e-18 of degree 10).
    #[must_use]
    fn exp_fast(self) -> Self;

    /// `(e^r - 1 - r) / r^2` for |r| <= 1, within 1.5 ulp; meaningless but finite outside.
    ///
    /// Source: polynomial in Chebyshev nodes on -1..=1 (relative error 5.5e-9 of degree 7, 4.5e-19 of 14).
    #[must_use]
    fn expm1_rest(self) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! horner {
    ($x:expr, $last:expr $(, $c:expr)*) => {{ let p = $last; $( let p = $c + $x * p; )* p }};
}

/// The polynomial of these coefficients, of rising degree.
#[inline(always)]
fn polynomial<const K: usize>(coefficients: &[f64; K], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |p, c| c + x * p)
}

/// Log 2 in two terms, the first of 32 bits.
pub(crate) const LN_2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];

/// Coefficients of `(e^f - 1 - f) / f^2` for |f| <= ln 2 / 2, of rising degree.
pub(crate) const EXP: [f64; 11] = [
    0.5,
    0.166_666_666_666_666_7,
    4.166_666_666_666_618e-2,
    8.333_333_333_326_11e-3,
    1.388_888_888_891_819e-3,
    1.984_126_987_492_192e-4,
    2.480_158_724_558_556_5e-5,
    2.755_725_525_908_846e-6,
    2.755_734_974_269_336e-7,
    2.510_527_982_169_031e-8,
    2.088_939_857_206_142e-9,
];

/// Coefficients of [`Arithmetic::expm1_rest`] in `f64`, of rising degree.
pub(crate) const EXPM1_REST_F64: [f64; 15] = [
    0.5,
    0.166_666_666_666_666_67,
    4.166_666_666_666_667e-2,
    8.333_333_333_333_236e-3,
    1.388_888_888_888_883_5e-3,
    1.984_126_984_137_474e-4,
    2.480_158_730_164_551_6e-5,
    2.755_731_917_455_155_4e-6,
    2.755_731_919_627_328e-7,
    2.505_212_058_452_295e-8,
    2.087_676_375_851_963e-9,
    1.605_744_851_901_334e-10,
    1.146_986_108_374_900_4e-11,
    7.753_289_909_061_302e-13,
    4.838_397_490_830_109e-14,
];

/// Coefficients of [`Arithmetic::expm1_rest`] in `f32`, of rising degree.
pub(crate) const EXPM1_REST: [f32; 8] = [
    0.5,
    0.166_666_67,
    4.166_674e-2,
    8.333_339e-3,
    1.388_539_7e-3,
    1.983_810_2e-4,
    2.535_851_2e-5,
    2.806_280_3e-6,
];

impl Arithmetic for f32 {
    const UNIT: Self = 1.0;

    fn lend<E: Element>(data: &[E]) -> Option<&[Self]> {
        E::as_f32(data)
    }

    fn store(sink: &mut dyn Sink, place: Place, values: &[Self]) -> bool {
        sink.store_f32(place, values)
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        x
    }

    #[inline(always)]
    fn before_half(self) -> f32 {
        self
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    fn from_f64(x: f64) -> Self {
        x as f32
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn exp_fast(self) -> Self {
        // 1.5 * 2^23: adding it rounds to an integer, which then stands in the low bits.
        const MAGIC: f32 = 12_582_912.0;
        let shifted = self * core::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        // ln 2 = 0.693359375 (9 bits, so n times it is exact) - 2.12194440e-4.
        let f = (self - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let p = horner!(f, 1.390_131e-3, 8.363_2e-3, 4.166_685_4e-2, 0.166_665_77, 0.5);
        let p = 1.0 + (f + f * f * p);
        let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
        if self < -87.0 { 0.0 } else { p * scale }
    }

    #[inline(always)]
    fn expm1_rest(self) -> Self {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = EXPM1_REST;
        horner!(self, c7, c6, c5, c4, c3, c2, c1, c0)
    }
}

impl Arithmetic for f64 {
    const UNIT: Self = 0.25;

    fn lend<E: Element>(data: &[E]) -> Option<&[Self]> {
        E::as_f64(data)
    }

    fn store(sink: &mut dyn Sink, place: Place, values: &[Self]) -> bool {
        sink.store_f64(place, values)
    }

    #[inline(always)]
    fn from_f32(x: f32) -> Self {
        Self::from(x)
    }

    #[inline(always)]
    fn before_half(self) -> f32 {
        round_to_odd(self)
    }

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn to_double(self) -> f64 {
        self
    }

    #[inline(always)]
    fn exp_fast(self) -> Self {
        const MAGIC: f64 = 6_755_399_441_055_744.0;
        let shifted = self * core::f64::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let f = (self - n * LN_2[0]) - n * LN_2[1];
        let p = polynomial(&EXP, f);
        let p = 1.0 + (f + f * f * p);
        let scale = f64::from_bits((shifted.to_bits() << 52).wrapping_add(0x3ff0_0000_0000_0000));
        if self < -708.0 { 0.0 } else { p * scale }
    }

    #[inline(always)]
    fn expm1_rest(self) -> Self {
        polynomial(&EXPM1_REST_F64, self)
    }
}

/// The nearest `f32`, but for what lies between two of them: of those the one whose last bit is 1. Rounded once
/// more to a narrower type, it gives what rounding the number itself would have given.
#[allow(clippy::cast_possible_truncation, reason = "what is lost is kept in the last bit")]
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    let toward_zero = nearest.to_bits().wrapping_sub(u32::from(back.abs() > x.abs()));
    // A NaN is no equal of itself and stays one with its last bit set.
    f32::from_bits(if back == x { nearest.to_bits() } else { toward_zero | 1 })
}

/// `a - b` as an unevaluated sum of two numbers, exactly, barring overflow (Knuth's two-sum).
#[inline(always)]
pub(crate) fn two_difference<R: Arithmetic>(a: R, b: R) -> (R, R) {
    let high = a - b;
    let v = high - a;
    (high, (a - (high - v)) - (b + v))
}

/// `c(e) = log1p(e) - e / (1 + e)`, about `e^2 / 2`, without cancellation; e > -1.
pub(crate) fn log1p_excess(e: f64) -> f64 {
    if e.abs() > 0.1 { ln_1p(e) - e / (1.0 + e) } else { log1p_excess_near(|x| x, e) }
}

/// [`log1p_excess`] for |e| <= 0.1, of one number or of several side by side; meaningless outside.
#[inline(always)]
pub(crate) fn log1p_excess_near<T>(of: impl Fn(f64) -> T, e: T) -> T
where
    T: Copy + Add<Output = T> + Mul<Output = T> + Div<Output = T>,
{
    let s = e / (of(2.0) + e);
    let y = s * s;
    let (c0, c1, c2) = (of(1.0 / 3.0), of(0.2), of(1.0 / 7.0));
    let (c3, c4, c5) = (of(1.0 / 9.0), of(1.0 / 11.0), of(1.0 / 13.0));
    of(2.0) * y * (of(1.0) / (of(1.0) + s) + s * horner!(y, c5, c4, c3, c2, c1, c0))
}

/// `k(r) = r e^r - e^r + 1`, about `r^2 / 2`, never negative, without cancellation.
pub(crate) fn bregman(r: f64) -> f64 {
    if r.abs() > 1.0 {
        return (r - 1.0) * libm::exp(r) + 1.0;
    }
    let q = r.expm1_rest();
    r * r * (1.0 - q + r * q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_stays_within_its_bound() {
        let mut worst = 0.0_f64;
        for i in 0..200_000_i32 {
            let x = -87.0 + f64::from(i) * 8.7e-4;
            #[allow(clippy::cast_possible_truncation, reason = "the argument is rounded to f32 on purpose")]
            let x = x as f32;
            let want = libm::exp(f64::from(x));
            worst = worst.max((f64::from(x.exp_fast()) / want - 1.0).abs());
        }
        assert!(worst < 1.2e-7, "{worst}");
        for i in 0..20_000 {
            let x = -700.0 + f64::from(i) * 0.07;
            assert!((x.exp_fast() / libm::exp(x) - 1.0).abs() < 3e-16, "{x}");
        }
    }

    #[test]
    fn exp_of_what_is_not_a_number_is_not_a_number_and_far_below_is_zero() {
        assert!(f32::NAN.exp_fast().is_nan() && f64::NAN.exp_fast().is_nan());
        assert_eq!((-1e30_f32).exp_fast().to_bits(), 0);
        assert_eq!(f64::NEG_INFINITY.exp_fast().to_bits(), 0);
    }

    #[test]
    fn the_rest_of_expm1_has_full_relative_accuracy() {
        for i in -1000..=1000 {
            let r = f64::from(i) / 1000.0;
            // Summed from the smallest term: an independent form of the same function.
            let mut want = 0.0;
            for k in (0..25).rev() {
                let factorial: f64 = (1..=k + 2).map(f64::from).product();
                want += libm::pow(r, f64::from(k)) / factorial;
            }
            assert!((r.expm1_rest() / want - 1.0).abs() < 4e-16, "{r}");
            let r = f32::from_f64(r);
            assert!((f64::from(r.expm1_rest()) / want - 1.0).abs() < 2e-7, "{r}");
        }
    }

    #[test]
    fn differences_are_exact() {
        let (high, low) = two_difference(1e8_f32, 1.0 / 3.0);
        assert_eq!(f64::from(high) + f64::from(low), 1e8 - f64::from(1.0_f32 / 3.0));
    }

    #[test]
    fn the_excess_of_log1p_is_smooth_where_its_forms_meet() {
        for e in [0.1, -0.1] {
            let (a, b) = (log1p_excess(e), log1p_excess(e * (1.0 + 1e-15)));
            assert!((a / b - 1.0).abs() < 1e-13, "{a} {b}");
        }
        assert!((log1p_excess(1e-9) / 5e-19 - 1.0).abs() < 1e-8);
    }
}
