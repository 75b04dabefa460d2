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
//! How terms are added: [`sums`](super::sums).

use super::position::{Constants, Folded, position};
use super::reference::Reference;
use super::sums::{Accumulator, GROUP, Sums};
use crate::simd::{Four, Simd, Stored};

/// Four vectors that are swept at a time, and truths of theirs.
type Tile<L> = <Four<L> as Simd>::V;
type Mask<L> = <Four<L> as Simd>::M;

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

/// Sweeps a block as this kind; the kind under which it holds if that is another.
#[inline(always)]
pub(super) fn sweep<L: Simd, E: Stored>(
    l: L,
    kind: Kind,
    (t, s): (&[E], &[E]),
    at: &Reference,
    folded: &Folded,
) -> Result<Sums, Kind> {
    match (kind, at.exact) {
        (Kind::Tiny, false) => near::<L, E, true, false>(l, t, s, at, folded),
        (Kind::Tiny, true) => near::<L, E, true, true>(l, t, s, at, folded),
        (Kind::Near, false) => near::<L, E, false, false>(l, t, s, at, folded),
        (Kind::Near, true) => near::<L, E, false, true>(l, t, s, at, folded),
        (Kind::Coarse, false) => coarse::<L, E, false>(l, t, s, at),
        (Kind::Coarse, true) => coarse::<L, E, true>(l, t, s, at),
        (Kind::Full, false) => Ok(full::<L, E, false>(l, t, s, at)),
        (Kind::Full, true) => Ok(full::<L, E, true>(l, t, s, at)),
    }
}

/// The loop of every kind: a step for each tile of vectors, and for what is left over.
macro_rules! sweep_block {
    ($l:ident, $t:ident, $s:ident, $sums:ident, $step:ident::<$($generic:tt),+>($($constant:expr),*)) => {
        let tile = Four::of($l);
        let width = Four::<L>::WIDTH;
        let all = tile.first(width);
        // Not zipped: a zip divides by the length of a piece, and may be a call that could panic.
        let mut groups = ($t.chunks(GROUP * width), $s.chunks(GROUP * width));
        while let (Some(t), Some(s)) = (groups.0.next(), groups.1.next()) {
            let (whole_t, whole_s) = (t.chunks_exact(width), s.chunks_exact(width));
            let (rest_t, rest_s) = (whole_t.remainder(), whole_s.remainder());
            let mut whole = (whole_t, whole_s);
            while let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) {
                tile.prefetch(t, AHEAD);
                tile.prefetch(s, AHEAD);
                let (t, s) = (E::load(tile, t), E::load(tile, s));
                $step::<L, $($generic),+, false>(tile, (t, s), all, $($constant,)* &mut $sums);
            }
            if !rest_t.is_empty() {
                let (t, s) = (E::load(tile, rest_t), E::load(tile, rest_s));
                let some = tile.first(rest_t.len());
                $step::<L, $($generic),+, true>(tile, (t, s), some, $($constant,)* &mut $sums);
            }
            $sums.end_group();
        }
    };
}

/// Entries from a load to the prefetch beside it.
const AHEAD: usize = 512;

/// `v`, and 0 in the lanes of no entry.
#[inline(always)]
fn present<L: Simd, const TAIL: bool>(l: L, some: L::M, v: L::V) -> L::V {
    if TAIL { l.select(some, v, l.splat(0.0)) } else { v }
}

/// Bits, 0 or more, above which no exponent of a block is whose largest exponential is this.
#[inline(always)]
fn height(top: f64) -> f64 {
    // The exponent of the number, and one more.
    let biased = (top.to_bits() >> 52) as u32;
    f64::from(biased.saturating_sub(1022))
}

#[inline(always)]
fn near<L: Simd, E: Stored, const TIGHT: bool, const EXACT: bool>(
    l: L,
    t: &[E],
    s: &[E],
    at: &Reference,
    folded: &Folded,
) -> Result<Sums, Kind> {
    let constants = Constants::new(Four::of(l), at);
    let mut sums = Accumulator::<L, 6, 5>::new(l);
    sweep_block!(l, t, s, sums, near_step::<TIGHT, EXACT>(&constants, folded));
    let ([z, m, s2, a, b, far], [top, top_d, top_u, top_s2, farthest]) = sums.finish();
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
    // No exponent is above the height, so that none is larger than twice it less the exponent.
    let twice = 2.0 * height(top);
    let nats = most * c * c * core::f64::consts::LN_2;
    Ok(Sums {
        z,
        e,
        g: c * c * (s2 - a + c * b),
        far: nats * (twice * s2 - far),
        farthest: nats * (twice * top_s2 + farthest),
        spread,
        largest: least * c * top_u,
        top,
        size,
    })
}

#[inline(always)]
fn near_step<L: Simd, const TIGHT: bool, const EXACT: bool, const TAIL: bool>(
    l: Four<L>,
    (t, s): (Tile<L>, Tile<L>),
    some: Mask<L>,
    constants: &Constants<Four<L>>,
    folded: &Folded,
    sums: &mut Accumulator<L, 6, 5>,
) {
    let x = constants.student(s);
    let w = present::<_, TAIL>(l, some, l.exp2(x));
    let d = present::<_, TAIL>(l, some, constants.difference::<EXACT>(t, s));
    let u = w * d;
    let u2 = u * d;
    let y = u2 * folded.at::<_, TIGHT>(l, d);
    let one = l.one();
    let (squares, depth) = (l.sum_of_four(u2), l.sum_of_products(u2, x));
    let [z, m, s2, a, b, far] = &mut sums.group;
    *z = *z + l.sum_of_four(w);
    *m = *m + l.sum_of_four(u);
    *s2 = *s2 + squares;
    *a = *a + l.sum_of_four(y);
    *b = *b + l.sum_of_products(y, d);
    *far = *far + depth;
    let [top, top_d, top_u, top_s2, farthest] = &mut sums.peaks;
    *top = l.largest_of_four(*top, w);
    *top_d = l.largest_magnitude(*top_d, d);
    *top_u = l.largest_magnitude(*top_u, u);
    *top_s2 = one.max(*top_s2, squares);
    *farthest = one.max(*farthest, one.splat(0.0) - depth);
}

