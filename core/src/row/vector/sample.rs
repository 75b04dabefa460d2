//! A sample of a row pair: what the first references of its sweep come from.

use super::position::Constants;
use super::reference::Reference;
use crate::logarithm::ln_fast;
use crate::simd::{Simd, Stored};

/// Runs of a sample, which lie evenly in the row, and entries of one.
const RUNS: usize = 16;
const RUN: usize = 4;

/// Entries of a sample.
const ENTRIES: usize = RUNS * RUN;

/// Entries of a row pair.
pub(super) struct Sample {
    pub(super) teacher: [f32; ENTRIES],
    pub(super) student: [f32; ENTRIES],
}

/// What a sample says of the differences of its row pair.
pub(super) struct Moments {
    /// The mean of the student's exponentials.
    pub(super) weight: f64,
    /// Mean and variance of the differences under the student's distribution.
    mean: f64,
    pub(super) variance: f64,
    /// The teacher's exponentials beside the student's.
    ratio: f64,
}

impl Moments {
    /// The log-ratio in units of the inputs, `c` nats each: as mean and half of the variance say, where these are small,
    /// since a difference of sums would be lost; else as the sums say, which no far entry misleads.
    #[inline(always)]
    pub(super) fn log_ratio(&self, c: f64) -> f64 {
        let half = 0.5 * c * self.variance;
        if c * half < 0.1 { self.mean + half } else { ln_fast(self.ratio) / c }
    }
}

impl Sample {
    pub(super) const EMPTY: Self = Self { teacher: [0.0; ENTRIES], student: [0.0; ENTRIES] };

    /// The student's largest entry.
    #[inline(always)]
    pub(super) fn top<L: Simd>(&self, l: L) -> f32 {
        let mut top = l.splat(f32::NEG_INFINITY);
        for vector in self.student.chunks_exact(L::WIDTH) {
            top = l.max(top, l.load_f32(vector));
        }
        l.largest(top)
    }

    /// The difference of the first entries.
    pub(super) fn first(&self) -> f64 {
        f64::from(self.teacher[0]) - f64::from(self.student[0])
    }

    /// About references with exact differences.
    #[inline(always)]
    pub(super) fn moments<L: Simd>(&self, l: L, at: &Reference) -> Moments {
        let constants = Constants::new(l, at);
        let zero = l.splat(0.0);
        let (mut z, mut first, mut second, mut teacher) = (zero, zero, zero, zero);
        let mut both = (self.teacher.chunks_exact(L::WIDTH), self.student.chunks_exact(L::WIDTH));
        while let (Some(t), Some(s)) = (both.0.next(), both.1.next()) {
            let (t, s) = (l.load_f32(t), l.load_f32(s));
            let w = l.exp2(constants.student(s));
            let d = constants.difference::<true>(t, s);
            let u = w * d;
            (z, first, second) = (z + w, first + u, l.fma(u, d, second));
            teacher = teacher + l.exp2(constants.teacher(t));
        }
        let (z, first, second) = (l.sum(z), l.sum(first), l.sum(second));
        let mean = first / z;
        #[allow(clippy::cast_precision_loss, reason = "64")]
        let weight = z / ENTRIES as f64;
        let variance = (second / z - mean * mean).max(0.0);
        Moments { weight, mean, variance, ratio: l.sum(teacher) / z }
    }
}

/// A sample of the row of `len` entries that begins there; a short row is repeated.
#[inline(always)]
pub(super) fn take<E: Stored>(x: &[E], from: usize, len: usize, to: &mut [f32; ENTRIES]) {
    let row = x.get(from..from + len).unwrap_or_default();
    if len < ENTRIES {
        to.iter_mut().zip(row.iter().cycle()).for_each(|(to, x)| *to = x.widen());
        return;
    }
    let mut at = 0;
    for to in to.as_chunks_mut::<RUN>().0 {
        if let Some([a, b, c, d]) = row.get(at..).unwrap_or_default().first_chunk::<RUN>() {
            *to = [a.widen(), b.widen(), c.widen(), d.widen()];
        }
        at += len / RUNS;
    }
}

/// Asks for the cache lines of a sample.
#[inline(always)]
pub(super) fn ask<L: Simd, E>(l: L, x: &[E], from: usize, len: usize) {
    let row = x.get(from..).unwrap_or_default();
    for run in 0..RUNS {
        l.prefetch(row, run * (len / RUNS));
    }
}
