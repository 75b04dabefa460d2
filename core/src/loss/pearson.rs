//! Correlations of pairs, from sums that merge: the cosine distance of centred unit vectors, with eps in its divisor.
//!
//! ```text
//! r(a, b) = <a', b'> / d, a' = a - mean      d = |a'| |b'| + eps
//! ```
//!
//! Of close pairs 1 - r is not taken as the difference of two numbers near 1. With cos the cosine of a' and b':
//!
//! ```text
//! 1 - r = (1 - cos) |a'| |b'| / d + eps / d
//! 1 - cos = |a'/|a'| - b'/|b'||^2 / 2 = (|a' - b'|^2 - (|a'| - |b'|)^2) / (2 |a'| |b'|)
//! |a'| - |b'| = <a' - b', a' + b'> / (|a'| + |b'|)
//! ```
//!
//! The gradient sums to 0 as a' and b' do, so that centring changes nothing:
//!
//! ```text
//! d(1 - r)/da' = -(b'/d - a' <a', b'> |b'| / (d^2 |a'|)) = |b'|/d (a'/|a'| - b'/|b'| - a'/|a'| (1 - r))
//! ```

use crate::Isa;
use crate::map::{Sweep, sweep};
use crate::simd::Doubles;

/// How many numbers [`terms`] gives.
pub(super) const SUMS: usize = 5;

/// What a pair of deviations (a', b'), a the teacher's, adds to the sums that a correlation is made of: `a'^2`, `b'^2`,
/// `a' b'`, `(a' - b')^2`, `(a' - b') (a' + b')`.
#[inline(always)]
pub(super) fn terms(a: f64, b: f64) -> [f64; SUMS] {
    [a * a, b * b, a * b, (a - b) * (a - b), (a - b) * (a + b)]
}

/// Adds [`terms`].
#[inline(always)]
pub(super) fn add_terms<L: Doubles>(l: L, (a, b): (L::D, L::D), sums: &mut [L::D; SUMS]) {
    let [aa, bb, products, apart, skew] = *sums;
    let (difference, sum) = (a - b, a + b);
    *sums = [
        l.fma(a, a, aa),
        l.fma(b, b, bb),
        l.fma(a, b, products),
        l.fma(difference, difference, apart),
        l.fma(difference, sum, skew),
    ];
}

/// How many pairs, their means, and the sums of their deviations' [`terms`].
#[derive(Clone, Copy, Default)]
pub(super) struct Comoments {
    count: f64,
    pub(super) mean: [f64; 2],
    pub(super) sums: [f64; SUMS],
}

impl Comoments {
    pub(super) const LEN: usize = 3 + SUMS;

    pub(super) fn read(from: &[f64]) -> Self {
        match *from {
            [count, a, b, aa, bb, products, apart, skew, ..] => {
                Self { count, mean: [a, b], sums: [aa, bb, products, apart, skew] }
            }
            _ => Self::default(),
        }
    }

    pub(super) fn write(self, to: &mut [f64]) {
        let Self { count, mean: [a, b], sums } = self;
        let from = [count, a, b].into_iter().chain(sums);
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }

    /// From sums about a shift: of the deviations (a', b') from it, and of their [`terms`]. Of what the shift costs
    /// there is less than n / k of the sum of squares where it is the mean of k of n pairs.
    pub(super) fn about(count: f64, shift: [f64; 2], deviations: [f64; 2], sums: [f64; SUMS]) -> Self {
        let ([shift_a, shift_b], [off_a, off_b]) = (shift, deviations.map(|sum| sum / count));
        let [mut aa, mut bb, mut products, mut apart, mut skew] = sums;
        let [off_aa, off_bb, off_products, off_apart, off_skew] = terms(off_a, off_b).map(|x| x * count);
        (aa, bb, apart) = (positive(aa - off_aa), positive(bb - off_bb), positive(apart - off_apart));
        (products, skew) = (products - off_products, skew - off_skew);
        Self { count, mean: [shift_a + off_a, shift_b + off_b], sums: [aa, bb, products, apart, skew] }
    }

    /// Adds those of other pairs.
    pub(super) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let ([a, b], [other_a, other_b]) = (self.mean, other.mean);
        let (da, db, moved) = (other_a - a, other_b - b, other.count / count);
        self.mean = [a + da * moved, b + db * moved];
        let times = self.count * moved;
        for ((sum, other), between) in self.sums.iter_mut().zip(other.sums).zip(terms(da, db)) {
            *sum += other + times * between;
        }
        self.count = count;
    }
}

/// 0 in the place of a negative number.
#[inline(always)]
fn positive(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Eight correlations from the sums of [`terms`]; of a side without spread 0, and without gradient.
struct Eight<L: Doubles> {
    /// |a'|, |b'|.
    norms: [L::D; 2],
    /// |a'| - |b'|.
    longer: L::D,
    /// d.
    divisor: L::D,
    /// 1 - r.
    miss: L::D,
    /// Where a side has no spread.
    nothing: L::T,
}

impl<L: Doubles> Eight<L> {
    #[inline(always)]
    fn of(l: L, sums: &[L::D; SUMS], eps: f64) -> Self {
        let [aa, bb, products, apart, skew] = *sums;
        let (a, b, eps, zero) = (l.sqrt(aa), l.sqrt(bb), l.splat(eps), l.splat(0.0));
        let (product, one) = (a * b, l.splat(1.0));
        let divisor = product + eps;
        let longer = skew / (a + b);
        let distance = (apart - longer * longer) * l.splat(0.5);
        let near = l.select(l.less(distance, zero), zero, distance) + eps;
        // Near each other by their difference, else directly.
        let miss = l.select(l.less(apart, product), near, divisor - products) / divisor;
        let nothing = l.equal(product, zero);
        Self { norms: [a, b], longer, divisor, miss: l.select(nothing, one, miss), nothing }
    }
}

/// 1 - r summed over rows, from the sums of their [`terms`].
#[derive(Clone, Copy)]
pub(super) struct Misses {
    pub(super) eps: f64,
}

impl Sweep<SUMS, 0, 1> for Misses {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, sums: [L::D; SUMS], _: &mut [L::D; 0], [total]: &mut [L::D; 1]) {
        *total = *total + Eight::of(l, &sums, self.eps).miss;
    }
}

