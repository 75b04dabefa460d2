//! Rows that interleave in memory (`inner > 1`), one row a lane.
//!
//! A vector of neighbouring rows is copied, block by block, into lines that stay in the nearest cache. Lines lie apart, which
//! no machine foresees: what is copied next is asked for while what is at hand is worked on. Rows of one block are from there
//! on a batch of [short rows](super::vector::short), which are transposed where these are copied. Of longer ones a sample says
//! the references, and each block is copied, measured and swept in turn. The gradient is made of what the sweep has left of
//! every entry, or, where that is too much to be kept, of what a sweep about the row's own log-ratio leaves. What a row is
//! worth depends on nothing else in its vector; what cannot be certified is left to the engine.

mod block;
mod close;
mod find;
mod pull;
#[cfg(test)]
mod tests;

use super::statistics::{Kind, RowStatistics};
use super::two_terms::Scale;
use super::vector::short::{LANES, Parts};
use crate::Temperature;
use crate::access::{LINE, Place, Sink};
use crate::element::Tensor;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::simd::{Line, Simd, Vectors, on};
use block::Walk;

/// Entries of a block: all of its lines stay in a first-level cache.
pub(crate) const BLOCK: usize = if cfg!(feature = "simd") { 128 } else { 16 };

/// Entries of the longest row of which a gradient's parts are kept: a second-level cache holds them.
pub(crate) const KEPT: usize = if cfg!(feature = "simd") { 1024 } else { BLOCK };

/// Rows of a tile, at most: a bit each.
pub(crate) const TILE: usize = 64;

/// Nats to a unit of the inputs between which the constants of a sweep are far from the ends of `f32`.
const MILDEST: f64 = 1e-4;
const STEEPEST: f64 = 1e4;

/// Factors between which no product of a gradient is subnormal that is not so in truth.
const SMALLEST: f64 = 1e-30;
const LARGEST: f64 = 1e30;

/// What a vector of rows is worked on in; `N` is [`BLOCK`], or [`KEPT`] where the parts of a gradient are kept.
pub(crate) struct Buffers<const N: usize> {
    teacher: [Line; BLOCK],
    student: [Line; BLOCK],
    difference: [Line; BLOCK],
    w: [Line; N],
    excess: [Line; N],
    other: [Line; BLOCK],
    parts: Parts,
}

impl<const N: usize> Buffers<N> {
    #[allow(clippy::large_stack_arrays, reason = "nothing is allocated, and without vectors they are small")]
    pub(crate) fn new() -> Self {
        let zeros = [Line::ZERO; BLOCK];
        let (w, excess) = ([Line::ZERO; N], [Line::ZERO; N]);
        let parts = Parts::default();
        Self { teacher: zeros, student: zeros, difference: zeros, w, excess, other: zeros, parts }
    }

    pub(crate) fn lines(&mut self) -> Lines<'_> {
        Lines {
            teacher: &mut self.teacher,
            student: &mut self.student,
            difference: &mut self.difference,
            w: &mut self.w,
            excess: &mut self.excess,
            other: &mut self.other,
            parts: &mut self.parts,
        }
    }
}

/// [`Buffers`] of either size.
pub(crate) struct Lines<'b> {
    teacher: &'b mut [Line; BLOCK],
    student: &'b mut [Line; BLOCK],
    difference: &'b mut [Line; BLOCK],
    w: &'b mut [Line],
    excess: &'b mut [Line],
    other: &'b mut [Line; BLOCK],
    parts: &'b mut Parts,
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
    /// Which rows count; all where there is none.
    pub(crate) live: Option<&'b [bool; TILE]>,
    /// Each row's KL divergence, 0 where it is left to the engine.
    pub(crate) values: &'b mut [f64],
    /// What an earlier call has found of the rows, one each, or `Unset`; where it is to be kept, what this one finds.
    pub(crate) statistics: &'b mut [RowStatistics],
    pub(crate) told: Told,
    pub(crate) kept: bool,
    pub(crate) lines: Lines<'b>,
    /// The gradient to the student, times this. Rows that are left to the engine are written as 0.
    pub(crate) gradient: Option<(f64, &'b mut dyn Sink)>,
}

/// What of an earlier call's statistics is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// There are none.
    Nothing,
    /// Which rows are the engine's; the others are found as they were then, for the parts of a gradient.
    Kinds,
    /// All: values, and what a gradient is made of.
    All,
}

/// What became of a tile.
#[derive(Default)]
pub(crate) struct Done {
    /// The rows that are left to the engine, a bit each.
    pub(crate) left: u64,
    /// Whether a finite number of the gradient became infinite.
    pub(crate) overflowed: bool,
}

