//! The gradient at an entry of a row: a form for each kind of row.

use super::gradient::RowReference;
use super::position::{Constants, Folded, excess, position, q_near};
use crate::simd::Simd;

/// How a row's entries become its gradient.
pub(super) trait Entry<L: Simd>: Copy {
    /// Whether it may turn out not to be right for the row.
    const IS_TRIED: bool;

    /// w and the gradient, of a teacher's and a student's entry.
    fn at(self, l: L, t: L::V, s: L::V) -> (L::V, L::V);
}

/// One exponential, all |r| being at most 1, about the final log-ratio.
#[derive(Clone, Copy)]
pub(super) struct Near<L: Simd, const EXACT: bool> {
    constants: Constants<L>,
    less: (L::V, L::V),
    factor: L::V,
}

impl<L: Simd, const EXACT: bool> Near<L, EXACT> {
    #[inline(always)]
    pub(super) fn new(l: L, row: &RowReference) -> Self {
        let less = (l.splat(row.less.0), l.splat(row.less.1));
        Self { constants: Constants::new(l, &row.at), less, factor: l.splat(row.factor) }
    }
}

impl<L: Simd, const EXACT: bool> Entry<L> for Near<L, EXACT> {
    const IS_TRIED: bool = false;

    #[inline(always)]
    fn at(self, l: L, t: L::V, s: L::V) -> (L::V, L::V) {
        let r = self.constants.ratio::<EXACT>(t, s, self.less);
        let w = l.exp2(self.constants.student(s));
        let u = w * r;
        (w, self.factor * l.fma(u * r, q_near(l, r), u))
    }
}

/// p and q of an exponential each, where some |p - q| is about as large as any q.
#[derive(Clone, Copy)]
pub(super) struct Far<L: Simd> {
    constants: Constants<L>,
    fix: L::V,
    factor: L::V,
}

impl<L: Simd> Far<L> {
    #[inline(always)]
    pub(super) fn new(l: L, row: &RowReference) -> Self {
        Self { constants: Constants::new(l, &row.at), fix: l.splat(row.fix), factor: l.splat(row.factor) }
    }
}

impl<L: Simd> Entry<L> for Far<L> {
    const IS_TRIED: bool = true;

    #[inline(always)]
    fn at(self, l: L, t: L::V, s: L::V) -> (L::V, L::V) {
        let w = l.exp2(self.constants.student(s));
        (w, self.factor * (self.fix * l.exp2(self.constants.teacher(t)) - w))
    }
}

/// Each entry with care.
#[derive(Clone, Copy)]
pub(super) struct Full<L: Simd> {
    constants: Constants<L>,
    less: (L::V, L::V),
    fix: L::V,
    factor: L::V,
}

impl<L: Simd> Full<L> {
    #[inline(always)]
    pub(super) fn new(l: L, row: &RowReference) -> Self {
        let less = (l.splat(row.less.0), l.splat(row.less.1));
        let constants = Constants::new(l, &row.at);
        Self { constants, less, fix: l.splat(row.fix), factor: l.splat(row.factor) }
    }
}

impl<L: Simd> Entry<L> for Full<L> {
    const IS_TRIED: bool = false;

    #[inline(always)]
    fn at(self, l: L, t: L::V, s: L::V) -> (L::V, L::V) {
        let r = self.constants.ratio::<true>(t, s, self.less);
        let at = position(l, (t, s, r), &self.constants, self.fix).0;
        (at.w, self.factor * at.excess)
    }
}

/// Of what a sweep has kept: w (e^r - 1) for a teacher's entry, w for a student's. All are about the sweep's log-ratio; the
/// mean of the first is taken off.
#[derive(Clone, Copy)]
pub(super) struct Kept<L: Simd> {
    excess: L::V,
    weight: L::V,
}

impl<L: Simd> Kept<L> {
    #[inline(always)]
    pub(super) fn new(l: L, row: &RowReference) -> Self {
        Self { excess: l.splat(row.parts.0), weight: l.splat(row.parts.1) }
    }
}

impl<L: Simd> Entry<L> for Kept<L> {
    const IS_TRIED: bool = false;

    #[inline(always)]
    fn at(self, l: L, excess: L::V, w: L::V) -> (L::V, L::V) {
        (w, l.fma(self.weight, w, self.excess * excess))
    }
}

/// The same where nothing was kept.
#[derive(Clone, Copy)]
pub(super) struct Again<L: Simd, const TIGHT: bool> {
    constants: Constants<L>,
    folded: Folded,
    kept: Kept<L>,
}

impl<L: Simd, const TIGHT: bool> Again<L, TIGHT> {
    #[inline(always)]
    pub(super) fn new(l: L, row: &RowReference, folded: &Folded) -> Self {
        Self { constants: Constants::new(l, &row.at), folded: *folded, kept: Kept::new(l, row) }
    }
}

impl<L: Simd, const TIGHT: bool> Entry<L> for Again<L, TIGHT> {
    const IS_TRIED: bool = false;

    #[inline(always)]
    fn at(self, l: L, t: L::V, s: L::V) -> (L::V, L::V) {
        let w = l.exp2(self.constants.student(s));
        let d = self.constants.difference::<false>(t, s);
        let u = w * d;
        let y = u * d * self.folded.at::<_, TIGHT>(l, d);
        self.kept.at(l, excess(l, self.constants.c, u, y), w)
    }
}
