//! The sweeps over a row pair.

use super::sums::{Sums, Verdict};
use super::{Exponential, Row, RowKl};
use crate::arithmetic::two_difference;
use core::cell::Cell;

/// Where a sweep leaves each entry's excess p - w.
pub(super) trait Room: Copy {
    fn cells(self) -> impl Iterator<Item = impl FnOnce(f32)>;
}

/// In the gradient's place.
impl Room for &[Cell<f32>] {
    #[inline(always)]
    fn cells(self) -> impl Iterator<Item = impl FnOnce(f32)> {
        self.iter().map(|cell| move |excess| cell.set(excess))
    }
}

/// Nowhere.
impl Room for () {
    #[inline(always)]
    fn cells(self) -> impl Iterator<Item = impl FnOnce(f32)> {
        core::iter::repeat(|_: f32| ())
    }
}

/// `(e^r - 1 - r) / r^2` for |r| <= 1, within 1.3e-7 of what p - w and the Bregman term then are.
///
/// Source: the minimax polynomial of degree 6, weighted by how its error counts in these.
#[inline(always)]
fn expm1_rest(r: f32) -> f32 {
    let square = r * r;
    let high = (1.391_127_6e-3 + r * 2.024_513e-4) + square * 2.347_616_7e-5;
    let middle = 4.166_595_6e-2 + r * 8.331_96e-3;
    (0.5 + r * 0.166_666_7) + square * (middle + square * high)
}

/// |r| up to which an entry takes one exponential.
const NEAR: f32 = 1.0;

/// |r| from which the teacher's own exponent is as good as the student's and r.
const OWN: f32 = 4.0;

/// Entries that the first references come from.
const SAMPLE: usize = 32;

/// Nats that a variance of log-ratios is believed to lift that of the normalisers by.
const LIFT: f32 = 2.0;

/// What references are, a bit each: a number of any bits, as a C program may hand it over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(u8);

impl Kind {
    /// Of some of a row's entries.
    const SAMPLED: Self = Self(0);
    /// None yet: the row's largest entries are being looked for.
    pub(super) const SOUGHT: Self = Self(1);
    /// Those, and each difference is taken in two terms.
    pub(super) const TOPS: Self = Self(2 | Self::EXACT.0);
    /// Each difference is taken in two terms.
    pub(super) const EXACT: Self = Self(4);

    #[inline(always)]
    pub(super) const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    #[inline(always)]
    pub(super) const fn is_sampled(self) -> bool {
        self.0 & !Self::EXACT.0 == 0
    }

    #[inline(always)]
    pub(super) const fn and_exact(self) -> Self {
        Self(self.0 | Self::EXACT.0)
    }
}

/// What a sweep takes entries beside.
#[derive(Clone, Copy, Debug)]
pub(super) struct References {
    /// What the student's exponentials are taken beside: about its largest entry.
    pub(super) m: f32,
    /// The log-ratio's reference in two terms, in units of the inputs; the teacher's largest entry while that is looked for.
    pub(super) d: (f32, f32),
    pub(super) kind: Kind,
    /// How many sweeps have ended.
    pub(super) attempts: u8,
}

/// An entry's excess p - w, and its Bregman term.
struct Entry {
    excess: f32,
    bregman: f32,
}

impl Entry {
    /// By the series.
    #[inline(always)]
    fn near(w: f32, r: f32) -> Self {
        let first = w * r;
        let rest = first * r * expm1_rest(r);
        let excess = first + rest;
        Self { excess, bregman: r * excess - rest }
    }
}

/// References and a temperature, copied to where a loop has them.
struct InRegisters<'a, X> {
    at: &'a References,
    loss: &'a RowKl<X>,
    per_unit: f32,
    m: f32,
    d: f32,
    /// |r| up to which an entry is near as it stands.
    near: f32,
}

impl<X: Exponential> InRegisters<'_, X> {
    /// An entry's exponential, and the rest.
    #[inline(always)]
    fn entry(&self, exponential: &X, t: f32, s: f32) -> (f32, Entry) {
        let w = exponential.exp(s - self.m);
        let mut distance = (t - s) - self.d;
        let mut r = distance * self.per_unit;
        if !(r.abs() <= self.near) {
            if self.at.kind.has(Kind::EXACT) {
                distance = self.at.apart(t, s);
                r = distance * self.per_unit;
            }
            if !(r.abs() <= NEAR) {
                return (w, self.at.far(self.loss, t, distance, w));
            }
        }
        (w, Entry::near(w, r))
    }
}

impl References {
    /// Of a row's sample.
    #[inline(always)]
    pub(super) fn of<T: Row + ?Sized, S: Row + ?Sized>(
        (teacher, student, len): (&T, &S, usize),
        per_unit: f32,
    ) -> Self {
        let mut at = Self { m: 0.0, d: (0.0, 0.0), kind: Kind::SAMPLED, attempts: 0 };
        // Maps are of even widths: an odd step is no column of theirs.
        at.look((teacher, student, len), (len / SAMPLE) | 1, per_unit);
        at
    }

