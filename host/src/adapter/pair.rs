//! A loss on a pair of maps that do not match by themselves.

use super::{Adapter, Pulled};
use crate::backend::{Backend, BackendError};
use crate::io::Values;
use crate::term::TermSubmission;
use densekd_core::{DType, Error, Labels, Options, Outcome, Tensor, TensorMut, Term, Upstream};

/// A map and what is done to it before the loss.
///
/// ```
/// use densekd::{AdaptedMap, Adapter};
/// use densekd::core::{Order, Shape};
/// let adapter = Adapter::new(Shape::new([1, 1, 1, 2])?, Order::Nchw);
/// assert_eq!(AdaptedMap::new(&[1.0_f32, 2.0][..], &adapter).adapter.to().len(), 2);
/// # Ok::<(), densekd::core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdaptedMap<'a> {
    /// The elements, as they are stored.
    pub map: Tensor<'a>,
    /// The adapter, which knows their shape and memory order.
    pub adapter: &'a Adapter,
}

/// Which gradients are asked for.
///
/// ```
/// let student_alone = densekd::Gradients { student: true, ..Default::default() };
/// assert!(!student_alone.teacher);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gradients {
    /// To the student's map, and the parameters of its adapter.
    pub student: bool,
    /// To the teacher's map, and the parameters of its adapter.
    pub teacher: bool,
}

/// A loss on two maps, each behind its adapter.
///
/// ```
/// use densekd::{AdaptedMap, AdaptedPair, Adapter, Cpu, Gradients};
/// use densekd::core::{Loss, Order, ResizeMode, Shape};
/// // A teacher of 4 x 4 and a student of 2 x 2, which is enlarged.
/// let teacher: Vec<f32> = (0..16).map(|i| (i % 5) as f32).collect();
/// let student = [half::f16::ONE, half::f16::ZERO, half::f16::ZERO, half::f16::ONE];
/// let mode = ResizeMode::Bilinear { align_corners: false };
/// let as_it_is = Adapter::new(Shape::new([1, 1, 4, 4])?, Order::Nchw);
/// let enlarged = Adapter::new(Shape::new([1, 1, 2, 2])?, Order::Nchw).with_resize(mode, [4, 4])?;
/// let pair = AdaptedPair {
///     teacher: Some(AdaptedMap::new(&teacher[..], &as_it_is)),
///     ..AdaptedPair::new(Loss::Cwd.defaults(), AdaptedMap::new(&student[..], &enlarged))
/// };
/// let done = pair.evaluate(Gradients { student: true, teacher: false }, &Cpu::new())?;
/// assert!(done.outcome.value() > 0.0);
/// // The gradient is the student's own: 4 numbers of f16.
/// let (values, overflowed) = done.student.expect("it was asked for").values();
/// assert!(matches!(values, densekd::io::Values::F16(x) if x.len() == 4) && !overflowed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdaptedPair<'a> {
    /// The loss and its settings.
    pub options: Options,
    /// The teacher's map, where the loss compares with one.
    pub teacher: Option<AdaptedMap<'a>>,
    /// The student's map.
    pub student: AdaptedMap<'a>,
    /// Labels of the adapted maps' positions.
    pub labels: Option<Labels<'a>>,
    /// 0 for every position of the adapted maps to leave out, `[N, H, W]`.
    pub mask: Option<&'a [u8]>,
    /// The gradient from above.
    pub upstream: Upstream,
}

/// What a loss on adapted maps comes to.
///
/// ```
/// use densekd::{AdaptedMap, AdaptedPair, Adapter, Cpu, Gradients};
/// use densekd::core::{Loss, Order, Shape};
/// let same = Adapter::new(Shape::new([1, 1, 1, 2])?, Order::Nchw);
/// let map = AdaptedMap::new(&[1.0_f32, 2.0][..], &same);
/// let pair = AdaptedPair { teacher: Some(map), ..AdaptedPair::new(Loss::Cwd.defaults(), map) };
/// let done = pair.evaluate(Gradients::default(), &Cpu::new())?;
/// assert_eq!(done.outcome.value(), 0.0);
/// assert!(done.student.is_none() && done.teacher.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AdaptedOutcome {
    /// Sum, divisor and scale.
    pub outcome: Outcome,
    /// The student's gradients, where they were asked for.
    pub student: Option<Gradient>,
    /// The teacher's.
    pub teacher: Option<Gradient>,
}

