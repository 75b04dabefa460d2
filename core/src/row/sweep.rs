//! One block of a row pair: its sums about a reference, and the entries that they are sums of.

use crate::arithmetic::{Arithmetic, two_difference};
use crate::isa::{Kernel, dispatch};

/// Entries of a block. Sums inside a block are taken in lanes of the element's arithmetic, sums of lanes and
/// blocks in `f64`; 256 entries of a teacher, a student and four sums fit in any first-level cache.
pub(crate) const BLOCK: usize = 256;

/// Where exponents are measured from: the student's from `m`, the log-ratio from `d`, the teacher's from
/// `m + d`; each but `m` in two terms, since a constant shift of 1000 must not cost a KL of 1e-26 its digits.
#[derive(Clone, Copy)]
pub(crate) struct Reference<R> {
    per_unit: (R, R),
    m: R,
    d: (R, R),
    teacher: (R, R),
    rest: R,
}

/// What one position of a row pair contributes, in units of e^m.
#[derive(Clone, Copy)]
pub(crate) struct Entry<R> {
    /// (s - m) / tau, at most 0.
    pub(crate) x: R,
    /// (t - s - d) / tau - rest: the log-ratio of the two probabilities about the reference.
    pub(crate) r: R,
    /// e^x.
    pub(crate) w: R,
    /// e^x e^r, from the teacher's own exponent where |r| is large.
    pub(crate) p: R,
    /// p - w.
    pub(crate) excess: R,
    /// (t - m - d) / tau - rest where the teacher's own exponent was taken, x elsewhere.
    pub(crate) y: R,
}

impl<R: Arithmetic> Reference<R> {
    /// `m` and `d` in quarter units (see [`Arithmetic::UNIT`]), `per_quarter = 4 / tau`; `rest` in nats.
    pub(crate) fn new(m: f64, d: f64, per_quarter: f64, rest: f64) -> Self {
        let scale = R::UNIT.to_double() * 4.0;
        let (m, d) = (m * scale, d * scale);
        let split = |x: f64| {
            let high = R::from_f64(x);
            (high, R::from_f64(x - high.to_double()))
        };
        let m_here = R::from_f64(m);
        let d = split(d);
        let (high, low) = two_difference(m_here, -d.0);
        Self {
            per_unit: split(per_quarter / scale),
            m: m_here,
            d,
            teacher: (high, low + d.1),
            rest: R::from_f64(rest),
        }
    }

    /// A distance in units of the inputs, in nats. `1 / tau` in one term would be off the same way everywhere.
    #[inline(always)]
    fn nats(&self, distance: R) -> R {
        distance * self.per_unit.0 + distance * self.per_unit.1
    }

    /// `near`: the caller knows, or checks afterwards, that |r| <= 1, and one exponential is enough.
    #[inline(always)]
    pub(crate) fn entry(&self, t: R, s: R, near: bool) -> Entry<R> {
        let (t, s) = (t * R::UNIT, s * R::UNIT);
        let one = R::one();
        let (high, low) = two_difference(t, s);
        let r = self.nats((high - self.d.0) + (low - self.d.1)) - self.rest;
        let x = self.nats(s - self.m);
        let w = x.exp_fast();
        if near {
            let excess = w * (r + r * r * r.expm1_rest());
            return Entry { x, r, w, p: w + excess, excess, y: x };
        }
        let size = r.abs();
        // From the student's exponent p inherits only the error of r; from its own it survives where w
        // underflows. Between, w e^r would add the errors of both.
        let own = size > R::from_f64(4.0);
        let y = self.nats((t - self.teacher.0) - self.teacher.1) - self.rest;
        let e = if own { y } else { r }.exp_fast();
        let p = if own { e } else { w * e };
        let excess = if size <= one { w * (r + r * r * r.expm1_rest()) } else { p - w };
        Entry { x, r, w, p, excess, y: if own { y } else { x } }
    }
}

