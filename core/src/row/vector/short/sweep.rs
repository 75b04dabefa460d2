//! The two sweeps over a batch: exponentials and differences once, then the sums about a log-ratio.

use super::entry::rest;
use super::{Batch, LANES, Lanes};
use crate::row::two_terms::{Pair, Scale, times, two_difference};
use crate::simd::{Line, Part, Simd};

/// Entries of a lane that are added up before the lane's sum takes them: equal terms round one way.
pub(super) const GROUP: usize = 8;

/// Nats below its largest entry down to which a row's exponents keep the digits that matter: each is rounded twice,
/// [`FAR`](crate::row::state::FAR) is of three times.
pub(super) const SHALLOW: f32 = 5.25;

/// Entries whose differences say whether all that a row has is a shift, and the share of their spread that their mean may
/// be before differences are exact from the start.
const FIRST: usize = 4;
const SHIFTED: f32 = 3.0;

/// Where each lane's exponents are measured from: the student's largest entry, and what the teacher has beside it.
#[derive(Clone, Copy)]
pub(in crate::row) struct References<L: Simd> {
    pub(in crate::row) m: L::V,
    /// Their difference, exactly, or 0 where differences are rounded; of interleaved rows a log-ratio near by.
    pub(in crate::row) d: Pair<L::V>,
    /// 1 where an exponent is so large that its rounding matters, else 0.
    pub(in crate::row) deep: L::V,
    /// 1 where differences are so small beside the log-ratio that theirs does, else 0.
    pub(in crate::row) exact: L::V,
}

impl<L: Simd> References<L> {
    #[inline(always)]
    pub(in crate::row) fn is_deep(&self, l: L) -> bool {
        l.any(l.less(l.splat(0.0), self.deep))
    }

    /// As little care as rows may need.
    #[inline(always)]
    pub(super) fn new(l: L, batch: &Batch<'_>) -> Self {
        let zero = l.splat(0.0);
        let (mut top, mut other) = (l.splat(f32::MIN), l.splat(f32::MIN));
        // By twos, each with its own: they wait for one another.
        for two in batch.student.chunks(2) {
            let (Some(one), Some(last)) = (two.first(), two.last()) else { break };
            top = l.max(top, l.load_f32(&one.0));
            other = l.max(other, l.load_f32(&last.0));
        }
        let first = || batch.teacher.iter().zip(batch.student.iter()).take(FIRST);
        let difference = |(t, s): (&Line, &Line)| l.load_f32(&t.0) - l.load_f32(&s.0);
        let mut mean = zero;
        for both in first() {
            mean = l.fma(difference(both), l.splat(1.0 / single(FIRST.min(batch.teacher.len()))), mean);
        }
        let mut spread = zero;
        for both in first() {
            spread = l.max_abs(spread, difference(both) - mean);
        }
        let exact = l.less(l.splat(SHIFTED) * spread, l.abs(mean));
        let at = Self { m: l.max(top, other), d: (zero, zero), deep: zero, exact: zero };
        at.with_care(l, batch, (0, l.bits(exact)))
    }

    /// With two terms in more lanes, of exponents and of differences.
    #[inline(always)]
    pub(super) fn with_care(mut self, l: L, batch: &Batch<'_>, (deep, exact): (Lanes, Lanes)) -> Self {
        self.deep = l.max(self.deep, ones(l, deep));
        if exact != 0 {
            let more = l.less(l.splat(0.0), ones(l, exact));
            let mut beside = l.splat(0.0);
            for (t, s) in batch.teacher.iter().zip(batch.student.iter()) {
                beside = l.select(l.less(l.load_f32(&s.0), self.m), beside, l.load_f32(&t.0));
            }
            let d = two_difference(l, beside, self.m);
            self.d = (l.select(more, d.0, self.d.0), l.select(more, d.1, self.d.1));
            self.exact = l.max(self.exact, ones(l, exact));
        }
        self
    }
}

/// A small number.
#[allow(clippy::cast_precision_loss, reason = "at most 4")]
fn single(n: usize) -> f32 {
    n as f32
}

/// 1 in these lanes, else 0.
#[inline(always)]
pub(super) fn ones<L: Simd>(l: L, lanes: Lanes) -> L::V {
    let mut ones = [0.0; LANES];
    for (i, one) in ones.iter_mut().enumerate() {
        *one = if lanes >> i & 1 == 1 { 1.0 } else { 0.0 };
    }
    l.load_f32(&ones)
}

