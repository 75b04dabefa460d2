//! The sums of interleaved rows, one row a lane: what [`Entry`](crate::row::sweep::Entry) is in vectors.

use crate::arithmetic::EXPM1_REST;
use crate::row::two_terms::{Pair, Scale, times, two_difference};
use crate::simd::Simd;
use core::f64::consts::LN_2;

/// Lanes of the widest vector.
pub(super) const LANES: usize = 16;

/// Entries of a lane that are added in `f32` before the lane's sum takes them with its rounding kept.
const GROUP: usize = 8;

/// Where each lane's exponents are measured from: the student's from `m`, the log-ratio from `d` and then `rest`
/// nats.
pub(super) struct Reference<L: Simd> {
    m: L::V,
    d: Pair<L::V>,
    teacher: Pair<L::V>,
    rest: L::V,
    rest_bits: L::V,
}

impl<L: Simd> Reference<L> {
    #[inline(always)]
    pub(super) fn new(l: L, m: L::V, d: Pair<L::V>, rest: L::V) -> Self {
        let (high, low) = two_difference(l, m, l.splat(0.0) - d.0);
        Self { m, d, teacher: (high, low + d.1), rest, rest_bits: rest * l.splat(core::f32::consts::LOG2_E) }
    }
}

/// One entry of each lane, in units of 2^m.
struct Entry<L: Simd> {
    /// The student's exponent, in bits.
    x: L::V,
    /// The log-ratio about the reference, in nats.
    r: L::V,
    w: L::V,
    /// p - w.
    excess: L::V,
    /// w k(r).
    bregman: L::V,
    /// The error of exponents in `bregman`, in units of epsilon and bits.
    error: L::V,
}

/// `NEAR`: the caller checks afterwards that |r| <= 1; where it is, either form gives the same bits.
#[inline(always)]
fn entry<L: Simd, const NEAR: bool>(l: L, scale: &Scale<L>, at: &Reference<L>, t: L::V, s: L::V) -> Entry<L> {
    let one = l.splat(1.0);
    let (high, low) = two_difference(l, t, s);
    let distance = (high - at.d.0) + (low - at.d.1);
    let r = times(l, distance, scale.nats) - at.rest;
    let x = times(l, s - at.m, scale.bits);
    let w = l.exp2(x);
    let mut q = l.splat(EXPM1_REST[7]);
    q = l.fma(q, r, l.splat(EXPM1_REST[6]));
    q = l.fma(q, r, l.splat(EXPM1_REST[5]));
    q = l.fma(q, r, l.splat(EXPM1_REST[4]));
    q = l.fma(q, r, l.splat(EXPM1_REST[3]));
    q = l.fma(q, r, l.splat(EXPM1_REST[2]));
    q = l.fma(q, r, l.splat(EXPM1_REST[1]));
    q = l.fma(q, r, l.splat(EXPM1_REST[0]));
    let u = w * r;
    let excess = l.fma(u * r, q, u);
    let bregman = (u * r) * l.fma(q, r - one, one);
    let error = l.abs(x * bregman);
    if NEAR {
        return Entry { x, r, w, excess, bregman, error };
    }
    let size = l.abs(r);
    let far = l.less(one, size);
    let mut p = w * l.exp2(times(l, distance, scale.bits) - at.rest_bits);
    let own = l.less(l.splat(4.0), size);
    let mut apart = one;
    // From the student's exponent p inherits only the error of r; from its own it survives where w underflows.
    // Few entries are so far, and few vectors have one.
    let any = l.any(own);
    if any {
        let y = times(l, (t - at.teacher.0) - at.teacher.1, scale.bits) - at.rest_bits;
        p = l.select(own, l.exp2(y), p);
        apart = l.fma(l.abs(y) * p, size + one, l.abs(x) * w);
    }
    let bregman = l.select(far, l.fma(r - one, p, w), bregman);
    let mut error = l.abs(x * bregman);
    if any {
        error = l.select(own, apart, error);
    }
    Entry { x, r, w, excess: l.select(far, p - w, excess), bregman, error }
}

/// What is kept of each lane: sums of w, p - w and w k(r), the error of exponents, and the largest of some.
pub(super) struct Sums<L: Simd> {
    group: [L::V; 3],
    high: [L::V; 3],
    low: [L::V; 3],
    far: L::V,
    farthest: L::V,
    spread: L::V,
    largest: L::V,
    top: L::V,
}

/// The same, lane by lane.
#[derive(Default)]
pub(super) struct Lanes {
    pub(super) z: [f64; LANES],
    pub(super) e: [f64; LANES],
    pub(super) g: [f64; LANES],
    /// The error of exponents in `g` and its largest part, in units of epsilon.
    pub(super) far: [f64; LANES],
    pub(super) farthest: [f64; LANES],
    /// The largest |r|, and the largest |p - w|.
    pub(super) spread: [f64; LANES],
    pub(super) largest: [f64; LANES],
    /// The student's largest exponent, in bits.
    pub(super) top: [f64; LANES],
}

/// The lanes of a vector.
#[inline(always)]
pub(super) fn lanes<L: Simd>(l: L, v: L::V) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    l.store_f32(v, &mut out);
    out
}

#[inline(always)]
fn wide<L: Simd>(l: L, v: L::V) -> [f64; LANES] {
    lanes(l, v).map(f64::from)
}

#[inline(always)]
fn both(mut high: [f64; LANES], low: [f64; LANES]) -> [f64; LANES] {
    for (high, low) in high.iter_mut().zip(low) {
        *high += low;
    }
    high
}

impl<L: Simd> Sums<L> {
    #[inline(always)]
    pub(super) fn new(l: L) -> Self {
        let zero = l.splat(0.0);
        let zeros = [zero; 3];
        let top = l.splat(f32::MIN);
        Self {
            group: zeros,
            high: zeros,
            low: zeros,
            far: zero,
            farthest: zero,
            spread: zero,
            largest: zero,
            top,
        }
    }

