//! The passes over rows: statistics, terms, gradient. What they do here is what every backend must equal.

mod columns;
mod positions;
mod split;
mod vectors;

use crate::access::{Load, Sink};
use crate::arithmetic::Arithmetic;
use crate::call::{KeptStatistics, Outputs, Partial};
use crate::diverge::Diverge;
use crate::element::Tensor;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::normalize::{Block, Normalize, PerPosition};
use crate::plan::{Plan, TILE};
use crate::recipe::Ignore;
use crate::row::{BLOCK, BlockSum, Kind, RowStatistics, ShortRows, Workspace};
use core::ops::Range;
use positions::{StudentCotangent, StudentGradient, TeacherCotangent, TeacherGradient, Term};
use vectors::{Done, from};

/// Entries up to which rows of neighbours are taken together.
const SHORT: usize = 2048;

/// Where the rows of a call come from.
pub(crate) struct Rows<'a, R> {
    pub(crate) plan: &'a Plan,
    pub(crate) teacher: &'a dyn Load<R>,
    pub(crate) student: &'a dyn Load<R>,
    pub(crate) mask: Mask<'a>,
    pub(crate) memory: Option<Memory<'a>>,
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

/// One row's sums over its terms.
#[derive(Clone, Copy, Default)]
struct Totals {
    value: f64,
    student: f64,
    teacher: f64,
}

/// What is asked of the terms pass.
#[derive(Clone, Copy)]
struct Wanted {
    student: bool,
    teacher: bool,
}

