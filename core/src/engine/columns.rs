//! Rows that interleave in memory, by the kernel for columns; row by row what that does not certify.

use super::{Bench, Known, Rows, Wanted};
use crate::arithmetic::Arithmetic;
use crate::call::{KeptStatistics, Outputs, Partial};
use crate::diverge::Diverge;
use crate::mask::Mask;
use crate::normalize::Normalize;
use crate::plan::TILE;
use crate::recipe::{Divergence, Norm};
use crate::row::columns::{self, Buffers, Tile, rows_of_a_tile};
use crate::row::{Kind, RowStatistics};
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
            let (live, counted) = self.counted(start);
            let sink = outputs.grad_student.as_deref_mut().filter(|_| columns::holds(tau, Some(scale)));
            let written = sink.is_some();
            let tile = Tile {
                tau,
                teacher: memory.teacher,
                student: memory.student,
                place: self.plan.place(start, 0),
                axis,
                counted,
                live: &live,
                statistics: found.get_mut(..rows.len()).unwrap_or_default(),
                buffers: &mut buffers,
                gradient: match sink {
                    Some(sink) => Some((scale, sink)),
                    None => None,
                },
            };
            partial.overflowed.student |= on(memory.isa, tile);
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

    /// Which rows of a tile count, and which entries along the axis.
    fn counted(&self, start: usize) -> ([bool; columns::TILE], Option<(Mask<'_>, usize)>) {
        let mut live = [true; columns::TILE];
        if self.mask.is_all() {
            return (live, None);
        }
        let (position, entries_are_positions) = self.plan.position(start, 0);
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