/// Entries from which a block may be coarse: enough that roundings do not come together.
pub(super) const COARSE: usize = 256;

/// G beside Z + sum p from which it may be taken as a difference of sums.
pub(super) const SHARE: f64 = 0.25;

#[inline(always)]
fn coarse<L: Simd, E: Stored, const EXACT: bool>(
    l: L,
    t: &[E],
    s: &[E],
    at: &Reference,
) -> Result<Sums, Kind> {
    let constants = Constants::new(Four::of(l), at);
    let mut sums = Accumulator::<L, 6, 5>::new(l);
    sweep_block!(l, t, s, sums, coarse_step::<EXACT>(&constants));
    let ([z, u, n, far, depth, size], [top, largest, top_z, farthest, deepest]) = sums.finish();
    let (u, n) = (at.fix * u, at.fix * n);
    let e = u - z;
    let g = at.c * n - e;
    // The gradient asks the same of E, whose terms may be small where one far entry makes up G.
    if !(g >= SHARE * (z + u) && size >= 0.8 * SHARE * (z + u)) {
        return Err(Kind::Full);
    }
    let ln2 = core::f64::consts::LN_2;
    // As in a near block.
    let twice = 2.0 * height(top);
    Ok(Sums {
        z,
        e,
        g,
        far: ln2 * (far + twice * z - depth),
        farthest: ln2 * (farthest + twice * top_z + deepest),
        spread: f64::INFINITY,
        largest,
        top,
        size,
    })
}

#[inline(always)]
fn coarse_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: Four<L>,
    (t, s): (Tile<L>, Tile<L>),
    some: Mask<L>,
    constants: &Constants<Four<L>>,
    sums: &mut Accumulator<L, 6, 5>,
) {
    let x = constants.student(s);
    let w = present::<_, TAIL>(l, some, l.exp2(x));
    let y = constants.teacher(t);
    let p = present::<_, TAIL>(l, some, l.exp2(y));
    let v = p * constants.difference::<EXACT>(t, s);
    let one = l.one();
    let error = l.sum_of_products(l.abs(y), l.fma(constants.c, l.abs(v), p));
    let excess = l.abs(p - w);
    let (weight, depth) = (l.sum_of_four(w), l.sum_of_products(w, x));
    let [z, u, n, far, deep, size] = &mut sums.group;
    *z = *z + weight;
    *u = *u + l.sum_of_four(p);
    *n = *n + l.sum_of_four(v);
    *far = *far + error;
    *deep = *deep + depth;
    *size = *size + l.sum_of_four(excess);
    let [top, largest, top_z, farthest, deepest] = &mut sums.peaks;
    *top = l.largest_of_four(*top, w);
    *largest = l.largest_of_four(*largest, excess);
    *top_z = one.max(*top_z, weight);
    *farthest = one.max(*farthest, error);
    *deepest = one.max(*deepest, one.splat(0.0) - depth);
}

#[inline(always)]
fn full<L: Simd, E: Stored, const EXACT: bool>(l: L, t: &[E], s: &[E], at: &Reference) -> Sums {
    let constants = Constants::new(Four::of(l), at);
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    let fix = Four::of(l).splat(at.fix as f32);
    let mut sums = Accumulator::<L, 5, 4>::new(l);
    sweep_block!(l, t, s, sums, full_step::<EXACT>(&constants, fix));
    let ([z, e, g, far, size], [farthest, spread, largest, top]) = sums.finish();
    let ln2 = core::f64::consts::LN_2;
    Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, spread, largest, top, size }
}

#[inline(always)]
fn full_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: Four<L>,
    (t, s): (Tile<L>, Tile<L>),
    some: Mask<L>,
    constants: &Constants<Four<L>>,
    fix: Tile<L>,
    sums: &mut Accumulator<L, 5, 4>,
) {
    let one = l.splat(1.0);
    let zero = l.splat(0.0);
    let r = constants.ratio::<EXACT>(t, s, (zero, zero));
    let (at, small, own) = position(l, (t, s, r), constants, fix);
    let g = l.select(small, l.fma(at.rest, r - one, at.square), r * at.p - at.excess);
    let size = l.abs(r);
    let depth = l.abs(at.x);
    let own_error = l.fma(l.abs(at.y), l.fma(size, at.p, at.p), depth * at.w);
    let error = l.select(own, own_error, depth * g);
    let excess = present::<_, TAIL>(l, some, at.excess);
    let [z, e, sum, far, all] = &mut sums.group;
    let w = present::<_, TAIL>(l, some, at.w);
    *z = *z + l.sum_of_four(w);
    *e = *e + l.sum_of_four(excess);
    *all = *all + l.sum_of_four(l.abs(excess));
    *sum = *sum + l.sum_of_four(present::<_, TAIL>(l, some, g));
    let error = present::<_, TAIL>(l, some, error);
    *far = *far + l.sum_of_four(error);
    let [farthest, spread, largest, top] = &mut sums.peaks;
    *top = l.largest_of_four(*top, w);
    *farthest = l.largest_of_four(*farthest, error);
    *spread = l.largest_of_four(*spread, present::<_, TAIL>(l, some, size));
    *largest = l.largest_magnitude(*largest, excess);
}
