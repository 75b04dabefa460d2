//! What the sums of a batch are worth, lane by lane in `f64`: a certificate, a better reference, or neither.
//!
//! Loops over arrays without a branch, for a compiler to put into vectors.

use super::sweep::{Moments, References, Sums};
use super::{LANES, Lanes};
use crate::row::state::{CENTRED, FAR, NEAR};
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::two_terms::{Pair, Scale, split};
use crate::simd::Simd;
use core::f64::consts::LN_2;

/// Nats that the log-ratio may be from 0: beyond, its last digits could matter.
const APART: f64 = 1e5;

/// The value from which a row is kept about two separate references.
const LARGE: f64 = 1e3;

/// The share of `z` below which squares of differences have underflowed.
const SMALL: f64 = 1e-30;

/// Nats from the first reference of the log-ratio to the last: differences are rounded about the first.
const BESIDE: f64 = 4.0;

/// The rest of the log-ratio that those who read it take.
const CLOSE: f64 = 1.0;

macro_rules! horner {
    ($x:expr, $last:expr $(, $c:expr)*) => {{ let p = $last; $( let p = $c + $x * p; )* p }};
}

/// A number of each lane.
type Numbers = [f64; LANES];

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
    /// Rows to be swept again, and those that are done.
    pub(in crate::row) again: Lanes,
    pub(in crate::row) certified: Lanes,
    found: Found,
}

/// What is known of the rows that are done.
#[derive(Default)]
struct Found {
    d: Numbers,
    rest: Numbers,
    kl: Numbers,
    near: Lanes,
    deep: Lanes,
}

#[inline(always)]
fn lanes<L: Simd>(l: L, v: L::V) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    l.store_f32(v, &mut out);
    out
}

#[inline(always)]
fn wide<L: Simd>(l: L, v: L::V) -> Numbers {
    lanes(l, v).map(f64::from)
}

/// Which lanes are 1 and not 0.
#[inline(always)]
pub(super) fn bits<L: Simd>(l: L, flags: &[f32; LANES]) -> Lanes {
    let mut bits = 0;
    for (i, flags) in flags.chunks(L::WIDTH).enumerate() {
        bits |= l.bits(l.less(l.splat(0.5), l.load_f32(flags))) << (i * L::WIDTH);
    }
    bits
}

#[inline(always)]
pub(super) fn flag(truth: bool) -> f32 {
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
        rows: usize,
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
            again: !(!0 << rows),
            certified: 0,
            found: Found::default(),
        }
    }

    /// What a first sweep about other references, or over more entries, has found.
    #[inline(always)]
    pub(in crate::row) fn measured<L: Simd>(&mut self, l: L, moments: &Moments<L>) {
        self.z = wide(l, moments.z);
        self.most = wide(l, moments.most);
        self.below = wide(l, moments.below);
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

    /// Each row's KL divergence, where it is certified.
    pub(in crate::row) fn values(&self) -> &[f64; LANES] {
        &self.found.kl
    }

    /// What makes a gradient of p - w and w, from the last sums: the share of w that is taken off p - w, and the factor
    /// of the rest; in the lanes that are certified.
    #[inline(always)]
    pub(in crate::row) fn pull<L: Simd>(&self, l: L, e: L::V, scale: f64) -> (L::V, L::V) {
        let (mut mean, mut factor) = ([0.0; LANES], [0.0; LANES]);
        let to = mean.iter_mut().zip(&mut factor);
        let sums = self.z.iter().zip(wide(l, e)).zip(&self.found.kl);
        for ((mean, factor), ((z, e), kl)) in to.zip(sums) {
            *mean = single(e / z);
            // Equal rows have no gradient, whatever the last digits of their difference.
            *factor = if *kl == 0.0 { 0.0 } else { single(-scale / (z + e)) };
        }
        (l.load_f32(&mean), l.load_f32(&factor))
    }

    /// Moves the references of the lanes that are to be swept again to where their sums say.
    #[cold]
    #[inline(never)]
    fn move_on(&mut self, means: &Numbers, nats: f64) {
        for (i, (offset, mean)) in self.offset.iter_mut().zip(means).enumerate() {
            if self.again >> i & 1 == 1 {
                *offset = split(f64::from(*offset) + libm::log1p(*mean) / nats).0;
                self.again &= !(u32::from(!offset.is_finite()) << i);
            }
        }
    }

    /// Hands over what was certified.
    #[inline(always)]
    pub(in crate::row) fn keep(&self, to: &mut [RowStatistics]) {
        let Found { d, rest, kl, near, deep } = &self.found;
        let of = self.m.iter().zip(&self.z).zip(d.iter().zip(rest)).zip(kl);
        for (i, (to, (((m, z), (d, rest)), kl))) in to.iter_mut().zip(of).enumerate() {
            if self.certified >> i & 1 == 1 {
                let kind = match (deep >> i & 1, near >> i & 1) {
                    (1, _) => Kind::Deep,
                    (_, 1) => Kind::Near,
                    _ => Kind::Full,
                };
                *to = RowStatistics { m: 0.25 * m, z: *z, d: 0.25 * d, l: *rest, kl: *kl, kind };
            }
        }
    }
}

