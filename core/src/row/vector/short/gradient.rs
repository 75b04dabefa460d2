//! The gradient of neighbouring short rows, as they lie: a vector takes the constants of its lanes' rows from tables.

use super::entry::rest;
use super::judge::{bits, flag};
use super::{LANES, Lanes};
use crate::access::Place;
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::two_terms::{Scale, split, times, two_difference};
use crate::row::vector::gradient::{Gradient, LARGEST, SMALLEST};
use crate::row::vector::maps::piece;
use crate::simd::Simd;

type Table = [f32; LANES];

/// What each row's gradient is measured from.
pub(in crate::row) struct Rows {
    pub(in crate::row) m: Table,
    pub(in crate::row) d_high: Table,
    pub(in crate::row) d_low: Table,
    /// The rest of the log-ratio, in nats.
    pub(in crate::row) rest: Table,
    /// Where the teacher's exponents are 0.
    teacher_high: Table,
    teacher_low: Table,
    /// What w (e^r - 1) is multiplied by.
    pub(in crate::row) factor: Table,
    /// 1 for rows whose exponents are taken in two terms.
    deep: Table,
    pub(in crate::row) done: Lanes,
    /// Those of them whose log-ratio's reference two `f32` hold.
    held: Lanes,
    near: bool,
    any_deep: bool,
}

impl Rows {
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "a lane of many arrays")]
    pub(in crate::row) fn new<L: Simd>(l: L, nats: f64, statistics: &[RowStatistics], scale: f64) -> Self {
        let [mut m, mut z, mut d, mut rests, mut kl] = [[0.0; LANES]; 5];
        let (mut done, mut near, mut deep) = (0, 0, 0);
        for (i, of) in statistics.iter().enumerate().take(LANES) {
            (m[i], z[i], d[i], rests[i], kl[i]) = (4.0 * of.m, of.z, 4.0 * of.d, of.l, of.kl);
            let is_deep = u32::from(of.kind == Kind::Deep);
            near |= u32::from(of.kind == Kind::Near) << i;
            deep |= is_deep << i;
            done |= (is_deep | u32::from(of.is_regular())) << i;
        }
        let [mut m_single, mut d_high, mut d_low, mut rest] = [[0.0; LANES]; 4];
        let [mut teacher_high, mut teacher_low, mut factor] = [[0.0; LANES]; 3];
        let [mut held, mut ranged] = [[0.0; LANES]; 2];
        for i in 0..LANES {
            m_single[i] = split(m[i]).0;
            // What the exponents lose with the reference's last digits.
            let moved = nats * (f64::from(m_single[i]) - m[i]);
            let fix = 1.0 + moved * (1.0 + 0.5 * moved);
            // Equal rows have no gradient, whatever the last digits of their difference.
            let product = if kl[i] == 0.0 { 0.0 } else { -scale * fix / z[i] };
            let in_range = product == 0.0 || (SMALLEST..=LARGEST).contains(&product.abs());
            factor[i] = split(product).0;
            (d_high[i], d_low[i]) = split(d[i]);
            // Two `f32` hold the references that this kernel chooses. Others are the exact arithmetic's, for rows of
            // which all that differs is small: it knows more of their log-ratio than is asked of here.
            let is_held = f64::from(d_high[i]) + f64::from(d_low[i]) == d[i];
            (held[i], ranged[i]) = (flag(is_held), flag(in_range));
            rest[i] = split(rests[i] + nats * (d[i] - (f64::from(d_high[i]) + f64::from(d_low[i])))).0;
            (teacher_high[i], teacher_low[i]) = split(m[i] + d[i] + rests[i] / nats);
        }
        done &= bits(l, &ranged);
        let mut flags = [0.0; LANES];
        for (i, flag) in flags.iter_mut().enumerate() {
            *flag = if deep >> i & 1 == 1 { 1.0 } else { 0.0 };
        }
        Self {
            m: m_single,
            d_high,
            d_low,
            rest,
            teacher_high,
            teacher_low,
            factor,
            deep: flags,
            done,
            held: bits(l, &held),
            near: near & done == done,
            any_deep: deep & done != 0,
        }
    }
}

