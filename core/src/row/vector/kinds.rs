//! One block of a row pair in vectors of `f32`: four kinds of sweep that leave the same sums.
//!
//! With c nats (b = c log2 e bits) a unit of the inputs, a sweep about references m and D takes x = b (s - m),
//! w = 2^x, d = (t - s) - D and r = c d, and adds up
//!
//! ```text
//! Z = sum w,    E = sum w (e^r - 1),    G = sum w k(r),    k(r) = r e^r - e^r + 1.
//! ```
//!
//! | kind | holds where | form |
//! | --- | --- | --- |
//! | tiny, near | every abs(r) <= 0.0866, 1.04 | one exponential, moments of d, Q of degree 3 or 6 |
//! | coarse | G >= (Z + sum p) / 4 | two exponentials, E and G as differences of sums |
//! | full | always | two exponentials, each term by itself as the exact arithmetic would |
//!
//! How a block is walked: [`steps`](super::steps); how terms are added: [`sums`](super::sums).

use super::kept::Planes;
use super::position::{Constants, Folded, excess, position};
use super::reference::Reference;
use super::steps::{Made, Mask, Steps, Tile, sweep_block};
use super::sums::{Accumulator, Sums};
use crate::simd::{Simd, Stored, Twice};

/// |r| up to which a block is tiny, and near: 1/8 and 3/2 of a bit.
pub(super) const TINY: f64 = 0.086_64;
pub(super) const NEAR: f64 = 1.039_7;

/// How a block is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tiny,
    Near,
    Full,
    Coarse,
}

/// Sweeps a block as this kind; the kind under which it holds if that is another. What its gradient is made of is kept
/// where the kind has one exponential, differences are not exact, and there is room.
#[inline(always)]
pub(super) fn sweep<L: Simd, E: Stored>(
    l: L,
    kind: Kind,
    pair: (&[E], &[E]),
    at: &Reference,
    folded: &Folded,
    planes: Option<Planes<'_>>,
) -> Result<Sums, Kind> {
    match (kind, at.exact, planes) {
        (Kind::Tiny, false, Some(to)) => near::<L, E, true, false>(l, pair, to, at, folded),
        (Kind::Tiny, false, None) => near::<L, E, true, false>(l, pair, nowhere(), at, folded),
        (Kind::Tiny, true, _) => near::<L, E, true, true>(l, pair, nowhere(), at, folded),
        (Kind::Near, false, Some(to)) => near::<L, E, false, false>(l, pair, to, at, folded),
        (Kind::Near, false, None) => near::<L, E, false, false>(l, pair, nowhere(), at, folded),
        (Kind::Near, true, _) => near::<L, E, false, true>(l, pair, nowhere(), at, folded),
        (Kind::Coarse, false, _) => coarse::<L, E, false>(l, pair, at),
        (Kind::Coarse, true, _) => coarse::<L, E, true>(l, pair, at),
        (Kind::Full, false, _) => Ok(full::<L, E, false>(l, pair, at)),
        (Kind::Full, true, _) => Ok(full::<L, E, true>(l, pair, at)),
    }
}

/// No planes.
#[inline(always)]
fn nowhere<'k>() -> Planes<'k> {
    (&mut [], &mut [])
}

/// Bits, 0 or more, above which no exponent of a block is whose largest exponential is this.
#[inline(always)]
fn height(top: f64) -> f64 {
    log2_above(top.max(1.0))
}

/// At least log2 x of a normal number, by 0.09 at most: between powers of two, the chord and how far the curve is above.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "the last bits do not matter")]
pub(super) fn log2_above(x: f64) -> f64 {
    const ONE: f64 = (1_u64 << 52) as f64;
    x.to_bits() as f64 / ONE - (1023.0 - 0.0861)
}

/// The most of w log2(1/w): that of w = 1/e.
const LOW: f64 = 0.531;

