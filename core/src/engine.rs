//! The passes over rows: statistics, terms, gradient. What they do here is what every backend must equal.

mod columns;
mod in_turn;
mod long;
mod positions;
mod split;
mod totals;
mod vectors;

pub(crate) use long::{Student, run};

use crate::access::{Load, Place, Sink};
use crate::arithmetic::Arithmetic;
use crate::call::{KeptStatistics, Outputs, reborrow};
use crate::diverge::Diverge;
use crate::element::Tensor;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::normalize::{Block, Normalize, PerPosition};
use crate::outcome::{Overflowed, Partial};
use crate::plan::{Plan, TILE};
use crate::recipe::Ignore;
use crate::row::{BLOCK, BlockSum, Kept, Kind, RowStatistics, ShortRows, Workspace};
use core::ops::Range;
use positions::{StudentGradient, TeacherGradient};
use totals::Totals;
use vectors::{Done, from};

/// Where the rows of a call come from, and how much of each is walked.
pub(crate) struct Rows<'a, R> {
    pub(crate) plan: &'a Plan,
    pub(crate) teacher: &'a dyn Load<R>,
    pub(crate) student: &'a dyn Load<R>,
    pub(crate) mask: Mask<'a>,
    pub(crate) memory: Option<Memory<'a>>,
    /// The flat index of the first element of the student that is given, and of the teacher in `memory`.
    pub(crate) origin: usize,
    /// Which entries of each row: all of them, or a segment of a long one.
    pub(crate) entries: Range<usize>,
}

/// The tensors as they are stored, for the kernels over vectors of `f32`. There is none where the arithmetic is
/// `f64`, or where rows are not in memory.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) teacher: Tensor<'a>,
    pub(crate) student: Tensor<'a>,
    pub(crate) isa: Isa,
}

/// The buffers of a job: a few blocks.
struct Buffers<R> {
    teacher: [R; BLOCK],
    student: [R; BLOCK],
    counted: [R; BLOCK],
    kept: [bool; BLOCK],
    out: [R; BLOCK],
    full: [R; BLOCK],
    sum: BlockSum<R>,
}

/// What is asked of the terms pass.
#[derive(Clone, Copy)]
struct Wanted {
    student: bool,
    teacher: bool,
}

fn run_job<R: Arithmetic, N: Normalize, D: Diverge<N::Space>>(
    rows: &Rows<'_, R>,
    job: Range<usize>,
    (normalize, diverge): (&N, &D),
    outputs: &mut Outputs<'_>,
    gradient_scale: f64,
) -> Partial {
    let mut bench = Bench::new();
    if outputs.grad_student.is_some() && D::PULLS_EXCESS {
        bench.kept = Kept::new(core::mem::take(&mut outputs.room), rows.plan.row_len());
    }
    let pair = (normalize, diverge);
    if let Some(partial) = rows.run_columns(&job, pair, outputs, gradient_scale, &mut bench) {
        return partial;
    }
    let mut partial = Partial::default();
    let tile = rows.plan.rows_together();
    for start in job.clone().step_by(tile) {
        let lanes = start..(start + tile).min(job.end);
        let mut statistics = [RowStatistics::default(); TILE];
        if let KeptStatistics::Read(kept) = &outputs.statistics {
            let kept = kept.get(start - job.start..).unwrap_or_default();
            statistics.iter_mut().zip(kept).for_each(|(to, from)| *to = *from);
        } else {
            rows.statistics(lanes.clone(), normalize, &mut statistics, &mut bench);
        }
        let wanted =
            Wanted { student: outputs.grad_student.is_some(), teacher: outputs.grad_teacher.is_some() };
        let tile = Known { rows: lanes, offset: start - job.start, statistics: &statistics, wanted };
        rows.run_tile(tile, pair, outputs, gradient_scale, &mut bench, &mut partial);
    }
    partial
}

/// What a job works with.
struct Bench<'s, R> {
    buffers: Buffers<R>,
    workspace: Workspace<R>,
    short: ShortRows,
    kept: Kept<'s>,
}

impl<R: Arithmetic> Bench<'_, R> {
    fn new() -> Self {
        let (buffers, workspace) = (Buffers::new(), Workspace::new());
        Self { buffers, workspace, short: ShortRows::new(), kept: Kept::nothing() }
    }
}

/// Rows whose statistics are known.
struct Known<'a> {
    rows: Range<usize>,
    /// Where they stand in the job.
    offset: usize,
    statistics: &'a [RowStatistics; TILE],
    wanted: Wanted,
}

impl<R: Arithmetic> Buffers<R> {
    fn new() -> Self {
        let zeros = [R::zero(); BLOCK];
        Self {
            teacher: zeros,
            student: zeros,
            counted: [R::one(); BLOCK],
            kept: [true; BLOCK],
            out: zeros,
            full: zeros,
            sum: BlockSum::new(),
        }
    }
}

