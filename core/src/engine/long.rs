//! Long rows, in segments: each round of the work is done segment by segment, one after the other or side by side, and
//! what the segments found is put together in their order. So who runs them does not change a bit.

use super::in_turn::InTurn;
use super::split::nats_of_quarters;
use super::totals::{Totals, known_totals};
use super::{Bench, Buffers, Memory, Rows, Wanted, run_job};
use crate::access::{Sink, with_reader};
use crate::arithmetic::Arithmetic;
use crate::call::{KeptStatistics, Outputs};
use crate::diverge::Diverge;
use crate::element::Tensor;
use crate::normalize::Normalize;
use crate::outcome::{Overflowed, Partial};
use crate::plan::{Plan, TILE};
use crate::row::{Kind, RowStatistics};
use crate::segments::{Finding, Found, Lent, Overwritten, Segmented, Segments};
use core::ops::Range;

/// Where the student is, and what becomes of it.
pub(crate) enum Student<'a> {
    /// It is in its tensor, and stays as it is.
    Kept,
    /// It is where the gradient goes to.
    Overwritten(Overwritten<'a>),
    /// Its segments know.
    Segmented(&'a mut dyn Segmented),
}

/// Runs a job.
pub(crate) fn run<R: Arithmetic, N: Normalize, D: Diverge<N::Space>>(
    rows: &Rows<'_, R>,
    job: Range<usize>,
    pair: (&N, &D),
    outputs: &mut Outputs<'_>,
    scale: f64,
    student: Student<'_>,
) -> Partial {
    match student {
        Student::Segmented(segmented) => run_segments(rows, job, pair, outputs, scale, segmented),
        Student::Kept if rows.plan.is_cut() => {
            let (student, teacher) = (outputs.grad_student.take(), outputs.grad_teacher.take());
            let mut in_turn = InTurn { student, teacher };
            each_tile(rows.plan, &job, outputs, |lanes, outputs| {
                run_segments(rows, lanes, pair, outputs, scale, &mut in_turn)
            })
        }
        Student::Kept => run_job(rows, job, pair, outputs, scale),
        Student::Overwritten(mut piece) if rows.plan.is_cut() => {
            let (first, len) = (job.start, rows.plan.row_len());
            each_tile(rows.plan, &job, outputs, |lanes, outputs| {
                let part = (lanes.start - first) * len..(lanes.end - first) * len;
                run_segments(rows, lanes, pair, outputs, scale, &mut piece.part(part))
            })
        }
        Student::Overwritten(mut piece) => {
            let written = piece.copied(|copy, sink| {
                let mut outputs = Outputs { grad_student: Some(sink), ..outputs.part(&(0..job.len())) };
                rows.of(job.start, 0..rows.plan.row_len(), copy, |rows| {
                    run_job(rows, job.clone(), pair, &mut outputs, scale)
                })
            });
            written.unwrap_or_default()
        }
    }
}

/// Runs `f` on as many rows at a time as are taken together.
fn each_tile(
    plan: &Plan,
    job: &Range<usize>,
    outputs: &mut Outputs<'_>,
    mut f: impl FnMut(Range<usize>, &mut Outputs<'_>) -> Partial,
) -> Partial {
    let mut partial = Partial::default();
    let most = plan.rows_of_a_long_job();
    for start in job.clone().step_by(most) {
        let lanes = start..(start + most).min(job.end);
        let here = start - job.start..lanes.end - job.start;
        partial.add(f(lanes, &mut outputs.part(&here)));
    }
    partial
}

/// Runs the segments of at most so many rows as are taken together.
fn run_segments<R: Arithmetic, N: Normalize, D: Diverge<N::Space>>(
    rows: &Rows<'_, R>,
    lanes: Range<usize>,
    pair: (&N, &D),
    outputs: &mut Outputs<'_>,
    scale: f64,
    segmented: &mut dyn Segmented,
) -> Partial {
    let (student, teacher) = segmented.gradients();
    let wanted = Wanted { student, teacher };
    let mut job = Job { rows, lanes: lanes.clone(), pair, segmented };
    let statistics = match &mut outputs.statistics {
        KeptStatistics::Read(kept) => {
            let mut statistics = [RowStatistics::default(); TILE];
            statistics.iter_mut().zip(*kept).for_each(|(to, from)| *to = *from);
            statistics
        }
        KeptStatistics::Write(keep) => {
            let statistics = job.statistics();
            keep.iter_mut().zip(&statistics).for_each(|(to, from)| *to = *from);
            statistics
        }
        KeptStatistics::Drop => job.statistics(),
    };
    let totals = job.totals(&statistics, wanted);
    let mut partial = Partial::default();
    let mut values = outputs.row_values.iter_mut().flat_map(|values| values.iter_mut());
    for (_, totals) in lanes.zip(&totals) {
        partial.sum += totals.value;
        if let Some(cell) = values.next() {
            *cell = totals.value;
        }
    }
    if student || teacher {
        partial.overflowed = job.gradients(&statistics, &totals, scale);
    }
    partial
}

/// The rows of a job, at most [`TILE`], and who runs their segments.
struct Job<'a, 'b, R, N, D> {
    rows: &'a Rows<'a, R>,
    lanes: Range<usize>,
    pair: (&'a N, &'a D),
    segmented: &'b mut dyn Segmented,
}

impl<R: Arithmetic, N: Normalize, D: Diverge<N::Space>> Job<'_, '_, R, N, D> {
    fn segments(&self) -> Segments {
        self.rows.plan.segments()
    }

    /// A round in which segments are read.
    fn read(&mut self, work: impl Fn(&Rows<'_, R>) -> Finding + Sync, mut take: impl FnMut(Finding)) {
        let (segments, rows, row) = (self.segments(), self.rows, self.lanes.start);
        self.segmented.each(
            segments,
            &|segment, lent| {
                Found(match lent {
                    Lent::Sinks { .. } => work(&rows.segment(segment)),
                    Lent::Student(piece) => rows.of(row, segment, piece.student.as_tensor(), &work),
                })
            },
            &mut |Found(finding)| take(finding),
        );
    }

    /// A round of three sums or largest numbers a row.
    fn numbers(
        &mut self,
        work: impl Fn(&Rows<'_, R>) -> [[f64; 3]; TILE] + Sync,
        mut take: impl FnMut([[f64; 3]; TILE]),
    ) {
        self.read(
            |rows| Finding::Numbers(work(rows)),
            |finding| {
                if let Finding::Numbers(numbers) = finding {
                    take(numbers);
                }
            },
        );
    }

    /// The same of one row.
    fn of_row<const M: usize>(
        &mut self,
        work: impl Fn(&Rows<'_, R>, &mut Buffers<R>) -> [f64; M] + Sync,
        mut take: impl FnMut([f64; M]),
    ) {
        self.numbers(
            |rows| {
                let mut numbers = [[0.0; 3]; TILE];
                let [first, ..] = &mut numbers;
                first.iter_mut().zip(work(rows, &mut Buffers::new())).for_each(|(to, x)| *to = x);
                numbers
            },
            |[first, ..]| {
                let mut numbers = [0.0; M];
                numbers.iter_mut().zip(first).for_each(|(to, x)| *to = x);
                take(numbers);
            },
        );
    }

    /// The states of some rows, each from one that it begins with.
    fn states(&mut self, work: impl Fn(&Rows<'_, R>) -> [N::State; TILE] + Sync, to: &mut [N::State; TILE]) {
        let (normalize, _) = self.pair;
        self.read(
            |rows| Finding::States(work(rows).map(Into::into)),
            |finding| {
                if let Finding::States(states) = finding {
                    to.iter_mut().zip(&states).for_each(|(to, state)| normalize.merge(to, state));
                }
            },
        );
    }

    fn statistics(&mut self) -> [RowStatistics; TILE] {
        let mut statistics = [RowStatistics::default(); TILE];
        let (rows, lanes, (normalize, _)) = (self.rows, self.lanes.clone(), self.pair);
        let mut states = [N::State::default(); TILE];
        // The rows of a job are of one image.
        if rows.plan.is_summed(lanes.start) {
            self.states(|rows| rows.segment_states(lanes.clone(), normalize), &mut states);
        }
        for (row, (to, state)) in self.lanes.clone().zip(statistics.iter_mut().zip(&mut states)) {
            if let Some(again) = normalize.again(state) {
                let mut whole = [again; TILE];
                self.states(
                    |rows| {
                        let mut states = [N::State::default(); TILE];
                        let [first, ..] = &mut states;
                        *first = again;
                        rows.push(row..row + 1, normalize, core::slice::from_mut(first), &mut Bench::new());
                        states
                    },
                    &mut whole,
                );
                let [first, ..] = whole;
                *state = first;
            }
            normalize.settle(state);
            *to = rows.finish(row, normalize, state);
            if to.kind == Kind::Split {
                self.split(row, to);
            }
        }
        statistics
    }

    /// [`Rows::split`], its sweeps segment by segment.
    #[cold]
    fn split(&mut self, row: usize, to: &mut RowStatistics) {
        let per_quarter = 4.0 * self.pair.0.pull(to);
        let mut tops = [f64::NEG_INFINITY; 2];
        self.of_row(
            |rows, buffers| rows.tops(row, buffers),
            |[t, s]| tops = [tops[0].max(t), tops[1].max(s)],
        );
        let mut sums = [0.0; 2];
        self.of_row(
            |rows, buffers| rows.sums(row, per_quarter, tops, buffers),
            |[t, s]| sums = [sums[0] + t, sums[1] + s],
        );
        if to.split_about(tops, sums) {
            let (of, mut sum) = (*to, 0.0);
            self.of_row(|rows, buffers| [rows.split_kl(row, per_quarter, &of, buffers)], |[x]| sum += x);
            to.kl = nats_of_quarters(sum);
        }
    }

    fn totals(&mut self, statistics: &[RowStatistics; TILE], wanted: Wanted) -> [Totals; TILE] {
        let (lanes, pair) = (self.lanes.clone(), self.pair);
        let (mut totals, open) = known_totals::<N, D>(pair.1, statistics, wanted);
        if open.iter().flatten().any(|open| *open) {
            self.numbers(
                |rows| {
                    let mut found = [Totals::default(); TILE];
                    let of = (statistics, &open);
                    rows.add_totals(lanes.clone(), pair, of, &mut found, &mut Buffers::new());
                    found.map(|Totals { value, student, teacher }| [value, student, teacher])
                },
                |found| {
                    for (to, [value, student, teacher]) in totals.iter_mut().zip(found) {
                        to.value += value;
                        to.student += student;
                        to.teacher += teacher;
                    }
                },
            );
        }
        totals
    }

    fn gradients(
        &mut self,
        statistics: &[RowStatistics; TILE],
        totals: &[Totals; TILE],
        scale: f64,
    ) -> Overflowed {
        let (segments, rows, lanes, pair) = (self.segments(), self.rows, self.lanes.clone(), self.pair);
        let mut overflowed = Overflowed::default();
        let pull = |rows: &Rows<'_, R>, sinks: (Option<&mut dyn Sink>, Option<&mut dyn Sink>)| {
            rows.segment_gradients(lanes.clone(), pair, (statistics, totals), scale, sinks)
        };
        self.segmented.each(
            segments,
            &|segment, lent| {
                let written = match lent {
                    Lent::Sinks { student, teacher } => pull(&rows.segment(segment), (student, teacher)),
                    Lent::Student(mut piece) => piece
                        .copied(|copy, sink| {
                            rows.of(lanes.start, segment, copy, |rows| pull(rows, (Some(sink), None)))
                        })
                        .unwrap_or_default(),
                };
                Found(Finding::Written(written))
            },
            &mut |Found(finding)| {
                if let Finding::Written(written) = finding {
                    overflowed.add(written);
                }
            },
        );
        overflowed
    }
}

impl<R: Arithmetic> Rows<'_, R> {
    /// The same rows, of whose entries one segment is walked.
    fn segment(&self, entries: Range<usize>) -> Rows<'_, R> {
        Rows { entries, ..*self }
    }

    /// Runs `f` on these entries of rows from one on, where this is all that is given of the student.
    fn of<T>(
        &self,
        row: usize,
        entries: Range<usize>,
        student: Tensor<'_>,
        f: impl FnOnce(&Rows<'_, R>) -> T,
    ) -> T {
        let origin = self.plan.place(row, entries.start).index;
        let memory = self.memory.map(|Memory { teacher, isa, .. }| {
            // The kernels over vectors take both from one place.
            Memory { teacher: teacher.tail(origin), student, isa }
        });
        with_reader::<R, _>(student, |student| f(&Rows { student, memory, origin, entries, ..*self }))
    }

    /// What is walked, as states of its rows.
    #[inline(never)]
    fn segment_states<N: Normalize>(&self, lanes: Range<usize>, normalize: &N) -> [N::State; TILE] {
        let mut found = [RowStatistics::default(); TILE];
        let mut states = [N::State::default(); TILE];
        let mut bench = Bench::new();
        let done = self.column_statistics(lanes.clone(), &mut found).unwrap_or_else(|| {
            self.vector_statistics(lanes.clone(), normalize, &mut found, (&mut bench.short, &mut bench.kept))
        });
        for (state, of) in states.iter_mut().zip(&found).filter(|(_, of)| of.is_regular()) {
            *state = normalize.known(of).unwrap_or_default();
        }
        for rest in done.rest(lanes.clone()) {
            let to = states.get_mut(rest.start - lanes.start..).unwrap_or_default();
            self.push(rest, normalize, to, &mut bench);
        }
        states
    }

    /// The gradients at what is walked.
    #[inline(never)]
    fn segment_gradients<N: Normalize, D: Diverge<N::Space>>(
        &self,
        lanes: Range<usize>,
        pair: (&N, &D),
        of: (&[RowStatistics; TILE], &[Totals; TILE]),
        scale: f64,
        (mut to_student, to_teacher): (Option<&mut dyn Sink>, Option<&mut dyn Sink>),
    ) -> Overflowed {
        let done =
            to_student.as_deref_mut().and_then(|sink| self.column_gradient(lanes.clone(), of.0, scale, sink));
        self.gradients(lanes, pair, of, scale, (done, to_student, to_teacher), &mut Bench::new())
    }
}
