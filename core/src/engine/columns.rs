//! Rows that interleave in memory, by the kernel for columns; row by row what that does not certify.

use super::vectors::Done;
use super::{Bench, Known, Memory, Rows, Wanted};
use crate::access::Sink;
use crate::arithmetic::Arithmetic;
use crate::call::{KeptStatistics, Outputs, reborrow};
use crate::diverge::Diverge;
use crate::mask::Mask;
use crate::normalize::Normalize;
use crate::outcome::Partial;
use crate::plan::TILE;
use crate::recipe::{Divergence, Norm};
use crate::row::columns::{self, BLOCK, Buffers, KEPT, Lines, Tile, Told};
use crate::row::{Kind, Lanes, RowStatistics};
use core::ops::Range;

/// Sums that rows are added to in turn, whatever the tiles: they need not wait for one another.
const SUMS: usize = 8;

impl<R: Arithmetic> Rows<'_, R> {
    /// Whether a job is one of the kernel for columns: the KL divergence of a softmax in `f32`.
    fn is_of_columns(&self, job: &Range<usize>) -> bool {
        let options = self.plan.recipe().options();
        options.divergence == Divergence::Kl
            && matches!(options.norm, Norm::Channel | Norm::Spatial)
            && self.plan.layout().inner() > 1
            && self.plan.is_summed(job.start)
            && columns::holds(options.tau, None)
    }

    /// A job of rows that interleave; none where it is not for this kernel.
    pub(super) fn run_columns<N: Normalize, D: Diverge<N::Space>>(
        &self,
        job: &Range<usize>,
        pair: (&N, &D),
        outputs: &mut Outputs<'_>,
        scale: f64,
        bench: &mut Bench<'_, R>,
    ) -> Option<Partial> {
        let memory = self.memory.filter(|_| self.is_of_columns(job))?;
        let axis = self.plan.row_len();
        Some(if outputs.grad_student.is_some() && axis > BLOCK && axis <= KEPT {
            self.run_buffered::<N, D, KEPT>(memory, job, pair, outputs, scale, bench)
        } else {
            self.run_buffered::<N, D, BLOCK>(memory, job, pair, outputs, scale, bench)
        })
    }

    /// The same in buffers of this size.
    // They are not for the stack of other jobs.
    #[inline(never)]
    #[allow(clippy::too_many_arguments, reason = "one call, each argument a part of the job")]
    fn run_buffered<N: Normalize, D: Diverge<N::Space>, const SIZE: usize>(
        &self,
        memory: Memory<'_>,
        job: &Range<usize>,
        pair: (&N, &D),
        outputs: &mut Outputs<'_>,
        scale: f64,
        bench: &mut Bench<'_, R>,
    ) -> Partial {
        let tau = self.plan.recipe().options().tau;
        let mut buffers = Buffers::<SIZE>::new();
        let mut partial = Partial::default();
        let mut sums = [0.0; SUMS];
        let mut next = job.start;
        while next < job.end {
            let start = next;
            let most = match columns::lead(memory.student, self.place(start, 0)) {
                0 => columns::TILE,
                lead => lead.min(columns::TILE),
            };
            next = (start + most).min(job.end);
            let rows = start..next;
            let offset = start - job.start;
            let (mut found, mut values) = ([RowStatistics::default(); columns::TILE], [0.0; columns::TILE]);
            if let KeptStatistics::Read(kept) = &outputs.statistics {
                let kept = kept.get(offset..).unwrap_or_default();
                found.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
            }
            let wanted = Wanted {
                student: outputs.grad_student.is_some() && !columns::holds(tau, Some(scale)),
                teacher: outputs.grad_teacher.is_some(),
            };
            let sink = reborrow(&mut outputs.grad_student).filter(|_| !wanted.student);
            let written = sink.is_some();
            let whole = !wanted.student && !wanted.teacher;
            let values = values.get_mut(..rows.len()).unwrap_or_default();
            let to = Findings {
                values: &mut *values,
                statistics: found.get_mut(..rows.len()).unwrap_or_default(),
                told: match &outputs.statistics {
                    KeptStatistics::Read(_) if written && self.plan.row_len() <= SIZE => Told::Kinds,
                    KeptStatistics::Read(_) => Told::All,
                    _ => Told::Nothing,
                },
                // Also where another pass takes a gradient from it.
                kept: !(whole && matches!(outputs.statistics, KeptStatistics::Drop))
                    || (written && self.plan.row_len() > SIZE),
            };
            let done = self.walk(memory, start, to, sink.map(|sink| (scale, sink)), buffers.lines());
            partial.overflowed.student |= done.overflowed;
            keep(outputs, offset, values, &found);
            if !whole || done.left != 0 {
                for (i, (row, (of, value))) in rows.zip(found.iter().zip(&mut *values)).enumerate() {
                    let left = done.left >> i & 1 == 1;
                    if whole && !left {
                        continue;
                    }
                    let student = outputs.grad_student.is_some() && (left || !written);
                    let wanted = Wanted { student, ..wanted };
                    let of_row = self.run_row((row, offset + i), *of, wanted, pair, (outputs, scale), bench);
                    partial.overflowed.add(of_row.overflowed);
                    *value = of_row.sum;
                }
            }
            for (i, value) in values.iter().enumerate() {
                if let Some(sum) = sums.get_mut((offset + i) % SUMS) {
                    *sum += value;
                }
            }
        }
        partial.sum = sums.iter().sum();
        partial
    }

    /// Neighbouring rows by the kernel.
    fn walk(
        &self,
        memory: Memory<'_>,
        start: usize,
        Findings { values, statistics, told, kept }: Findings<'_>,
        gradient: Option<(f64, &mut dyn Sink)>,
        lines: Lines<'_>,
    ) -> columns::Done {
        let (live, counted) = self.counted(start);
        let tile = Tile {
            tau: self.plan.recipe().options().tau,
            teacher: memory.teacher,
            student: memory.student,
            place: self.place(start, self.entries.start),
            axis: self.entries.len(),
            counted,
            live: live.as_ref(),
            values,
            statistics,
            told,
            kept,
            lines,
            gradient: match gradient {
                Some((scale, sink)) => Some((scale, sink)),
                None => None,
            },
        };
        tile.run_on(memory.isa)
    }

    /// The statistics of the rows of a segment; none where they are not for this kernel.
    #[inline(never)]
    pub(super) fn column_statistics(
        &self,
        lanes: Range<usize>,
        to: &mut [RowStatistics; TILE],
    ) -> Option<Done> {
        let memory = self.memory.filter(|_| self.is_of_columns(&lanes))?;
        let statistics = to.get_mut(..lanes.len())?;
        let mut values = [0.0; TILE];
        let values = values.get_mut(..lanes.len())?;
        let to = Findings { values, statistics, told: Told::Nothing, kept: true };
        self.walk(memory, lanes.start, to, None, Buffers::<BLOCK>::new().lines());
        Some(Done::new(certified(statistics), false))
    }

    /// The gradient to the student at a segment of rows whose statistics are known; none where they are not for this
    /// kernel.
    #[inline(never)]
    pub(super) fn column_gradient(
        &self,
        lanes: Range<usize>,
        of: &[RowStatistics; TILE],
        scale: f64,
        sink: &mut dyn Sink,
    ) -> Option<Done> {
        let holds = columns::holds(self.plan.recipe().options().tau, Some(scale));
        let memory = self.memory.filter(|_| holds && self.is_of_columns(&lanes))?;
        let (mut of, mut values) = (*of, [0.0; TILE]);
        let statistics = of.get_mut(..lanes.len())?;
        let values = values.get_mut(..lanes.len())?;
        let to = Findings { values, statistics, told: Told::All, kept: false };
        let overflowed = self.at_first_entry(sink, |sink| {
            self.walk(memory, lanes.start, to, Some((scale, sink)), Buffers::<BLOCK>::new().lines())
                .overflowed
        });
        Some(Done::new(certified(statistics), overflowed))
    }

    /// Which rows of a tile count, and which entries along the axis; all, where nothing is said.
    fn counted(&self, start: usize) -> (Option<[bool; columns::TILE]>, Option<(Mask<'_>, usize)>) {
        if self.mask.is_all() {
            return (None, None);
        }
        let (position, entries_are_positions) = self.plan.position(start, self.entries.start);
        if entries_are_positions {
            return (None, Some((self.mask, position)));
        }
        let mut live = [true; columns::TILE];
        for (i, live) in live.iter_mut().enumerate() {
            *live = self.mask.counts(position + i);
        }
        (Some(live), None)
    }

    /// One row by the engine's own passes.
    #[cold]
    #[allow(clippy::too_many_arguments, reason = "one call, each argument a part of the job")]
    fn run_row<N: Normalize, D: Diverge<N::Space>>(
        &self,
        (row, offset): (usize, usize),
        of: RowStatistics,
        wanted: Wanted,
        pair: (&N, &D),
        (outputs, scale): (&mut Outputs<'_>, f64),
        bench: &mut Bench<'_, R>,
    ) -> Partial {
        let lanes = row..row + 1;
        let mut statistics = [of; TILE];
        if of.kind == Kind::Unset {
            self.statistics(lanes.clone(), pair.0, &mut statistics, bench);
            for of in statistics.iter_mut().filter(|of| of.is_regular()) {
                // So that a later call knows it for a row of the engine's.
                of.kind = Kind::Careful;
            }
        }
        let tile = Known { rows: lanes, offset, statistics: &statistics, wanted };
        let mut partial = Partial::default();
        self.run_tile(tile, pair, outputs, scale, bench, &mut partial);
        partial
    }
}

/// Which rows the kernel is done with.
fn certified(of: &[RowStatistics]) -> Lanes {
    let done = |of: &RowStatistics| of.is_regular() || of.kind == Kind::Zero;
    of.iter().enumerate().fold(0, |lanes, (i, of)| lanes | Lanes::from(done(of)) << i)
}

/// What a call is to find of a tile's rows, or has been told.
struct Findings<'b> {
    values: &'b mut [f64],
    statistics: &'b mut [RowStatistics],
    told: Told,
    kept: bool,
}

/// The values and the statistics of a tile.
fn keep(outputs: &mut Outputs<'_>, at: usize, values: &[f64], found: &[RowStatistics]) {
    if let Some(cells) = outputs.row_values.as_deref_mut().and_then(|cells| cells.get_mut(at..)) {
        cells.iter_mut().zip(values).for_each(|(cell, value)| *cell = *value);
    }
    if let KeptStatistics::Write(kept) = &mut outputs.statistics {
        let cells = kept.get_mut(at..).unwrap_or_default().iter_mut().zip(values);
        cells.zip(found).for_each(|((cell, _), of)| *cell = *of);
    }
}
