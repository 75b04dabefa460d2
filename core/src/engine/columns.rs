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
use crate::row::columns::{self, Buffers, Tile, rows_of_a_tile};
use crate::row::{Kind, Lanes, RowStatistics};
use crate::simd::on;
use core::ops::Range;

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
    // Its buffers are not for the stack of other jobs.
    #[inline(never)]
    pub(super) fn run_columns<N: Normalize, D: Diverge<N::Space>>(
        &self,
        job: &Range<usize>,
        pair: (&N, &D),
        outputs: &mut Outputs<'_>,
        scale: f64,
        bench: &mut Bench<R>,
    ) -> Option<Partial> {
        let memory = self.memory.filter(|_| self.is_of_columns(job))?;
        let (tau, axis) = (self.plan.recipe().options().tau, self.plan.row_len());
        let mut buffers = Buffers::new();
        let mut partial = Partial::default();
        for start in job.clone().step_by(rows_of_a_tile(axis)) {
            let rows = start..(start + rows_of_a_tile(axis)).min(job.end);
            let offset = start - job.start;
            let mut found = [RowStatistics::default(); columns::TILE];
            if let KeptStatistics::Read(kept) = &outputs.statistics {
                let kept = kept.get(offset..).unwrap_or_default();
                found.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
            }
            let sink = reborrow(&mut outputs.grad_student).filter(|_| columns::holds(tau, Some(scale)));
            let written = sink.is_some();
            let gradient = sink.map(|sink| (scale, sink));
            let found_here = found.get_mut(..rows.len()).unwrap_or_default();
            partial.overflowed.student |= self.walk(memory, start, found_here, gradient, &mut buffers);
            let wanted = Wanted {
                student: outputs.grad_student.is_some() && !written,
                teacher: outputs.grad_teacher.is_some(),
            };
            for (i, (row, of)) in rows.zip(&found).enumerate() {
                let certified = of.is_regular() || of.kind == Kind::Zero;
                if certified && !wanted.student && !wanted.teacher {
                    keep(outputs, offset + i, of);
                    partial.sum += of.kl;
                    continue;
                }
                let student = outputs.grad_student.is_some() && !(written && certified);
                let lane = (row, offset + i);
                self.run_row(
                    lane,
                    *of,
                    Wanted { student, ..wanted },
                    pair,
                    (outputs, scale),
                    bench,
                    &mut partial,
                );
            }
        }
        Some(partial)
    }

    /// Neighbouring rows by the kernel; whether a finite number of the gradient became infinite.
    fn walk(
        &self,
        memory: Memory<'_>,
        start: usize,
        statistics: &mut [RowStatistics],
        gradient: Option<(f64, &mut dyn Sink)>,
        buffers: &mut Buffers,
    ) -> bool {
        let (live, counted) = self.counted(start);
        let tile = Tile {
            tau: self.plan.recipe().options().tau,
            teacher: memory.teacher,
            student: memory.student,
            place: self.place(start, self.entries.start),
            axis: self.entries.len(),
            counted,
            live: &live,
            statistics,
            buffers,
            gradient: match gradient {
                Some((scale, sink)) => Some((scale, sink)),
                None => None,
            },
        };
        on(memory.isa, tile)
    }

    /// The statistics of the rows of a segment; none where they are not for this kernel.
    #[inline(never)]
    pub(super) fn column_statistics(
        &self,
        lanes: Range<usize>,
        to: &mut [RowStatistics; TILE],
    ) -> Option<Done> {
        let memory = self.memory.filter(|_| self.is_of_columns(&lanes))?;
        let to = to.get_mut(..lanes.len())?;
        self.walk(memory, lanes.start, to, None, &mut Buffers::new());
        Some(Done::new(certified(to), false))
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
        let mut of = *of;
        let of = of.get_mut(..lanes.len())?;
        // A row of which nothing is known would be swept.
        of.iter_mut().filter(|of| of.kind == Kind::Unset).for_each(|of| of.kind = Kind::Zero);
        let overflowed = self.at_first_entry(sink, |sink| {
            self.walk(memory, lanes.start, of, Some((scale, sink)), &mut Buffers::new())
        });
        Some(Done::new(certified(of), overflowed))
    }

    /// Which rows of a tile count, and which entries along the axis.
    fn counted(&self, start: usize) -> ([bool; columns::TILE], Option<(Mask<'_>, usize)>) {
        let mut live = [true; columns::TILE];
        if self.mask.is_all() {
            return (live, None);
        }
        let (position, entries_are_positions) = self.plan.position(start, self.entries.start);
        if entries_are_positions {
            return (live, Some((self.mask, position)));
        }
        for (i, live) in live.iter_mut().enumerate() {
            *live = self.mask.counts(position + i);
        }
        (live, None)
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
        bench: &mut Bench<R>,
        partial: &mut Partial,
    ) {
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
        self.run_tile(tile, pair, outputs, scale, bench, partial);
    }
}

/// Which rows the kernel is done with.
fn certified(of: &[RowStatistics]) -> Lanes {
    let done = |of: &RowStatistics| of.is_regular() || of.kind == Kind::Zero;
    of.iter().enumerate().fold(0, |lanes, (i, of)| lanes | Lanes::from(done(of)) << i)
}

/// The value and the statistics of a row for which nothing else is left to do.
fn keep(outputs: &mut Outputs<'_>, at: usize, of: &RowStatistics) {
    if let Some(cell) = outputs.row_values.as_deref_mut().and_then(|values| values.get_mut(at)) {
        *cell = of.kl;
    }
    if let KeptStatistics::Write(kept) = &mut outputs.statistics
        && let Some(cell) = kept.get_mut(at)
    {
        *cell = *of;
    }
}