/// Whether the rows have a form here that `f32` holds.
pub(crate) fn holds(tau: Temperature, scale: Option<f64>) -> bool {
    let nats = 1.0 / tau.get();
    let scaled = |scale: f64| scale == 0.0 || (SMALLEST..=LARGEST).contains(&(scale.abs() * nats));
    (MILDEST..=STEEPEST).contains(&nats) && scale.is_none_or(scaled)
}

/// Neighbouring rows before the first whose entries all begin a cache line; 0 where there is none.
pub(crate) fn lead(student: Tensor<'_>, place: Place) -> usize {
    fn of<E>(cells: &[E], Place { index, stride, .. }: Place) -> usize {
        let cells = cells.get(index..).filter(|_| (stride * size_of::<E>()).is_multiple_of(LINE));
        cells.map_or(0, |cells| cells.as_ptr().align_offset(LINE))
    }
    match student {
        Tensor::F32(x) => of(x, place),
        Tensor::F64(x) => of(x, place),
        Tensor::F16(x) => of(x, place),
        Tensor::Bf16(x) => of(x, place),
    }
}

impl Vectors for Tile<'_, '_> {
    type Output = Done;

    #[inline(always)]
    fn run<L: Simd>(mut self, l: L) -> Done {
        let scale = Scale::new(l, self.nats());
        let mut done = Done::default();
        let all = self.told == Told::All;
        let rows = self.values.len();
        // Rows of one block are copied as many at a time as there is room for.
        let together = (L::WIDTH * (BLOCK / self.axis.max(1))).clamp(L::WIDTH, TILE);
        for group in (0..rows).step_by(together) {
            let end = (group + together).min(rows);
            let entries = if self.is_one_block() && !all { self.copy(l, (group, end - group)) } else { 0 };
            for (i, first) in (group..end).step_by(L::WIDTH).enumerate() {
                let here = (first, (end - first).min(L::WIDTH));
                if all {
                    self.recall(here, &mut done);
                } else if self.is_one_block() {
                    let lines = i * self.axis..i * self.axis + entries;
                    self.find_copied(l, &scale, here, lines, together, &mut done);
                } else {
                    self.find(l, &scale, here, &mut done);
                }
                if (all || !self.keeps_parts()) && self.gradient.is_some() {
                    done.overflowed |= self.pull(l, &scale, here);
                }
            }
        }
        if self.gradient.is_some() {
            l.fence();
        }
        done
    }
}

impl<'a> Tile<'a, '_> {
    /// On an instruction set. Not generic and not inlined, so that it is compiled once, with this crate.
    #[inline(never)]
    pub(crate) fn run_on(self, isa: Isa) -> Done {
        on(isa, self)
    }

    fn nats(&self) -> f64 {
        1.0 / self.tau.get()
    }

    fn is_one_block(&self) -> bool {
        self.axis <= BLOCK
    }

    /// Whether the parts of a gradient are kept.
    fn keeps_parts(&self) -> bool {
        self.gradient.is_some() && self.axis <= self.lines.w.len()
    }

    #[inline(always)]
    fn is_live(&self, row: usize) -> bool {
        self.live.is_none_or(|live| live.get(row).copied().unwrap_or(false))
    }

    /// The rows of a vector that are to be found: those that count, unless they are known to be the engine's.
    #[inline(always)]
    fn wanted(&self, (first, n): (usize, usize)) -> u32 {
        let all = !(!0 << n);
        if self.live.is_none() && self.told == Told::Nothing {
            return all;
        }
        let of = self.statistics.iter().skip(first).take(n);
        of.enumerate().fold(0, |wanted, (i, of)| {
            let open = matches!(of.kind, Kind::Unset | Kind::Near | Kind::Full | Kind::Deep);
            wanted | u32::from(open && self.is_live(first + i)) << i
        })
    }

    #[inline(always)]
    fn walk(&self, (first, n): (usize, usize)) -> Walk<'a> {
        let Place { row, index, .. } = self.place;
        let place = Place { row: row + first, index: index + first, ..self.place };
        Walk { place, rows: n, counted: self.counted }
    }

    /// What an earlier call has found of a vector of rows.
    #[inline(always)]
    fn recall(&mut self, (first, n): (usize, usize), done: &mut Done) {
        let rows = self.values.iter_mut().zip(self.statistics.iter()).enumerate().skip(first).take(n);
        for (row, (value, of)) in rows {
            if matches!(of.kind, Kind::Near | Kind::Full | Kind::Deep) {
                *value = of.kl;
            } else {
                *value = 0.0;
                done.left |= u64::from(of.kind != Kind::Zero) << row;
            }
        }
    }
}
