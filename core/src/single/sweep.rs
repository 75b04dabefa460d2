//! The sweeps over a row pair, and what their sums say.

use super::{Exponential, Row, RowKl};
use crate::arithmetic::two_difference;
use core::cell::Cell;
use core::f32::consts::LN_2;

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

/// A sum of sums of [`GROUP`] terms, with what adding these up has rounded off.
#[derive(Clone, Copy, Default)]
struct Sum {
    group: f32,
    whole: f32,
    lost: f32,
}

/// Terms that are added up before the sum takes them.
const GROUP: usize = 16;

impl Sum {
    #[inline(always)]
    fn end_group(&mut self) {
        let term = self.group - self.lost;
        let whole = self.whole + term;
        self.lost = (whole - self.whole) - term;
        (self.whole, self.group) = (whole, 0.0);
    }

    #[inline(always)]
    fn total(self) -> f32 {
        self.whole + (self.group - self.lost)
    }
}

/// What log(1 + e) and its excess over e/(1 + e) are, for s = e/(2 + e) within -1/4 and 1/4.
#[inline(always)]
fn logs(s: f32) -> (f32, f32) {
    let y = s * s;
    // (atanh s - s) / s^3.
    let rest = 1.0 / 3.0 + y * (0.2 + y * (1.0 / 7.0 + y / 9.0));
    (2.0 * s * (1.0 + y * rest), 2.0 * y * (1.0 / (1.0 + s) + s * rest))
}

/// log x within 0.03, as a number's exponent and digits have it: near enough for [`logs`] to go on.
#[inline(always)]
fn far_log(x: f32) -> f32 {
    /// The bits of 1, less half of what a logarithm is above the digits at most.
    const ONE: i32 = 0x3f7a_7dd1;
    const STEP: f32 = LN_2 / 8_388_608.0;
    #[allow(clippy::cast_precision_loss, reason = "a few digits are enough")]
    let steps = x.to_bits().cast_signed().wrapping_sub(ONE) as f32;
    STEP * steps
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

/// |s| up to which [`logs`] has all digits.
const CLOSE: f32 = 0.25;

/// The share that the sum of p - w may have of the sum of magnitudes: where it is more, its rounding, which is shared
/// out among all entries of the gradient, matters.
const CENTRED: f32 = 0.5;

/// |r| up to which an entry takes one exponential.
const NEAR: f32 = 1.0;

/// |r| from which the teacher's own exponent is as good as the student's and r.
const OWN: f32 = 4.0;

/// The largest mean of the student's exponentials: above, what they are taken beside is too far below the largest.
const MEAN: f32 = 64.0;

/// The least share and the largest sum of the teacher's: less is what sums have rounded off.
const LEAST: f32 = 1e-5;
const MOST: f32 = 1e38;

/// Entries that the first references come from.
const SAMPLE: usize = 32;

/// Sweeps that are tried: each finds some seven digits of the log-ratio's reference.
const ATTEMPTS: usize = 8;

/// Nats that a variance of log-ratios is believed to lift that of the normalisers by.
const LIFT: f32 = 2.0;

/// What a row turned out to be.
#[derive(Clone, Copy)]
pub(super) struct Verdict {
    pub(super) kl: f32,
    /// What `scale w` and `scale (p - w)` are multiplied by. The latter is not positive where all of the gradient is as the
    /// divergence is: 0 where no entry has mass of the teacher, else NaN.
    of_w: f32,
    of_excess: f32,
}

pub(super) struct Sweep<'r, X, T: ?Sized, S: ?Sized> {
    loss: &'r RowKl<X>,
    teacher: &'r T,
    student: &'r S,
    len: usize,
    /// What the student's exponentials are taken beside: about its largest entry.
    m: f32,
    /// The log-ratio's reference in two terms, in units of the inputs.
    d: (f32, f32),
    /// |r| up to which an entry is near as it stands: [`NEAR`], or below 0 where each difference is taken in two terms.
    near: f32,
}

