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
        Self { plan, tasks, by_columns }
    }

    pub(crate) fn into_jobs(self) -> Vec<Vec<Range<usize>>> {
        self.tasks
    }

    /// One pair of sinks a task.
    pub(crate) fn sinks<'a>(
        &self,
        student: Option<TensorMut<'a>>,
        teacher: Option<TensorMut<'a>>,
    ) -> Vec<Sinks<'a>> {
        let scratch = self.plan.scratch() * (usize::from(student.is_some()) + usize::from(teacher.is_some()));
        let cut = |gradient: Option<TensorMut<'a>>| -> Vec<Option<Box<dyn Sink + 'a>>> {
            match gradient {
                None => self.tasks.iter().map(|_| None).collect(),
                Some(TensorMut::F32(x)) => self.cut(x),
                Some(TensorMut::F64(x)) => self.cut(x),
                Some(TensorMut::F16(x)) => self.cut(x),
                Some(TensorMut::Bf16(x)) => self.cut(x),
            }
        };
        let (student, teacher) = (cut(student), cut(teacher));
        student
            .into_iter()
            .zip(teacher)
            .map(|(student, teacher)| Sinks { student, teacher, scratch })
            .collect()
    }

    fn cut<'a, E: Element>(&self, gradient: &'a mut [E]) -> Vec<Option<Box<dyn Sink + 'a>>> {
        if self.by_columns { self.columns(gradient) } else { self.slabs(gradient) }
    }

    fn slabs<'a, E: Element>(&self, mut rest: &'a mut [E]) -> Vec<Option<Box<dyn Sink + 'a>>> {
        let total = rest.len();
        let streams = size_of_val(&*rest) >= STREAMED;
        let mut first = 0;
        let mut sinks: Vec<Option<Box<dyn Sink + 'a>>> = Vec::with_capacity(self.tasks.len());
        for task in &self.tasks {
            let rows: usize = task.iter().map(ExactSizeIterator::len).sum();
            let elements =
                if self.plan.is_upsampled() { self.plan.scratch() } else { rows * self.plan.row_len() };
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(elements.min(total - first));
            let slab = Slab::new(head, first);
            sinks.push(Some(Box::new(if streams { slab.streaming() } else { slab })));
            first += elements.min(total - first);
            rest = tail;
        }
        sinks
    }

    fn columns<'a, E: Element>(&self, gradient: &'a mut [E]) -> Vec<Option<Box<dyn Sink + 'a>>> {
        let layout = self.plan.layout();
        let slab = layout.axis() * layout.inner();
        let mut columns: Vec<Columns<'a, E>> =
            self.tasks.iter().map(|task| Columns { first: task[0].start, parts: Vec::new() }).collect();
        let mut tasks = self.tasks.iter().zip(&mut columns).peekable();
        for (outer, slab) in gradient.chunks_mut(slab).enumerate() {
            let end = (outer + 1) * layout.inner();
            let mut here = Vec::new();
            while let Some(next) = tasks.next_if(|(task, _)| task[0].start < end) {
                here.push(next);
            }
            for mut line in slab.chunks_mut(layout.inner()) {
                for (task, columns) in &mut here {
                    let (head, tail) = line.split_at_mut(task[0].len());
                    columns.parts.push(head);
                    line = tail;
                }
            }
        }
        columns.into_iter().map(|columns| Some(Box::new(columns) as Box<dyn Sink + 'a>)).collect()
    }
}

/// The sinks of one task.
pub(crate) struct Sinks<'a> {
    student: Option<Box<dyn Sink + 'a>>,
    teacher: Option<Box<dyn Sink + 'a>>,
    scratch: usize,
}

impl Sinks<'_> {
    /// Numbers of scratch that a job of the task takes.
    pub(crate) const fn scratch(&self) -> usize {
        self.scratch
    }

    /// The student's sink and the teacher's.
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

/// Neighbouring columns of one slab: a short piece of every line.
struct Columns<'a, E> {
    first: usize,
    parts: Vec<&'a mut [E]>,
}

impl<E: Element> Columns<'_, E> {
    fn store<R: densekd_core::Arithmetic>(&mut self, place: Place, values: &[R]) -> bool {
        let column = place.row - self.first;
        let lines = self.parts.iter_mut().skip(place.from);
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
        let cells = self.parts.get_mut(place.from).and_then(|line| line.get_mut(place.row - self.first..));
        narrow_into(cells.unwrap_or_default().iter_mut(), values)
    }
}
