//! What is known of a batch's rows once they are done, and what makes a gradient of the lines that they leave.

use super::judge::{Numbers, bits, flag, single};
use super::{LANES, Lanes};
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::vector::gradient::{LARGEST, SMALLEST};
use crate::simd::{Line, Simd};

/// Rows by their lanes.
#[derive(Default)]
pub(in crate::row) struct Found {
    /// The rows that all of this holds for.
    pub(in crate::row) certified: Lanes,
    /// Each row's KL divergence.
    pub(in crate::row) kl: Numbers,
    pub(super) near: Lanes,
    pub(super) deep: Lanes,
    /// Those of which p less its share of w is left, and not p - w.
    pub(super) far: Lanes,
    /// The student's reference and the sum about it, the log-ratio's reference, all in units of the inputs, and its rest
    /// in nats.
    pub(super) m: Numbers,
    pub(super) z: Numbers,
    pub(super) d: Numbers,
    pub(super) rest: Numbers,
    /// The sum of what is kept of p - w, and that of p.
    pub(super) excess: Numbers,
    pub(super) sum: Numbers,
}

/// What the gradient of an entry is made of.
#[derive(Clone, Copy)]
pub(in crate::row) struct Pull<L: Simd> {
    /// The share of w that is taken off what is left of p - w, and whether it is of any row.
    mean: L::V,
    has_mean: bool,
    factor: L::V,
    /// The rows whose factor `f32` holds.
    pub(in crate::row) held: Lanes,
}

impl<L: Simd> Pull<L> {
    /// Of what is left of p - w alone.
    #[inline(always)]
    pub(in crate::row) fn by(l: L, factor: L::V) -> Self {
        Self { mean: l.splat(0.0), has_mean: false, factor, held: !0 }
    }

    /// Of an entry of each row that was certified.
    #[inline(always)]
    pub(in crate::row) fn entry(&self, l: L, w: &Line, excess: &Line) -> L::V {
        let mut excess = l.load_f32(&excess.0);
        if self.has_mean {
            excess = l.fma(l.splat(0.0) - self.mean, l.load_f32(&w.0), excess);
        }
        self.factor * excess
    }
}

impl Found {
    /// For another batch.
    #[inline(always)]
    pub(in crate::row) fn clear(&mut self) {
        (self.certified, self.near, self.deep, self.far) = (0, 0, 0, 0);
    }

    /// A row's statistics.
    #[inline(always)]
    pub(super) fn row(&self, lane: usize) -> Option<RowStatistics> {
        let kind = match (self.deep >> lane & 1, self.near >> lane & 1) {
            (1, _) => Kind::Deep,
            (_, 1) => Kind::Near,
            _ => Kind::Full,
        };
        let of = |numbers: &Numbers| numbers.get(lane).copied().unwrap_or_default();
        (self.certified >> lane & 1 == 1).then(|| RowStatistics {
            m: 0.25 * of(&self.m),
            z: of(&self.z),
            d: 0.25 * of(&self.d),
            l: of(&self.rest),
            kl: of(&self.kl),
            kind,
        })
    }

    /// Hands over what was certified.
    #[inline(always)]
    pub(in crate::row) fn keep(&self, to: &mut [RowStatistics]) {
        for (i, to) in to.iter_mut().enumerate() {
            if let Some(of) = self.row(i) {
                *to = of;
            }
        }
    }

    /// What makes gradients, times this, of the lines.
    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool, reason = "without branches, many lanes at a time")]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays")]
    pub(in crate::row) fn pull<L: Simd>(&self, l: L, scale: f64) -> Pull<L> {
        let [mut mean, mut factor, mut held] = [[0.0; LANES]; 3];
        for i in 0..L::WIDTH {
            mean[i] = single(self.excess[i] / self.z[i]);
            // Equal rows have no gradient, whatever the last digits of their difference.
            let product = if self.kl[i] == 0.0 { 0.0 } else { -scale / self.sum[i] };
            let size = product.abs();
            held[i] = flag((product == 0.0) | (SMALLEST..=LARGEST).contains(&size));
            factor[i] = single(product);
        }
        Pull {
            mean: l.load_f32(&mean),
            has_mean: self.certified & !self.far != 0,
            factor: l.load_f32(&factor),
            held: bits(l, &held),
        }
    }
}