#[inline(always)]
fn near<L: Simd, E: Stored, const TIGHT: bool, const EXACT: bool>(
    l: L,
    (t, s): (&[E], &[E]),
    to: Planes<'_>,
    at: &Reference,
    folded: &Folded,
) -> Result<Sums, Kind> {
    let steps =
        Near::<L, TIGHT, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at), folded: *folded };
    let ([z, m, s2, a, b], [top, top_d, top_u, top_s2]) = sweep_block(l, (t, s), to, steps).finish();
    let c = at.c;
    let spread = c * top_d;
    let limit = if TIGHT { TINY } else { NEAR };
    if !(spread <= limit) {
        // The squares are right whatever the size, and say how large the block's G is.
        return Err(if TIGHT && spread <= NEAR {
            Kind::Near
        } else if c * c * s2 >= 0.5 * z && t.len() >= COARSE {
            Kind::Coarse
        } else {
            Kind::Full
        });
    }
    // k(r) is 0.46 to 0.54 of r^2 in a tiny block, 0.25 to 1.03 in a near one, and |e^r - 1| at least 0.62 |r|.
    let (most, least) = if TIGHT { (0.54, 0.95) } else { (0.75, 0.62) };
    let e = c * (m + c * a);
    let size = if spread > 0.0 { e.abs().max(least * c * c * s2 / spread) } else { 0.0 };
    // The sum of w d^2 |x|. No |x| is above twice the height less x; and since a logarithm is concave, the sum of
    // w d^2 log2(1/w) is at most that of w d^2 times the logarithm of the sum of d^2 beside it.
    let height = height(top);
    #[allow(clippy::cast_precision_loss, reason = "at most 4096")]
    let squares = t.len() as f64 * top_d * top_d;
    let depth = if s2 > 0.0 { s2 * (2.0 * height + log2_above((squares / s2).max(1e-30))) } else { 0.0 };
    let nats = most * c * c * core::f64::consts::LN_2;
    Ok(Sums {
        z,
        e,
        g: c * c * (s2 - a + c * b),
        far: nats * depth,
        farthest: nats * (height * top_s2).max(LOW * top_d * top_d),
        is_bound: true,
        spread,
        largest: least * c * top_u,
        top,
        size,
    })
}

#[derive(Clone, Copy)]
struct Near<L: Simd, const TIGHT: bool, const EXACT: bool> {
    l: Twice<L>,
    constants: Constants<Twice<L>>,
    /// Not lent: what is kept could overwrite it, for all that the compiler knows.
    folded: Folded,
}

/// w, d and Q of a tile.
#[derive(Clone, Copy)]
struct Terms<V> {
    w: V,
    d: V,
    q: V,
}

impl<L: Simd, const TIGHT: bool, const EXACT: bool> Steps<L, 5, 4> for Near<L, TIGHT, EXACT> {
    /// x and d.
    type Read = (Tile<L>, Tile<L>);
    type Raised = Terms<Tile<L>>;

    #[inline(always)]
    fn read(self, t: Tile<L>, s: Tile<L>) -> Self::Read {
        (self.constants.student(s), self.constants.difference::<EXACT>(t, s))
    }

    #[inline(always)]
    fn raise(self, (x, d): Self::Read) -> Self::Raised {
        Terms { w: self.l.exp2(x), d, q: self.folded.at::<_, TIGHT>(self.l, d) }
    }

    #[inline(always)]
    fn only(self, some: Mask<L>, Terms { w, d, q }: Self::Raised) -> Self::Raised {
        let zero = self.l.splat(0.0);
        Terms { w: self.l.select(some, w, zero), d: self.l.select(some, d, zero), q }
    }

