//! The gradient of neighbouring short rows, as they lie: a vector takes the constants of its lanes' rows from tables.

use super::entry::{Scale, rest, split, times, two_difference};
use super::{LANES, Lanes};
use crate::access::Place;
use crate::element::Tensor;
use crate::row::statistics::{Kind, RowStatistics};
use crate::row::vector::gradient::{Gradient, LARGEST, SMALLEST};
use crate::simd::Simd;

type Table = [f32; LANES];

/// What each row's gradient is measured from.
#[derive(Default)]
struct Rows {
    m: Table,
    d_high: Table,
    d_low: Table,
    /// The rest of the log-ratio, in nats, and in units of the inputs.
    rest: Table,
    teacher_high: Table,
    teacher_low: Table,
    /// What w (e^r - 1) is multiplied by.
    factor: Table,
    deep: Table,
    done: Lanes,
    near: bool,
    any_deep: bool,
}

impl Rows {
    #[inline(always)]
    fn new(nats: f64, statistics: &[RowStatistics], scale: f64) -> Self {
        let mut rows = Self { near: true, ..Self::default() };
        for (i, of) in statistics.iter().enumerate().take(LANES) {
            let (m, d) = (4.0 * of.m, 4.0 * of.d);
            let factor = -scale / of.z;
            let (d_high, d_low) = split(d);
            let left = of.l + nats * (d - (f64::from(d_high) + f64::from(d_low)));
            let (teacher_high, teacher_low) = split(m + d + of.l / nats);
            let is_known = matches!(of.kind, Kind::Near | Kind::Full | Kind::Deep);
            // Equal rows have no gradient, whatever the last digits of their difference.
            let zero = of.kl == 0.0;
            if !(is_known && (zero || (SMALLEST..=LARGEST).contains(&factor.abs()))) {
                continue;
            }
            let set = |table: &mut Table, x: f32| {
                if let Some(cell) = table.get_mut(i) {
                    *cell = x;
                }
            };
            set(&mut rows.m, split(m).0);
            set(&mut rows.d_high, d_high);
            set(&mut rows.d_low, d_low);
            set(&mut rows.rest, split(left).0);
            set(&mut rows.teacher_high, teacher_high);
            set(&mut rows.teacher_low, teacher_low);
            set(&mut rows.factor, if zero { 0.0 } else { split(factor).0 });
            set(&mut rows.deep, if of.kind == Kind::Deep { 1.0 } else { 0.0 });
            rows.near &= of.kind == Kind::Near;
            rows.any_deep |= of.kind == Kind::Deep;
            rows.done |= 1 << i;
        }
        rows
    }
}

/// Which rows were written, and whether a finite number of them became infinite.
#[inline(always)]
pub(in crate::row::vector) fn gradient<L: Simd>(l: L, of: Gradient<'_, '_>) -> (Lanes, bool) {
    let Gradient { tau, teacher, student, place, len, statistics, scale, sink, short } = of;
    let nats = 1.0 / tau.get();
    let rows = Rows::new(nats, statistics, scale);
    let entries = statistics.len() * len;
    let out = short.out.get_mut(..entries).unwrap_or_default();
    let pair = (teacher, student, place.index);
    match (rows.near, rows.any_deep) {
        (true, _) => pull::<L, true, false>(l, nats, &rows, pair, len, out),
        (false, false) => pull::<L, false, false>(l, nats, &rows, pair, len, out),
        (false, true) => pull::<L, false, true>(l, nats, &rows, pair, len, out),
    }
    if rows.done == !(!0 << statistics.len()) {
        return (rows.done, sink.store_rows(place, len, out));
    }
    let mut overflowed = false;
    for (i, row) in out.chunks(len.max(1)).enumerate() {
        if rows.done >> i & 1 == 1 {
            let place = Place { row: place.row + i, index: place.index + i * len, ..place };
            overflowed |= sink.store_f32(place, row);
        }
    }
    (rows.done, overflowed)
}

/// A vector of a tensor, as `f32`.
#[inline(always)]
fn load<L: Simd>(l: L, from: Tensor<'_>, at: usize, n: usize) -> L::V {
    match from {
        Tensor::F32(x) => l.load_f32(x.get(at..at + n).unwrap_or_default()),
        Tensor::F16(x) => l.load_f16(x.get(at..at + n).unwrap_or_default()),
        Tensor::Bf16(x) => l.load_bf16(x.get(at..at + n).unwrap_or_default()),
        // Never asked for: its arithmetic is `f64`.
        Tensor::F64(_) => l.splat(0.0),
    }
}

#[inline(always)]
fn pull<L: Simd, const NEAR: bool, const DEEP: bool>(
    l: L,
    nats: f64,
    rows: &Rows,
    (teacher, student, mut at): (Tensor<'_>, Tensor<'_>, usize),
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
    for out in out.chunks_mut(L::WIDTH) {
        let (t, s) = (load(l, teacher, at, out.len()), load(l, student, at, out.len()));
        let (high, low) = two_difference(l, t, s);
        let distance = (high - l.look_up(&rows.d_high, row)) + (low - l.look_up(&rows.d_low, row));
        let r = times(l, distance, scale.nats) - l.look_up(&rows.rest, row);
        let deep = if DEEP { l.look_up(&rows.deep, row) } else { one };
        let w = scale.exp::<DEEP>(l, two_difference(l, s, l.look_up(&rows.m, row)), deep);
        let u = w * r;
        let mut excess = l.fma(u * r, rest(l, r), u);
        if !NEAR {
            let size = l.abs(r);
            let mut p = w * l.exp2(r * l.splat(core::f32::consts::LOG2_E));
            let own = l.less(l.splat(4.0), size);
            if l.any(own) {
                let y = two_difference(l, t, l.look_up(&rows.teacher_high, row));
                let y = two_difference(l, y.0, l.look_up(&rows.teacher_low, row) - y.1);
                p = l.select(own, scale.exp::<DEEP>(l, y, deep), p);
            }
            excess = l.select(l.less(one, size), p - w, excess);
        }
        l.store_f32(l.look_up(&rows.factor, row) * excess, out);
        row = row + step;
        at += L::WIDTH;
    }
}

/// A small number.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "at most 64")]
fn single(n: usize) -> f32 {
    n as f32
}