impl<R: Arithmetic> Entry<R> {
    /// The entry's share of the Bregman sum: w k(r) = r p - (p - w), never negative.
    #[inline(always)]
    pub(crate) fn bregman(&self, near: bool) -> R {
        let one = R::one();
        let q = self.r.expm1_rest();
        let small = self.w * (self.r * self.r * (one - q + self.r * q));
        if near || self.r.abs() <= one {
            small
        } else if self.p == R::zero() {
            // Also where r overflowed: an infinite log-ratio of no mass is no term.
            self.w
        } else {
            (self.r - one) * self.p + self.w
        }
    }

    /// The share that the rounding of exponents has in the Bregman sum, in units of the type's epsilon: what
    /// tells rows whose KL sits far below their maximum.
    #[inline(always)]
    fn exponent_error(&self, bregman: R, near: bool) -> R {
        let shared = -self.x * bregman;
        if near || self.r.abs() <= R::from_f64(4.0) {
            shared
        } else {
            self.y.abs() * self.p * (self.r.abs() + R::one()) - self.x * self.w
        }
    }
}

/// The sums of one block about a reference, in units of e^m.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// sum w.
    pub(crate) z: f64,
    /// sum (p - w).
    pub(crate) e: f64,
    /// sum w k(r).
    pub(crate) g: f64,
    /// The error of exponents in g, in units of epsilon.
    pub(crate) far: f64,
    /// The largest entry of `far`.
    pub(crate) farthest: f64,
    /// The largest |r|.
    pub(crate) spread: f64,
    /// The largest |p - w|.
    pub(crate) largest: f64,
}

impl Sums {
    /// What the rounding of exponents can be expected to do to `g`, in units of epsilon: roundings of many
    /// entries do not come together, those of one entry do, and none of it beyond a fifth of the worst case.
    pub(crate) fn exponent_error(&self) -> f64 {
        libm::sqrt(self.far * self.farthest).max(0.2 * self.far)
    }
}

/// A buffer whose sum is taken in fixed lanes, so that it rounds the same way on every machine.
#[derive(Debug)]
pub(crate) struct BlockSum<R>([R; BLOCK]);

impl<R: Arithmetic> BlockSum<R> {
    pub(crate) fn new() -> Self {
        Self([R::zero(); BLOCK])
    }

    /// The first `n` cells, the rest of the last group set to 0.
    #[inline(always)]
    pub(crate) fn cells(&mut self, n: usize) -> &mut [R] {
        let padded = n.min(BLOCK).next_multiple_of(LANES);
        for cell in self.0.get_mut(n..padded).unwrap_or_default() {
            *cell = R::zero();
        }
        self.0.get_mut(..n).unwrap_or_default()
    }

    /// Every cell combined into one of 32 lanes.
    #[inline(always)]
    fn lanes(&self, n: usize, combine: impl Fn(R, R) -> R) -> [R; LANES] {
        let mut lanes = [R::zero(); LANES];
        let cells = self.0.get(..n.min(BLOCK).next_multiple_of(LANES)).unwrap_or_default();
        for group in cells.as_chunks::<LANES>().0 {
            for (lane, &x) in lanes.iter_mut().zip(group) {
                *lane = combine(*lane, x);
            }
        }
        lanes
    }

    /// The sum of the first `n` cells: at most eight a lane in this arithmetic, the lanes in `f64`.
    #[inline(always)]
    pub(crate) fn sum(&self, n: usize) -> f64 {
        sum_in_f64(&self.lanes(n, |a, b| a + b))
    }

    /// The sum of the first `n` cells in `f64` throughout, for sums whose small terms count beside a 1.
    #[inline(always)]
    pub(crate) fn sum_in_f64(&self, n: usize) -> f64 {
        sum_in_f64(self.0.get(..n.min(BLOCK).next_multiple_of(LANES)).unwrap_or_default())
    }

