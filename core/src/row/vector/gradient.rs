//! The gradient of a row pair's KL divergence to the student's logits, from the row's statistics.

use super::position::{Constants, position, q_near};
use super::sums::BLOCK;
use super::{EXACT_FROM, Lanes, MILDEST, Reference, STEEPEST, ShortRows, piece, short, single};
use crate::Temperature;
use crate::access::{Place, Sink};
use crate::element::Tensor;
use crate::row::statistics::{Kind, RowStatistics};
use crate::simd::{Simd, Vectors};
use core::ops::Range;

/// `scale * (q - p)` of neighbouring rows whose statistics are about one reference.
pub(crate) struct Gradient<'a, 's> {
    pub(crate) tau: Temperature,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    /// Of the first row.
    pub(crate) place: Place,
    pub(crate) len: usize,
    /// One a row.
    pub(crate) statistics: &'s [RowStatistics],
    pub(crate) scale: f64,
    pub(crate) sink: &'s mut dyn Sink,
    pub(crate) short: &'s mut ShortRows,
}

/// Factors between which no product of a gradient is subnormal that is not so in truth.
pub(super) const SMALLEST: f64 = 1e-30;
pub(super) const LARGEST: f64 = 1e30;

impl Vectors for Gradient<'_, '_> {
    /// Which rows were written, and whether a finite number of them became infinite.
    type Output = (Lanes, bool);

    #[inline(always)]
    fn run<L: Simd>(mut self, l: L) -> (Lanes, bool) {
        let c = 1.0 / self.tau.get();
        let (mut done, mut overflowed) = (0, false);
        if !(MILDEST..=STEEPEST).contains(&c) {
            return (done, overflowed);
        }
        if self.len <= short::LONGEST {
            return short::gradient(l, self);
        }
        let mut buffers = [[0.0; BLOCK]; 3];
        for (i, statistics) in self.statistics.iter().enumerate() {
            if let Some(row) = RowReference::new::<L>(c, statistics, self.scale) {
                overflowed |= match (statistics.kind, row.at.exact) {
                    (Kind::Near, false) => self.write::<L, true, false>(l, &row, &mut buffers),
                    (Kind::Near, true) => self.write::<L, true, true>(l, &row, &mut buffers),
                    _ => self.write::<L, false, true>(l, &row, &mut buffers),
                };
                done |= 1 << i;
            }
            self.place.row += 1;
            self.place.index += self.len;
        }
        (done, overflowed)
    }
}

/// What a row's gradient is measured from.
struct RowReference {
    at: Reference,
    /// Less the rest of the log-ratio, in nats and two terms: in one it would be off the same way everywhere.
    less: (f32, f32),
    /// What w (e^r - 1) is multiplied by.
    factor: f32,
    /// What the teacher's own exponentials are.
    fix: f32,
}

impl RowReference {
    /// None where the row is not for `f32`.
    #[inline(always)]
    fn new<L: Simd>(c: f64, statistics: &RowStatistics, scale: f64) -> Option<Self> {
        if !statistics.is_regular() {
            return None;
        }
        let RowStatistics { m, z, d, l: rest, kl, kind } = *statistics;
        let (m, d) = (4.0 * m, 4.0 * d);
        let exact = kind != Kind::Near || d.abs() * c > EXACT_FROM * libm::sqrt(2.0 * kl);
        let at = Reference::new::<L>(c, single(m), d, exact);
        let factor = -scale * at.shift / z;
        // What D lost with its second term.
        let rest = rest + c * (d - at.d());
        let holds = (SMALLEST..=LARGEST).contains(&factor.abs());
        let fix = single(at.fix * libm::exp(-rest));
        let less = (single(-rest), single(-rest - f64::from(single(-rest))));
        holds.then_some(Self { at, less, factor: single(factor), fix })
    }
}

impl Gradient<'_, '_> {
    #[inline(always)]
    fn write<L: Simd, const NEAR: bool, const EXACT: bool>(
        &mut self,
        l: L,
        row: &RowReference,
        buffers: &mut [[f32; BLOCK]; 3],
    ) -> bool {
        let [for_t, for_s, out] = buffers;
        let mut overflowed = false;
        for from in (0..self.len).step_by(BLOCK) {
            let n = (self.len - from).min(BLOCK);
            let place = Place { from, index: self.place.index + from, ..self.place };
            let range = place.index..place.index + n;
            let next = range.start + self.len..range.end + self.len;
            let t = piece(l, self.teacher, range.clone(), for_t);
            let s = piece(l, self.student, range, for_s);
            if self.len <= AHEAD {
                // The row that is swept next, while this one waits for arithmetic.

                ask(l, self.teacher, next.clone());
                ask(l, self.student, next);
            }
            let out = out.get_mut(..n).unwrap_or_default();
            block::<L, NEAR, EXACT>(l, (t, s), row, out);
            overflowed |= self.sink.store_f32(place, out);
        }
        overflowed
    }
}

/// Entries up to which the next row finds room in the second-level cache beside this one.
const AHEAD: usize = 1 << 15;

/// Asks for a piece of a tensor.
#[inline(always)]
fn ask<L: Simd>(l: L, tensor: Tensor<'_>, range: Range<usize>) {
    match tensor {
        Tensor::F32(x) => lines(l, x.get(range).unwrap_or_default()),
        Tensor::F16(x) => lines(l, x.get(range).unwrap_or_default()),
        Tensor::Bf16(x) => lines(l, x.get(range).unwrap_or_default()),
        Tensor::F64(_) => {}
    }
}

#[inline(always)]
fn lines<L: Simd, E>(l: L, piece: &[E]) {
    for line in piece.chunks(64 / size_of::<E>().max(1)) {
        l.prefetch(line, 0);
    }
}

#[inline(always)]
fn block<L: Simd, const NEAR: bool, const EXACT: bool>(
    l: L,
    (t, s): (&[f32], &[f32]),
    row: &RowReference,
    out: &mut [f32],
) {
    let constants = Constants::new(l, &row.at);
    let (fix, factor) = (l.splat(row.fix), l.splat(row.factor));
    let less = (l.splat(row.less.0), l.splat(row.less.1));
    let (whole_t, whole_s) = (t.chunks_exact(L::WIDTH), s.chunks_exact(L::WIDTH));
    let (rest_t, rest_s) = (whole_t.remainder(), whole_s.remainder());
    let mut to = out.chunks_exact_mut(L::WIDTH);
    let mut whole = (whole_t, whole_s);
    while let (Some(t), Some(s), Some(out)) = (whole.0.next(), whole.1.next(), to.next()) {
        let excess = step::<L, NEAR, EXACT>(l, (l.load_f32(t), l.load_f32(s)), &constants, less, fix);
        l.store_f32(factor * excess, out);
    }
    if !rest_t.is_empty() {
        let excess =
            step::<L, NEAR, EXACT>(l, (l.load_f32(rest_t), l.load_f32(rest_s)), &constants, less, fix);
        l.store_f32(factor * excess, to.into_remainder());
    }
}

/// w (e^r - 1) about the final log-ratio.
#[inline(always)]
fn step<L: Simd, const NEAR: bool, const EXACT: bool>(
    l: L,
    (t, s): (L::V, L::V),
    constants: &Constants<L>,
    less: (L::V, L::V),
    fix: L::V,
) -> L::V {
    let r = constants.ratio::<EXACT>(t, s, less);
    if NEAR {
        let w = l.exp2(constants.student(s));
        let u = w * r;
        l.fma(u * r, q_near(l, r), u)
    } else {
        position(l, (t, s, r), constants, fix).0.excess
    }
}
