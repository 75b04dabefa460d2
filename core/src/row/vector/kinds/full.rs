//! Any block: two exponentials an entry, each term by itself.

use super::super::position::{Constants, position};
use super::super::reference::Reference;
use super::super::steps::{Made, Mask, Steps, Tile, sweep_block};
use super::super::sums::{Accumulator, Sums};
use super::nowhere;
use crate::simd::{Part, Simd, Stored, Twice};

/// Any block.
pub(super) struct FullBlock<'a, E, const EXACT: bool> {
    pub(super) pair: (&'a [E], &'a [E]),
    pub(super) at: &'a Reference,
}

impl<L: Simd, E: Stored, const EXACT: bool> Part<L> for FullBlock<'_, E, EXACT> {
    type Output = Sums;

    #[inline(always)]
    fn run(self, l: L) -> Sums {
        let Self { pair, at } = self;
        #[allow(
            clippy::cast_possible_truncation,
            reason = "rounding to the nearest f32 is what is asked for"
        )]
        let fix = Twice(l).splat(at.fix as f32);
        let steps = Full::<L, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at), fix };
        let ([z, e, g, far, size], [farthest, spread, largest, top]) =
            sweep_block(l, pair, nowhere(), steps).finish();
        let ln2 = core::f64::consts::LN_2;
        Sums {
            z,
            e,
            g,
            far: far * ln2,
            farthest: farthest * ln2,
            is_bound: false,
            spread,
            largest,
            top,
            size,
        }
    }
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
