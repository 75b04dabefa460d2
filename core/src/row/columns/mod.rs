//! Rows that interleave in memory (`inner > 1`), one row a lane.
//!
//! A tile of neighbouring rows is copied once into a buffer that stays in a near cache, as `f32`, and walked there: for
//! first references, for the sums about them, and for the gradient, which takes the teacher's place and leaves in
//! runs of neighbours. An axis too long for the buffer is read block by block for each of these walks. What a row
//! is worth is certified from its own sums ([`judge`]), and depends on nothing else in the tile; what cannot be
//! certified is left to the engine.

mod judge;
mod sweep;
#[cfg(test)]
mod tests;

use super::state::FAR;
use super::statistics::{Kind, RowStatistics};
use super::two_terms::{Scale, split};
use crate::Temperature;
use crate::access::{Place, Sink};
use crate::element::Tensor;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::simd::{Simd, Stored, Vectors, on};
use judge::{References, Verdict, judge};
use sweep::{Column, LANES, Reference, Sums, gradient, head, lanes, sweep};

/// Numbers of a tile's buffer of one tensor: both of them in a second-level cache, or on a small machine's stack.
const SIZE: usize = if cfg!(feature = "simd") { 1 << 14 } else { 1 << 10 };

/// Entries of a block where the axis is too long for the buffer.
const DEPTH: usize = SIZE / 64;

/// Rows of a tile, at most: an odd number of cache lines, so that the entries of one row fall into all sets of a
/// cache.
pub(crate) const TILE: usize = 112;

/// References that are tried for a row.
const ATTEMPTS: usize = 4;

/// Nats to a unit of the inputs between which the constants of a sweep are far from the ends of `f32`.
const MILDEST: f64 = 1e-4;
const STEEPEST: f64 = 1e4;

/// Factors between which no product of a gradient is subnormal that is not so in truth.
const SMALLEST: f64 = 1e-30;
const LARGEST: f64 = 1e30;

/// The buffers of a tile.
pub(crate) struct Buffers {
    teacher: [f32; SIZE],
    student: [f32; SIZE],
}

impl Buffers {
    #[allow(clippy::large_stack_arrays, reason = "nothing is allocated, and without vectors they are small")]
    pub(crate) fn new() -> Self {
        Self { teacher: [0.0; SIZE], student: [0.0; SIZE] }
    }
}

/// Rows of a tile where the axis is this long.
pub(crate) fn rows_of_a_tile(axis: usize) -> usize {
    let fit = (SIZE / axis.max(1)).min(TILE) / LANES;
    // Odd, or the one vector that a long axis is walked with.
    (fit.saturating_sub(1) | 1) * LANES
}

