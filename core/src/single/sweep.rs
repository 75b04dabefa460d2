//! The sweeps over a row pair, and what their sums say.

use super::{Exponential, Row};
use crate::arithmetic::two_difference;

/// Where a sweep leaves the student's exponentials for the next.
pub(super) trait Room {
    type Cell<'a>: Cell
    where
        Self: 'a;

    fn cells(&mut self) -> impl Iterator<Item = Self::Cell<'_>>;
}

pub(super) trait Cell {
    fn keep(self, w: f32);
    fn kept(self, again: impl FnOnce() -> f32) -> f32;
}

/// In the gradient's place.
pub(super) struct Kept<'g>(pub(super) &'g mut [f32]);

impl Room for Kept<'_> {
    type Cell<'a>
        = &'a mut f32
    where
        Self: 'a;

    fn cells(&mut self) -> impl Iterator<Item = &mut f32> {
        self.0.iter_mut()
    }
}

impl Cell for &mut f32 {
    #[inline(always)]
    fn keep(self, w: f32) {
        *self = w;
    }

    #[inline(always)]
    fn kept(self, _: impl FnOnce() -> f32) -> f32 {
        *self
    }
}

/// Nowhere: they are taken again.
pub(super) struct Again;

impl Room for Again {
    type Cell<'a> = Taken;

    fn cells(&mut self) -> impl Iterator<Item = Taken> {
        core::iter::repeat(Taken)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Taken;

impl Cell for Taken {
    #[inline(always)]
    fn keep(self, _: f32) {}

    #[inline(always)]
    fn kept(self, again: impl FnOnce() -> f32) -> f32 {
        again()
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
    fn total(mut self) -> f32 {
        self.end_group();
        self.whole
    }
}

/// What log(1 + e) and its excess over e/(1 + e) are, for s = e/(2 + e) within -1/4 and 1/4.
fn logs(s: f32) -> (f32, f32) {
    let y = s * s;
    let rest = super::atanh_rest(y);
    (2.0 * s * (1.0 + y * rest), 2.0 * y * (1.0 / (1.0 + s) + s * rest))
}

/// The logarithm by which a reference moves that was far off.
#[cold]
#[inline(never)]
fn far_log<X: Exponential>(x: f32) -> f32 {
    X::ln(x)
}

/// |s| up to which [`logs`] has all digits.
const CLOSE: f32 = 0.25;

/// The share that the sum of p - w may have of the sum of magnitudes: where it is more, its rounding, which is shared
/// out among all entries of the gradient, matters.
const CENTRED: f32 = 0.75;

/// |r| from which the teacher's own exponent is as good as the student's and r.
const OWN: f32 = 4.0;

/// The largest exponent of a number.
const LARGEST: f32 = 88.0;

/// References that are tried.
const ATTEMPTS: usize = 6;

/// What a row turned out to be.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// What `scale w` and `scale (p - w)` are multiplied by, and the divergence.
    Row {
        w: f32,
        excess: f32,
        kl: f32,
    },
    /// The student is minus infinity throughout: the sum of the teacher's exponentials.
    NoStudent(f32),
    /// No entry has mass of the teacher.
    Empty,
    NotANumber,
}

impl Verdict {
    pub(super) fn kl(self) -> f32 {
        match self {
            Self::Row { kl, .. } => kl,
            Self::NoStudent(_) => f32::INFINITY,
            Self::Empty => 0.0,
            Self::NotANumber => f32::NAN,
        }
    }
}

pub(super) struct Sweep<'r, X, T: ?Sized, S: ?Sized> {
    exponential: X,
    per_unit: f32,
    teacher: &'r T,
    student: &'r S,
    len: usize,
    /// The student's largest entry.
    m: f32,
    /// The log-ratio's reference in two terms, in units of the inputs.
    d: (f32, f32),
    /// Their sum with m: where the teacher's exponents are 0.
    top: (f32, f32),
    /// Whether differences are taken in two terms too.
    exact: bool,
}

/// An entry's excess p - w, and its share of the Bregman sum.
struct Entry {
    excess: f32,
    bregman: f32,
}

impl<'r, X: Exponential, T: Row + ?Sized, S: Row + ?Sized> Sweep<'r, X, T, S> {
    pub(super) fn new(exponential: X, per_unit: f32, teacher: &'r T, student: &'r S, len: usize) -> Self {
        let zero = (0.0, 0.0);
        Self { exponential, per_unit, teacher, student, len, m: 0.0, d: zero, top: zero, exact: false }
    }