    /// At every so many-th pair: for a first guess, or for entries that are larger than those that have been found.
    #[inline(never)]
    fn look<T: Row + ?Sized, S: Row + ?Sized>(
        &mut self,
        (teacher, student, len): (&T, &S, usize),
        step: usize,
        per_unit: f32,
    ) {
        // The largest entries, NaN passed over.
        let (mut of_teacher, mut of_student) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        let (mut count, mut sum, mut squares, mut beside) = (0.0, 0.0, 0.0, 0.0);
        for (t, s) in teacher.some(len, step).zip(student.some(len, step)) {
            of_teacher = if t > of_teacher { t } else { of_teacher };
            of_student = if s > of_student { s } else { of_student };
            // Where all differences are equal the mean is to be exact: it is taken beside one of them.
            if count == 0.0 {
                beside = t - s;
            }
            let apart = (t - s) - beside;
            sum += apart;
            squares += apart * apart;
            count += 1.0;
        }
        if self.kind.has(Kind::SOUGHT) {
            self.d.0 = if of_teacher > self.d.0 { of_teacher } else { self.d.0 };
            self.m = if of_student > self.m { of_student } else { self.m };
            return;
        }
        let mean = sum / count;
        let variance = squares / count - mean * mean;
        // Were the differences normally distributed, the normalisers' log-ratio would be above their mean by half of their
        // variance.
        let lift = 0.5 * variance * per_unit * per_unit;
        let lift = if lift < LIFT { lift } else { LIFT };
        let d = (beside + mean) + lift / per_unit;
        (self.m, self.d) = (of_student, (d, 0.0));
        self.kind = if d * d <= 4.0 * variance { Kind::SAMPLED } else { Kind::EXACT };
    }

    /// How far the teacher's entry is above x and the reference, of numbers: exact but for one rounding. Where the two high terms
    /// are neighbours, what is left of them and the low one has no more digits than these.
    #[inline(always)]
    fn apart(&self, t: f32, x: f32) -> f32 {
        let (high, low) = two_difference(t, x);
        ((high - self.d.0) + low) - self.d.1
    }

    /// An entry that takes two exponentials.
    #[inline(never)]
    fn far<X: Exponential>(&self, loss: &RowKl<X>, t: f32, distance: f32, w: f32) -> Entry {
        let r = distance * loss.per_unit;
        // The teacher's exponential: from the student's, which it then shares the error of, where the two are close; from its
        // own exponent where w has lost digits or all. Infinite where the reference is out of reach.
        let (unit, y) = if r.abs() <= OWN && w >= f32::MIN_POSITIVE {
            (w, distance)
        } else {
            (1.0, self.apart(t, self.m))
        };
        let p = if t == f32::NEG_INFINITY { 0.0 } else { unit * loss.exponential.exp(y) };
        // An infinite log-ratio of no mass is no term.
        let bregman = if p == 0.0 { w } else { (r - 1.0) * p + w };
        Entry { excess: p - w, bregman }
    }

    /// What a loop has in registers, where it writes.
    #[inline(always)]
    fn in_registers<'a, X: Exponential>(&'a self, loss: &'a RowKl<X>) -> InRegisters<'a, X> {
        let Self { m, d: (d, _), kind, .. } = *self;
        let near = if kind.has(Kind::EXACT) { -1.0 } else { NEAR };
        InRegisters { at: self, loss, per_unit: loss.per_unit, m, d, near }
    }

    /// Sees a piece of so many entries: looks for the largest, or adds up.
    #[inline(always)]
    pub(super) fn sweep<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        &mut self,
        loss: &RowKl<X>,
        row: (&T, &S, usize),
        sums: &mut Sums,
        room: impl Room,
    ) {
        if self.kind.has(Kind::SOUGHT) {
            self.look(row, 1, loss.per_unit);
        } else {
            self.add(loss, row, sums, room);
        }
    }

    #[inline(always)]
    fn add<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        &self,
        loss: &RowKl<X>,
        (teacher, student, len): (&T, &S, usize),
        sums: &mut Sums,
        room: impl Room,
    ) {
        let (exponential, loops) = (loss.exponential, self.in_registers(loss));
        let (mut group, mut size, mut at) = (sums.group, sums.size, sums.len);
        for ((t, s), keep) in teacher.values(len).zip(student.values(len)).zip(room.cells()) {
            if !sums.next(&mut group, at) {
                break;
            }
            let (w, Entry { excess, bregman }) = loops.entry(&exponential, t, s);
            keep(excess);
            group[0] += w;
            group[1] += excess;
            group[2] += bregman;
            size += excess.abs();
            at = at.wrapping_add(1);
        }
        (sums.group, sums.size, sums.len) = (group, size, at);
    }

    /// The gradient, of the excesses in its place.
    #[inline(always)]
    pub(super) fn pull<X: Exponential, S: Row + ?Sized>(
        &self,
        loss: &RowKl<X>,
        (student, len): (&S, usize),
        (verdict, scale): (Verdict, f32),
        gradient: &mut [f32],
    ) {
        let Some((of_w, of_excess)) = verdict.shares(scale * loss.per_unit) else {
            return gradient.fill(verdict.kl);
        };
        let (exponential, m) = (loss.exponential, self.m);
        for (s, g) in student.values(len).zip(gradient) {
            *g = of_w * exponential.exp(s - m) - of_excess * *g;
        }
    }

    /// The gradient of a piece.
    pub(super) fn pull_piece<X: Exponential, T: Row + ?Sized, S: Row + ?Sized>(
        &self,
        loss: &RowKl<X>,
        (teacher, student, len): (&T, &S, usize),
        (verdict, scale): (Verdict, f32),
        gradient: &mut [f32],
    ) {
        let Some((of_w, of_excess)) = verdict.shares(scale * loss.per_unit) else {
            return gradient.fill(verdict.kl);
        };
        let (exponential, loops) = (loss.exponential, self.in_registers(loss));
        for ((t, s), g) in teacher.values(len).zip(student.values(len)).zip(gradient) {
            let (w, Entry { excess, .. }) = loops.entry(&exponential, t, s);
            *g = of_w * w - of_excess * excess;
        }
    }
}
