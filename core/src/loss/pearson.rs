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

use crate::diverge::{Cosine, Diverge};
use crate::map::{Side, real, sums};
use crate::space::{CentredUnit, Space, VectorSpace};

/// How many numbers [`terms`] gives.
pub(super) const SUMS: usize = 5;

/// What a pair of deviations (a', b'), a the teacher's, adds to the sums that a correlation is made of: `a'^2`, `b'^2`,
/// `a' b'`, `(a' - b')^2`, `(a' - b') (a' + b')`.
#[inline(always)]
pub(super) fn terms(a: f64, b: f64) -> [f64; SUMS] {
    [a * a, b * b, a * b, (a - b) * (a - b), (a - b) * (a + b)]
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

    /// Those of a piece. Means are taken from the first pair, so that equal numbers have no deviation.
    pub(super) fn of(a: &[f64], b: &[f64]) -> Self {
        let (Some(&a0), Some(&b0)) = (a.first(), b.first()) else { return Self::default() };
        let count = real(a.len());
        let [off_a, off_b] = sums(a, b, |a, b| [a - a0, b - b0]).map(|sum| sum / count);
        let sums = sums(a, b, |a, b| terms((a - a0) - off_a, (b - b0) - off_b));
        Self { count, mean: [a0 + off_a, b0 + off_b], sums }
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

/// The correlation of a row or a column, as its gradients need it; all 0 where a side has no spread.
#[derive(Clone, Copy)]
pub(super) struct Pearson {
    /// 1 / |a'|, 1 / |b'|: teacher, student.
    unit: [f64; 2],
    /// |b'| / d, |a'| / d.
    slope: [f64; 2],
    /// 1 - r.
    pub(super) miss: f64,
}

impl Pearson {
    pub(super) const LEN: usize = 5;

    /// From the sums of [`terms`].
    #[inline(always)]
    pub(super) fn of([aa, bb, products, apart, skew]: [f64; SUMS], eps: f64) -> Self {
        let (a, b) = (libm::sqrt(aa), libm::sqrt(bb));
        let (product, divisor) = (a * b, a * b + eps);
        if product == 0.0 {
            return Self { unit: [0.0; 2], slope: [0.0; 2], miss: 1.0 };
        }
        let difference = skew / (a + b);
        // Near each other by their difference, else directly.
        let miss = if apart < product {
            let apart = (apart - difference * difference) * 0.5;
            (if apart < 0.0 { 0.0 } else { apart } + eps) / divisor
        } else {
            1.0 - products / divisor
        };
        Self { unit: [1.0 / a, 1.0 / b], slope: [b / divisor, a / divisor], miss }
    }

    /// As it is kept in state.
    #[inline(always)]
    pub(super) const fn numbers(self) -> [f64; Self::LEN] {
        let Self { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss } = self;
        [unit_t, unit_s, slope_t, slope_s, miss]
    }

    /// From state.
    #[inline(always)]
    pub(super) const fn from_numbers([unit_t, unit_s, slope_t, slope_s, miss]: [f64; Self::LEN]) -> Self {
        Self { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss }
    }

    #[inline(always)]
    pub(super) const fn seen_by(self, side: Side) -> Seen {
        let Self { unit: [unit_t, unit_s], slope: [slope_t, slope_s], miss } = self;
        match side {
            Side::Teacher => Seen { own: unit_t, other: unit_s, slope: slope_t, miss },
            Side::Student => Seen { own: unit_s, other: unit_t, slope: slope_s, miss },
        }
    }
}

/// A correlation as one of its sides sees it.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// One over its own norm.
    pub(super) own: f64,
    /// One over the other's.
    pub(super) other: f64,
    /// The other's norm over d.
    pub(super) slope: f64,
    /// 1 - r.
    pub(super) miss: f64,
}

impl Seen {
    /// d(1 - r)/da' at its own and the other's deviation.
    #[inline(always)]
    pub(super) fn pull(&self, own: f64, other: f64) -> f64 {
        // Either side is the student to itself.
        let x = CentredUnit::point(other * self.other, own * self.own);
        let cotangent = Diverge::<CentredUnit>::student_cotangent(&Cosine, x);
        self.slope * CentredUnit::pull_student(x, cotangent, self.miss)
    }
}
