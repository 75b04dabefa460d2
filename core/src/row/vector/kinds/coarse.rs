//! Blocks whose divergence is large: two exponentials an entry, and what is wanted as differences of sums.

use super::super::position::Constants;
use super::super::reference::Reference;
use super::super::steps::{Made, Mask, Steps, Tile, sweep_block};
use super::super::sums::{Accumulator, Sums};
use super::{Kind, LOW, SHARE, height, log2_above, nowhere};
use crate::simd::{Part, Simd, Stored, Twice};

/// A block whose sums may be taken from each other.
pub(super) struct CoarseBlock<'a, E, const EXACT: bool> {
    pub(super) pair: (&'a [E], &'a [E]),
    pub(super) at: &'a Reference,
}

impl<L: Simd, E: Stored, const EXACT: bool> Part<L> for CoarseBlock<'_, E, EXACT> {
    type Output = Result<Sums, Kind>;

    #[inline(always)]
    fn run(self, l: L) -> Self::Output {
        let Self { pair, at } = self;
        let steps = Coarse::<L, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at) };
        let ([z, u, n, far, size], [top, largest, farthest]) =
            sweep_block(l, pair, nowhere(), steps).finish();
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
        let depth = z * (2.0 * height + log2_above((pair.0.len() as f64 / z).max(1e-30)));
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
