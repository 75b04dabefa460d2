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
//! Each is a [`Part`](crate::simd::Part) of its kernel. How a block is walked: [`steps`](super::steps); how terms are
//! added: [`sums`](super::sums).

mod coarse;
mod full;
mod near;

use super::kept::Planes;
use super::position::Folded;
use super::reference::Reference;
use super::sums::Sums;
use crate::simd::{Simd, Stored};
use coarse::CoarseBlock;
use full::FullBlock;
use near::NearBlock;

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
    let nowhere = nowhere();
    match (kind, at.exact, planes) {
        (Kind::Tiny, false, Some(planes)) => {
            l.call(NearBlock::<E, true, false, true> { pair, planes, at, folded })
        }
        (Kind::Tiny, false, None) => {
            l.call(NearBlock::<E, true, false, false> { pair, planes: nowhere, at, folded })
        }
        (Kind::Tiny, true, _) => {
            l.call(NearBlock::<E, true, true, false> { pair, planes: nowhere, at, folded })
        }
        (Kind::Near, false, Some(planes)) => {
            l.call(NearBlock::<E, false, false, true> { pair, planes, at, folded })
        }
        (Kind::Near, false, None) => {
            l.call(NearBlock::<E, false, false, false> { pair, planes: nowhere, at, folded })
        }
        (Kind::Near, true, _) => {
            l.call(NearBlock::<E, false, true, false> { pair, planes: nowhere, at, folded })
        }
        (Kind::Coarse, false, _) => l.call(CoarseBlock::<E, false> { pair, at }),
        (Kind::Coarse, true, _) => l.call(CoarseBlock::<E, true> { pair, at }),
        (Kind::Full, false, _) => Ok(l.call(FullBlock::<E, false> { pair, at })),
        (Kind::Full, true, _) => Ok(l.call(FullBlock::<E, true> { pair, at })),
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

/// Entries from which a block may be coarse: enough that roundings do not come together.
pub(super) const COARSE: usize = 256;

/// G beside Z + sum p from which it may be taken as a difference of sums.
pub(super) const SHARE: f64 = 0.25;