/// What a sweep adds up: w, p - w and its magnitude, and the Bregman terms.
struct Sums {
    z: f32,
    e: f32,
    size: f32,
    g: f32,
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

/// What a look at some of a row's pairs finds.
struct Found {
    /// The largest entries, NaN passed over.
    teacher: f32,
    student: f32,
    /// Of the differences.
    mean: f32,
    variance: f32,
}

impl<'r, X: Exponential, T: Row + ?Sized, S: Row + ?Sized> Sweep<'r, X, T, S> {
    #[inline(always)]
    pub(super) fn new(loss: &'r RowKl<X>, teacher: &'r T, student: &'r S, len: usize) -> Self {
        Self { loss, teacher, student, len, m: 0.0, d: (0.0, 0.0), near: NEAR }
    }

    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = (f32, f32)> + use<'r, X, T, S> {
        self.teacher.values(self.len).zip(self.student.values(self.len))
    }

    /// How far the teacher's entry is above x and the reference, of numbers: exact but for one rounding. Where the two high terms
    /// are neighbours, what is left of them and the low one has no more digits than these.
    #[inline(always)]
    fn apart(&self, t: f32, x: f32) -> f32 {
        let (high, low) = two_difference(t, x);
        ((high - self.d.0) + low) - self.d.1
    }

    /// An entry that takes two exponentials, or one whose difference is to be exact.
    #[inline(never)]
    fn other(&self, t: f32, s: f32, w: f32) -> Entry {
        let per_unit = self.loss.per_unit;
        let distance = if self.near > 0.0 { (t - s) - self.d.0 } else { self.apart(t, s) };
        let r = distance * per_unit;
        if self.near < 0.0 && r.abs() <= NEAR {
            return Entry::near(w, r);
        }
        // The teacher's exponential: from the student's, which it then shares the error of, where the two are close; from its
        // own exponent where w has lost digits or all. Infinite where the reference is out of reach.
        let (unit, y) = if r.abs() <= OWN && w >= f32::MIN_POSITIVE {
            (w, distance)
        } else {
            (1.0, self.apart(t, self.m))
        };
        let p = if t == f32::NEG_INFINITY { 0.0 } else { unit * self.loss.exponential.exp(y) };
        // An infinite log-ratio of no mass is no term.
        let bregman = if p == 0.0 { w } else { (r - 1.0) * p + w };
        Entry { excess: p - w, bregman }
    }

    #[inline(always)]
    fn sums(&self, room: impl Room) -> Sums {
        // What a loop has in registers, where it writes.
        let RowKl { exponential, per_unit } = *self.loss;
        let (m, (d, _), near) = (self.m, self.d, self.near);
        let (mut z, mut e, mut g) = (Sum::default(), Sum::default(), Sum::default());
        let mut size = 0.0;
        for (i, ((t, s), keep)) in self.pairs().zip(room.cells()).enumerate() {
            if i % GROUP == 0 {
                z.end_group();
                e.end_group();
                g.end_group();
            }
            let w = exponential.exp(s - m);
            let r = ((t - s) - d) * per_unit;
            let entry = if r.abs() <= near { Entry::near(w, r) } else { self.other(t, s, w) };
            keep(entry.excess);
            z.group += w;
            e.group += entry.excess;
            size += entry.excess.abs();
            g.group += entry.bregman;
        }
        Sums { z: z.total(), e: e.total(), size, g: g.total() }
    }