pub(crate) fn run_job<R: Arithmetic, N: Normalize, D: Diverge<N::Space>>(
    rows: &Rows<'_, R>,
    job: Range<usize>,
    (normalize, diverge): (&N, &D),
    outputs: &mut Outputs<'_>,
    gradient_scale: f64,
) -> Partial {
    let mut bench = Bench { buffers: Buffers::new(), workspace: Workspace::new(), short: ShortRows::new() };
    let pair = (normalize, diverge);
    if let Some(partial) = rows.run_columns(&job, pair, outputs, gradient_scale, &mut bench) {
        return partial;
    }
    let mut partial = Partial::default();
    // Rows of neighbours are taken one by one while they are in cache, but for short ones, whose cost is the row.
    let alone = rows.plan.layout().inner() == 1 && rows.plan.row_len() > SHORT;
    let tile = if alone { 1 } else { TILE };
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
struct Bench<R> {
    buffers: Buffers<R>,
    workspace: Workspace<R>,
    short: ShortRows,
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
        let axis = self.plan.row_len();
        (0..axis).step_by(BLOCK).map(move |from| (from, (axis - from).min(BLOCK)))
    }

    /// Runs `f` on the counted entries of a block; the buffers' `kept` says where they stand if not all do.
    fn with_block<T>(
        &self,
        row: usize,
        (from, n): (usize, usize),
        buffers: &mut Buffers<R>,
        f: impl FnOnce(Block<'_, R>, &mut [R; BLOCK], &mut BlockSum<R>) -> T,
    ) -> (T, bool) {
        let place = self.plan.place(row, from);
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
                student: self.student.load(place, student.get_mut(..n).unwrap_or_default()),
                counted: counted.get(..n).unwrap_or_default(),
            };
            return (f(block, out, sum), false);
        }
        if !compressed {
            let block = Block {
                teacher: self.teacher.load(place, teacher.get_mut(..n).unwrap_or_default()),
                student: self.student.load(place, student.get_mut(..n).unwrap_or_default()),
                counted: weights,
            };
            return (f(block, out, sum), false);
        }
        self.mark(row, from, kept);
        let compress = |load: &dyn Load<R>, buffer: &mut [R; BLOCK]| {
            let mut whole = [R::zero(); BLOCK];
            let whole = load.load(place, whole.get_mut(..n).unwrap_or_default());
            let counted = whole.iter().zip(kept.iter()).filter(|(_, kept)| **kept);
            buffer.iter_mut().zip(counted).map(|(to, (from, _))| *to = *from).count()
        };
        let (kept_t, kept_s) = (compress(self.teacher, teacher), compress(self.student, student));
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
        bench: &mut Bench<R>,
        partial: &mut Partial,
    ) {
        let Known { rows: lanes, offset, statistics, wanted } = tile;
        let buffers = &mut bench.buffers;
        if let KeptStatistics::Write(keep) = &mut outputs.statistics {
            let keep = keep.get_mut(offset..).unwrap_or_default();
            keep.iter_mut().zip(lanes.clone()).zip(statistics).for_each(|((to, _), from)| *to = *from);
        }
        let totals = self.totals(lanes.clone(), (normalize, diverge), statistics, wanted, buffers);
        let values = outputs.row_values.as_deref_mut().and_then(|v| v.get_mut(offset..)).unwrap_or_default();
        for (i, (_, totals)) in lanes.clone().zip(&totals).enumerate() {
            partial.sum += totals.value;
            if let Some(cell) = values.get_mut(i) {
                *cell = totals.value;
            }
        }
        if let Some(sink) = outputs.grad_student.as_deref_mut().filter(|_| wanted.student) {
            let done = if D::PULLS_EXCESS {
                self.vector_gradient(lanes.clone(), normalize, statistics, scale, (sink, &mut bench.short))
            } else {
                Done::NONE
            };
            partial.overflowed.student |= done.overflowed;
            let at = |totals: &Totals| (StudentGradient::new(diverge, totals.student), totals.student);
            for rest in done.rest(lanes.clone()) {
                let first = rest.start - lanes.start;
                let of = (from(statistics, first), from(&totals, first));
                partial.overflowed.student |= self.gradient(rest, normalize, of, scale, at, buffers, sink);
            }
        }
        if let Some(sink) = outputs.grad_teacher.as_deref_mut().filter(|_| wanted.teacher) {
            let at = |totals: &Totals| (TeacherGradient::new(diverge, totals.teacher), totals.teacher);
            partial.overflowed.teacher |=
                self.gradient(lanes, normalize, (statistics, &totals), scale, at, buffers, sink);
        }
    }

    fn statistics<N: Normalize>(
        &self,
        lanes: Range<usize>,
        normalize: &N,
        statistics: &mut [RowStatistics; TILE],
        bench: &mut Bench<R>,
    ) {
        let done = self.vector_statistics(lanes.clone(), normalize, statistics, &mut bench.short);
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
        bench: &mut Bench<R>,
    ) {
        let Bench { buffers, workspace, .. } = bench;
        let mut states = [N::State::default(); TILE];
        for block in self.blocks() {
            for (row, state) in lanes.clone().zip(states.iter_mut()) {
                self.with_block(row, block, buffers, |block, _, _| {
                    normalize.push(state, block.teacher, block.student, workspace);
                });
            }
        }
        for (row, (to, state)) in lanes.zip(statistics.iter_mut().zip(states.iter_mut())) {
            if let Some(again) = normalize.again(state) {
                *state = again;
                for block in self.blocks() {
                    self.with_block(row, block, buffers, |block, _, _| {
                        normalize.push(state, block.teacher, block.student, workspace);
                    });
                }
            }
            *to = if self.plan.is_summed(row) {
                normalize.finish(state)
            } else {
                RowStatistics { kind: Kind::Zero, ..RowStatistics::default() }
            };
            if to.kind == Kind::Split {
                self.split(row, normalize, to, buffers);
            }
        }
    }

    fn totals<N: Normalize, D: Diverge<N::Space>>(
        &self,
        lanes: Range<usize>,
        (normalize, diverge): (&N, &D),
        statistics: &[RowStatistics; TILE],
        wanted: Wanted,
        buffers: &mut Buffers<R>,
    ) -> [Totals; TILE] {
        let mut totals = [Totals::default(); TILE];
        // What each row still has to add up: value, student's total, teacher's total.
        let mut open = [[false; 3]; TILE];
        for (open, (of, to)) in open.iter_mut().zip(statistics.iter().zip(totals.iter_mut())) {
            match of.kind {
                Kind::NotANumber => *to = Totals { value: f64::NAN, student: f64::NAN, teacher: f64::NAN },
                Kind::Zero | Kind::Unset => {}
                _ => {
                    let settle = |known: Option<f64>, to: &mut f64, wanted: bool| {
                        *to = known.unwrap_or(0.0);
                        wanted && known.is_none()
                    };
                    *open = [
                        settle(diverge.value_from(of), &mut to.value, true),
                        settle(diverge.student_total_from(of), &mut to.student, wanted.student),
                        settle(diverge.teacher_total_from(of), &mut to.teacher, wanted.teacher),
                    ];
                }
            }
        }
        if open.iter().flatten().all(|open| !open) {
            return totals;
        }
        for block in self.blocks() {
            for ((row, of), (to, open)) in lanes.clone().zip(statistics).zip(totals.iter_mut().zip(&open)) {
                self.with_block(row, block, buffers, |block, _, sum| {
                    let n = block.teacher.len();
                    let [value, student, teacher] = *open;
                    if value {
                        let share = normalize.share(of);
                        evaluate(normalize, of, block, share, &Term::new(diverge), sum.cells(n));
                        to.value += sum.sum(n);
                    }
                    if student {
                        evaluate(normalize, of, block, 1.0, &StudentCotangent::new(diverge), sum.cells(n));
                        to.student += sum.sum(n);
                    }
                    if teacher {
                        evaluate(normalize, of, block, 1.0, &TeacherCotangent::new(diverge), sum.cells(n));
                        to.teacher += sum.sum(n);
                    }
                });
            }
        }
        totals
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
                let place = self.plan.place(row, from);
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
