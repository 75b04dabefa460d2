//! Between memory and the lines: entries of a vector of rows, as they are stored.

use super::LANES;
use crate::access::{LentCells, Place, Sink};
use crate::element::{Tensor, TensorMut};
use crate::mask::Mask;
use crate::row::two_terms::{Pair, Scale, two_difference};
use crate::row::vector::short::{Meanwhile, Pull};
use crate::simd::{Line, Simd, Stored};
use core::iter::Zip;
use core::ops::Range;
use core::slice::Iter;

/// Neighbouring rows: a vector of them, or some that are copied together.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    /// The first entry of the first row.
    pub(super) place: Place,
    /// How many rows.
    pub(super) rows: usize,
    pub(super) counted: Option<(Mask<'a>, usize)>,
}

/// Which entries are copied, how many lines a vector of them has, and how many elements ahead memory is asked for.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) entries: Range<usize>,
    pub(super) step: usize,
    pub(super) pitch: usize,
    pub(super) ahead: usize,
}

impl Walk<'_> {
    #[inline(always)]
    fn counts(&self, entry: usize) -> bool {
        self.counted.is_none_or(|(mask, from)| mask.counts(from + entry))
    }

    /// The place of an entry of the first row, as one of neighbours.
    #[inline(always)]
    fn at(&self, entry: usize) -> Place {
        let Place { row, index, stride, .. } = self.place;
        Place { row, from: entry, index: index + entry * stride, stride: 1 }
    }

    /// Copies the entries that count, as far as there is room; how many there were.
    #[inline(always)]
    pub(super) fn fill<L: Simd>(&self, l: L, from: Tensor<'_>, piece: &Piece, to: &mut [Line]) -> usize {
        match from {
            Tensor::F32(x) => self.copy(l, x, piece, to),
            Tensor::F16(x) => self.copy(l, x, piece, to),
            Tensor::Bf16(x) => self.copy(l, x, piece, to),
            // Never asked for: its arithmetic is `f64`.
            Tensor::F64(_) => 0,
        }
    }

    /// Each vector of rows in lines of its own, [`Piece::pitch`] after those of the one before.
    #[inline(always)]
    fn copy<L: Simd, E: Stored>(&self, l: L, from: &[E], piece: &Piece, to: &mut [Line]) -> usize {
        let mut at = self.at(piece.entries.start).index;
        let further = piece.step * self.place.stride;
        let mut n = 0;
        for entry in piece.entries.clone().step_by(piece.step.max(1)) {
            if self.counts(entry) {
                let vectors = from.get(at..at + self.rows).unwrap_or_default().chunks_exact(L::WIDTH);
                let (few, mut line) = (vectors.remainder(), n);
                for vector in vectors {
                    let Some(to) = to.get_mut(line) else { return n };
                    l.prefetch(vector, piece.ahead);
                    l.store_f32(E::load(l, vector), &mut to.0);
                    line += piece.pitch;
                }
                if !few.is_empty() {
                    let Some(to) = to.get_mut(line) else { return n };
                    l.prefetch(few, piece.ahead);
                    l.store_f32(E::load(l, few), &mut to.0);
                }
                n += 1;
            }
            at += further;
        }
        n
    }

    /// Asks for a range of entries of a map.
    #[inline(always)]
    fn ask<L: Simd>(&self, l: L, of: &[f32], entries: Range<usize>) {
        let mut at = self.at(entries.start).index;
        for _ in entries {
            l.prefetch(of, at);
            at += self.place.stride;
        }
    }

    /// Writes the gradient of a range of entries, 0 where one does not count; whether a finite number became infinite.
    #[inline(always)]
    pub(super) fn emit<L: Simd>(
        &self,
        l: L,
        entries: Range<usize>,
        mut gradient: Entries<'_, L>,
        sink: &mut dyn Sink,
    ) -> bool {
        // One piece of memory holds them, and what lies between.
        let span = (entries.len().saturating_sub(1)) * self.place.stride + self.rows;
        if let Some(LentCells { cells, streams }) = sink.lend(self.at(entries.start), span) {
            match cells {
                TensorMut::F32(cells) => return self.write(l, entries, gradient, cells, streams),
                TensorMut::F16(cells) => return self.write(l, entries, gradient, cells, streams),
                TensorMut::Bf16(cells) => return self.write(l, entries, gradient, cells, streams),
                TensorMut::F64(_) => {}
            }
        }
        let mut overflowed = false;
        for entry in entries {
            let v = if self.counts(entry) { gradient.next(l) } else { l.splat(0.0) };
            let mut run = [0.0; LANES];
            l.store_f32(v, &mut run);
            overflowed |= sink.store_neighbours(self.at(entry), run.get(..self.rows).unwrap_or_default());
        }
        overflowed
    }

    #[inline(always)]
    fn write<L: Simd, E: Stored>(
        &self,
        l: L,
        entries: Range<usize>,
        mut gradient: Entries<'_, L>,
        cells: &mut [E],
        streams: bool,
    ) -> bool {
        let mut peak = l.splat(0.0);
        let mut at = 0;
        for entry in entries {
            let v = if self.counts(entry) { gradient.next(l) } else { l.splat(0.0) };
            let cells = cells.get_mut(at..at + self.rows).unwrap_or_default();
            if streams {
                E::stream(l, v, cells);
            } else {
                E::store(l, v, cells);
            }
            if E::IS_HALF {
                peak = l.max_abs(peak, v);
            }
            at += self.place.stride;
        }
        // An infinity that was one before it was rounded was no number: its row was not certified.
        E::IS_HALF && l.any(l.not(l.less(peak, l.splat(E::LIMIT))))
    }
}

