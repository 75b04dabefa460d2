//! The two sweeps over a batch: exponentials and differences once, then the sums about a log-ratio.

use super::entry::rest;
use super::{Batch, Lanes};
use crate::row::two_terms::{Pair, Scale, times, two_difference};
use crate::simd::{Line, Simd};

/// Entries of a lane that are added up before the lane's sum takes them: equal terms round one way.
const GROUP: usize = 8;

/// Nats below its largest entry down to which a row's exponents keep the digits that matter: each is rounded twice,
/// [`FAR`](crate::row::state::FAR) is of three times.
pub(super) const SHALLOW: f32 = 5.25;

/// Where each lane's exponents are measured from: the student's largest entry, and what the teacher has beside it.
pub(in crate::row) struct References<L: Simd> {
    pub(in crate::row) m: L::V,
    /// Their difference, exactly; of interleaved rows a log-ratio near by.
    pub(in crate::row) d: Pair<L::V>,
    /// 1 where an exponent is so large that its rounding matters, else 0.
    pub(in crate::row) deep: L::V,
}

impl<L: Simd> References<L> {
    #[inline(always)]
    pub(in crate::row) fn is_deep(&self, l: L) -> bool {
        l.any(l.less(l.splat(0.0), self.deep))
    }
}

#[inline(always)]
pub(super) fn references<L: Simd>(l: L, scale: &Scale<L>, batch: &Batch<'_>) -> References<L> {
    let (mut top, mut below) = (l.splat(f32::MIN), l.splat(f32::MIN));
    let (mut top_too, mut below_too) = (top, below);
    // By twos, each with its own maxima: they wait for one another.
    for two in batch.student.chunks(2) {
        let (Some(one), Some(other)) = (two.first(), two.last()) else { break };
        let (one, other) = (l.load_f32(&one.0), l.load_f32(&other.0));
        top = l.max(top, one);
        top_too = l.max(top_too, other);
        below = l.max(below, l.splat(0.0) - one);
        below_too = l.max(below_too, l.splat(0.0) - other);
    }
    let m = l.max(top, top_too);
    let mut beside = l.splat(0.0);
    for (t, s) in batch.teacher.iter().zip(batch.student.iter()) {
        beside = l.select(l.less(l.load_f32(&s.0), m), beside, l.load_f32(&t.0));
    }
    let deep = depth(l, scale, m + l.max(below, below_too));
    References { m, d: two_difference(l, beside, m), deep }
}

/// 1 where distances so large from the student's reference have exponents whose rounding matters, else 0.
#[inline(always)]
pub(in crate::row) fn depth<L: Simd>(l: L, scale: &Scale<L>, farthest: L::V) -> L::V {
    l.select(l.less(farthest * scale.nats.0, l.splat(SHALLOW)), l.splat(0.0), l.splat(1.0))
}

/// Sums in two levels.
struct Levels<L: Simd, const N: usize> {
    group: [L::V; N],
    whole: [L::V; N],
}

impl<L: Simd, const N: usize> Levels<L, N> {
    #[inline(always)]
    fn new(l: L) -> Self {
        let zeros = [l.splat(0.0); N];
        Self { group: zeros, whole: zeros }
    }

    #[inline(always)]
    fn end_group(&mut self, l: L) {
        for (whole, group) in self.whole.iter_mut().zip(&mut self.group) {
            *whole = *whole + *group;
            *group = l.splat(0.0);
        }
    }
}

/// What the first sweep finds: sums of w and of the moments of w's differences, and their ends.
pub(in crate::row) struct Moments<L: Simd> {
    pub(in crate::row) z: L::V,
    pub(in crate::row) first: L::V,
    pub(in crate::row) second: L::V,
    pub(in crate::row) most: L::V,
    /// Less the least.
    pub(in crate::row) below: L::V,
}

/// |r| up to which one exponential an entry is enough, less what rounding may add.
const NEAR: f32 = 0.999_999;

impl<L: Simd> Moments<L> {
    /// Whether all log-ratios about an offset are within 1.
    #[inline(always)]
    pub(in crate::row) fn is_near(&self, l: L, scale: &Scale<L>, offset: L::V) -> bool {
        self.far(l, scale, offset) == 0
    }

    /// The lanes in which a log-ratio about an offset is beyond 1.
    #[inline(always)]
    pub(in crate::row) fn far(&self, l: L, scale: &Scale<L>, offset: L::V) -> Lanes {
        l.bits(l.not(l.less(self.spread(l, scale, offset), l.splat(NEAR))))
    }

    /// The largest |r|.
    #[inline(always)]
    fn spread(&self, l: L, scale: &Scale<L>, offset: L::V) -> L::V {
        l.max(self.most - offset, self.below + offset) * scale.nats.0
    }
}