    #[inline(always)]
    fn add(self, Terms { w, d, q }: Self::Raised, sums: &mut Accumulator<L, 5, 4>) -> Made<L> {
        let l = self.l;
        let u = w * d;
        let u2 = u * d;
        let y = u2 * q;
        let (weight, squares) = (l.sum_of_two(w), l.sum_of_two(u2));
        let [z, m, s2, a, b] = &mut sums.group;
        *z = *z + weight;
        *m = *m + l.sum_of_two(u);
        *s2 = *s2 + squares;
        *a = *a + l.sum_of_two(y);
        *b = *b + l.sum_of_products(y, d);
        let [top, top_d, top_u, top_s2] = &mut sums.peaks;
        *top = l.0.max(*top, weight);
        *top_d = l.largest_magnitude(*top_d, d);
        *top_u = l.largest_magnitude(*top_u, u);
        *top_s2 = l.0.max(*top_s2, squares);
        (w, excess(l, self.constants.c, u, y))
    }
}

/// Entries from which a block may be coarse: enough that roundings do not come together.
pub(super) const COARSE: usize = 256;

/// G beside Z + sum p from which it may be taken as a difference of sums.
pub(super) const SHARE: f64 = 0.25;

#[inline(always)]
fn coarse<L: Simd, E: Stored, const EXACT: bool>(
    l: L,
    (t, s): (&[E], &[E]),
    at: &Reference,
) -> Result<Sums, Kind> {
    let steps = Coarse::<L, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at) };
    let ([z, u, n, far, size], [top, largest, farthest]) = sweep_block(l, (t, s), nowhere(), steps).finish();
    let (u, n) = (at.fix * u, at.fix * n);
    let e = u - z;
    let g = at.c * n - e;
    // The gradient asks the same of E, whose terms may be small where one far entry makes up G.
    if !(g >= SHARE * (z + u) && size >= 0.8 * SHARE * (z + u)) {
        return Err(Kind::Full);
    }
    let ln2 = core::f64::consts::LN_2;
    // The sum of w |x|, as in a near block.
    let height = height(top);
    #[allow(clippy::cast_precision_loss, reason = "at most 4096")]
    let depth = z * (2.0 * height + log2_above((t.len() as f64 / z).max(1e-30)));
    Ok(Sums {
        z,
        e,
        g,
        far: ln2 * (far + depth),
        farthest: ln2 * (farthest + (height * top).max(LOW)),
        is_bound: true,
        spread: f64::INFINITY,
        largest,
        top,
        size,
    })
}

#[derive(Clone, Copy)]
struct Coarse<L: Simd, const EXACT: bool> {
    l: Twice<L>,
    constants: Constants<Twice<L>>,
}

/// w, and p, y and d.
#[derive(Clone, Copy)]
struct Pairs<V> {
    w: V,
    p: V,
    y: V,
    d: V,
}

impl<L: Simd, const EXACT: bool> Steps<L, 5, 3> for Coarse<L, EXACT> {
    /// x, y and d.
    type Read = (Tile<L>, Tile<L>, Tile<L>);
    type Raised = Pairs<Tile<L>>;

    #[inline(always)]
    fn read(self, t: Tile<L>, s: Tile<L>) -> Self::Read {
        let Self { constants, .. } = self;
        (constants.student(s), constants.teacher(t), constants.difference::<EXACT>(t, s))
    }

    #[inline(always)]
    fn raise(self, (x, y, d): Self::Read) -> Self::Raised {
        Pairs { w: self.l.exp2(x), p: self.l.exp2(y), y, d }
    }

    #[inline(always)]
    fn only(self, some: Mask<L>, Pairs { w, p, y, d }: Self::Raised) -> Self::Raised {
        let zero = self.l.splat(0.0);
        Pairs { w: self.l.select(some, w, zero), p: self.l.select(some, p, zero), y, d }
    }

