//! Gradient tensors cut into the pieces that threads write.

use densekd_core::{Element, Place, Plan, Sink, Slab, TensorMut, narrow_into};
use std::ops::Range;

/// Bytes from which a gradient is written past the caches: with the maps that it belongs to, three times as much, it
/// is beyond the last level of most.
pub(crate) const STREAMED: usize = 16 << 20;

/// How a plan's jobs are grouped into tasks, so that each task's part of a gradient is one piece of memory
/// where it can be, and columns of it where there are fewer images than threads.
pub(crate) struct GradientTasks<'p> {
    plan: &'p Plan,
    tasks: Vec<Vec<Range<usize>>>,
    by_columns: bool,
    /// Whether each task is one job of long rows, whose segments have sinks of their own.
    cut: bool,
}

impl<'p> GradientTasks<'p> {
    pub(crate) fn new(plan: &'p Plan, threads: usize) -> Self {
        let inner = plan.layout().inner();
        let interleaved = inner > 1 && !plan.is_upsampled();
        let by_columns = interleaved && plan.layout().outer() < threads;
        let mut tasks: Vec<Vec<Range<usize>>> = Vec::new();
        for job in plan.jobs() {
            match tasks.last_mut() {
                // A slab of interleaved rows is one piece of memory as a whole only.
                Some(last) if interleaved && !by_columns && job.start % inner != 0 => last.push(job),
                _ => tasks.push(vec![job]),
            }
        }
        Self { plan, tasks, by_columns, cut: plan.is_cut() && (by_columns || !interleaved) }
    }

    pub(crate) fn into_jobs(self) -> Vec<Vec<Range<usize>>> {
        self.tasks
    }

    /// The sinks of each task.
    pub(crate) fn sinks<'a>(
        &self,
        student: Option<TensorMut<'a>>,
        teacher: Option<TensorMut<'a>>,
    ) -> Vec<Sinks<'a>> {
        let scratch = self.plan.scratch() * (usize::from(student.is_some()) + usize::from(teacher.is_some()));
        let cut = |gradient: Option<TensorMut<'a>>| -> Vec<Vec<Gradient<'a>>> {
            match gradient {
                None => self.tasks.iter().map(|_| self.pieces().map(|_| None).collect()).collect(),
                Some(TensorMut::F32(x)) => self.cut(x),
                Some(TensorMut::F64(x)) => self.cut(x),
                Some(TensorMut::F16(x)) => self.cut(x),
                Some(TensorMut::Bf16(x)) => self.cut(x),
            }
        };
        let both = cut(student).into_iter().zip(cut(teacher));
        let pairs = |(student, teacher): (Vec<_>, Vec<_>)| {
            student.into_iter().zip(teacher).map(|(student, teacher)| Pair { student, teacher }).collect()
        };
        both.map(|both| Sinks { pairs: pairs(both), scratch }).collect()
    }

    /// The pieces of each row that have sinks of their own.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (cut, whole) = (self.plan.segments(), 0..self.plan.row_len());
        let n = if self.cut { cut.len() } else { 0 };
        cut.take(n).chain((n == 0).then_some(whole))
    }

    fn cut<'a, E: Element>(&self, gradient: &'a mut [E]) -> Vec<Vec<Gradient<'a>>> {
        if self.by_columns { self.columns(gradient) } else { self.slabs(gradient) }
    }

    fn slabs<'a, E: Element>(&self, mut rest: &'a mut [E]) -> Vec<Vec<Gradient<'a>>> {
        let total = rest.len();
        let streams = size_of_val(&*rest) >= STREAMED;
        let mut first = 0;
        let mut slab = |elements: usize| {
            let elements = elements.min(total - first);
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(elements);
            let slab = Slab::new(head, first);
            first += elements;
            rest = tail;
            Some(Box::new(if streams { slab.streaming() } else { slab }) as Box<dyn Sink + 'a>)
        };
        let of_task = |task: &Vec<Range<usize>>| {
            let rows: usize = task.iter().map(ExactSizeIterator::len).sum();
            if self.plan.is_upsampled() {
                return vec![slab(self.plan.scratch())];
            }
            self.pieces().map(|piece| slab(rows * piece.len())).collect()
        };
        self.tasks.iter().map(of_task).collect()
    }

    fn columns<'a, E: Element>(&self, gradient: &'a mut [E]) -> Vec<Vec<Gradient<'a>>> {
        let layout = self.plan.layout();
        let slab = layout.axis() * layout.inner();
        let of_task = |task: &Vec<Range<usize>>| -> Vec<Columns<'a, E>> {
            let piece =
                |piece: Range<usize>| Columns { first: (task[0].start, piece.start), parts: Vec::new() };
            self.pieces().map(piece).collect()
        };
        let mut columns: Vec<_> = self.tasks.iter().map(of_task).collect();
        let mut tasks = self.tasks.iter().zip(&mut columns).peekable();
        for (outer, slab) in gradient.chunks_mut(slab).enumerate() {
            let end = (outer + 1) * layout.inner();
            let mut here = Vec::new();
            while let Some(next) = tasks.next_if(|(task, _)| task[0].start < end) {
                here.push(next);
            }
            let mut lines = slab.chunks_mut(layout.inner());
            for (i, piece) in self.pieces().enumerate() {
                for mut line in lines.by_ref().take(piece.len()) {
                    for (task, columns) in &mut here {
                        let (head, tail) = line.split_at_mut(task[0].len());
                        columns[i].parts.push(head);
                        line = tail;
                    }
                }
            }
        }
        let boxed = |columns| Some(Box::new(columns) as Box<dyn Sink + 'a>);
        columns.into_iter().map(|pieces| pieces.into_iter().map(boxed).collect()).collect()
    }
}