    /// The largest magnitude of the first `n` cells.
    #[inline(always)]
    fn largest(&self, n: usize) -> f64 {
        let larger = |a: R, b: R| {
            let b = b.abs();
            if b > a { b } else { a }
        };
        self.lanes(n, larger).iter().fold(R::zero(), |a, &b| larger(a, b)).to_double()
    }
}

/// Partial sums of a block that are taken side by side.
const LANES: usize = 32;

#[inline(always)]
fn sum_in_f64<R: Arithmetic>(cells: &[R]) -> f64 {
    let mut lanes = [0.0_f64; 8];
    for group in cells.as_chunks::<8>().0 {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane += x.to_double();
        }
    }
    lanes.iter().sum()
}

/// The buffers of one sweep, kept by whoever sweeps many blocks so that they are not cleared for each.
#[derive(Debug)]
pub struct Workspace<R> {
    z: BlockSum<R>,
    e: BlockSum<R>,
    g: BlockSum<R>,
    far: BlockSum<R>,
    r: BlockSum<R>,
}

impl<R: Arithmetic> Default for Workspace<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Arithmetic> Workspace<R> {
    /// Cleared buffers.
    pub fn new() -> Self {
        let sum = BlockSum::new;
        Self { z: sum(), e: sum(), g: sum(), far: sum(), r: sum() }
    }

    /// One sweep over a block of at most [`BLOCK`] entries.
    pub(crate) fn sweep(&mut self, t: &[R], s: &[R], at: &Reference<R>, near: bool) -> Sums {
        if near {
            dispatch(Sweep::<R, true> { workspace: self, t, s, at })
        } else {
            dispatch(Sweep::<R, false> { workspace: self, t, s, at })
        }
    }
}

struct Sweep<'a, R, const NEAR: bool> {
    workspace: &'a mut Workspace<R>,
    t: &'a [R],
    s: &'a [R],
    at: &'a Reference<R>,
}

impl<R: Arithmetic, const NEAR: bool> Kernel for Sweep<'_, R, NEAR> {
    type Output = Sums;

    #[inline(always)]
    fn run(self) -> Sums {
        let Self { workspace: Workspace { z, e, g, far, r }, t, s, at } = self;
        let n = t.len().min(s.len()).min(BLOCK);
        let sums = z.cells(n).iter_mut().zip(e.cells(n)).zip(g.cells(n));
        let checks = far.cells(n).iter_mut().zip(r.cells(n));
        for ((((z, e), g), (far, r)), (&t, &s)) in sums.zip(checks).zip(t.iter().zip(s)) {
            let entry = at.entry(t, s, NEAR);
            let bregman = entry.bregman(NEAR);
            *z = entry.w;
            *e = entry.excess;
            *g = bregman;
            *far = entry.exponent_error(bregman, NEAR);
            *r = entry.r;
        }
        Sums {
            z: z.sum_in_f64(n),
            e: e.sum(n),
            g: g.sum(n),
            far: far.sum(n),
            farthest: far.largest(n),
            spread: r.largest(n),
            largest: e.largest(n),
        }
    }
}

/// The largest teacher and the largest student of a block; NaN is passed over, as the sums will show it.
pub(crate) fn maxima<R: Arithmetic>(t: &[R], s: &[R]) -> (R, R) {
    (dispatch(Largest(t)), dispatch(Largest(s)))
}

struct Largest<'a, R>(&'a [R]);

impl<R: Arithmetic> Kernel for Largest<'_, R> {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        let larger = |a: R, b: R| if b > a { b } else { a };
        let mut lanes = [R::neg_infinity(); 32];
        let (groups, rest) = self.0.as_chunks::<32>();
        for group in groups {
            for (lane, &x) in lanes.iter_mut().zip(group) {
                *lane = larger(*lane, x);
            }
        }
        lanes.iter().chain(rest).fold(R::neg_infinity(), |a, &b| larger(a, b))
    }
}