/// 1 where distances so large from the student's reference have exponents whose rounding matters, else 0.
#[inline(always)]
pub(in crate::row) fn depth<L: Simd>(l: L, scale: &Scale<L>, farthest: L::V) -> L::V {
    l.select(l.less(farthest * scale.nats.0, l.splat(SHALLOW)), l.splat(0.0), l.splat(1.0))
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

    /// Whether differences may be apart by so many nats in some lane.
    #[inline(always)]
    pub(super) fn is_apart(&self, l: L, scale: &Scale<L>, nats: f32) -> bool {
        let spread = (self.most + self.below) * scale.nats.0;
        // Elsewhere they were rounded otherwise.
        l.any(l.not(l.less(spread, l.splat(0.9 * nats))))
    }

    /// The largest |r|.
    #[inline(always)]
    fn spread(&self, l: L, scale: &Scale<L>, offset: L::V) -> L::V {
        l.max(self.most - offset, self.below + offset) * scale.nats.0
    }
}

/// The first sweep.
struct Measure<'b, 'l, L: Simd> {
    scale: &'b Scale<L>,
    at: &'b References<L>,
    batch: &'b mut Batch<'l>,
}

impl<L: Simd> Part<L> for Measure<'_, '_, L> {
    type Output = Moments<L>;

    #[inline(always)]
    fn run(self, l: L) -> Moments<L> {
        let Self { scale, at, batch } = self;
        // Copies: what is written to lines could overwrite what is lent, for all that a compiler knows.
        let (scale, at) = (*scale, *at);
        match (at.is_deep(l), l.any(l.less(l.splat(0.0), at.exact))) {
            (false, false) => measure_as::<L, false, false>(l, &scale, &at, batch),
            (false, true) => measure_as::<L, false, true>(l, &scale, &at, batch),
            (true, _) => measure_as::<L, true, true>(l, &scale, &at, batch),
        }
    }
}

/// Leaves exponentials and differences of every entry, with as much care as the references ask for.
#[inline(always)]
pub(in crate::row) fn measure<L: Simd>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    batch: &mut Batch<'_>,
) -> Moments<L> {
    l.call(Measure { scale, at, batch })
}

#[inline(always)]
fn measure_as<L: Simd, const DEEP: bool, const EXACT: bool>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    batch: &mut Batch<'_>,
) -> Moments<L> {
    let (zero, lowest) = (l.splat(0.0), l.splat(f32::MIN));
    let mut moments = Moments { z: zero, first: zero, second: zero, most: lowest, below: lowest };
    let (teacher, t) = batch.teacher.as_chunks::<GROUP>();
    let (student, s) = batch.student.as_chunks::<GROUP>();
    let (to_w, w) = batch.w.as_chunks_mut::<GROUP>();
    let (to_difference, difference) = batch.difference.as_chunks_mut::<GROUP>();
    let to = to_w.iter_mut().zip(to_difference);
    for ((t, s), (w, difference)) in teacher.iter().zip(student).zip(to) {
        moments.add::<DEEP, EXACT>(l, scale, at, (t, s), (w, difference));
    }
    moments.add::<DEEP, EXACT>(l, scale, at, (t, s), (w, difference));
    moments
}

impl<L: Simd> Moments<L> {
    /// Those of a group of entries, which are added up by themselves.
    #[inline(always)]
    fn add<const DEEP: bool, const EXACT: bool>(
        &mut self,
        l: L,
        scale: &Scale<L>,
        at: &References<L>,
        (t, s): (&[Line], &[Line]),
        (w, difference): (&mut [Line], &mut [Line]),
    ) {
        let zero = l.splat(0.0);
        let exact = l.less(zero, at.exact);
        let [mut z, mut first, mut second] = [zero; 3];
        for ((t, s), (to_w, to_difference)) in t.iter().zip(s).zip(w.iter_mut().zip(difference)) {
            let (t, s) = (l.load_f32(&t.0), l.load_f32(&s.0));
            let (high, low) = two_difference(l, t, s);
            let mut difference = high;
            if EXACT {
                difference = (high - at.d.0) + l.select(exact, low - at.d.1, zero);
            }
            let w = scale.exp::<DEEP>(l, two_difference(l, s, at.m), at.deep);
            l.store_f32(w, &mut to_w.0);
            l.store_f32(difference, &mut to_difference.0);
            let product = w * difference;
            z = z + w;
            first = first + product;
            second = l.fma(product, difference, second);
            self.most = l.max(self.most, difference);
            self.below = l.max(self.below, zero - difference);
        }
        self.z = self.z + z;
        self.first = self.first + first;
        self.second = self.second + second;
    }
}