/// A piece of a gradient, where it is asked for.
type Gradient<'a> = Option<Box<dyn Sink + 'a>>;

/// The sinks of one task: one pair, or one for each segment of its long rows.
pub(crate) struct Sinks<'a> {
    pairs: Vec<Pair<'a>>,
    scratch: usize,
}

impl<'a> Sinks<'a> {
    /// Numbers of scratch that a job of the task takes.
    pub(crate) const fn scratch(&self) -> usize {
        self.scratch
    }

    /// The pairs of a task in segments; none of one that is run as a whole.
    pub(crate) fn segments(&mut self) -> Option<&mut [Pair<'a>]> {
        if self.pairs.len() > 1 { Some(&mut self.pairs) } else { None }
    }

    /// The student's sink and the teacher's, of a task that is run as a whole.
    pub(crate) fn whole(&mut self) -> (Option<&mut dyn Sink>, Option<&mut dyn Sink>) {
        self.pairs.first_mut().map_or((None, None), Pair::both)
    }
}

/// The student's sink and the teacher's.
pub(crate) struct Pair<'a> {
    student: Gradient<'a>,
    teacher: Gradient<'a>,
}

impl Pair<'_> {
    /// Whether there is one of the student, and one of the teacher.
    pub(crate) fn are_there(&self) -> (bool, bool) {
        (self.student.is_some(), self.teacher.is_some())
    }

    /// Both.
    pub(crate) fn both(&mut self) -> (Option<&mut dyn Sink>, Option<&mut dyn Sink>) {
        fn lend<'b>(sink: &'b mut Option<Box<dyn Sink + '_>>) -> Option<&'b mut dyn Sink> {
            match sink {
                Some(sink) => Some(&mut **sink),
                None => None,
            }
        }
        (lend(&mut self.student), lend(&mut self.teacher))
    }
}

/// Neighbouring columns of one slab: a short piece of every line, from a row and an entry on.
struct Columns<'a, E> {
    first: (usize, usize),
    parts: Vec<&'a mut [E]>,
}

impl<E: Element> Columns<'_, E> {
    fn store<R: densekd_core::Arithmetic>(&mut self, place: Place, values: &[R]) -> bool {
        let (column, line) = (place.row - self.first.0, place.from - self.first.1);
        let lines = self.parts.iter_mut().skip(line);
        narrow_into(lines.filter_map(|line| line.get_mut(column)), values)
    }
}

impl<E: Element> Sink for Columns<'_, E> {
    fn store_f32(&mut self, place: Place, values: &[f32]) -> bool {
        self.store(place, values)
    }

    fn store_f64(&mut self, place: Place, values: &[f64]) -> bool {
        self.store(place, values)
    }

    fn store_neighbours(&mut self, place: Place, values: &[f32]) -> bool {
        let (column, line) = (place.row - self.first.0, place.from - self.first.1);
        let cells = self.parts.get_mut(line).and_then(|line| line.get_mut(column..));
        narrow_into(cells.unwrap_or_default().iter_mut(), values)
    }
}
