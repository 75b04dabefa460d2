//! Rows that are far from their teacher: one sweep, an exponential of either side about its own largest entry.
//!
//! With q = w / Z, p about the teacher's largest entry and P their sum, `KL = sum p d / P - log(P / Z)`, d being the
//! differences of the inputs, both from the largest entries on. Nothing has to be guessed before, and what
//! cancels is little beside a divergence of [`LEAST`]. Differences are those of what exponents are taken of: as if the row
//! had other last digits, where it has a weight. A lane is so taken or not by what it holds alone.

use super::found::Found;
use super::judge::{APART, LARGE, Numbers, bits, flag, single, wide};
use super::sweep::GROUP;
use super::{Batch, LANES, Lanes};
use crate::logarithm::ln_fast;
use crate::row::two_terms::{Scale, split};
use crate::simd::{Part, Simd};
use core::f64::consts::LN_2;

/// Nats between a row's smallest and largest difference from which it is tried: below 1.7 none is as far as [`LEAST`].
pub(super) const SPREAD: f32 = 3.0;

/// The divergence from which differences of sums are enough.
const LEAST: f64 = 0.4;

/// The share of the larger of the largest p and q that the largest p - q is to have, since the two are of an exponential
/// each.
const PEAK: f32 = 0.3;

/// What the sweep finds: the largest entries; sums of w, p and p d, in halves of the lanes; and the ends of d.
struct Sums<L: Simd> {
    tops: [L::V; 2],
    whole: [[L::W; 2]; 3],
    most: L::V,
    below: L::V,
}

/// What rows are worth that are far from their teacher.
pub(super) struct Apart {
    /// Rows whose differences are far enough apart.
    pub(super) tried: Lanes,
    /// Those of them that are far.
    pub(super) certified: Lanes,
    /// The log-ratio in units of the inputs.
    pub(super) ratio: Numbers,
    m: Numbers,
    z: Numbers,
    p: Numbers,
    kl: Numbers,
}

/// The sweep, and what it is worth.
struct Find<'b, 'l, L: Simd> {
    scale: &'b Scale<L>,
    nats: f64,
    batch: &'b mut Batch<'l>,
}

impl<L: Simd> Part<L> for Find<'_, '_, L> {
    type Output = Apart;

    #[inline(always)]
    #[allow(clippy::needless_bitwise_bool, reason = "without branches, many lanes at a time")]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays, and as many lanes as a vector has")]
    fn run(self, l: L) -> Apart {
        let Self { scale, nats, batch } = self;
        // A copy: what is written to lines could overwrite what is lent, for all that a compiler knows.
        let scale = *scale;
        let sums = sweep(l, &scale, batch);
        let spread = (sums.most + sums.below) * scale.nats.0;
        let tried = l.bits(l.less(l.splat(SPREAD), spread));
        let (t, s) = (wide(l, sums.tops[0]), wide(l, sums.tops[1]));
        // The temperature that the exponentials are of, which is rounded: the divergence of one temperature is off no more.
        let [per_unit, ..] = wide(l, scale.bits.0);
        let (per_unit, tau) = (per_unit * LN_2, 1.0 / nats);
        let [mut z, mut p, mut first] = [[0.0; LANES]; 3];
        for (to, [low, high]) in [&mut z, &mut p, &mut first].into_iter().zip(sums.whole) {
            let (to_low, to_high) = to.split_at_mut(L::WIDTH / 2);
            l.store_f64(low, to_low);
            l.store_f64(high, to_high);
        }
        let [mut ratio, mut kl] = [[0.0; LANES]; 2];
        let [mut held, mut share] = [[0.0; LANES]; 2];
        for i in 0..L::WIDTH {
            let of_sums = p[i] / z[i];
            let log = ln_fast(of_sums);
            share[i] = single(of_sums);
            ratio[i] = (t[i] - s[i]) + tau * log;
            kl[i] = per_unit * (first[i] / p[i]) - log;
            held[i] = flag((kl[i] >= LEAST) & (kl[i] <= LARGE) & (ratio[i].abs() * nats <= APART));
        }
        let mut certified = tried & bits(l, &held);
        if certified != 0 {
            let share = l.load_f32(&share);
            let peak = subtract(l, share, batch);
            certified &= l.bits(l.less(l.splat(PEAK) * l.max(share, l.splat(1.0)), peak));
        }
        Apart { tried, certified, ratio, m: s, z, p, kl }
    }
}

