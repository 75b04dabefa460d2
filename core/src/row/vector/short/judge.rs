//! What the sums of a batch are worth, lane by lane in `f64`: a certificate, a better reference, or neither.
//!
//! Loops over arrays without a branch, for a compiler to put into vectors.

use super::apart::Apart;
use super::found::Found;
use super::sweep::{Moments, References, Sums};
use super::{LANES, Lanes};
use crate::row::state::{CENTRED, FAR, NEAR};
use crate::row::two_terms::{Pair, Scale, split};
use crate::simd::Simd;

/// Nats that the log-ratio may be from 0: beyond, its last digits could matter.
pub(super) const APART: f64 = 1e5;

/// The value from which a row is kept about two separate references.
pub(super) const LARGE: f64 = 1e3;

/// The sum of w from which a row is not of its reference: a longer one's sample has missed what is far above it, and the
/// factor of its gradient would be beyond `f32`.
pub(in crate::row) const WIDEST: f64 = 1e6;

/// The share of `z` below which squares of differences have underflowed.
const SMALL: f64 = 1e-30;

/// Nats from the first reference of the log-ratio to the last: differences are rounded about the first.
const BESIDE: f64 = 4.0;

/// The log-ratio beside the root mean square of r from which differences are taken exactly.
const EXACT_FROM: f64 = 3.0;

/// The rest of the log-ratio that those who read it take.
const CLOSE: f64 = 1.0;

/// A number of each lane.
pub(in crate::row) type Numbers = [f64; LANES];

/// A batch whose references are being found.
pub(in crate::row) struct Open {
    /// The rows' references and the first sweep's sums.
    m: Numbers,
    high: Numbers,
    low: Numbers,
    z: Numbers,
    most: Numbers,
    below: Numbers,
    /// The log-ratio's reference, from the difference of the references on.
    pub(in crate::row) offset: [f32; LANES],
    /// Rows to be swept again.
    pub(in crate::row) again: Lanes,
    /// Rows whose exponents and whose differences are in two terms, or need not be.
    careful: (Lanes, Lanes),
    /// Rows that turned out to need them.
    pub(super) raised: (Lanes, Lanes),
}

#[inline(always)]
fn lanes<L: Simd>(l: L, v: L::V) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    l.store_f32(v, &mut out);
    out
}

#[inline(always)]
pub(super) fn wide<L: Simd>(l: L, v: L::V) -> Numbers {
    lanes(l, v).map(f64::from)
}

/// Which lanes are 1 and not 0.
#[inline(always)]
pub(in crate::row) fn bits<L: Simd>(l: L, flags: &[f32; LANES]) -> Lanes {
    let mut bits = 0;
    for (i, flags) in flags.chunks(L::WIDTH).enumerate() {
        bits |= l.bits(l.less(l.splat(0.5), l.load_f32(flags))) << (i * L::WIDTH);
    }
    bits
}

#[inline(always)]
pub(in crate::row) fn flag(truth: bool) -> f32 {
    if truth { 1.0 } else { 0.0 }
}

impl Open {
    /// The first log-ratio is as mean and half of the variance under the student's distribution say.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays")]
    pub(in crate::row) fn new<L: Simd>(
        l: L,
        scale: &Scale<L>,
        at: &References<L>,
        moments: &Moments<L>,
        asked: Lanes,
    ) -> Self {
        let [nats, ..] = lanes(l, scale.nats.0);
        let (z, first, second) = (lanes(l, moments.z), lanes(l, moments.first), lanes(l, moments.second));
        let most = lanes(l, moments.most);
        let mut offset = [0.0; LANES];
        for i in 0..LANES {
            let mean = first[i] / z[i];
            let guess = mean + 0.5 * nats * (second[i] / z[i] - mean * mean);
            offset[i] = if guess > most[i] { most[i] } else { guess };
        }
        Self {
            m: wide(l, at.m),
            high: wide(l, at.d.0),
            low: wide(l, at.d.1),
            z: z.map(f64::from),
            most: most.map(f64::from),
            below: wide(l, moments.below),
            offset,
            again: asked,
            careful: (!0, !0),
            raised: (0, 0),
        }
    }

    /// Rows have no more care taken of them than these references ask for, until they are seen to need it.
    #[inline(always)]
    pub(super) fn sparing<L: Simd>(&mut self, l: L, at: &References<L>) {
        self.careful = (bits(l, &lanes(l, at.deep)), bits(l, &lanes(l, at.exact)));
    }

