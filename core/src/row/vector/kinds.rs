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
//! | tiny, near | every abs(r) <= 0.0866, 1.04 | one exponential, five moments of d, Q of degree 3 or 6 |
//! | coarse | G >= (Z + sum p) / 4 | two exponentials, E and G as differences of sums |
//! | full | always | two exponentials, each term by itself as the exact arithmetic would |
//!
//! How terms are added: [`sums`](super::sums).

use super::Reference;
use super::position::{Constants, Folded, position};
use super::sums::{Accumulator, GROUP, Sums};
use crate::simd::Simd;

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
pub(super) fn sweep<L: Simd>(
    l: L,
    kind: Kind,
    (t, s): (&[f32], &[f32]),
    at: &Reference,
) -> Result<Sums, Kind> {
    match (kind, at.exact) {
        (Kind::Tiny, false) => near::<L, true, false>(l, t, s, at),
        (Kind::Tiny, true) => near::<L, true, true>(l, t, s, at),
        (Kind::Near, false) => near::<L, false, false>(l, t, s, at),
        (Kind::Near, true) => near::<L, false, true>(l, t, s, at),
        (Kind::Coarse, false) => coarse::<L, false>(l, t, s, at),
        (Kind::Coarse, true) => coarse::<L, true>(l, t, s, at),
        (Kind::Full, false) => Ok(full::<L, false>(l, t, s, at)),
        (Kind::Full, true) => Ok(full::<L, true>(l, t, s, at)),
    }
}

/// The loop of every kind: a step for each vector, and for what is left over.
macro_rules! sweep_block {
    ($l:ident, $t:ident, $s:ident, $sums:ident, $step:ident::<$($generic:tt),+>($($constant:expr),*)) => {
        // Not zipped: a zip divides by the length of a piece, and may be a call that could panic.
        let mut groups = ($t.chunks(GROUP * L::WIDTH), $s.chunks(GROUP * L::WIDTH));
        while let (Some(t), Some(s)) = (groups.0.next(), groups.1.next()) {
            let (whole_t, whole_s) = (t.chunks_exact(L::WIDTH), s.chunks_exact(L::WIDTH));
            let (rest_t, rest_s) = (whole_t.remainder(), whole_s.remainder());
            let all = $l.first(L::WIDTH);
            let mut whole = (whole_t, whole_s);
            while let (Some(t), Some(s)) = (whole.0.next(), whole.1.next()) {
                $l.prefetch(t, AHEAD);
                $l.prefetch(s, AHEAD);
                let (t, s) = ($l.load_f32(t), $l.load_f32(s));
                $step::<L, $($generic),+, false>($l, t, s, all, $($constant,)* &mut $sums);
            }
            if !rest_t.is_empty() {
                let (t, s) = ($l.load_f32(rest_t), $l.load_f32(rest_s));
                let some = $l.first(rest_t.len());
                $step::<L, $($generic),+, true>($l, t, s, some, $($constant,)* &mut $sums);
            }
            $sums.end_group();
        }
    };
}

/// Entries from a load to the prefetch beside it.
const AHEAD: usize = 256;

/// `v`, and 0 in the lanes of no entry.
#[inline(always)]
fn present<L: Simd, const TAIL: bool>(l: L, some: L::M, v: L::V) -> L::V {
    if TAIL { l.select(some, v, l.splat(0.0)) } else { v }
}

#[inline(always)]
fn near<L: Simd, const TIGHT: bool, const EXACT: bool>(
    l: L,
    t: &[f32],
    s: &[f32],
    at: &Reference,
) -> Result<Sums, Kind> {
    let constants = Constants::new(l, at);
    let folded = Folded::new(l, at.c);
    let mut sums = Accumulator::<L, 6, 4>::new(l);
    sweep_block!(l, t, s, sums, near_step::<TIGHT, EXACT>(&constants, &folded));
    let ([z, m, s2, a, b, far], [farthest, top_d, top_u, top]) = sums.finish();
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
    Ok(Sums {
        z,
        e,
        g: c * c * (s2 - a + c * b),
        far: most * c * c * far * core::f64::consts::LN_2,
        farthest: most * c * c * farthest * core::f64::consts::LN_2,
        spread,
        largest: least * c * top_u,
        top,
        size,
    })
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "what a step needs, in registers")]
fn near_step<L: Simd, const TIGHT: bool, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    folded: &Folded<L>,
    sums: &mut Accumulator<L, 6, 4>,
) {
    let x = constants.student(s);
    let w = present::<L, TAIL>(l, some, l.exp2(x));
    let d = present::<L, TAIL>(l, some, constants.difference::<EXACT>(t, s));
    let u = w * d;
    let u2 = u * d;
    let y = u2 * folded.at::<TIGHT>(l, d);
    let error = u2 * l.abs(x);
    let [z, m, s2, a, b, far] = &mut sums.group;
    *z = *z + w;
    *m = *m + u;
    *s2 = *s2 + u2;
    *a = *a + y;
    *b = l.fma(y, d, *b);
    *far = *far + error;
    let [farthest, top_d, top_u, top] = &mut sums.peaks;
    *farthest = l.max(*farthest, error);
    *top_d = l.max_abs(*top_d, d);
    *top_u = l.max_abs(*top_u, u);
    *top = l.max(*top, w);
}