/// The nearest number.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
fn single(x: f64) -> f32 {
    x as f32
}

/// The logarithm of (1 + s) / (1 - s), and h(s^2) of it: it is 2 s (1 + s^2 h). By the series of the inverse hyperbolic
/// tangent, within 3e-9 of themselves for |s| <= 1/3.
#[inline(always)]
fn logarithm(s: f64) -> (f64, f64) {
    let y = s * s;
    let h = horner!(y, 1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0);
    (2.0 * s * (1.0 + y * h), h)
}

/// Fills the statistics of the lanes that are certified and moves the references of those that are not.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "without branches, many lanes at a time")]
#[allow(clippy::needless_range_loop, reason = "a lane of many arrays, and as many lanes as a vector has")]
pub(in crate::row) fn judge<L: Simd>(l: L, nats: f64, sums: &Sums<L>, open: &mut Open) {
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
    let [mut right, mut holds, mut near, mut deep] = [[0.0; LANES]; 4];
    for i in 0..L::WIDTH {
        let (z, e, g, spread, rest) = (open.z[i], e[i], g[i], spreads[i], rests[i].abs());
        let share = CENTRED * largest[i];
        let share = if share < 1.0 { share } else { 1.0 };
        // Written so that a NaN is refused. At most one bit is lost to c.
        right[i] = flag((shares[i] <= 1.0 / 3.0) & (values[i] >= excesses[i]) & (e.abs() <= z * share));
        holds[i] = flag(
            (z <= 1e30)
                & (values[i] <= LARGE)
                & (ratios[i].abs() * nats <= APART)
                & (rest <= CLOSE)
                & (f64::from(open.offset[i]).abs() * nats <= BESIDE)
                & ((g >= SMALL * z) | (spread == 0.0))
                // An exponent beyond f32 times nothing.
                & !far[i].is_nan(),
        );
        near[i] = flag((spread <= NEAR) & (rest <= 1.0 - NEAR));
        deep[i] = flag(far[i] * LN_2 > 1.5 * FAR * g);
    }
    // One by one: what an array's `map` is given is not compiled for the instruction set.
    let (right, holds, near, deep) = (bits(l, &right), bits(l, &holds), bits(l, &near), bits(l, &deep));
    let settled = open.again & right;
    for i in 0..L::WIDTH {
        if settled >> i & 1 == 1 {
            open.found.d[i] = ratios[i];
            open.found.rest[i] = rests[i];
            open.found.kl[i] = values[i];
        }
    }
    open.found.near |= near & settled;
    open.found.deep |= deep & settled;
    open.certified |= holds & settled;
    open.again &= !right;
    if open.again != 0 {
        let mut means = [0.0; LANES];
        for i in 0..L::WIDTH {
            means[i] = e[i] / open.z[i];
        }
        open.move_on(&means, nats);
    }
}