    pub(super) fn run(&mut self, room: impl Room) -> Verdict {
        // Maps are of even widths: an odd step is no column of theirs.
        let found = self.look((self.len / SAMPLE) | 1);
        self.start_at(&found);
        let mut start_again = true;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Sums { z, e, size, g } = self.sums(room);
            let sum = z + e;
            #[allow(clippy::cast_precision_loss, reason = "a bound of no precision")]
            let most = MEAN * self.len as f32;
            let least = if start_again { LEAST * z } else { 0.0 };
            if !(z <= most && sum > least && sum < MOST) {
                // Out of reach of either's mass: their own largest entries are within.
                if start_again {
                    start_again = false;
                    self.start_at_the_tops();
                    continue;
                }
                // The teacher has no mass, or there is an entry that is none.
                let all = if sum == 0.0 { 0.0 } else { f32::NAN };
                return Verdict { kl: all, of_w: all, of_excess: all };
            }
            let s = e / (z + sum);
            let (log, excess) = logs(s);
            let kl = g / sum - excess;
            let close = s.abs() <= CLOSE;
            let done = close && kl >= excess && e.abs() <= CENTRED * size;
            let shift = self.d.0 * self.loss.per_unit;
            let last = attempt >= ATTEMPTS;
            if close && !last && self.near > 0.0 && !(shift * shift * sum <= 8.0 * g) {
                self.near = -1.0;
            } else if done || last || z == 0.0 {
                // The sums being numbers, so are the entries: what is none is the difference to a student of minus infinity.
                let kl = match kl {
                    _ if kl.is_nan() => f32::INFINITY,
                    _ if kl < 0.0 => 0.0,
                    _ => kl,
                };
                let of_w = if z > 0.0 { e / (z * sum) } else { 0.0 };
                return Verdict { kl, of_w, of_excess: 1.0 / sum };
            }
            let nats = if close { log } else { far_log(sum / z) };
            let (high, low) = two_difference(self.d.0, -nats / self.loss.per_unit);
            self.d = (high, low + self.d.1);
        }
    }

    /// At every so many-th pair.
    #[inline(never)]
    fn look(&self, step: usize) -> Found {
        let mut found =
            Found { teacher: f32::NEG_INFINITY, student: f32::NEG_INFINITY, mean: 0.0, variance: 0.0 };
        let (mut count, mut sum, mut squares, mut beside) = (0.0, 0.0, 0.0, 0.0);
        let some = self.teacher.some(self.len, step).zip(self.student.some(self.len, step));
        for (t, s) in some {
            found.teacher = if t > found.teacher { t } else { found.teacher };
            found.student = if s > found.student { s } else { found.student };
            // Where all differences are equal the mean is to be exact: it is taken beside one of them.
            if count == 0.0 {
                beside = t - s;
            }
            let apart = (t - s) - beside;
            sum += apart;
            squares += apart * apart;
            count += 1.0;
        }
        let mean = sum / count;
        found.mean = beside + mean;
        found.variance = squares / count - mean * mean;
        found
    }

    /// Sets the references by a sample. Were the differences normally distributed, the normalisers' log-ratio would be above
    /// their mean by half of their variance.
    #[inline(always)]
    fn start_at(&mut self, found: &Found) {
        let per_unit = self.loss.per_unit;
        let lift = 0.5 * found.variance * per_unit * per_unit;
        let lift = if lift < LIFT { lift } else { LIFT };
        let d = found.mean + lift / per_unit;
        (self.m, self.d) = (found.student, (d, 0.0));
        self.near = if d * d <= 4.0 * found.variance { NEAR } else { -1.0 };
    }

    /// Moves the references to where both have their largest entries, and has differences be exact.
    #[cold]
    #[inline(never)]
    fn start_at_the_tops(&mut self) {
        let found = self.look(1);
        // Without any mass exponentials are 0 beside any number.
        let [t, s] = [found.teacher, found.student].map(|x| if x == f32::NEG_INFINITY { 0.0 } else { x });
        (self.m, self.d, self.near) = (s, two_difference(t, s), -1.0);
    }

    /// The gradient, of the excesses in its place.
    pub(super) fn pull(&self, verdict: Verdict, scale: f32, gradient: &mut [f32]) {
        if !(verdict.of_excess > 0.0) {
            // A number that is not known beforehand: no call of a C library's `memset`.
            return gradient.fill(verdict.kl);
        }
        let (of_w, of_excess) = (scale * verdict.of_w, scale * verdict.of_excess);
        let (exponential, m) = (self.loss.exponential, self.m);
        for (s, g) in self.student.values(self.len).zip(gradient) {
            *g = of_w * exponential.exp(s - m) - of_excess * *g;
        }
    }
}