/// Neighbouring rows of a pair of tensors.
pub(crate) struct Tile<'a, 'b> {
    pub(crate) tau: Temperature,
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    /// The first entry of the first row; its stride is the layout's `inner`.
    pub(crate) place: Place,
    /// Entries of a row.
    pub(crate) axis: usize,
    /// Which entries along the axis count, as positions from this one on; all where there is none.
    pub(crate) counted: Option<(Mask<'a>, usize)>,
    /// Which rows count.
    pub(crate) live: &'b [bool; TILE],
    /// What is known of the rows, one each; rows of which nothing is known yet are swept.
    pub(crate) statistics: &'b mut [RowStatistics],
    pub(crate) buffers: &'b mut Buffers,
    /// The gradient to the student, times this. Rows that are `Careful`, `Split` or still `Unset` are written as 0.
    pub(crate) gradient: Option<(f64, &'b mut dyn Sink)>,
}

/// Whether the rows have a form here that `f32` holds.
pub(crate) fn holds(tau: Temperature, scale: Option<f64>) -> bool {
    let nats = 1.0 / tau.get();
    let scaled = |scale: f64| scale == 0.0 || (SMALLEST..=LARGEST).contains(&(scale.abs() * nats));
    (MILDEST..=STEEPEST).contains(&nats) && scale.is_none_or(scaled)
}

impl Vectors for Tile<'_, '_> {
    /// Whether a finite number of the gradient became infinite.
    type Output = bool;

    #[inline(always)]
    fn run<L: Simd>(mut self, l: L) -> bool {
        let rows = rows_of_a_tile(self.axis);
        if self.axis * rows <= SIZE {
            let entries = self.fill(l, (0, self.statistics.len()), 0, rows);
            self.columns(l, Block { pitch: rows, entries });
            return self.emit(l, (0, self.statistics.len()), 0..self.axis, rows);
        }
        let mut overflowed = false;
        for first in (0..self.statistics.len()).step_by(L::WIDTH) {
            overflowed |= self.long_column(l, first);
        }
        overflowed
    }
}

/// What the buffers hold of a vector of rows.
#[derive(Clone, Copy)]
struct Block {
    pitch: usize,
    entries: usize,
}

impl Tile<'_, '_> {
    /// On an instruction set. Not generic and not inlined, so that it is compiled once, with this crate.
    #[inline(never)]
    pub(crate) fn run_on(self, isa: Isa) -> bool {
        on(isa, self)
    }

    fn nats(&self) -> f64 {
        1.0 / self.tau.get()
    }

    /// Whether an entry of the axis counts.
    #[inline(always)]
    fn counts(&self, entry: usize) -> bool {
        self.counted.is_none_or(|(mask, from)| mask.counts(from + entry))
    }

    /// Copies what counts of so many rows from the first one on, and of as many entries as there is room for from
    /// an entry of the axis on; how many counted.
    #[inline(always)]
    fn fill<L: Simd>(&mut self, l: L, rows: (usize, usize), from: usize, pitch: usize) -> usize {
        let Buffers { teacher, student } = &mut *self.buffers;
        let depth = if pitch * self.axis <= SIZE { self.axis } else { DEPTH };
        let to = (self.axis - from.min(self.axis)).min(depth);
        let (place, counted) = (self.place, self.counted);
        let walk = Walk { place, rows, entries: from..from + to, pitch, counted };
        let n = walk.copy_any(l, self.teacher, teacher);
        walk.copy_any(l, self.student, student);
        n
    }

    /// A vector of rows in the buffers, from its offset on.
    #[inline(always)]
    fn column(&self, Block { pitch, entries, .. }: Block, offset: usize) -> Column<'_> {
        let end = pitch * entries;
        Column {
            teacher: self.buffers.teacher.get(offset..end).unwrap_or_default(),
            student: self.buffers.student.get(offset..end).unwrap_or_default(),
            pitch,
        }
    }

    /// Statistics and gradient of rows whose entries are all in the buffers.
    #[inline(always)]
    fn columns<L: Simd>(&mut self, l: L, block: Block) {
        let scale = Scale::new(l, self.nats());
        let mut near = true;
        for first in (0..self.statistics.len()).step_by(L::WIDTH) {
            if self.is_unset(first, L::WIDTH) {
                let column = self.column(block, first);
                let (m, d) = head(l, column, &scale);
                let mut open = Open::new(l, self, first, m, d);
                for _ in 0..ATTEMPTS {
                    let at = open.reference(l);
                    let mut sums = Sums::new(l);
                    if near {
                        sweep::<L, true>(l, column, &scale, &at, &mut sums);
                        near = !sums.is_spread(l);
                    }
                    if !near {
                        sums = Sums::new(l);
                        sweep::<L, false>(l, column, &scale, &at, &mut sums);
                        near = !sums.is_spread(l);
                    }
                    if open.close(l, &sums, self.nats()) {
                        break;
                    }
                }
                open.keep(self, first, block.entries);
            }
            if let Some((factor, _)) = &self.gradient {
                let lanes = self.pull(l, first, *factor);
                self.descend(l, block, first, &scale, &lanes);
            }
        }
    }

    /// The same for a vector of rows too long for the buffers.
    #[inline(always)]
    fn long_column<L: Simd>(&mut self, l: L, first: usize) -> bool {
        let scale = Scale::new(l, self.nats());
        let rows = (first, (self.statistics.len() - first).min(L::WIDTH));
        let pitch = LANES;
        if self.is_unset(first, L::WIDTH) {
            let mut total = 0;
            let mut open: Option<Open> = None;
            for _ in 0..ATTEMPTS {
                let mut sums = Sums::new(l);
                total = 0;
                for from in (0..self.axis).step_by(DEPTH) {
                    let entries = self.fill(l, rows, from, pitch);
                    if entries == 0 {
                        continue;
                    }
                    total += entries;
                    let column = self.column(Block { pitch, entries }, 0);
                    let at = if let Some(open) = &open {
                        open.reference(l)
                    } else {
                        let (m, d) = head(l, column, &scale);
                        open.insert(Open::new(l, self, first, m, d)).reference(l)
                    };
                    sweep::<L, false>(l, column, &scale, &at, &mut sums);
                }
                let Some(open) = &mut open else { break };
                if open.close(l, &sums, self.nats()) {
                    break;
                }
            }
            open.unwrap_or_default().keep(self, first, total);
        }
        let Some((factor, _)) = &self.gradient else { return false };
        let pull = self.pull(l, first, *factor);
        let mut overflowed = false;
        for from in (0..self.axis).step_by(DEPTH) {
            let entries = self.fill(l, rows, from, pitch);
            self.descend(l, Block { pitch, entries }, 0, &scale, &pull);
            overflowed |= self.emit(l, rows, from..(from + DEPTH).min(self.axis), pitch);
        }
        overflowed
    }

    fn is_unset(&self, first: usize, n: usize) -> bool {
        self.statistics.iter().skip(first).take(n).any(|of| of.kind == Kind::Unset)
    }

    /// Where the gradient of a vector of rows is taken from, and its factors.
    #[inline(always)]
    fn pull<L: Simd>(&self, l: L, first: usize, scale: f64) -> Pull<L> {
        let scale = -scale * self.nats();
        let mut near = true;
        let [mut m, mut high, mut low, mut rest, mut factor, mut live] = [[0.0_f32; LANES]; 6];
        let d = high.iter_mut().zip(&mut low);
        let to = m.iter_mut().zip(d).zip(rest.iter_mut().zip(&mut factor)).zip(&mut live);
        let of = self.statistics.iter().skip(first).take(L::WIDTH);
        for ((((m, (high, low)), (rest, factor)), live), of) in to.zip(of) {
            if !of.is_regular() {
                continue;
            }
            near &= of.kind == Kind::Near;
            *m = split(4.0 * of.m).0;
            (*high, *low) = split(4.0 * of.d);
            *rest = split(of.l).0;
            // Equal rows have no gradient, whatever the last digits of their difference.
            *factor = if of.kl == 0.0 { 0.0 } else { split(scale / of.z).0 };
            *live = 1.0;
        }
        let d = (l.load_f32(&high), l.load_f32(&low));
        Pull {
            at: Reference::new(l, l.load_f32(&m), d, l.load_f32(&rest)),
            factor: l.load_f32(&factor),
            live: l.less(l.splat(0.0), l.load_f32(&live)),
            near,
        }
    }

    /// The gradient of a vector of rows, in the buffer.
    #[inline(always)]
    fn descend<L: Simd>(&mut self, l: L, block: Block, offset: usize, scale: &Scale<L>, pull: &Pull<L>) {
        let end = block.pitch * block.entries;
        let Buffers { teacher, student } = &mut *self.buffers;
        let teacher = teacher.get_mut(offset..end).unwrap_or_default();
        let entries = (teacher, student.get(offset..end).unwrap_or_default(), block.pitch);
        let factor = (pull.factor, pull.live);
        if pull.near {
            gradient::<L, true>(l, entries, scale, &pull.at, factor);
        } else {
            gradient::<L, false>(l, entries, scale, &pull.at, factor);
        }
    }

    /// Hands what the buffer holds of a gradient to its sink; whether a finite number became infinite.
    #[inline(always)]
    fn emit<L: Simd>(
        &mut self,
        _: L,
        (first, rows): (usize, usize),
        entries: core::ops::Range<usize>,
        pitch: usize,
    ) -> bool {
        let mut runs = self.buffers.teacher.chunks(pitch.max(1));
        let zeros = [0.0; TILE];
        let mut overflowed = false;
        for entry in entries {
            let counts = self.counts(entry);
            let Some((_, sink)) = &mut self.gradient else { return false };
            let run = if counts { runs.next().unwrap_or_default() } else { &zeros };
            let Place { row, index, stride, .. } = self.place;
            let place =
                Place { row: row + first, from: entry, index: index + first + entry * stride, stride };
            overflowed |= sink.store_neighbours(place, run.get(..rows).unwrap_or_default());
        }
        overflowed
    }
}

/// What a vector of rows takes its gradient from.
struct Pull<L: Simd> {
    at: Reference<L>,
    factor: L::V,
    live: L::M,
    near: bool,
}

/// A vector of rows whose references are being found.
struct Open {
    at: References,
    found: [RowStatistics; LANES],
    verdicts: [Verdict; LANES],
}

impl Default for Open {
    fn default() -> Self {
        Self {
            at: References { m: [0.0; LANES], d: [(0.0, 0.0); LANES] },
            found: [RowStatistics::default(); LANES],
            verdicts: [Verdict::Refused; LANES],
        }
    }
}

impl Open {
    #[inline(always)]
    fn new<L: Simd>(l: L, tile: &Tile<'_, '_>, first: usize, m: L::V, d: (L::V, L::V)) -> Self {
        let mut open = Self::default();
        open.at.m = lanes(l, m);
        let (high, low) = (lanes(l, d.0), lanes(l, d.1));
        open.at.d.iter_mut().zip(high.into_iter().zip(low)).for_each(|(to, d)| *to = d);
        let rows = tile.statistics.iter().zip(tile.live).skip(first).take(L::WIDTH);
        for (verdict, (of, live)) in open.verdicts.iter_mut().zip(rows) {
            if *live && of.kind == Kind::Unset {
                *verdict = Verdict::Again;
            }
        }
        open
    }