impl Apart {
    /// Leaves p less its share of w where p - w is left of rows that are near.
    #[inline(always)]
    pub(super) fn find<L: Simd>(l: L, scale: &Scale<L>, nats: f64, batch: &mut Batch<'_>) -> Self {
        l.call(Find { scale, nats, batch })
    }

    /// Hands over what was certified of the rows that are asked for.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays, and as many lanes as a vector has")]
    pub(super) fn keep<L: Simd>(&self, _: L, nats: f64, asked: Lanes, found: &mut Found) {
        let certified = self.certified & asked;
        for i in 0..L::WIDTH {
            let (high, low) = split(self.ratio[i]);
            let d = f64::from(high) + f64::from(low);
            if certified >> i & 1 == 1 {
                (found.m[i], found.z[i], found.kl[i]) = (self.m[i], self.z[i], self.kl[i]);
                (found.d[i], found.rest[i]) = (d, nats * (self.ratio[i] - d));
                (found.excess[i], found.sum[i]) = (0.0, self.p[i]);
            }
        }
        found.certified |= certified;
        found.far = certified;
    }
}

#[inline(always)]
fn sweep<L: Simd>(l: L, scale: &Scale<L>, batch: &mut Batch<'_>) -> Sums<L> {
    let lowest = l.splat(f32::MIN);
    let (mut t_top, mut s_top) = (lowest, lowest);
    for (t, s) in batch.teacher.iter().zip(batch.student.iter()) {
        t_top = l.max(t_top, l.load_f32(&t.0));
        s_top = l.max(s_top, l.load_f32(&s.0));
    }
    // On two levels, the second in `f64`: what cancels of them leaves their roundings.
    let mut whole = [[l.splat_f64(0.0); 2]; 3];
    let (mut most, mut below) = (lowest, lowest);
    let from = batch.teacher.chunks(GROUP).zip(batch.student.chunks(GROUP));
    let to = batch.excess.chunks_mut(GROUP).zip(batch.other.chunks_mut(GROUP));
    for ((t, s), (to_w, to_p)) in from.zip(to) {
        let [mut z, mut sum, mut first] = [l.splat(0.0); 3];
        for ((t, s), (to_w, to_p)) in t.iter().zip(s).zip(to_w.iter_mut().zip(to_p)) {
            let (t, s) = (l.load_f32(&t.0) - t_top, l.load_f32(&s.0) - s_top);
            let d = t - s;
            let w = l.exp2_fine(s * scale.bits.0);
            let p = l.exp2_fine(t * scale.bits.0);
            l.store_f32(w, &mut to_w.0);
            l.store_f32(p, &mut to_p.0);
            z = z + w;
            sum = sum + p;
            first = l.fma(p, d, first);
            most = l.max(most, d);
            below = l.max(below, l.splat(0.0) - d);
        }
        for (whole, group) in whole.iter_mut().zip([z, sum, first]) {
            let [low, high] = l.widen(group);
            *whole = [whole[0] + low, whole[1] + high];
        }
    }
    Sums { tops: [t_top, s_top], whole, most, below }
}

/// Leaves p less a share of w, which the sweep has left there; the largest of each lane.
#[inline(always)]
fn subtract<L: Simd>(l: L, share: L::V, batch: &mut Batch<'_>) -> L::V {
    let mut peak = l.splat(0.0);
    let less = l.splat(0.0) - share;
    for (w, p) in batch.excess.iter_mut().zip(batch.other.iter()) {
        let v = l.fma(less, l.load_f32(&w.0), l.load_f32(&p.0));
        peak = l.max_abs(peak, v);
        l.store_f32(v, &mut w.0);
    }
    peak
}
