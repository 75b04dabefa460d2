//! What a vector of rows is worth that are longer than a block.

use super::block::{Ahead, Head, Piece, Walk};
use super::{BLOCK, Done, Lines, Tile};
use crate::row::two_terms::{Pair, Scale, two_difference};
use crate::row::vector::short::{
    ATTEMPTS, Batch, LANES, Meanwhile, Moments, Open, Parts, References, Sums, depth, judge, measure,
    opposed, sweep,
};
use crate::simd::Simd;
use core::ops::Range;

/// Entries of a sample of a row that is longer than a block, at least.
const SAMPLE: usize = 48;

/// Entries ahead of which memory is asked for: where the stride is a power of two, a set of a cache holds few.
const AHEAD: usize = 4;

/// Nats that a log-ratio may be from its reference before that is moved there, since differences are rounded about it.
const BESIDE: f64 = 2.0;

/// Some lines of the tensors, of what a gradient is made of from a line on; and what is found of them.
#[inline(always)]
pub(super) fn batch<'b>(
    lines: &'b mut Lines<'_>,
    at: Range<usize>,
    kept: usize,
) -> (Batch<'b>, &'b mut Parts) {
    let Lines { teacher, student, difference, w, excess, other, parts } = lines;
    let n = at.len();
    let batch = Batch {
        teacher: teacher.get_mut(at.clone()).unwrap_or_default(),
        student: student.get_mut(at).unwrap_or_default(),
        difference: difference.get_mut(..n).unwrap_or_default(),
        w: w.get_mut(kept..kept + n).unwrap_or_default(),
        excess: excess.get_mut(kept..kept + n).unwrap_or_default(),
        other: other.get_mut(..n).unwrap_or_default(),
        out: &mut [],
    };
    (batch, parts)
}

/// Copies a block of both tensors; how many entries of it count.
#[inline(always)]
pub(super) fn fill<L: Simd>(l: L, tile: &mut Tile<'_, '_>, walk: &Walk<'_>, piece: &Piece) -> usize {
    walk.fill(l, tile.teacher, piece, tile.lines.teacher);
    let n = walk.fill(l, tile.student, piece, tile.lines.student);
    if tile.live.is_some() {
        clear_ignored(l, tile, walk, piece, n);
    }
    n
}

/// Leaves 0 of rows that do not count: what stands there is nobody's business, the forms that a vector takes included.
#[inline(always)]
fn clear_ignored<L: Simd>(l: L, tile: &mut Tile<'_, '_>, walk: &Walk<'_>, piece: &Piece, n: usize) {
    let first = walk.place.row - tile.place.row;
    for (vector, row) in (first..first + walk.rows).step_by(L::WIDTH).enumerate() {
        let bits = (0..L::WIDTH).fold(0, |bits, i| bits | u32::from(tile.is_live(row + i)) << i);
        let live = live(l, bits);
        let from = vector * piece.pitch;
        let Lines { teacher, student, .. } = &mut tile.lines;
        for lines in [teacher, student] {
            for line in lines.get_mut(from..from + n).unwrap_or_default() {
                let v = l.select(live, l.load_f32(&line.0), l.splat(0.0));
                l.store_f32(v, &mut line.0);
            }
        }
    }
}

/// The blocks of an axis.
#[inline(always)]
pub(super) fn blocks(axis: usize, stride: usize) -> impl Iterator<Item = Piece> {
    (0..axis).step_by(BLOCK).map(move |from| {
        let entries = from..(from + BLOCK).min(axis);
        Piece { pitch: entries.len(), entries, step: 1, ahead: AHEAD * stride }
    })
}

