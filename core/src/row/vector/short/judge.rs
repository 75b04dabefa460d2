//! What the sums of a batch are worth, lane by lane in `f64`: a certificate, a better reference, or neither.

use super::entry::{Scale, split};
use super::sweep::{Moments, References, Sums};
use super::{LANES, Lanes};
use crate::row::state::{CENTRED, FAR, NEAR};
use crate::row::statistics::{Kind, RowStatistics};
use crate::simd::Simd;
use core::f64::consts::LN_2;

/// Nats that the log-ratio may be from 0: beyond, its last digits could matter.
const APART: f64 = 1e5;

/// The value from which a row is kept about two separate references.
const LARGE: f64 = 1e3;

/// The share of `z` below which squares of differences have underflowed.
const SMALL: f64 = 1e-30;

/// The log-ratio's rest that its consumers take.
const CLOSE: f64 = 1.0;

macro_rules! horner {
    ($x:expr, $last:expr $(, $c:expr)*) => {{ let p = $last; $( let p = $c + $x * p; )* p }};
}

/// A batch whose references are being found.
pub(super) struct Open {
    /// The rows' references and the first sweep's sums.
    m: [f32; LANES],
    high: [f32; LANES],
    low: [f32; LANES],
    z: [f32; LANES],
    most: [f32; LANES],
    below: [f32; LANES],
    /// The log-ratio's reference, from the difference of the references on.
    pub(super) offset: [f32; LANES],
    /// Rows to be swept again, and those that are done.
    pub(super) again: Lanes,
    pub(super) certified: Lanes,
    pub(super) found: [RowStatistics; LANES],
}

/// The lanes of a vector.
#[inline(always)]
fn lanes<L: Simd>(l: L, v: L::V) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    l.store_f32(v, &mut out);
    out
}

impl Open {
    /// The first log-ratio is as mean and half of the variance under the student's distribution say.
    #[inline(always)]
    pub(super) fn new<L: Simd>(
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
        let sums = z.iter().zip(&first).zip(second.iter().zip(&most));
        for (offset, ((z, first), (second, most))) in offset.iter_mut().zip(sums) {
            let mean = first / z;
            let guess = mean + 0.5 * nats * (second / z - mean * mean);
            *offset = if guess > *most { *most } else { guess };
        }
        Self {
            m: lanes(l, at.m),
            high: lanes(l, at.d.0),
            low: lanes(l, at.d.1),
            z,
            most,
            below: lanes(l, moments.below),
            offset,
            again: !(!0 << rows),
            certified: 0,
            found: [RowStatistics::default(); LANES],
        }
    }

    /// Moves a lane's reference to where its sums say.
    #[cold]
    fn moved(&mut self, i: usize, mean: f64, nats: f64) {
        if let Some(offset) = self.offset.get_mut(i) {
            *offset = split(f64::from(*offset) + libm::log1p(mean) / nats).0;
            if offset.is_finite() {
                return;
            }
        }
        self.again &= !(1 << i);
    }
}

/// Fills the statistics of the lanes that are certified and moves the references of those that are not.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "without branches, many lanes at a time")]
pub(super) fn judge<L: Simd>(l: L, nats: f64, sums: &Sums<L>, open: &mut Open) {
    let (e, g) = (lanes(l, sums.e), lanes(l, sums.g));
    let (largest, far) = (lanes(l, sums.largest), lanes(l, sums.far));
    let mut means = [0.0; LANES];
    let mut verdicts = [(false, false); LANES];
    for i in 0..L::WIDTH {
        let lane = |x: &[f32; LANES]| f64::from(x.get(i).copied().unwrap_or(f32::NAN));
        let (z, e, g, largest, far) = (lane(&open.z), lane(&e), lane(&g), lane(&largest), lane(&far));
        let offset = lane(&open.offset);
        // log(1 + E/Z) and its excess c over (E/Z) / (1 + E/Z), by the series of the inverse hyperbolic tangent: within
        // 1e-8 of themselves for |E| <= Z/2.
        let sum = z + e;
        let (per_sum, per_middle) = (1.0 / sum, 1.0 / (z + sum));
        let s = e * per_middle;
        let y = s * s;
        let h =
            horner!(y, 1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0);
        let log = 2.0 * s * (1.0 + y * h);
        let excess = 2.0 * y * (0.5 * (z + sum) * per_sum + s * h);
        let kl = g * per_sum - excess;
        let kl = if kl < 0.0 { 0.0 } else { kl };
        // The reference as two numbers of `f32`, and what they leave of it.
        let (base_high, base_low) = (lane(&open.high), lane(&open.low));
        let whole = base_high + base_low + offset;
        let (d_high, d_low) = split(whole);
        let (d_high, d_low) = (f64::from(d_high), f64::from(d_low));
        let left = ((base_high - d_high) + (base_low - d_low)) + offset;
        let rest = log + nats * left;
        let spread = nats * (lane(&open.most) - offset).max(lane(&open.below) + offset);
        // Written so that a NaN is refused.
        let right = (e.abs() <= 0.5 * z)
            & (1.5 * e * e <= g * z)
            & (e.abs() <= z * (CENTRED * largest).min(1.0));
        let holds = (z <= 1e30)
            & (kl <= LARGE)
            & (whole.abs() * nats <= APART)
            & (rest.abs() <= CLOSE)
            & ((g >= SMALL * z) | (spread == 0.0));
        let is_deep = far * LN_2 > 1.5 * FAR * g;
        let kind = if is_deep {
            Kind::Deep
        } else if (spread <= NEAR) & (rest.abs() <= 1.0 - NEAR) {
            Kind::Near
        } else {
            Kind::Full
        };
        let holds = holds & (L::FUSED | !is_deep);
        if let (Some(verdict), Some(mean), true) = (verdicts.get_mut(i), means.get_mut(i), true) {
            *verdict = (right, holds);
            *mean = e / z;
        }
        let m = 0.25 * lane(&open.m);
        if let (Some(to), true) = (open.found.get_mut(i), open.again >> i & 1 == 1) {
            *to = RowStatistics { m, z, d: 0.25 * (d_high + d_low), l: rest, kl, kind };
        }
    }
    for (i, (right, holds)) in verdicts.into_iter().enumerate().take(L::WIDTH) {
        if open.again >> i & 1 == 0 {
            continue;
        }
        if right {
            open.again &= !(1 << i);
            open.certified |= u32::from(holds) << i;
        } else {
            open.moved(i, means.get(i).copied().unwrap_or(f64::NAN), nats);
        }
    }
}