/// Entries from which a block may be coarse: enough that roundings do not come together.
pub(super) const COARSE: usize = 256;

/// G beside Z + sum p from which it may be taken as a difference of sums.
pub(super) const SHARE: f64 = 0.25;

#[inline(always)]
fn coarse<L: Simd, const EXACT: bool>(l: L, t: &[f32], s: &[f32], at: &Reference) -> Result<Sums, Kind> {
    let constants = Constants::new(l, at);
    let mut sums = Accumulator::<L, 5, 3>::new(l);
    sweep_block!(l, t, s, sums, coarse_step::<EXACT>(&constants));
    let ([z, u, n, far, size], [farthest, largest, top]) = sums.finish();
    let (u, n) = (at.fix * u, at.fix * n);
    let e = u - z;
    let g = at.c * n - e;
    // The gradient asks the same of E, whose terms may be small where one far entry makes up G.
    if !(g >= SHARE * (z + u) && size >= 0.8 * SHARE * (z + u)) {
        return Err(Kind::Full);
    }
    let ln2 = core::f64::consts::LN_2;
    Ok(Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, spread: f64::INFINITY, largest, top, size })
}

#[inline(always)]
fn coarse_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    sums: &mut Accumulator<L, 5, 3>,
) {
    let x = constants.student(s);
    let w = present::<L, TAIL>(l, some, l.exp2(x));
    let y = constants.teacher(t);
    let p = present::<L, TAIL>(l, some, l.exp2(y));
    let v = p * constants.difference::<EXACT>(t, s);
    let error = l.fma(l.abs(y), l.fma(constants.c, l.abs(v), p), w * l.abs(x));
    let excess = l.abs(p - w);
    let [z, u, n, far, size] = &mut sums.group;
    *size = *size + excess;
    *z = *z + w;
    *u = *u + p;
    *n = *n + v;
    *far = *far + error;
    let [farthest, largest, top] = &mut sums.peaks;
    *farthest = l.max(*farthest, error);
    *largest = l.max(*largest, excess);
    *top = l.max(*top, w);
}

#[inline(always)]
fn full<L: Simd, const EXACT: bool>(l: L, t: &[f32], s: &[f32], at: &Reference) -> Sums {
    let constants = Constants::new(l, at);
    #[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest f32 is what is asked for")]
    let fix = l.splat(at.fix as f32);
    let mut sums = Accumulator::<L, 5, 4>::new(l);
    sweep_block!(l, t, s, sums, full_step::<EXACT>(&constants, fix));
    let ([z, e, g, far, size], [farthest, spread, largest, top]) = sums.finish();
    let ln2 = core::f64::consts::LN_2;
    Sums { z, e, g, far: far * ln2, farthest: farthest * ln2, spread, largest, top, size }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "what a step needs, in registers")]
fn full_step<L: Simd, const EXACT: bool, const TAIL: bool>(
    l: L,
    t: L::V,
    s: L::V,
    some: L::M,
    constants: &Constants<L>,
    fix: L::V,
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
    let excess = present::<L, TAIL>(l, some, at.excess);
    let [z, e, sum, far, all] = &mut sums.group;
    let w = present::<L, TAIL>(l, some, at.w);
    *z = *z + w;
    *e = *e + excess;
    *all = *all + l.abs(excess);
    *sum = *sum + present::<L, TAIL>(l, some, g);
    let error = present::<L, TAIL>(l, some, error);
    *far = *far + error;
    let [farthest, spread, largest, top] = &mut sums.peaks;
    *top = l.max(*top, w);
    *farthest = l.max(*farthest, error);
    *spread = l.max(*spread, present::<L, TAIL>(l, some, size));
    *largest = l.max_abs(*largest, excess);
}