/// Which rows were written, and whether a finite number of them became infinite.
#[inline(always)]
pub(in crate::row::vector) fn gradient<L: Simd>(l: L, of: Gradient<'_, '_>) -> (Lanes, bool) {
    let Gradient { tau, teacher, student, place, len, statistics, scale, sink, short } = of;
    let nats = 1.0 / tau.get();
    let rows = Rows::new(l, nats, statistics, scale);
    let entries = statistics.len() * len;
    let super::Buffers { out, wide: [for_t, for_s], .. } = short;
    let out = out.get_mut(..entries).unwrap_or_default();
    let range = place.index..place.index + entries;
    let pair = (piece(l, teacher, range.clone(), for_t), piece(l, student, range, for_s));
    match (rows.near, rows.any_deep) {
        (true, _) => pull::<L, true, false>(l, nats, &rows, pair, len, out),
        (false, false) => pull::<L, false, false>(l, nats, &rows, pair, len, out),
        (false, true) => pull::<L, false, true>(l, nats, &rows, pair, len, out),
    }
    let done = rows.done & rows.held;
    if done == !(!0 << statistics.len()) {
        return (done, sink.store_rows(place, len, out));
    }
    let mut overflowed = false;
    for (i, row) in out.chunks(len.max(1)).enumerate() {
        if done >> i & 1 == 1 {
            let place = Place { row: place.row + i, index: place.index + i * len, ..place };
            overflowed |= sink.store_f32(place, row);
        }
    }
    (done, overflowed)
}

#[inline(always)]
fn pull<L: Simd, const NEAR: bool, const DEEP: bool>(
    l: L,
    nats: f64,
    rows: &Rows,
    (t, s): (&[f32], &[f32]),
    len: usize,
    out: &mut [f32],
) {
    let scale = Scale::new(l, nats);
    let one = l.splat(1.0);
    // Half an entry from the edges of a row: whatever is rounded, the integer part is the row.
    let per_row = 1.0 / single(len);
    let mut first = [0.0; LANES];
    first.iter_mut().enumerate().for_each(|(i, row)| *row = (single(i) + 0.5) * per_row);
    let mut row = l.load_f32(&first);
    let step = l.splat(single(L::WIDTH) * per_row);
    let mut both = t.chunks(L::WIDTH).zip(s.chunks(L::WIDTH));
    for out in out.chunks_mut(L::WIDTH) {
        let Some((t, s)) = both.next() else { return };
        let (t, s) = (l.load_f32(t), l.load_f32(s));
        let (high, low) = two_difference(l, t, s);
        let (beside, below) = (high - l.look_up(&rows.d_high, row), l.look_up(&rows.d_low, row));
        let distance = if DEEP {
            // Beside a reference that was rounded the other way the low terms have opposite signs, and their difference
            // more digits than a number: those digits are all of a peak's gradient.
            let (near, rest) = two_difference(l, low, below);
            (beside + near) + rest
        } else {
            beside + (low - below)
        };
        let less = l.look_up(&rows.rest, row);
        let r = times(l, distance, scale.nats) - less;
        let deep = if DEEP { l.look_up(&rows.deep, row) } else { one };
        let w = scale.exp::<DEEP>(l, two_difference(l, s, l.look_up(&rows.m, row)), deep);
        let r2 = r * r;
        let mut excess = l.fma(w * r2, rest(l, r, r2), w * r);
        if !NEAR {
            let size = l.abs(r);
            let bits = times(l, distance, scale.bits) - less * l.splat(core::f32::consts::LOG2_E);
            let mut p = w * l.exp2(bits);
            let own = l.less(l.splat(4.0), size);
            if l.any(own) {
                let y = two_difference(l, t, l.look_up(&rows.teacher_high, row));
                let y = two_difference(l, y.0, l.look_up(&rows.teacher_low, row) - y.1);
                // What is far from the reference is deep, whatever the row is: all of its digits are kept.
                p = l.select(own, scale.exp::<true>(l, y, one), p);
            }
            excess = l.select(l.less(one, size), p - w, excess);
        }
        l.store_f32(l.look_up(&rows.factor, row) * excess, out);
        row = row + step;
    }
}

/// A small number.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "at most 64")]
fn single(n: usize) -> f32 {
    n as f32
}