/// Leaves exponentials and differences of every entry.
#[inline(always)]
pub(in crate::row) fn measure<L: Simd, const DEEP: bool>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    batch: &mut Batch<'_>,
) -> Moments<L> {
    let mut sums = Levels::<L, 3>::new(l);
    let (mut most, mut below) = (l.splat(f32::MIN), l.splat(f32::MIN));
    let Batch { teacher, student, w, difference, .. } = batch;
    let mut from = teacher.chunks(GROUP).zip(student.chunks(GROUP));
    let mut to = w.chunks_mut(GROUP).zip(difference.chunks_mut(GROUP));
    while let (Some((t, s)), Some((w, difference))) = (from.next(), to.next()) {
        for ((t, s), (to_w, to_d)) in t.iter().zip(s).zip(w.iter_mut().zip(difference)) {
            let (t, s) = (l.load_f32(&t.0), l.load_f32(&s.0));
            let (high, low) = two_difference(l, t, s);
            let difference = (high - at.d.0) + (low - at.d.1);
            let w = scale.exp::<DEEP>(l, two_difference(l, s, at.m), at.deep);
            l.store_f32(w, &mut to_w.0);
            l.store_f32(difference, &mut to_d.0);
            let product = w * difference;
            let [z, first, second] = &mut sums.group;
            *z = *z + w;
            *first = *first + product;
            *second = l.fma(product, difference, *second);
            most = l.max(most, difference);
            below = l.max(below, l.splat(0.0) - difference);
        }
        sums.end_group(l);
    }
    let [z, first, second] = sums.whole;
    Moments { z, first, second, most, below }
}

/// What the second sweep finds: sums of p - w and w k(r), the largest |p - w|, and what roundings of exponents have
/// done to w k(r) where they are in one term, in bits and units of epsilon.
pub(in crate::row) struct Sums<L: Simd> {
    pub(in crate::row) e: L::V,
    pub(in crate::row) g: L::V,
    pub(in crate::row) largest: L::V,
    pub(in crate::row) far: L::V,
}

/// The sums about an offset from the references' difference. `NEAR`: all |r| are within 1, where either form gives
/// the same bits. `KEPT`: p - w is left of every entry.
#[inline(always)]
pub(in crate::row) fn sweep<L: Simd, const NEAR: bool, const DEEP: bool, const KEPT: bool>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    offset: L::V,
    batch: &mut Batch<'_>,
) -> Sums<L> {
    let mut sums = Levels::<L, 2>::new(l);
    let (mut largest, mut far) = (l.splat(0.0), l.splat(0.0));
    let mut kept = batch.w.chunks(GROUP).zip(batch.difference.chunks(GROUP));
    let mut read = batch.teacher.chunks(GROUP).zip(batch.student.chunks(GROUP));
    let mut excesses = batch.excess.iter_mut();
    while let (Some((w, difference)), Some((t, s))) = (kept.next(), read.next()) {
        for ((w, difference), (t, s)) in w.iter().zip(difference).zip(t.iter().zip(s)) {
            let (w, difference) = (l.load_f32(&w.0), l.load_f32(&difference.0));
            let distance = difference - offset;
            let r = times(l, distance, scale.nats);
            let r2 = r * r;
            let q = rest(l, r, r2);
            let u = w * r;
            let square = w * r2;
            let one = l.splat(1.0);
            let mut excess = l.fma(square, q, u);
            let mut bregman = square * l.fma(q, r - one, one);
            let mut error = bregman;
            if !NEAR {
                let size = l.abs(r);
                let apart = l.less(one, size);
                let mut p = w * l.exp2(times(l, distance, scale.bits));
                // From the student's exponent p inherits only the error of r; from its own it survives where w
                // underflows.
                let own = l.less(l.splat(4.0), size);
                if l.any(own) {
                    p = l.select(own, own_exponential::<L, DEEP>(l, scale, at, offset, t), p);
                }
                excess = l.select(apart, p - w, excess);
                bregman = l.select(apart, l.fma(r - one, p, w), bregman);
                error = l.select(own, l.fma(size, p, p) + w, bregman);
            }
            if KEPT && let Some(to) = excesses.next() {
                l.store_f32(excess, &mut to.0);
            }
            let [e, g] = &mut sums.group;
            *e = *e + excess;
            *g = *g + bregman;
            largest = l.max_abs(largest, excess);
            if DEEP {
                let x = (l.load_f32(&s.0) - at.m) * scale.bits.0;
                far = l.fma(l.abs(x), error, far);
            }
        }
        sums.end_group(l);
    }
    let [e, g] = sums.whole;
    Sums { e, g, largest, far }
}

/// The sum of w e^r about an offset from the references' difference: what the student's sum is to the teacher's.
#[inline(always)]
pub(in crate::row) fn opposed<L: Simd>(l: L, scale: &Scale<L>, offset: L::V, batch: &Batch<'_>) -> L::V {
    let mut sum = l.splat(0.0);
    for (w, difference) in batch.w.iter().zip(batch.difference.iter()) {
        let (w, difference) = (l.load_f32(&w.0), l.load_f32(&difference.0));
        sum = l.fma(w, l.exp2((difference - offset) * scale.bits.0), sum);
    }
    sum
}

/// p by the teacher's own exponent.
#[inline(always)]
fn own_exponential<L: Simd, const DEEP: bool>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    offset: L::V,
    t: &Line,
) -> L::V {
    let teacher = two_difference(l, at.m, l.splat(0.0) - at.d.0);
    let low = (teacher.1 + at.d.1) + offset;
    let y = two_difference(l, l.load_f32(&t.0), teacher.0);
    scale.exp::<DEEP>(l, two_difference(l, y.0, low - y.1), at.deep)
}