    #[inline(always)]
    fn add(&mut self, l: L, entry: &Entry<L>) {
        let [z, e, g] = &mut self.group;
        *z = *z + entry.w;
        *e = *e + entry.excess;
        *g = *g + entry.bregman;
        self.far = self.far + entry.error;
        self.farthest = l.max(self.farthest, entry.error);
        self.spread = l.max_abs(self.spread, entry.r);
        self.largest = l.max_abs(self.largest, entry.excess);
        self.top = l.max(self.top, entry.x);
    }

    /// Takes the group, keeping what its addition rounds off.
    #[inline(always)]
    fn flush(&mut self, l: L) {
        for ((group, high), low) in self.group.iter_mut().zip(&mut self.high).zip(&mut self.low) {
            let (sum, lost) = two_difference(l, *high, l.splat(0.0) - *group);
            (*high, *low, *group) = (sum, *low + lost, l.splat(0.0));
        }
    }

    /// Whether some lane has a log-ratio beyond what a single exponential an entry takes.
    #[inline(always)]
    pub(super) fn is_spread(&self, l: L) -> bool {
        l.any(l.not(l.less(self.spread, l.splat(1.000_000_1))))
    }

    #[inline(always)]
    pub(super) fn lanes(&self, l: L) -> Lanes {
        let ([z, e, g], [z_low, e_low, g_low]) = (self.high, self.low);
        Lanes {
            z: both(wide(l, z), wide(l, z_low)),
            e: both(wide(l, e), wide(l, e_low)),
            g: both(wide(l, g), wide(l, g_low)),
            far: wide(l, self.far).map(|x| x * LN_2),
            farthest: wide(l, self.farthest).map(|x| x * LN_2),
            spread: wide(l, self.spread),
            largest: wide(l, self.largest),
            top: wide(l, self.top),
        }
    }
}

/// A vector of neighbouring rows in a block of the axis: entry after entry, `pitch` apart.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    pub(super) teacher: &'a [f32],
    pub(super) student: &'a [f32],
    pub(super) pitch: usize,
}

/// Adds a block to the sums.
#[inline(always)]
pub(super) fn sweep<L: Simd, const NEAR: bool>(
    l: L,
    column: Column<'_>,
    scale: &Scale<L>,
    at: &Reference<L>,
    sums: &mut Sums<L>,
) {
    let (teacher, student) =
        (column.teacher.chunks(column.pitch.max(1)), column.student.chunks(column.pitch.max(1)));
    for (i, (t, s)) in teacher.zip(student).enumerate() {
        let entry = entry::<L, NEAR>(l, scale, at, l.load_f32(t), l.load_f32(s));
        sums.add(l, &entry);
        if i % GROUP == GROUP - 1 {
            sums.flush(l);
        }
    }
    sums.flush(l);
}

/// First references: the largest student, and the log-ratio of the sums as mean and half of the variance under the
/// student's distribution say, about the difference at that student so that it is exact where all are equal.
#[inline(always)]
pub(super) fn head<L: Simd>(l: L, column: Column<'_>, scale: &Scale<L>) -> (L::V, Pair<L::V>) {
    let mut top = l.splat(f32::MIN);
    let mut beside = l.splat(0.0);
    let teacher = || column.teacher.chunks(column.pitch.max(1));
    let student = || column.student.chunks(column.pitch.max(1));
    for (t, s) in teacher().zip(student()) {
        let (t, s) = (l.load_f32(t), l.load_f32(s));
        let higher = l.less(top, s);
        beside = l.select(higher, t, beside);
        top = l.select(higher, s, top);
    }
    let (high, low) = two_difference(l, beside, top);
    let (mut sum, mut square, mut mass) = (l.splat(0.0), l.splat(0.0), l.splat(0.0));
    for (t, s) in teacher().zip(student()) {
        let (t, s) = (l.load_f32(t), l.load_f32(s));
        let w = l.exp2((s - top) * scale.bits.0);
        let (ours, rest) = two_difference(l, t, s);
        let distance = (ours - high) + (rest - low);
        let product = w * distance;
        sum = sum + product;
        square = l.fma(product, distance, square);
        mass = mass + w;
    }
    let (sum, square, mass) = (lanes(l, sum), lanes(l, square), lanes(l, mass));
    let [nats, ..] = lanes(l, scale.nats.0);
    let mut guess = [0.0_f32; LANES];
    for ((guess, mass), (sum, square)) in guess.iter_mut().zip(mass).zip(sum.into_iter().zip(square)) {
        let mean = sum / mass;
        *guess = mean + 0.5 * nats * (square / mass - mean * mean);
    }
    let (d, lost) = two_difference(l, high, l.splat(0.0) - l.load_f32(&guess));
    (top, (d, lost + low))
}

/// `factor * (p - w)` of a block into the teacher's place, 0 in the lanes that are not `live`.
#[inline(always)]
pub(super) fn gradient<L: Simd, const NEAR: bool>(
    l: L,
    (teacher, student, pitch): (&mut [f32], &[f32], usize),
    scale: &Scale<L>,
    at: &Reference<L>,
    (factor, live): (L::V, L::M),
) {
    let zero = l.splat(0.0);
    for (t, s) in teacher.chunks_mut(pitch.max(1)).zip(student.chunks(pitch.max(1))) {
        let excess = entry::<L, NEAR>(l, scale, at, l.load_f32(t), l.load_f32(s)).excess;
        let cells = t.get_mut(..L::WIDTH).unwrap_or_default();
        l.store_f32(l.select(live, factor * excess, zero), cells);
    }
}