    /// References with more care, and what was measured about them.
    #[inline(always)]
    pub(super) fn raise<L: Simd>(&mut self, l: L, at: &References<L>, moments: &Moments<L>) {
        let (high, low) = (wide(l, at.d.0), wide(l, at.d.1));
        let of = self.high.iter_mut().zip(&mut self.low).zip(&mut self.offset);
        for (i, (((to_high, to_low), offset), (high, low))) in of.zip(high.iter().zip(&low)).enumerate() {
            if self.raised.1 >> i & 1 == 1 {
                *offset = split((*to_high - high) + (*to_low - low) + f64::from(*offset)).0;
                (*to_high, *to_low) = (*high, *low);
            }
        }
        self.measured(l, moments);
        self.sparing(l, at);
        self.raised = (0, 0);
    }

    /// What a first sweep about other references, or over more entries, has found.
    #[inline(always)]
    pub(in crate::row) fn measured<L: Simd>(&mut self, l: L, moments: &Moments<L>) {
        self.z = wide(l, moments.z);
        self.most = wide(l, moments.most);
        self.below = wide(l, moments.below);
    }

    /// Leaves out the rows that are known to be far, and takes what is known of the log-ratio of the others that were
    /// tried.
    #[inline(always)]
    pub(super) fn without(&mut self, apart: &Apart) {
        self.again &= !apart.certified;
        let lanes = self.offset.iter_mut().zip(&apart.ratio).zip(self.high.iter().zip(&self.low));
        for (i, ((offset, ratio), (high, low))) in lanes.enumerate() {
            let from = split((ratio - high) - low).0;
            let moves = apart.tried >> i & 1 == 1 && from.abs() < f32::MAX;
            *offset = if moves { from } else { *offset };
        }
    }

    /// Moves the offsets of these lanes by what [`opposed`](super::sweep::opposed) sums say.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a reference may be any number near")]
    pub(in crate::row) fn balance<L: Simd>(&mut self, l: L, lanes: Lanes, opposed: L::V, nats: f64) {
        let tau = 1.0 / nats;
        let sums = wide(l, opposed);
        for (i, ((offset, sum), z)) in self.offset.iter_mut().zip(sums).zip(&self.z).enumerate() {
            let moved = (f64::from(*offset) + tau * logarithm((sum - z) / (sum + z)).0) as f32;
            let moves = lanes >> i & 1 == 1 && moved.abs() < f32::MAX;
            *offset = if moves { moved } else { *offset };
        }
    }

    /// Takes the offsets of open lanes that are more than so many nats into the references, which are returned; none
    /// where there is no such lane.
    #[inline(always)]
    pub(in crate::row) fn rebased<L: Simd>(&mut self, l: L, nats: f64, limit: f64) -> Option<Pair<L::V>> {
        let beyond = self.offset.map(|offset| flag(f64::from(offset).abs() * nats > limit));
        let beyond = bits(l, &beyond) & self.again;
        if beyond == 0 {
            return None;
        }
        let [mut high, mut low] = [[0.0; LANES]; 2];
        let at = self.high.iter_mut().zip(&mut self.low).zip(&mut self.offset);
        for (i, (((d_high, d_low), offset), (high, low))) in at.zip(high.iter_mut().zip(&mut low)).enumerate()
        {
            let moves = beyond >> i & 1 == 1;
            let by = if moves { f64::from(*offset) } else { 0.0 };
            // As it was, where it does not move: two numbers need not be the nearest two.
            let next = split(*d_high + *d_low + by);
            (*high, *low) = if moves { next } else { (single(*d_high), single(*d_low)) };
            (*d_high, *d_low) = (f64::from(*high), f64::from(*low));
            *offset = if moves { 0.0 } else { *offset };
        }
        Some((l.load_f32(&high), l.load_f32(&low)))
    }

    /// Moves the references of the lanes that are to be swept again to where their sums say.
    #[cold]
    #[inline(never)]
    fn move_on(&mut self, lanes: Lanes, means: &Numbers, nats: f64) {
        for (i, (offset, mean)) in self.offset.iter_mut().zip(means).enumerate() {
            if lanes >> i & 1 == 1 {
                *offset = split(f64::from(*offset) + libm::log1p(*mean) / nats).0;
                self.again &= !(u32::from(!offset.is_finite()) << i);
            }
        }
    }
}

/// The nearest number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
pub(super) fn single(x: f64) -> f32 {
    x as f32
}

/// The logarithm of (1 + s) / (1 - s), and h(s^2) of it: it is 2 s (1 + s^2 h). By the series of the inverse hyperbolic
/// tangent, within 3e-9 of themselves for |s| <= 1/3; in halves, since all waits for it.
#[inline(always)]
fn logarithm(s: f64) -> (f64, f64) {
    let y = s * s;
    let (y2, first) = (y * y, 1.0 / 3.0 + y * 0.2);
    let low = first + y2 * (1.0 / 7.0 + y * (1.0 / 9.0));
    let high = (1.0 / 11.0 + y * (1.0 / 13.0)) + y2 * (1.0 / 15.0 + y * (1.0 / 17.0));
    let h = low + y2 * y2 * high;
    (2.0 * s * (1.0 + y * h), h)
}

