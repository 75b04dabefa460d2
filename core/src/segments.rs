//! Long rows in segments: what a segment writes to, and who runs them.

use crate::access::Sink;
use crate::element::{Element, Tensor, TensorMut};
use crate::normalize::State;
use crate::outcome::Overflowed;
use crate::plan::TILE;
use core::ops::Range;

/// The segments of a row, in order: each a range of its entries.
///
/// ```
/// use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
/// let plan = |h| Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, h, 1000])?, Order::Nchw);
/// assert_eq!(plan(100)?.segments().len(), 1);
/// assert_eq!(plan(10_000)?.segments().next(), Some(0..130_048));
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Segments {
    rest: Range<usize>,
    size: usize,
}

impl Segments {
    pub(crate) fn new(entries: usize, size: usize) -> Self {
        Self { rest: 0..entries, size: size.max(1) }
    }

    /// Entries of the longest.
    pub(crate) fn longest(&self) -> usize {
        self.size.min(self.rest.len())
    }
}

impl Iterator for Segments {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let Range { start, end } = self.rest;
        self.rest.start = (start + self.size).min(end);
        (start < end).then_some(start..self.rest.start)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.rest.len().div_ceil(self.size.max(1));
        (n, Some(n))
    }
}

impl ExactSizeIterator for Segments {}

/// The segments of one job of long rows, each with what it writes to, and who runs them: what a backend brings to
/// [`Call::run_segments`](crate::Call::run_segments).
///
/// ```
/// use densekd_core::*;
///
/// /// The last one first: the same bits, in whatever order they are run.
/// struct Backwards<'a>(Vec<Slab<'a, f32>>);
///
/// impl Segmented for Backwards<'_> {
///     fn gradients(&self) -> (bool, bool) {
///         (true, false)
///     }
///
///     fn each(
///         &mut self,
///         segments: Segments,
///         work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
///         take: &mut dyn FnMut(Found),
///     ) {
///         let run = |(segment, slab): (Range<usize>, &mut Slab<'_, f32>)| {
///             work(segment, Lent::Sinks { student: Some(slab), teacher: None })
///         };
///         let parts: Vec<_> = segments.zip(&mut self.0).collect();
///         let mut found: Vec<Found> = parts.into_iter().rev().map(run).collect();
///         found.drain(..).rev().for_each(take);
///     }
/// }
///
/// use std::ops::Range;
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 512, 512])?, Order::Nchw)?;
/// let (teacher, student) = (vec![0.5_f32; 1 << 18], (0..1 << 18).map(|i| (i % 7) as f32).collect::<Vec<_>>());
/// let call = Call::new(Inputs::new(&plan, &teacher[..], &student[..], Mask::ALL)?, Upstream::ONE);
///
/// let mut a = vec![0.0; 1 << 18];
/// let (mut rest, mut slabs, mut first) = (&mut a[..], Vec::new(), 0);
/// for segment in plan.segments() {
///     let (slab, tail) = rest.split_at_mut(segment.len());
///     slabs.push(Slab::new(slab, segment.start));
///     rest = tail;
/// }
/// let partial = call.run_segments(0..1, Outputs::default(), &mut Backwards(slabs))?;
///
/// let mut b = vec![0.0; 1 << 18];
/// let sink: &mut dyn Sink = &mut Slab::new(&mut b, 0);
/// assert_eq!(partial, call.run(0..1, Outputs { grad_student: Some(sink), ..Outputs::default() })?);
/// assert_eq!(a, b);
/// # Ok::<(), Error>(())
/// ```
pub trait Segmented {
    /// Whether a gradient is asked for: to the student, to the teacher.
    fn gradients(&self) -> (bool, bool);

    /// Runs `work` on every segment with what is lent to it, one after the other or side by side and in any order,
    /// and hands what each found to `take`, in the order of the segments.
    fn each(
        &mut self,
        segments: Segments,
        work: &(dyn Fn(Range<usize>, Lent<'_>) -> Found + Sync),
        take: &mut dyn FnMut(Found),
    );
}

/// What is lent to a segment while it is run.
pub enum Lent<'a> {
    /// Where its part of each gradient goes that is asked for.
    Sinks {
        /// The gradient to the student.
        student: Option<&'a mut dyn Sink>,
        /// The gradient to the teacher.
        teacher: Option<&'a mut dyn Sink>,
    },
    /// Its part of the student, of a call [in place](crate::InPlace).
    Student(Overwritten<'a>),
}

/// A piece of the student that the gradient overwrites, and room for a copy of it.
///
/// ```
/// use densekd_core::Overwritten;
/// let (mut student, mut copy) = ([1.0_f32, 2.0], [0.0; 2]);
/// assert_eq!(Overwritten::new(&mut student, &mut copy).len(), 2);
/// ```
#[derive(Debug)]
pub struct Overwritten<'a> {
    pub(crate) student: TensorMut<'a>,
    pub(crate) copy: TensorMut<'a>,
}

impl<'a> Overwritten<'a> {
    /// The copy takes the piece, or there is an error where it is used.
    pub fn new<E: Element>(student: &'a mut [E], copy: &'a mut [E]) -> Self {
        Self { student: student.into(), copy: copy.into() }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.student.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the elements, and the whole copy.
    pub(crate) fn part(&mut self, range: Range<usize>) -> Overwritten<'_> {
        let all = 0..self.copy.len();
        Overwritten { student: self.student.part(range), copy: self.copy.part(all) }
    }

    /// Runs `f` on a copy of the piece and on the piece, to be written.
    pub(crate) fn copied<T>(&mut self, f: impl FnOnce(Tensor<'_>, &mut dyn Sink) -> T) -> Option<T> {
        fn run<E: Element, T>(
            student: &mut [E],
            copy: &mut [E],
            f: impl FnOnce(Tensor<'_>, &mut dyn Sink) -> T,
        ) -> Option<T> {
            let copy = copy.get_mut(..student.len())?;
            copy.copy_from_slice(student);
            Some(f((&*copy).into(), &mut crate::Slab::new(student, 0)))
        }
        match (&mut self.student, &mut self.copy) {
            (TensorMut::F32(student), TensorMut::F32(copy)) => run(student, copy, f),
            (TensorMut::F64(student), TensorMut::F64(copy)) => run(student, copy, f),
            (TensorMut::F16(student), TensorMut::F16(copy)) => run(student, copy, f),
            (TensorMut::Bf16(student), TensorMut::Bf16(copy)) => run(student, copy, f),
            // They are made of one type.
            _ => None,
        }
    }
}

/// What a segment found, to be put together with what the others did.
#[derive(Clone, Copy, Debug)]
pub struct Found(pub(crate) Finding);

/// One of the rounds in which the segments of a job are run.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "one is handed over for a hundred thousand entries")]
pub(crate) enum Finding {
    States([State; TILE]),
    /// Up to three sums or largest numbers of each row.
    Numbers([[f64; 3]; TILE]),
    Written(Overflowed),
}
