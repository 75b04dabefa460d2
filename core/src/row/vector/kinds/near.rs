//! Blocks whose log-ratios are all near: one exponential an entry, and moments of differences.

use super::super::kept::Planes;
use super::super::position::{Constants, Folded, excess};
use super::super::reference::Reference;
use super::super::steps::{Made, Mask, Steps, Tile, sweep_block};
use super::super::sums::{Accumulator, Sums};
use super::{COARSE, Kind, LOW, NEAR, TINY, height, log2_above, nowhere};
use crate::simd::{Part, Simd, Stored, Twice};

/// A block whose log-ratios are all near. `KEEPS`: what a gradient is made of, in the planes.
pub(super) struct NearBlock<'a, E, const TIGHT: bool, const EXACT: bool, const KEEPS: bool> {
    pub(super) pair: (&'a [E], &'a [E]),
    pub(super) planes: Planes<'a>,
    pub(super) at: &'a Reference,
    pub(super) folded: &'a Folded,
}

impl<L: Simd, E: Stored, const TIGHT: bool, const EXACT: bool, const KEEPS: bool> Part<L>
    for NearBlock<'_, E, TIGHT, EXACT, KEEPS>
{
    type Output = Result<Sums, Kind>;

    #[inline(always)]
    fn run(self, l: L) -> Self::Output {
        let Self { pair, planes, at, folded } = self;
        let planes = if KEEPS { planes } else { nowhere() };
        let steps =
            Near::<L, TIGHT, EXACT> { l: Twice(l), constants: Constants::new(Twice(l), at), folded: *folded };
        let ([z, m, s2, a, b], [top, top_d, top_u, top_s2]) = sweep_block(l, pair, planes, steps).finish();
        let c = at.c;
        let spread = c * top_d;
        let limit = if TIGHT { TINY } else { NEAR };
        if !(spread <= limit) {
            // The squares are right whatever the size, and say how large the block's G is.
            return Err(if TIGHT && spread <= NEAR {
                Kind::Near
            } else if c * c * s2 >= 0.5 * z && pair.0.len() >= COARSE {
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
        let squares = pair.0.len() as f64 * top_d * top_d;
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