/// Takes down what is known of the lanes that are done and moves the references of those that are not.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "without branches, many lanes at a time")]
#[allow(clippy::needless_range_loop, reason = "a lane of many arrays, and as many lanes as a vector has")]
pub(in crate::row) fn judge<L: Simd>(l: L, nats: f64, sums: &Sums<L>, open: &mut Open, found: &mut Found) {
    let (e, g) = (wide(l, sums.e), wide(l, sums.g));
    let (largest, far) = (wide(l, sums.largest), wide(l, sums.far));
    let [mut shares, mut excesses, mut logs, mut values] = [[0.0; LANES]; 4];
    for i in 0..L::WIDTH {
        // log(1 + E/Z) and its excess c over (E/Z) / (1 + E/Z), for E from -Z/2 to Z.
        let sum = open.z[i] + e[i];
        let middle = open.z[i] + sum;
        let (per_sum, s) = (1.0 / sum, e[i] / middle);
        let (log, h) = logarithm(s);
        let excess = 2.0 * s * s * (0.5 * middle * per_sum + s * h);
        let kl = g[i] * per_sum - excess;
        (shares[i], excesses[i]) = (s.abs(), excess);
        logs[i] = log;
        values[i] = if kl < 0.0 { 0.0 } else { kl };
    }
    let (mut ratios, mut rests, mut spreads) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for i in 0..L::WIDTH {
        // The reference as two numbers of `f32`, and what they leave of it.
        let offset = f64::from(open.offset[i]);
        let (d_high, d_low) = split(open.high[i] + open.low[i] + offset);
        let (d_high, d_low) = (f64::from(d_high), f64::from(d_low));
        let left = ((open.high[i] - d_high) + (open.low[i] - d_low)) + offset;
        let (above, below) = (open.most[i] - offset, open.below[i] + offset);
        ratios[i] = d_high + d_low;
        rests[i] = logs[i] + nats * left;
        spreads[i] = nats * if above > below { above } else { below };
    }
    let [mut right, mut holds, mut near, mut deep, mut rounded] = [[0.0; LANES]; 5];
    for i in 0..L::WIDTH {
        let (z, e, g, spread, rest) = (open.z[i], e[i], g[i], spreads[i], rests[i].abs());
        let share = CENTRED * largest[i];
        let share = if share < 1.0 { share } else { 1.0 };
        // Written so that a NaN is refused. At most one bit is lost to c.
        right[i] = flag((shares[i] <= 1.0 / 3.0) & (values[i] >= excesses[i]) & (e.abs() <= z * share));
        holds[i] = flag(
            (z <= WIDEST)
                & (values[i] <= LARGE)
                & (ratios[i].abs() * nats <= APART)
                & (rest <= CLOSE)
                & (f64::from(open.offset[i]).abs() * nats <= BESIDE)
                & ((g >= SMALL * z) | (spread == 0.0))
                // An exponent beyond f32 times nothing.
                & !far[i].is_nan(),
        );
        near[i] = flag((spread <= NEAR) & (rest <= 1.0 - NEAR));
        deep[i] = flag(far[i] * nats > 1.5 * FAR * g);
        let ratio = nats * f64::from(open.offset[i]);
        let most = if 2.0 * g < z { 2.0 * g } else { z };
        rounded[i] = flag(ratio * ratio * z > EXACT_FROM * EXACT_FROM * most);
    }
    // One by one: what an array's `map` is given is not compiled for the instruction set.
    let (right, holds, near, deep) = (bits(l, &right), bits(l, &holds), bits(l, &near), bits(l, &deep));
    let moved = open.again & !right;
    open.raised = (
        deep & !open.careful.0 & open.again & right,
        bits(l, &rounded) & !open.careful.1 & open.again & right,
    );
    let settled = open.again & right & !(open.raised.0 | open.raised.1);
    for i in 0..L::WIDTH {
        if settled >> i & 1 == 1 {
            (found.m[i], found.z[i], found.kl[i]) = (open.m[i], open.z[i], values[i]);
            (found.d[i], found.rest[i]) = (ratios[i], rests[i]);
            (found.excess[i], found.sum[i]) = (e[i], open.z[i] + e[i]);
        }
    }
    found.near |= near & settled;
    found.deep |= deep & settled;
    found.certified |= holds & settled;
    open.again &= !settled;
    if moved != 0 {
        let mut means = [0.0; LANES];
        for i in 0..L::WIDTH {
            means[i] = e[i] / open.z[i];
        }
        open.move_on(moved, &means, nats);
    }
}