/// The gradients to a map as it is stored and to its adapter's parameters, not yet rounded.
///
/// ```
/// use densekd::{AdaptedMap, AdaptedPair, Adapter, Cpu, Gradients};
/// use densekd::core::{Loss, Order, Shape};
/// let scaled = Adapter::new(Shape::new([1, 1, 1, 2])?, Order::Nchw).with_projection(vec![2.0], None)?;
/// let (teacher, student) = ([0.0_f32, 1.0], [1.0_f32, 0.0]);
/// let pair = AdaptedPair {
///     teacher: Some(AdaptedMap::new(&teacher[..], &scaled)),
///     ..AdaptedPair::new(Loss::Cwd.defaults(), AdaptedMap::new(&student[..], &scaled))
/// };
/// let done = pair.evaluate(Gradients { student: true, teacher: true }, &Cpu::new())?;
/// let student = done.student.expect("it was asked for");
/// assert_eq!((student.exact.map.len(), student.exact.weight.len()), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// In `f64`, to be added up with those of other terms.
    pub exact: Pulled,
    /// The type that the map is stored in.
    pub dtype: DType,
}

impl Gradient {
    /// The gradient to the map in the map's own type, rounded once; whether a finite number became infinite.
    pub fn values(&self) -> (Values, bool) {
        Values::rounded(self.dtype, &self.exact.map)
    }
}

impl<'a> AdaptedMap<'a> {
    /// A map behind its adapter.
    pub fn new(map: impl Into<Tensor<'a>>, adapter: &'a Adapter) -> Self {
        Self { map: map.into(), adapter }
    }
}

/// A map on its way to the backend.
struct Ready<'a> {
    from: AdaptedMap<'a>,
    /// Where it is not the stored map itself.
    adapted: Option<Vec<f64>>,
    gradient: Option<Vec<f64>>,
}

impl<'a> Ready<'a> {
    fn new(from: AdaptedMap<'a>, order: densekd_core::Order, wanted: bool) -> Result<Self, Error> {
        let AdaptedMap { map, adapter } = from;
        let stored = adapter.is_identity() && adapter.order() == order;
        let adapted = if stored { None } else { Some(adapter.adapt(map, order)?) };
        Ok(Self { from, adapted, gradient: wanted.then(|| vec![0.0; adapter.to().len()]) })
    }

    /// What is read, and where the gradient goes.
    fn lend(&mut self) -> (Tensor<'_>, Option<TensorMut<'_>>) {
        let map = self.adapted.as_deref().map_or(self.from.map, Tensor::F64);
        (map, self.gradient.as_deref_mut().map(TensorMut::F64))
    }

    fn pull(self, order: densekd_core::Order) -> Result<Option<Gradient>, Error> {
        let AdaptedMap { map, adapter } = self.from;
        let Some(gradient) = self.gradient else { return Ok(None) };
        let exact = match self.adapted {
            None => Pulled { map: gradient, ..Pulled::default() },
            Some(_) => adapter.pull(map, &gradient, order)?,
        };
        Ok(Some(Gradient { exact, dtype: map.dtype() }))
    }
}

impl<'a> AdaptedPair<'a> {
    /// A student's map alone, with upstream gradient 1.
    pub const fn new(options: Options, student: AdaptedMap<'a>) -> Self {
        Self { options, teacher: None, student, labels: None, mask: None, upstream: Upstream::ONE }
    }

    /// The loss on the adapted maps, in the student's memory order.
    pub(crate) fn term(&self) -> Result<Term, Error> {
        let shape = self.student.adapter.to();
        let teacher_shape = self.teacher.map_or(shape, |teacher| teacher.adapter.to());
        Term::new(self.options, shape, teacher_shape, self.student.adapter.order())
    }

    /// Adapts both maps, to the student's memory order, runs the loss and brings the gradients back: on the backend's
    /// machine where it does that ([`Backend::submit_adapted`]), else on the CPU around the loss.
    ///
    /// # Errors
    /// [`BackendError`]: what the checks found, [`Error::ShapeMismatch`] where the adapted maps still do not fit, or
    /// what the machine refused.
    pub fn evaluate(&self, wanted: Gradients, backend: &dyn Backend) -> Result<AdaptedOutcome, BackendError> {
        let term = self.term()?;
        if let Some(done) = backend.submit_adapted(self, wanted)? {
            backend.synchronise()?;
            return Ok(done);
        }
        let order = self.student.adapter.order();
        let mut student = Ready::new(self.student, order, wanted.student)?;
        let teacher = self.teacher.map(|teacher| Ready::new(teacher, order, wanted.teacher));
        let mut teacher = teacher.transpose()?;

        let (teacher_map, grad_teacher) = match &mut teacher {
            None => (None, None),
            Some(ready) => {
                let (map, gradient) = ready.lend();
                (Some(map), gradient)
            }
        };
        let (student_map, grad_student) = student.lend();
        let submission = TermSubmission {
            labels: self.labels,
            mask: self.mask,
            upstream: self.upstream,
            grad_student,
            grad_teacher,
            ..TermSubmission::new(&term, teacher_map, student_map)
        };
        let outcome = submission.submit(backend)?;
        backend.synchronise()?;
        let teacher = teacher.map(|teacher| teacher.pull(order)).transpose()?.flatten();
        Ok(AdaptedOutcome { outcome, student: student.pull(order)?, teacher })
    }
}