    #[inline(always)]
    fn pairs(&self) -> impl Iterator<Item = (f32, f32)> + use<'r, X, T, S> {
        self.teacher.values(self.len).zip(self.student.values(self.len))
    }

    /// Moves the reference of the log-ratio by so many nats.
    #[cold]
    #[inline(never)]
    fn move_by(&mut self, nats: f32) {
        let (high, low) = two_difference(self.d.0, -nats / self.per_unit);
        self.refer_to((high, if self.exact { low + self.d.1 } else { 0.0 }));
    }

    fn refer_to(&mut self, d: (f32, f32)) {
        self.d = d;
        let (high, low) = two_difference(self.m, -d.0);
        self.top = (high, low + d.1);
    }

    #[inline(always)]
    fn w(&self, s: f32) -> f32 {
        self.exponential.exp(s - self.m)
    }

    /// The teacher's exponential: from the student's, which it then shares the error of, where the two are close; from its
    /// own exponent where w may have underflowed. Infinite where the reference is out of reach.
    #[inline(never)]
    fn p(&self, t: f32, w: f32, distance: f32) -> f32 {
        let near = (distance * self.per_unit).abs() <= OWN;
        let y = if near { distance } else { (t - self.top.0) - self.top.1 };
        let unit = if near { w } else { 1.0 };
        if y * self.per_unit > LARGEST { f32::INFINITY } else { unit * self.exponential.exp(y) }
    }

    #[inline(always)]
    fn entry(&self, t: f32, s: f32, w: f32) -> Entry {
        let distance = if self.exact {
            let (high, low) = two_difference(t, s);
            (high - self.d.0) + (low - self.d.1)
        } else {
            (t - s) - self.d.0
        };
        let r = distance * self.per_unit;
        if r.abs() <= 1.0 {
            let q = super::expm1_rest(r);
            let u = w * r;
            let square = u * r;
            return Entry { excess: u + square * q, bregman: square * (1.0 + q * (r - 1.0)) };
        }
        let p = self.p(t, w, distance);
        // An infinite log-ratio of no mass is no term.
        let bregman = if p == 0.0 { w } else { (r - 1.0) * p + w };
        Entry { excess: p - w, bregman }
    }

    /// The largest entries of student and teacher, NaN passed over.
    fn largest(of: impl Iterator<Item = f32>) -> f32 {
        of.fold(f32::NEG_INFINITY, |m, x| if x > m { x } else { m })
    }

    /// The references' first guess, and Z.
    fn measure(&mut self, room: &mut impl Room) -> f32 {
        self.m = Self::largest(self.student.values(self.len));
        // Where all differences are equal the mean is to be exact: it is taken beside one of them.
        let beside = self.pairs().next().map_or(0.0, |(t, s)| t - s);
        let (mut z, mut first) = (Sum::default(), Sum::default());
        for (i, ((t, s), cell)) in self.pairs().zip(room.cells()).enumerate() {
            let w = self.w(s);
            cell.keep(w);
            z.group += w;
            first.group += w * ((t - s) - beside);
            if i % GROUP == GROUP - 1 {
                z.end_group();
                first.end_group();
            }
        }
        let z = z.total();
        self.refer_to((beside + first.total() / z, 0.0));
        z
    }

    /// E and G, and the sum of |p - w|.
    fn sums(&self, room: &mut impl Room) -> (f32, f32, f32) {
        let (mut e, mut g) = (Sum::default(), Sum::default());
        let mut size = 0.0;
        for (i, ((t, s), cell)) in self.pairs().zip(room.cells()).enumerate() {
            let entry = self.entry(t, s, cell.kept(|| self.w(s)));
            e.group += entry.excess;
            size += entry.excess.abs();
            g.group += entry.bregman;
            if i % GROUP == GROUP - 1 {
                e.end_group();
                g.end_group();
            }
        }
        (e.total(), g.total(), size)
    }