impl<R: Arithmetic> Rows<'_, R> {
    /// The heads of a row's blocks.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<R> {
        let end = self.entries.end;
        self.entries.clone().step_by(BLOCK).map(move |from| (from, (end - from).min(BLOCK)))
    }

    /// Where a block of a row stands in the student that is given.
    fn place(&self, row: usize, from: usize) -> Place {
        let place = self.plan.place(row, from);
        Place { index: place.index.saturating_sub(self.origin), ..place }
    }

    /// Runs `f` on the counted entries of a block; the buffers' `kept` says where they stand if not all do.
    fn with_block<T>(
        &self,
        row: usize,
        (from, n): (usize, usize),
        buffers: &mut Buffers<R>,
        f: impl FnOnce(Block<'_, R>, &mut [R; BLOCK], &mut BlockSum<R>) -> T,
    ) -> (T, bool) {
        let (place, of_student) = (self.plan.place(row, from), self.place(row, from));
        let Buffers { teacher, student, counted, kept, out, sum, .. } = buffers;
        let weights = counted.get(..n).unwrap_or_default();
        let compressed = !self.mask.is_all() && self.plan.recipe().options().ignore == Ignore::Before;
        if !self.mask.is_all() && !compressed {
            self.mark(row, from, kept);
            for (weight, &kept) in counted.iter_mut().zip(kept.iter()) {
                *weight = if kept { R::one() } else { R::zero() };
            }
            let block = Block {
                teacher: self.teacher.load(place, teacher.get_mut(..n).unwrap_or_default()),
                student: self.student.load(of_student, student.get_mut(..n).unwrap_or_default()),
                counted: counted.get(..n).unwrap_or_default(),
            };
            return (f(block, out, sum), false);
        }
        if !compressed {
            let block = Block {
                teacher: self.teacher.load(place, teacher.get_mut(..n).unwrap_or_default()),
                student: self.student.load(of_student, student.get_mut(..n).unwrap_or_default()),
                counted: weights,
            };
            return (f(block, out, sum), false);
        }
        self.mark(row, from, kept);
        let compress = |load: &dyn Load<R>, place: Place, buffer: &mut [R; BLOCK]| {
            let mut whole = [R::zero(); BLOCK];
            let whole = load.load(place, whole.get_mut(..n).unwrap_or_default());
            let counted = whole.iter().zip(kept.iter()).filter(|(_, kept)| **kept);
            buffer.iter_mut().zip(counted).map(|(to, (from, _))| *to = *from).count()
        };
        let (kept_t, kept_s) =
            (compress(self.teacher, place, teacher), compress(self.student, of_student, student));
        let block = Block {
            teacher: teacher.get(..kept_t).unwrap_or_default(),
            student: student.get(..kept_s).unwrap_or_default(),
            counted: weights,
        };
        (f(block, out, sum), true)
    }

    /// Which entries of a block count.
    fn mark(&self, row: usize, from: usize, kept: &mut [bool; BLOCK]) {
        let (position, entries_are_positions) = self.plan.position(row, from);
        for (i, kept) in kept.iter_mut().enumerate() {
            *kept = self.mask.counts(if entries_are_positions { position + i } else { position });
        }
    }

    /// Everything that follows from the statistics.
    fn run_tile<N: Normalize, D: Diverge<N::Space>>(
        &self,
        tile: Known<'_>,
        (normalize, diverge): (&N, &D),
        outputs: &mut Outputs<'_>,
        scale: f64,
        bench: &mut Bench<'_, R>,
        partial: &mut Partial,
    ) {
        let Known { rows: lanes, offset, statistics, wanted } = tile;
        if let KeptStatistics::Write(keep) = &mut outputs.statistics {
            let keep = keep.get_mut(offset..).unwrap_or_default();
            keep.iter_mut().zip(lanes.clone()).zip(statistics).for_each(|((to, _), from)| *to = *from);
        }
        let totals = self.totals(lanes.clone(), (normalize, diverge), statistics, wanted, &mut bench.buffers);
        let values = outputs.row_values.as_deref_mut().and_then(|v| v.get_mut(offset..)).unwrap_or_default();
        for (i, (_, totals)) in lanes.clone().zip(&totals).enumerate() {
            partial.sum += totals.value;
            if let Some(cell) = values.get_mut(i) {
                *cell = totals.value;
            }
        }
        let sinks = (
            None,
            reborrow(&mut outputs.grad_student).filter(|_| wanted.student),
            reborrow(&mut outputs.grad_teacher).filter(|_| wanted.teacher),
        );
        partial.overflowed.add(self.gradients(
            lanes,
            (normalize, diverge),
            (statistics, &totals),
            scale,
            sinks,
            bench,
        ));
    }

    /// The gradients that there are sinks for; what the kernel for columns has done of the student's comes with them.
    fn gradients<N: Normalize, D: Diverge<N::Space>>(
        &self,
        lanes: Range<usize>,
        (normalize, diverge): (&N, &D),
        (statistics, totals): (&[RowStatistics; TILE], &[Totals; TILE]),
        scale: f64,
        (by_columns, to_student, to_teacher): (Option<Done>, Option<&mut dyn Sink>, Option<&mut dyn Sink>),
        Bench { buffers, short, kept, .. }: &mut Bench<'_, R>,
    ) -> Overflowed {
        let mut overflowed = Overflowed::default();
        if let Some(sink) = to_student {
            let done = match by_columns {
                Some(done) => done,
                None if D::PULLS_EXCESS => {
                    self.vector_gradient(lanes.clone(), normalize, statistics, scale, (sink, short, kept))
                }
                None => Done::NONE,
            };
            overflowed.student = done.overflowed;
            let at = |totals: &Totals| (StudentGradient::new(diverge, totals.student), totals.student);
            for rest in done.rest(lanes.clone()) {
                let first = rest.start - lanes.start;
                let of = (from(statistics, first), from(totals, first));
                overflowed.student |= self.gradient(rest, normalize, of, scale, at, buffers, sink);
            }
        }
        if let Some(sink) = to_teacher {
            let at = |totals: &Totals| (TeacherGradient::new(diverge, totals.teacher), totals.teacher);
            overflowed.teacher =
                self.gradient(lanes, normalize, (statistics, totals), scale, at, buffers, sink);
        }
        overflowed
    }

    fn statistics<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        statistics: &mut [RowStatistics; TILE],
        bench: &mut Bench<'_, R>,
    ) {
        let kept = (&mut bench.short, &mut bench.kept);
        let done = self.vector_statistics(lanes.clone(), normalize, statistics, kept);
        for rest in done.rest(lanes.clone()) {
            let to = statistics.get_mut(rest.start - lanes.start..).unwrap_or_default();
            self.exact_statistics(rest, normalize, to, bench);
        }
    }

    fn exact_statistics<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        statistics: &mut [RowStatistics],
        bench: &mut Bench<'_, R>,
    ) {
        let mut states = [N::State::default(); TILE];
        self.push(lanes.clone(), normalize, &mut states, bench);
        for (row, (to, state)) in lanes.zip(statistics.iter_mut().zip(states.iter_mut())) {
            if let Some(again) = normalize.again(state) {
                *state = again;
                self.push(row..row + 1, normalize, core::slice::from_mut(state), bench);
            }
            *to = self.finish(row, normalize, state);
            if to.kind == Kind::Split {
                self.split(row, normalize, to, &mut bench.buffers);
            }
        }
    }

    /// Adds the entries that are walked to their rows' states.
    fn push<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        states: &mut [N::State],
        Bench { buffers, workspace, .. }: &mut Bench<'_, R>,
    ) {
        for block in self.blocks() {
            for (row, state) in lanes.clone().zip(states.iter_mut()) {
                self.with_block(row, block, buffers, |block, _, _| {
                    normalize.push(state, block.teacher, block.student, workspace);
                });
            }
        }
    }

    /// What a row that has been seen as a whole is worth; nothing where it is not summed.
    fn finish<N: Normalize>(&self, row: usize, normalize: &N, state: &N::State) -> RowStatistics {
        if self.plan.is_summed(row) {
            normalize.finish(state)
        } else {
            RowStatistics { kind: Kind::Zero, ..RowStatistics::default() }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call of two, each argument a part of the pass")]
    fn gradient<N: Normalize, F: PerPosition<N::Space>>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        (statistics, totals): (&[RowStatistics], &[Totals]),
        scale: f64,
        at: impl Fn(&Totals) -> (F, f64),
        buffers: &mut Buffers<R>,
        sink: &mut dyn Sink,
    ) -> bool {
        let mut overflowed = false;
        for block in self.blocks() {
            let (from, n) = block;
            for (row, (of, totals)) in lanes.clone().zip(statistics.iter().zip(totals)) {
                let (f, total) = at(totals);
                let scale = scale * normalize.pull(of);
                let ((), compressed) = self.with_block(row, block, buffers, |block, out, _| {
                    let out = out.get_mut(..block.teacher.len()).unwrap_or_default();
                    if total.is_finite() {
                        evaluate(normalize, of, block, scale, &f, out);
                    } else {
                        out.fill(R::nan());
                    }
                });
                let place = self.place(row, from);
                overflowed |= R::store(sink, place, buffers.scattered(n, compressed));
            }
        }
        overflowed
    }
}

impl<R: Arithmetic> Buffers<R> {
    /// The block's results at their places, 0 where a position was ignored.
    fn scattered(&mut self, n: usize, compressed: bool) -> &[R] {
        if !compressed {
            return self.out.get(..n).unwrap_or_default();
        }
        let mut results = self.out.iter();
        for (to, &kept) in self.full.iter_mut().zip(&self.kept).take(n) {
            *to = if kept { results.next().copied().unwrap_or_default() } else { R::zero() };
        }
        self.full.get(..n).unwrap_or_default()
    }
}

/// `scale * f` over a block; rows that are 0 or NaN as a whole are not looked at.
fn evaluate<R: Arithmetic, N: Normalize>(
    normalize: &N,
    of: &RowStatistics,
    block: Block<'_, R>,
    scale: f64,
    f: &impl PerPosition<N::Space>,
    out: &mut [R],
) {
    match of.kind {
        Kind::Zero | Kind::Unset => out.fill(R::zero()),
        Kind::NotANumber => out.fill(R::nan()),
        _ => normalize.evaluate(of, block, scale, f, out),
    }
}