/// 1 - r summed over rows, and in the place of the sums what the gradients to rows are made of: `B (b' - a') + E_t a'` of
/// the teacher, `B (a' - b') + E_s b'` of the student, `E_t = A_t + B` and so on. In this order; the last two places
/// are 0.
#[derive(Clone, Copy)]
pub(super) struct Slopes {
    pub(super) eps: f64,
    /// Multiplies them.
    pub(super) weight: f64,
}

impl Sweep<0, SUMS, 1> for Slopes {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, _: [L::D; 0], sums: &mut [L::D; SUMS], [total]: &mut [L::D; 1]) {
        let Eight { norms: [a, b], longer, divisor, miss, nothing } = Eight::of(l, sums, self.eps);
        *total = *total + miss;
        let zero = l.splat(0.0);
        let weight = l.select(nothing, zero, l.splat(self.weight) / divisor);
        // r |b'| / |a'| - 1 from what is small of close pairs.
        let of_t = (zero - longer - miss * b) / a;
        let of_s = (longer - miss * a) / b;
        let of_t = l.select(nothing, zero, of_t * weight);
        let of_s = l.select(nothing, zero, of_s * weight);
        *sums = [of_t, of_s, zero - weight, zero, zero];
    }
}

/// A column's correlation as its gradients need it; all 0 where a side has no spread.
#[derive(Clone, Copy)]
pub(super) struct Pearson {
    /// 1 / |a'|, 1 / |b'|: teacher, student.
    pub(super) unit: [f64; 2],
    /// |b'| / d, |a'| / d.
    pub(super) slope: [f64; 2],
    /// 1 - r.
    pub(super) miss: f64,
}

impl Pearson {
    pub(super) const LEN: usize = 5;

    /// From the sums of [`terms`].
    pub(super) fn of(isa: Isa, mut sums: [f64; SUMS], eps: f64) -> Self {
        sweep(isa, [], sums.each_mut().map(core::slice::from_mut), Pearsons { eps });
        Self::from_numbers(sums)
    }

    /// As it is kept in state.
    pub(super) const fn numbers(self) -> [f64; Self::LEN] {
        let Self { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss } = self;
        [unit_t, unit_s, slope_t, slope_s, miss]
    }

    /// From state.
    pub(super) const fn from_numbers([unit_t, unit_s, slope_t, slope_s, miss]: [f64; Self::LEN]) -> Self {
        Self { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss }
    }
}

/// [`Pearson::numbers`] in the place of sums.
#[derive(Clone, Copy)]
struct Pearsons {
    eps: f64,
}

impl Sweep<0, SUMS> for Pearsons {
    #[inline(always)]
    fn at<L: Doubles>(&self, l: L, _: [L::D; 0], sums: &mut [L::D; SUMS], _: &mut [L::D; 0]) {
        let Eight { norms: [a, b], divisor, miss, nothing, .. } = Eight::of(l, sums, self.eps);
        let (zero, one) = (l.splat(0.0), l.splat(1.0));
        let unit_t = l.select(nothing, zero, one / a);
        let unit_s = l.select(nothing, zero, one / b);
        let slope_t = l.select(nothing, zero, b / divisor);
        let slope_s = l.select(nothing, zero, a / divisor);
        *sums = [unit_t, unit_s, slope_t, slope_s, miss];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::real;

    #[test]
    fn a_shift_costs_next_to_nothing() {
        let pairs: [(f64, f64); 40] = core::array::from_fn(|i| {
            let x = real(i * i % 31) / 31.0;
            (1e-6 * x, 0.3 + x * x)
        });
        let mean = |of: fn(&(f64, f64)) -> f64, count: usize| {
            pairs[..count].iter().map(of).sum::<f64>() / real(count)
        };
        let sums = |a: f64, b: f64| {
            let (mut deviations, mut sums) = ([0.0; 2], [0.0; SUMS]);
            for (x, y) in pairs {
                deviations = [deviations[0] + (x - a), deviations[1] + (y - b)];
                sums.iter_mut().zip(terms(x - a, y - b)).for_each(|(sum, term)| *sum += term);
            }
            (deviations, sums)
        };
        let [(a, b), (shift_a, shift_b)] = [40, 8].map(|count| (mean(|x| x.0, count), mean(|x| x.1, count)));
        let (_, want) = sums(a, b);
        let (deviations, about) = sums(shift_a, shift_b);
        let got = Comoments::about(40.0, [shift_a, shift_b], deviations, about);
        assert!((got.mean[0] - a).abs() < 1e-15 * a && (got.mean[1] - b).abs() < 1e-15 * b);
        for (got, want) in got.sums.iter().zip(want) {
            assert!((got - want).abs() < 2e-14 * want.abs(), "{got:e}, not {want:e}");
        }
    }
}
