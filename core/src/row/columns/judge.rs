//! What the sums of sixteen rows are worth: a certificate, a better reference, or neither.

use super::sweep::{LANES, Lanes};
use crate::row::state::{CENTRED, NEAR};
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::two_terms::split;
use core::f64::consts::LN_2;

/// References in units of the inputs, lane by lane.
#[derive(Clone, Copy)]
pub(super) struct References {
    pub(super) m: [f32; LANES],
    pub(super) d: [(f32, f32); LANES],
}

/// What becomes of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Certified,
    /// Its references have been moved.
    Again,
    /// A row for the engine.
    Refused,
}

/// Nats that the log-ratio may be from 0: beyond, its last digits could matter.
const APART: f64 = 1e5;

/// The value from which a row is kept about two separate references.
const LARGE: f64 = 1e3;

/// The share of `z` below which squares of differences have underflowed.
const SMALL: f64 = 1e-30;

/// Bits that a student may be above its reference.
const ABOVE: f64 = 8.0;

macro_rules! horner {
    ($x:expr, $last:expr $(, $c:expr)*) => {{ let p = $last; $( let p = $c + $x * p; )* p }};
}

/// Fills the statistics of the lanes that are certified and moves the references of those that are not; `far_above` is
/// the error of exponents that is tolerated in a Bregman sum, in units of epsilon.
#[inline(always)]
#[allow(clippy::needless_bitwise_bool, reason = "without branches, sixteen lanes at a time")]
pub(super) fn judge(
    sums: &Lanes,
    (nats, far_above): (f64, f64),
    at: &mut References,
    found: &mut [RowStatistics; LANES],
    verdicts: &mut [Verdict; LANES],
) {
    // log(1 + e) and its excess c(e) over e / (1 + e), by the series of the inverse hyperbolic tangent: within
    // 1e-8 of themselves for |e| <= 1/2.
    let (mut means, mut logs, mut values) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let to = means.iter_mut().zip(&mut logs).zip(&mut values);
    for ((((mean, log), value), &z), (&e, &g)) in to.zip(&sums.z).zip(sums.e.iter().zip(&sums.g)) {
        let per_z = 1.0 / z;
        *mean = e * per_z;
        let s = *mean / (2.0 + *mean);
        let y = s * s;
        let h =
            horner!(y, 1.0 / 17.0, 1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0);
        *log = 2.0 * s * (1.0 + y * h);
        let over = 1.0 / ((1.0 + *mean) * (1.0 + s));
        let excess = 2.0 * y * ((1.0 + *mean) * over + s * h);
        let kl = g * per_z * ((1.0 + s) * over) - excess;
        *value = if kl < 0.0 { 0.0 } else { kl };
    }
    let (mut right, mut holds) = ([false; LANES], [false; LANES]);
    for (i, (right, holds)) in right.iter_mut().zip(&mut holds).enumerate() {
        let lane = |x: &[f64; LANES]| x.get(i).copied().unwrap_or(f64::NAN);
        let (z, e, g, largest) = (lane(&sums.z), lane(&sums.e), lane(&sums.g), lane(&sums.largest));
        let (far, farthest, value) = (lane(&sums.far), lane(&sums.farthest), lane(&values));
        let (high, low) = at.d.get(i).copied().unwrap_or_default();
        let d = (f64::from(high) + f64::from(low)).abs();
        // Written so that a NaN is refused.
        *right = (e.abs() <= 0.5 * z)
            & (1.5 * e * e <= g * z)
            & (e.abs() <= z * (CENTRED * largest).min(1.0))
            & (lane(&sums.top) <= ABOVE);
        *holds = (z <= 1e30)
            & (value <= LARGE)
            & (d * nats <= APART)
            & (5.0 * g * far_above >= far)
            & (far * farthest <= (far_above * g) * (far_above * g))
            & ((g >= SMALL * z) | (lane(&sums.spread) == 0.0));
    }
    for (i, verdict) in verdicts.iter_mut().enumerate() {
        if *verdict != Verdict::Again {
            continue;
        }
        let lane = |x: &[f64; LANES]| x.get(i).copied().unwrap_or(f64::NAN);
        let (Some(m), Some(d), Some(to)) = (at.m.get_mut(i), at.d.get_mut(i), found.get_mut(i)) else {
            continue;
        };
        let exact = f64::from(d.0) + f64::from(d.1);
        let flag = |x: &[bool; LANES]| x.get(i).copied().unwrap_or(false);
        if flag(&right) {
            *verdict = if flag(&holds) { Verdict::Certified } else { Verdict::Refused };
            let (spread, l) = (lane(&sums.spread), lane(&logs));
            let kind = if spread <= NEAR && l.abs() <= 1.0 - NEAR { Kind::Near } else { Kind::Full };
            let (m, d) = (0.25 * f64::from(*m), 0.25 * exact);
            *to = RowStatistics { m, z: lane(&sums.z), d, l, kl: lane(&values), kind };
        } else {
            *verdict = moved(lane(&means), lane(&sums.top), nats, m, d);
        }
    }
}

/// Moves a lane's references to where its sums say.
#[cold]
fn moved(mean: f64, top: f64, nats: f64, m: &mut f32, d: &mut (f32, f32)) -> Verdict {
    let ratio = f64::from(d.0) + f64::from(d.1) + libm::log1p(mean) / nats;
    *d = split(ratio);
    if top > ABOVE {
        *m = split(f64::from(*m) + top * LN_2 / nats).0;
    }
    if ratio.is_finite() && m.is_finite() { Verdict::Again } else { Verdict::Refused }
}