    pub(super) fn run(&mut self, room: &mut impl Room) -> Verdict {
        let z = self.measure(room);
        if !(z >= 1.0) {
            return self.without_reference();
        }
        let mut start_again = true;
        let mut found = (0.0, 0.0);
        for attempt in 0..ATTEMPTS {
            let (e, g, size) = self.sums(room);
            let sum = z + e;
            // Out of reach of the teacher's mass: its own largest entry is within.
            if !(sum > 0.0 && sum < f32::INFINITY) {
                if core::mem::take(&mut start_again) && self.start_at_the_teacher() {
                    continue;
                }
                return self.without_reference();
            }
            let s = e / (z + sum);
            let (log, excess) = logs(s);
            let kl = g / sum - excess;
            found = (e, kl);
            let close = s.abs() <= CLOSE;
            let small = self.d.0 * self.per_unit;
            let centred = e.abs() <= CENTRED * size;
            let exact = self.exact || centred && small * small <= 8.0 * g / sum;
            if (close && kl >= excess && centred && exact) || attempt == ATTEMPTS - 1 {
                break;
            }
            self.exact |= !exact;
            self.move_by(if close { log } else { far_log::<X>(sum / z) });
        }
        let (e, kl) = found;
        let sum = z + e;
        // The sums being numbers, so are the entries: what is none is the difference to a student of minus infinity.
        let kl = if kl.is_nan() {
            f32::INFINITY
        } else if kl < 0.0 {
            0.0
        } else {
            kl
        };
        Verdict::Row { w: e / (z * sum), excess: 1.0 / sum, kl }
    }

    /// Moves the reference to where both have their largest entries, if the teacher has one.
    #[cold]
    #[inline(never)]
    fn start_at_the_teacher(&mut self) -> bool {
        let top = Self::largest(self.teacher.values(self.len));
        self.exact = true;
        self.refer_to(two_difference(top, self.m));
        top.is_finite()
    }

    /// A row in which the student, or the teacher, has no mass that is a number.
    #[cold]
    #[inline(never)]
    fn without_reference(&mut self) -> Verdict {
        let missing = |x: f32| x == f32::NEG_INFINITY;
        let (mut teacher, mut student, mut numbers) = (true, true, true);
        for (t, s) in self.pairs() {
            teacher &= missing(t);
            student &= missing(s);
            numbers &= t < f32::INFINITY && s < f32::INFINITY;
        }
        match (numbers, teacher, student) {
            (true, true, _) => Verdict::Empty,
            (true, false, true) => {
                self.m = 0.0;
                self.start_at_the_teacher();
                Verdict::NoStudent(self.pairs().map(|(t, _)| self.own(t)).sum())
            }
            _ => Verdict::NotANumber,
        }
    }

    /// The teacher's exponential by its own exponent.
    fn own(&self, t: f32) -> f32 {
        self.p(t, 0.0, f32::INFINITY)
    }

    /// The gradient.
    pub(super) fn pull(&self, verdict: Verdict, scale: f32, gradient: &mut [f32]) {
        match verdict {
            Verdict::Row { w: of_w, excess: of_excess, .. } => {
                let (of_w, of_excess) = (scale * of_w, scale * of_excess);
                for ((t, s), g) in self.pairs().zip(gradient) {
                    let w = *g;
                    *g = of_w * w - of_excess * self.entry(t, s, w).excess;
                }
            }
            Verdict::NoStudent(sum) => {
                let factor = -scale / sum;
                for ((t, _), g) in self.pairs().zip(gradient) {
                    *g = factor * self.own(t);
                }
            }
            // A number that is not known beforehand: no call of a C library's `memset`.
            Verdict::Empty | Verdict::NotANumber => gradient.fill(verdict.kl()),
        }
    }
}