/// What the second sweep finds: sums of p - w and w k(r), the largest |p - w|, and what roundings of exponents have
/// done to w k(r) where they are in one term, in units of the inputs and of epsilon.
pub(in crate::row) struct Sums<L: Simd> {
    pub(in crate::row) e: L::V,
    pub(in crate::row) g: L::V,
    pub(in crate::row) largest: L::V,
    pub(in crate::row) far: L::V,
}

/// The second sweep. `NEAR`: all |r| are within 1, where either form gives the same bits. `DEEP`: exponents may be in two
/// terms.
struct Sweep<'b, 'l, L: Simd, const NEAR: bool, const DEEP: bool> {
    scale: &'b Scale<L>,
    at: &'b References<L>,
    offset: L::V,
    batch: &'b mut Batch<'l>,
}

impl<L: Simd, const NEAR: bool, const DEEP: bool> Part<L> for Sweep<'_, '_, L, NEAR, DEEP> {
    type Output = Sums<L>;

    #[inline(always)]
    fn run(self, l: L) -> Sums<L> {
        let Self { scale, at, offset, batch } = self;
        let (scale, at) = (*scale, *at);
        let zero = l.splat(0.0);
        let mut sums = Sums { e: zero, g: zero, largest: zero, far: zero };
        let (teacher, t) = batch.teacher.as_chunks::<GROUP>();
        let (student, s) = batch.student.as_chunks::<GROUP>();
        let (kept_w, w) = batch.w.as_chunks::<GROUP>();
        let (kept_difference, difference) = batch.difference.as_chunks::<GROUP>();
        let (to_excess, excess) = batch.excess.as_chunks_mut::<GROUP>();
        let kept = kept_w.iter().zip(kept_difference);
        for (((t, s), (w, difference)), excess) in teacher.iter().zip(student).zip(kept).zip(to_excess) {
            sums.add::<NEAR, DEEP>(l, &scale, (&at, offset), (t, s), (w, difference), excess);
        }
        sums.add::<NEAR, DEEP>(l, &scale, (&at, offset), (t, s), (w, difference), excess);
        sums
    }
}

/// The sums about an offset from the references' difference, in the form that is enough where all |r| are within 1, or where
/// no exponent is in two terms; p - w is left of every entry.
#[inline(always)]
pub(in crate::row) fn sweep<L: Simd>(
    l: L,
    scale: &Scale<L>,
    at: &References<L>,
    offset: L::V,
    (is_near, is_deep): (bool, bool),
    batch: &mut Batch<'_>,
) -> Sums<L> {
    match (is_near, is_deep) {
        (true, false) => l.call(Sweep::<L, true, false> { scale, at, offset, batch }),
        (true, true) => l.call(Sweep::<L, true, true> { scale, at, offset, batch }),
        (false, false) => l.call(Sweep::<L, false, false> { scale, at, offset, batch }),
        (false, true) => l.call(Sweep::<L, false, true> { scale, at, offset, batch }),
    }
}

impl<L: Simd> Sums<L> {
    /// Those of a group of entries, which are added up by themselves.
    #[inline(always)]
    fn add<const NEAR: bool, const DEEP: bool>(
        &mut self,
        l: L,
        scale: &Scale<L>,
        (at, offset): (&References<L>, L::V),
        (t, s): (&[Line], &[Line]),
        (w, difference): (&[Line], &[Line]),
        excess: &mut [Line],
    ) {
        let (zero, one) = (l.splat(0.0), l.splat(1.0));
        let [mut e, mut g] = [zero; 2];
        let kept = w.iter().zip(difference);
        for (((t, s), (w, difference)), to) in t.iter().zip(s).zip(kept).zip(excess) {
            let (w, difference) = (l.load_f32(&w.0), l.load_f32(&difference.0));
            let distance = difference - offset;
            let r = times(l, distance, scale.nats);
            let r2 = r * r;
            let q = rest(l, r, r2);
            let u = w * r;
            let square = w * r2;
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
            l.store_f32(excess, &mut to.0);
            e = e + excess;
            g = g + bregman;
            self.largest = l.max_abs(self.largest, excess);
            if DEEP {
                self.far = l.fma(l.abs(l.load_f32(&s.0) - at.m), error, self.far);
            }
        }
        self.e = self.e + e;
        self.g = self.g + g;
    }
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