    #[inline(always)]
    fn reference<L: Simd>(&self, l: L) -> Reference<L> {
        let high = self.at.d.map(|(high, _)| high);
        let low = self.at.d.map(|(_, low)| low);
        Reference::new(l, l.load_f32(&self.at.m), (l.load_f32(&high), l.load_f32(&low)), l.splat(0.0))
    }

    /// Whether no lane asks for another sweep.
    #[inline(always)]
    fn close<L: Simd>(&mut self, l: L, sums: &Sums<L>, nats: f64) -> bool {
        // An exponent is rounded twice where a multiplication and an addition are one operation, else three times, which is
        // what the bound was made for.
        let far_above = if L::FUSED { 1.5 * FAR } else { FAR };
        judge(&sums.lanes(l), (nats, far_above), &mut self.at, &mut self.found, &mut self.verdicts);
        #[cfg(test)]
        tests::note(&self.verdicts);
        !self.verdicts.contains(&Verdict::Again)
    }

    /// Hands over what was certified; rows that do not count, or have no entry that does, are 0.
    #[inline(always)]
    fn keep(&self, tile: &mut Tile<'_, '_>, first: usize, entries: usize) {
        let rows = tile.statistics.iter_mut().zip(tile.live).skip(first);
        for ((to, live), (found, verdict)) in rows.zip(self.found.iter().zip(&self.verdicts)) {
            if to.kind != Kind::Unset {
                continue;
            }
            if !live || entries == 0 {
                *to = RowStatistics { kind: Kind::Zero, ..RowStatistics::default() };
            } else if *verdict == Verdict::Certified {
                *to = *found;
            }
        }
    }
}

/// A piece of the rows of a tile.
struct Walk<'a> {
    place: Place,
    /// The first row, and how many.
    rows: (usize, usize),
    entries: core::ops::Range<usize>,
    pitch: usize,
    counted: Option<(Mask<'a>, usize)>,
}

impl Walk<'_> {
    #[inline(always)]
    fn copy_any<L: Simd>(&self, l: L, from: Tensor<'_>, to: &mut [f32; SIZE]) -> usize {
        match from {
            Tensor::F32(x) => self.copy(l, x, to),
            Tensor::F16(x) => self.copy(l, x, to),
            Tensor::Bf16(x) => self.copy(l, x, to),
            // Never asked for: its arithmetic is `f64`.
            Tensor::F64(_) => 0,
        }
    }

    #[inline(always)]
    fn copy<L: Simd, E: Stored>(&self, l: L, from: &[E], to: &mut [f32; SIZE]) -> usize {
        let mut runs = to.chunks_mut(self.pitch.max(1));
        let (first, rows) = self.rows;
        let mut n = 0;
        for entry in self.entries.clone() {
            if self.counted.is_some_and(|(mask, from)| !mask.counts(from + entry)) {
                continue;
            }
            let at = self.place.index + first + entry * self.place.stride;
            let from = from.get(at..).and_then(|x| x.get(..rows)).unwrap_or_default();
            let run = runs.next().unwrap_or_default();
            for (to, from) in run.chunks_mut(L::WIDTH).zip(from.chunks(L::WIDTH)) {
                // The tile that comes next.
                l.prefetch(from, self.pitch);
                l.store_f32(E::load(l, from), to);
            }
            n += 1;
        }
        n
    }
}
