//! Correlations of pairs, from sums that merge.
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
//! d(1 - r)/da' = -(b'/d - a' <a', b'> |b'| / (d^2 |a'|)) = -|b'|/d (b'/|b'| - a'/|a'| + a'/|a'| (1 - r))
//! ```

use crate::map::Side;

/// Sums of pairs (a, b), a the teacher's: about their means, or about means that are known.
#[derive(Clone, Copy, Default)]
pub(super) struct Comoments {
    count: f64,
    pub(super) mean: [f64; 2],
    /// sum a'^2, sum b'^2.
    squares: [f64; 2],
    products: f64,
    /// sum (a' - b')^2.
    apart: f64,
    /// sum (a' - b') (a' + b').
    skew: f64,
}

impl Comoments {
    pub(super) const LEN: usize = 8;

    pub(super) fn read(from: &[f64]) -> Self {
        match *from {
            [count, ma, mb, aa, bb, products, apart, skew, ..] => {
                Self { count, mean: [ma, mb], squares: [aa, bb], products, apart, skew }
            }
            _ => Self::default(),
        }
    }

    pub(super) fn write(self, to: &mut [f64]) {
        let Self { count, mean: [ma, mb], squares: [aa, bb], products, apart, skew } = self;
        let from = [count, ma, mb, aa, bb, products, apart, skew];
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }

    /// Adds a pair of deviations from the means, so many times.
    #[inline(always)]
    pub(super) fn add(&mut self, a: f64, b: f64, times: f64) {
        let [aa, bb] = self.squares;
        self.squares = [aa + times * a * a, bb + times * b * b];
        self.products += times * a * b;
        self.apart += times * (a - b) * (a - b);
        self.skew += times * (a - b) * (a + b);
    }

    /// Those of a piece. Means are taken from the first pair, so that equal numbers have no deviation.
    pub(super) fn of(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let Some((a0, b0)) = pairs.clone().next() else { return Self::default() };
        let sums =
            pairs.clone().fold((0.0, 0.0, 0.0), |(n, a, b), (x, y)| (n + 1.0, a + (x - a0), b + (y - b0)));
        let (count, a, b) = sums;
        let mut moments = Self { count, mean: [a0 + a / count, b0 + b / count], ..Self::default() };
        for (x, y) in pairs {
            moments.add((x - a0) - a / count, (y - b0) - b / count, 1.0);
        }
        moments
    }

    /// Adds those of other pairs.
    pub(super) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let ([a, b], [other_a, other_b]) = (self.mean, other.mean);
        let between = [other_a - a, other_b - b];
        let [da, db] = between;
        let moved = other.count / count;
        self.mean = [a + da * moved, b + db * moved];
        let ([aa, bb], [other_aa, other_bb]) = (self.squares, other.squares);
        self.squares = [aa + other_aa, bb + other_bb];
        self.products += other.products;
        self.apart += other.apart;
        self.skew += other.skew;
        self.add(da, db, self.count * moved);
        self.count = count;
    }
}

/// The correlation of a row or a column.
#[derive(Clone, Copy)]
pub(super) struct Pearson {
    /// |a'|, |b'|: teacher, student.
    pub(super) norm: [f64; 2],
    /// |a'| |b'| + eps.
    pub(super) divisor: f64,
    /// 1 - r.
    pub(super) miss: f64,
}

impl Pearson {
    pub(super) const LEN: usize = 4;

    pub(super) fn of(moments: &Comoments, eps: f64) -> Self {
        let [a, b] = moments.squares.map(libm::sqrt);
        let (product, divisor) = (a * b, a * b + eps);
        if product == 0.0 {
            return Self { norm: [a, b], divisor, miss: 1.0 };
        }
        let difference = moments.skew / (a + b);
        // Near each other by their difference, else directly.
        let miss = if moments.apart < product {
            let apart = (moments.apart - difference * difference) * 0.5;
            (if apart < 0.0 { 0.0 } else { apart } + eps) / divisor
        } else {
            1.0 - moments.products / divisor
        };
        Self { norm: [a, b], divisor, miss }
    }

    pub(super) fn read(from: &[f64]) -> Self {
        match *from {
            [a, b, divisor, miss, ..] => Self { norm: [a, b], divisor, miss },
            _ => Self { norm: [0.0; 2], divisor: 1.0, miss: f64::NAN },
        }
    }

    pub(super) fn write(self, to: &mut [f64]) {
        let Self { norm: [a, b], divisor, miss } = self;
        to.iter_mut().zip([a, b, divisor, miss]).for_each(|(to, from)| *to = from);
    }

    /// d(1 - r)/da' for a side, at its own and the other's deviation.
    #[inline(always)]
    pub(super) fn pull(&self, side: Side, own: f64, other: f64) -> f64 {
        let [a, b] = self.norm;
        if a * b == 0.0 {
            return 0.0;
        }
        let (own_norm, other_norm) = match side {
            Side::Teacher => (a, b),
            Side::Student => (b, a),
        };
        let unit = own / own_norm;
        -(other_norm / self.divisor) * ((other / other_norm - unit) + unit * self.miss)
    }
}