impl<'a> Tile<'a, '_> {
    /// Values of a vector of rows, statistics where they are kept, and the gradient where all of its parts are.
    #[inline(always)]
    pub(super) fn find<L: Simd>(&mut self, l: L, scale: &Scale<L>, rows: (usize, usize), done: &mut Done) {
        let (walk, nats, keeps) = (self.walk(rows), self.nats(), self.keeps_parts());
        let n = self.sample(l, &walk);
        let head = self.head(l, 0..n);
        let mut at = References {
            m: head.top,
            d: head.between(l, scale),
            deep: head.depth(l, scale, head.top),
            exact: l.splat(1.0),
        };
        let (sample, _) = &mut batch(&mut self.lines, 0..n, 0);
        let moments = measure(l, scale, &at, sample);
        let mut open = Open::new(l, scale, &at, &moments, 0);
        let offset = l.load_f32(&open.offset);
        let far = moments.far(l, scale, offset);
        if far != 0 {
            let opposed = opposed(l, scale, offset, sample);
            open.balance(l, far, opposed, nats);
        }
        open.again = if n > 0 { self.wanted(rows) } else { 0 };
        self.lines.parts.found.clear();
        for attempt in 0..ATTEMPTS {
            // All is measured again whatever its reference.
            let limit = if attempt == 0 { BESIDE } else { 0.0 };
            if let Some(d) = open.rebased(l, nats, limit) {
                at.d = d;
            }
            let offset = l.load_f32(&open.offset);
            let mut whole = Whole::new(l);
            let mut top = at.m;
            let mut kept = 0;
            for piece in blocks(self.axis, self.place.stride) {
                let lines = 0..fill(l, self, &walk, &piece);
                let mut ahead = self.after(&walk, &piece.entries, L::WIDTH);
                ahead.step(l);
                let head = self.head(l, lines.clone());
                at.deep = head.depth(l, scale, at.m);
                top = l.max(top, head.top);
                ahead.step(l);
                let (block, _) = &mut batch(&mut self.lines, lines.clone(), kept);
                let moments = measure(l, scale, &at, block);
                ahead.step(l);
                let forms = (moments.is_near(l, scale, offset), at.is_deep(l));
                let sums = sweep(l, scale, &at, offset, forms, block);
                ahead.rest(l);
                whole.add(l, &moments, &sums);
                kept += if keeps { lines.len() } else { 0 };
            }
            let (all, mut sums) = whole.sums(l);
            // The judge takes it for a share of the largest w, which a sample's reference need not have made 1.
            sums.largest = sums.largest * l.exp2((at.m - top) * scale.bits.0);
            open.measured(l, &all);
            judge(l, nats, &sums, &mut open, &mut self.lines.parts.found);
            #[cfg(test)]
            super::tests::note([0, open.again.count_ones(), 0]);
            if open.again == 0 {
                break;
            }
        }
        self.close(l, rows, n > 0, done);
    }

    /// What is read after a block: the one behind it, or the first of the next vector of so many rows.
    #[inline(always)]
    fn after(&self, walk: &Walk<'a>, block: &Range<usize>, rows: usize) -> Option<Ahead<'a>> {
        let tensors = [self.teacher, self.student];
        if block.end < self.axis {
            Ahead::new(walk, tensors, block.end..(block.end + BLOCK).min(self.axis), 0)
        } else {
            Ahead::new(walk, tensors, 0..BLOCK.min(self.axis), rows)
        }
    }

    /// Copies rows of one block; how many entries of each count.
    #[inline(always)]
    pub(super) fn copy<L: Simd>(&mut self, l: L, rows: (usize, usize)) -> usize {
        let walk = self.walk(rows);
        let mut n = 0;
        for piece in blocks(self.axis, self.place.stride) {
            n += fill(l, self, &walk, &piece);
        }
        n
    }

    /// Copies some entries of longer rows that lie evenly in them, or the first that count, where none of these does; how
    /// many.
    #[inline(always)]
    fn sample<L: Simd>(&mut self, l: L, walk: &Walk<'_>) -> usize {
        let step = (self.axis / SAMPLE).max(1);
        let evenly =
            Piece { entries: 0..self.axis, step, pitch: BLOCK, ahead: step * AHEAD * self.place.stride };
        let mut n = fill(l, self, walk, &evenly);
        for piece in blocks(self.axis, self.place.stride) {
            if n > 0 {
                break;
            }
            n = fill(l, self, walk, &piece);
        }
        n
    }

    #[inline(always)]
    pub(super) fn head<L: Simd>(&self, l: L, at: Range<usize>) -> Head<L> {
        let Lines { teacher, student, .. } = &self.lines;
        Head::new(l, teacher.get(at.clone()).unwrap_or_default(), student.get(at).unwrap_or_default())
    }
}

impl<L: Simd> Head<L> {
    /// Where exponents about a reference are so large that their rounding matters.
    #[inline(always)]
    pub(super) fn depth(&self, l: L, scale: &Scale<L>, m: L::V) -> L::V {
        depth(l, scale, l.max(m + self.below, self.top - m))
    }
}

/// The lanes of some bits.
#[inline(always)]
pub(super) fn live<L: Simd>(l: L, bits: u32) -> L::M {
    let mut lanes = [0.0; LANES];
    for (i, lane) in lanes.iter_mut().enumerate() {
        *lane = if bits >> i & 1 == 1 { 1.0 } else { 0.0 };
    }
    l.less(l.splat(0.0), l.load_f32(&lanes))
}

/// The sums of whole rows, block by block: each with what its additions round off.
struct Whole<L: Simd> {
    z: Pair<L::V>,
    e: Pair<L::V>,
    g: Pair<L::V>,
    largest: L::V,
    far: L::V,
    most: L::V,
    below: L::V,
}

impl<L: Simd> Whole<L> {
    #[inline(always)]
    fn new(l: L) -> Self {
        let (zero, lowest) = (l.splat(0.0), l.splat(f32::MIN));
        let none = (zero, zero);
        Self { z: none, e: none, g: none, largest: zero, far: zero, most: lowest, below: lowest }
    }

    #[inline(always)]
    fn add(&mut self, l: L, moments: &Moments<L>, sums: &Sums<L>) {
        let zero = l.splat(0.0);
        for (to, more) in [(&mut self.z, moments.z), (&mut self.e, sums.e), (&mut self.g, sums.g)] {
            let (high, lost) = two_difference(l, to.0, zero - more);
            *to = (high, to.1 + lost);
        }
        self.largest = l.max(self.largest, sums.largest);
        self.far = self.far + sums.far;
        self.most = l.max(self.most, moments.most);
        self.below = l.max(self.below, moments.below);
    }

    #[inline(always)]
    fn sums(&self, l: L) -> (Moments<L>, Sums<L>) {
        let (zero, total) = (l.splat(0.0), |(high, low): Pair<L::V>| high + low);
        (
            Moments { z: total(self.z), first: zero, second: zero, most: self.most, below: self.below },
            Sums { e: total(self.e), g: total(self.g), largest: self.largest, far: self.far },
        )
    }
}