/// Lines that are read when those at hand are done. Memory is asked for them between the steps of these: at once, and when
/// they are needed, either would wait for the other. Not of small maps, which caches hold, nor of halves: there it takes
/// longer than it saves.
pub(super) struct Ahead<'a> {
    walk: Walk<'a>,
    tensors: [Tensor<'a>; 2],
    entries: Range<usize>,
    next: usize,
}

impl<'a> Ahead<'a> {
    /// The neighbours so many rows further.
    #[inline(always)]
    pub(super) fn new(
        walk: &Walk<'a>,
        tensors: [Tensor<'a>; 2],
        entries: Range<usize>,
        rows: usize,
    ) -> Option<Self> {
        let bytes =
            tensors.iter().map(|x| if let Tensor::F32(x) = x { size_of_val(*x) } else { 0 }).sum::<usize>();
        if bytes < LARGE {
            return None;
        }
        let Place { row, index, .. } = walk.place;
        let place = Place { row: row + rows, index: index + rows, ..walk.place };
        Some(Self { walk: Walk { place, ..*walk }, tensors, entries, next: 0 })
    }
}

/// Bytes of maps that no cache near a core holds.
const LARGE: usize = 1 << 24;

/// Steps in which they are asked for: a half of either tensor in each.
const STEPS: usize = 4;

impl Meanwhile for Ahead<'_> {
    #[inline(always)]
    fn step<L: Simd>(&mut self, l: L) {
        let Range { start, end } = self.entries;
        let middle = start + (end - start) / 2;
        let entries = if self.next.is_multiple_of(2) { start..middle } else { middle..end };
        if let Some(Tensor::F32(of)) = self.tensors.get(self.next / 2) {
            self.walk.ask(l, of, entries);
        }
        self.next += 1;
    }

    #[inline(always)]
    fn rest<L: Simd>(&mut self, l: L) {
        while self.next < STEPS {
            self.step(l);
        }
    }
}

/// The entries of a gradient, in the lanes that are live; 0 in the others.
pub(super) struct Entries<'b, L: Simd> {
    lines: Zip<Iter<'b, Line>, Iter<'b, Line>>,
    pull: Pull<L>,
    live: L::M,
}

impl<'b, L: Simd> Entries<'b, L> {
    #[inline(always)]
    pub(super) fn new((w, excess): (&'b [Line], &'b [Line]), pull: Pull<L>, live: L::M) -> Self {
        Self { lines: w.iter().zip(excess), pull, live }
    }

    #[inline(always)]
    fn next(&mut self, l: L) -> L::V {
        let zero = l.splat(0.0);
        let Some((w, excess)) = self.lines.next() else { return zero };
        l.select(self.live, self.pull.entry(l, w, excess), zero)
    }
}

/// What the lines of a block say of each lane.
pub(super) struct Head<L: Simd> {
    /// The student's largest entry.
    pub(super) top: L::V,
    /// Less its least.
    pub(super) below: L::V,
    /// What the teacher has beside the student's largest, what it has most, and what the student has beside that.
    beside: L::V,
    most: L::V,
    under: L::V,
}

impl<L: Simd> Head<L> {
    #[inline(always)]
    pub(super) fn new(l: L, teacher: &[Line], student: &[Line]) -> Self {
        let (zero, lowest) = (l.splat(0.0), l.splat(f32::MIN));
        let mut head = Self { top: lowest, below: lowest, beside: zero, most: lowest, under: zero };
        for (t, s) in teacher.iter().zip(student) {
            let (t, s) = (l.load_f32(&t.0), l.load_f32(&s.0));
            head.beside = l.select(l.less(head.top, s), t, head.beside);
            head.under = l.select(l.less(head.most, t), s, head.under);
            head.top = l.max(head.top, s);
            head.most = l.max(head.most, t);
            head.below = l.max(head.below, zero - s);
        }
        head
    }

    /// A log-ratio to begin with: the difference at the student's largest entry, exactly, since rows that are close need
    /// it so; or amid that and the one at the teacher's, where these are more than a nat apart.
    #[inline(always)]
    pub(super) fn between(&self, l: L, scale: &Scale<L>) -> Pair<L::V> {
        let (at_top, low) = two_difference(l, self.beside, self.top);
        let at_most = self.most - self.under;
        let apart = l.less(l.splat(1.0), l.abs(at_top - at_most) * scale.nats.0);
        let amid = l.splat(0.5) * (at_top + at_most);
        (l.select(apart, amid, at_top), l.select(apart, l.splat(0.0), low))
    }
}