    #[inline(always)]
    fn add(self, Pairs { w, p, y, d }: Self::Raised, sums: &mut Accumulator<L, 5, 3>) -> Made<L> {
        let l = self.l;
        let v = p * d;
        let error = l.sum_of_products(l.abs(y), l.fma(self.constants.c, l.abs(v), p));
        let excess = p - w;
        let distance = l.abs(excess);
        let weight = l.sum_of_two(w);
        let [z, u, n, far, size] = &mut sums.group;
        *z = *z + weight;
        *u = *u + l.sum_of_two(p);
        *n = *n + l.sum_of_two(v);
        *far = *far + error;
        *size = *size + l.sum_of_two(distance);
        let [top, largest, farthest] = &mut sums.peaks;
        *top = l.0.max(*top, weight);
        *largest = l.largest_of_two(*largest, distance);
        *farthest = l.0.max(*farthest, error);
        (w, excess)
    }
}

#[inline(always)]
fn full<L: Simd, E: Stored, const EXACT: bool>(l: L, (t, s): (&[E], &[E]), at: &Reference) -> Sums {
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    let fix = Twice(l).splat(at.fix as f32);
    let steps = Full::<L, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at), fix };
    let ([z, e, g, far, size], [farthest, spread, largest, top]) =
        sweep_block(l, (t, s), nowhere(), steps).finish();
    let ln2 = core::f64::consts::LN_2;
    Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, is_bound: false, spread, largest, top, size }
}

#[derive(Clone, Copy)]
struct Full<L: Simd, const EXACT: bool> {
    l: Twice<L>,
    constants: Constants<Twice<L>>,
    fix: Tile<L>,
}

/// w, w (e^r - 1), w k(r), the error of its exponents and |r|.
#[derive(Clone, Copy)]
struct Parts<V> {
    w: V,
    excess: V,
    g: V,
    error: V,
    size: V,
}

impl<L: Simd, const EXACT: bool> Steps<L, 5, 4> for Full<L, EXACT> {
    type Read = (Tile<L>, Tile<L>);
    type Raised = Parts<Tile<L>>;

    #[inline(always)]
    fn read(self, t: Tile<L>, s: Tile<L>) -> Self::Read {
        (t, s)
    }

    #[inline(always)]
    fn raise(self, (t, s): Self::Read) -> Self::Raised {
        let Self { l, constants, fix } = self;
        let (one, zero) = (l.splat(1.0), l.splat(0.0));
        let r = constants.ratio::<EXACT>(t, s, (zero, zero));
        let (at, small, own) = position(l, (t, s, r), &constants, fix);
        let g = l.select(small, l.fma(at.rest, r - one, at.square), r * at.p - at.excess);
        let size = l.abs(r);
        let depth = l.abs(at.x);
        let own_error = l.fma(l.abs(at.y), l.fma(size, at.p, at.p), depth * at.w);
        let error = l.select(own, own_error, depth * g);
        Parts { w: at.w, excess: at.excess, g, error, size }
    }

    #[inline(always)]
    fn only(self, some: Mask<L>, Parts { w, excess, g, error, size }: Self::Raised) -> Self::Raised {
        let l = self.l;
        let zero = l.splat(0.0);
        Parts {
            w: l.select(some, w, zero),
            excess: l.select(some, excess, zero),
            g: l.select(some, g, zero),
            error: l.select(some, error, zero),
            size: l.select(some, size, zero),
        }
    }

    #[inline(always)]
    fn add(
        self,
        Parts { w, excess, g, error, size }: Self::Raised,
        sums: &mut Accumulator<L, 5, 4>,
    ) -> Made<L> {
        let l = self.l;
        let [z, e, sum, far, all] = &mut sums.group;
        *z = *z + l.sum_of_two(w);
        *e = *e + l.sum_of_two(excess);
        *all = *all + l.sum_of_two(l.abs(excess));
        *sum = *sum + l.sum_of_two(g);
        *far = *far + l.sum_of_two(error);
        let [farthest, spread, largest, top] = &mut sums.peaks;
        *top = l.largest_of_two(*top, w);
        *farthest = l.largest_of_two(*farthest, error);
        *spread = l.largest_of_two(*spread, size);
        *largest = l.largest_magnitude(*largest, excess);
        (w, excess)
    }
}
