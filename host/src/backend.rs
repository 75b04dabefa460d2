//! What runs a plan: one trait, whatever the machine.

use crate::adapter::{AdaptedOutcome, AdaptedPair, Gradients};
use densekd_core::{
    DType, Element, Inputs, Labels, MapCall, MapInputs, MapPlan, Mask, Outcome, Plan, Projection,
    RowStatistics, Side, Tensor, TensorMut, Upstream,
};
use std::fmt;

/// What a backend answers that knows nothing of map losses.
const ROWS_ONLY: &str = "it runs row losses only";

/// Runs plans on tensors in host memory.
///
/// Duties of an implementation:
/// 1. [`capability`](Backend::capability) answers from the plan and the types alone, and whatever it accepts
///    [`submit`](Backend::submit) runs, for value, row values and gradient to the student at least; a gradient to
///    the teacher, one in the student's place or kept statistics it may refuse by [`Unsupported`], before anything is
///    written.
/// 2. `submit` writes every output that is asked for, in full, or returns an error and leaves unspecified
///    finite work behind in the outputs, never out of bounds; what can be told from the submission is told before
///    anything is written. Outputs do not alias inputs (the borrow checker sees to it).
/// 3. Results are those of [`densekd_core::run`] within the stated tolerances, the same bits from run to run.
/// 4. `submit` may return before the work is done; [`synchronise`](Backend::synchronise) returns after.
///
/// ```
/// use densekd::{Backend, Cpu};
/// assert_eq!(Cpu::new().name(), "cpu");
/// ```
pub trait Backend: Send + Sync {
    /// Its name in options and reports.
    fn name(&self) -> &'static str;

    /// Whether it can run this plan on these types.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    fn capability(&self, plan: &Plan, teacher: DType, student: DType) -> Result<(), Unsupported>;

    /// Bytes of scratch that a submission of this plan takes, for so many gradients.
    fn scratch(&self, plan: &Plan, gradients: usize) -> usize;

    /// Runs the plan.
    ///
    /// # Errors
    /// [`BackendError`]: what the plan's checks found, or what the machine refused.
    fn submit(&self, submission: Submission<'_>) -> Result<Outcome, BackendError>;

    /// Whether it can run this map loss; a backend that says nothing runs row losses only.
    ///
    /// # Errors
    /// [`Unsupported`] with the reason.
    fn map_capability(&self, _plan: &MapPlan) -> Result<(), Unsupported> {
        Err(Unsupported { backend: self.name(), reason: ROWS_ONLY })
    }

    /// Runs a map loss, under the same duties as [`submit`](Backend::submit).
    ///
    /// # Errors
    /// [`BackendError`]: what the checks found, or what the machine refused.
    fn submit_map(&self, _submission: MapSubmission<'_>) -> Result<Outcome, BackendError> {
        Err(Unsupported { backend: self.name(), reason: ROWS_ONLY }.into())
    }

    /// Runs a loss on maps behind their adapters where it adapts them, too; `None` from one that leaves that to the CPU, and
    /// wherever it would refuse the loss.
    ///
    /// # Errors
    /// [`BackendError`]: what the checks found, or what the machine refused.
    fn submit_adapted(
        &self,
        _pair: &AdaptedPair<'_>,
        _wanted: Gradients,
    ) -> Result<Option<AdaptedOutcome>, BackendError> {
        Ok(None)
    }

    /// Why something was left to another backend, by one that chooses among several.
    fn passed_over(&self) -> Option<Unsupported> {
        None
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`BackendError`] for work that failed after `submit` returned.
    fn synchronise(&self) -> Result<(), BackendError>;
}

/// One use of a plan: what is read and what is to be written.
///
/// ```
/// use densekd::{Backend, Cpu, Submission};
/// use densekd::core::{Order, Plan, Recipe, RowOptions, Shape};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
/// let (teacher, student) = ([0.0_f32, 1.0, 2.0], [2.0_f32, 1.0, 0.0]);
/// let mut gradient = [0.0_f32; 3];
/// let submission = Submission {
///     grad_student: Some(gradient.as_mut_slice().into()),
///     ..Submission::new(&plan, &teacher[..], &student[..])
/// };
/// assert!(Cpu::new().submit(submission)?.value() > 0.0);
/// assert!(gradient[0] > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Submission<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The teacher's elements.
    pub teacher: Tensor<'a>,
    /// The student's elements, and whether the gradient overwrites them.
    pub student: Student<'a>,
    /// The counted positions.
    pub mask: Mask<'a>,
    /// The gradient from above.
    pub upstream: Upstream,
    /// Where the gradient to the student goes, of one that is kept.
    pub grad_student: Option<TensorMut<'a>>,
    /// Where the gradient to the teacher goes.
    pub grad_teacher: Option<TensorMut<'a>>,
    /// Where each row's divergence goes.
    pub row_values: Option<&'a mut [f64]>,
    /// What becomes of the rows' statistics.
    pub statistics: Statistics<'a>,
}

/// The student of a submission.
///
/// Made of a tensor to be read, it is kept; of one to be written, the gradient takes its place and no gradient tensor
/// is needed:
///
/// ```
/// use densekd::{Backend, Cpu, Submission};
/// use densekd::core::{Order, Plan, Recipe, RowOptions, Shape};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
/// let (teacher, mut student) = ([0.0_f32, 1.0, 2.0], [2.0_f32, 1.0, 0.0]);
/// let outcome = Cpu::new().submit(Submission::new(&plan, &teacher[..], &mut student[..]))?;
/// assert!(outcome.value() > 0.0);
/// assert!(student[0] > 0.0 && student[2] < 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub enum Student<'a> {
    /// It stays as it is.
    Kept(Tensor<'a>),
    /// Its gradient overwrites it, where [`Plan::in_place`](densekd_core::Plan::in_place) allows that and no other
    /// gradient is asked for; else nothing is written. After an error in the work itself, as for any output, it holds
    /// anything.
    Overwritten(TensorMut<'a>),
}

impl Student<'_> {
    /// The elements, to be read.
    pub fn as_tensor(&self) -> Tensor<'_> {
        match self {
            Self::Kept(student) => *student,
            Self::Overwritten(student) => student.as_tensor(),
        }
    }

    /// The type they are stored in.
    pub fn dtype(&self) -> DType {
        self.as_tensor().dtype()
    }
}

impl<'a> From<Tensor<'a>> for Student<'a> {
    fn from(student: Tensor<'a>) -> Self {
        Self::Kept(student)
    }
}

impl<'a> From<TensorMut<'a>> for Student<'a> {
    fn from(student: TensorMut<'a>) -> Self {
        Self::Overwritten(student)
    }
}

impl<'a, E: Element> From<&'a [E]> for Student<'a> {
    fn from(student: &'a [E]) -> Self {
        Self::Kept(student.into())
    }
}

impl<'a, E: Element> From<&'a mut [E]> for Student<'a> {
    fn from(student: &'a mut [E]) -> Self {
        Self::Overwritten(student.into())
    }
}

/// The rows' statistics between the two calls of a loss and its gradient.
///
/// ```
/// assert!(matches!(densekd::Statistics::default(), densekd::Statistics::Drop));
/// ```
#[derive(Debug, Default)]
pub enum Statistics<'a> {
    /// One call does it all.
    #[default]
    Drop,
    /// The first of two calls writes them.
    Write(&'a mut [RowStatistics]),
    /// The second of two calls reads them.
    Read(&'a [RowStatistics]),
}

impl<'a> Submission<'a> {
    /// A submission that asks for the value alone, or for the gradient in the student's place where that is to be
    /// written; with no mask and upstream gradient 1.
    pub fn new(plan: &'a Plan, teacher: impl Into<Tensor<'a>>, student: impl Into<Student<'a>>) -> Self {
        Self {
            plan,
            teacher: teacher.into(),
            student: student.into(),
            mask: Mask::ALL,
            upstream: Upstream::ONE,
            grad_student: None,
            grad_teacher: None,
            row_values: None,
            statistics: Statistics::Drop,
        }
    }

    /// Checks the inputs and the outputs' lengths.
    pub(crate) fn check(&self) -> Result<(), densekd_core::Error> {
        if let Student::Overwritten(_) = self.student {
            self.plan.in_place()?;
            let others = [
                (&self.grad_student, "a gradient tensor beside it"),
                (&self.grad_teacher, "a gradient to the teacher"),
            ];
            for (gradient, asked) in others {
                if gradient.is_some() {
                    return Err(densekd_core::Error::InPlace { asked });
                }
            }
        }
        let wanted = self.plan.shape().len();
        let gradients = [("grad_student", &self.grad_student), ("grad_teacher", &self.grad_teacher)];
        for (buffer, gradient) in gradients {
            if let Some(found) = gradient.as_ref().map(TensorMut::len).filter(|&found| found != wanted) {
                return Err(densekd_core::Error::Length { buffer, found, wanted });
            }
        }
        let rows = self.plan.rows();
        let kept = match &self.statistics {
            Statistics::Drop => None,
            Statistics::Write(kept) => Some(kept.len()),
            Statistics::Read(kept) => Some(kept.len()),
        };
        let values = self.row_values.as_ref().map(|values| values.len());
        for (buffer, found) in [("statistics", kept), ("row_values", values)] {
            if let Some(found) = found.filter(|&found| found != rows) {
                return Err(densekd_core::Error::Length { buffer, found, wanted: rows });
            }
        }
        Inputs::new(self.plan, self.teacher, self.student.as_tensor(), self.mask).map(|_| ())
    }
}

/// One use of a map loss: what is read and what is to be written.
///
/// ```
/// use densekd::{Backend, Cpu, MapSubmission};
/// use densekd::core::{Loss, Order, Shape, Term};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let Term::Map(plan) = Term::new(Loss::At.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let (teacher, student) = ([1.0_f32, 2.0, 3.0, 4.0], [4.0_f32, 3.0, 2.0, 1.0]);
/// let mut gradient = [0.0_f32; 4];
/// let submission = MapSubmission {
///     grad_student: Some(gradient.as_mut_slice().into()),
///     ..MapSubmission::new(&plan, Some(teacher[..].into()), &student[..])
/// };
/// assert!(Cpu::new().submit_map(submission)?.value() > 0.0);
/// assert!(gradient[0] > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MapSubmission<'a> {
    /// The plan.
    pub plan: &'a MapPlan,
    /// The teacher's elements, where the loss compares with one.
    pub teacher: Option<Tensor<'a>>,
    /// The student's elements.
    pub student: Tensor<'a>,
    /// Classes of positions, where the loss takes them.
    pub labels: Option<Labels<'a>>,
    /// The counted positions, of a loss that takes labels.
    pub mask: Mask<'a>,
    /// The student's 1x1 convolution, where the loss takes one.
    pub projection: Projection<'a>,
    /// The gradient from above.
    pub upstream: Upstream,
    /// Where the gradient to the student goes.
    pub grad_student: Option<TensorMut<'a>>,
    /// Where the gradient to the teacher goes.
    pub grad_teacher: Option<TensorMut<'a>>,
    /// Where the gradients to the projection's weight and bias go.
    pub grad_projection: Option<(&'a mut [f64], &'a mut [f64])>,
}

impl<'a> MapSubmission<'a> {
    /// A submission that asks for the value alone, with upstream gradient 1.
    pub fn new(plan: &'a MapPlan, teacher: Option<Tensor<'a>>, student: impl Into<Tensor<'a>>) -> Self {
        Self {
            plan,
            teacher,
            student: student.into(),
            labels: None,
            mask: Mask::ALL,
            projection: Projection::default(),
            upstream: Upstream::ONE,
            grad_student: None,
            grad_teacher: None,
            grad_projection: None,
        }
    }

    /// The call, checked, and the outputs' lengths with it.
    pub(crate) fn call(&self) -> Result<MapCall<'a>, densekd_core::Error> {
        let gradients = [
            ("grad_student", &self.grad_student, Side::Student),
            ("grad_teacher", &self.grad_teacher, Side::Teacher),
        ];
        for (buffer, gradient, side) in gradients {
            let wanted = self.plan.shape(side).len();
            if let Some(found) = gradient.as_ref().map(TensorMut::len).filter(|&found| found != wanted) {
                return Err(densekd_core::Error::Length { buffer, found, wanted });
            }
        }
        let mut inputs = MapInputs::new(self.plan, self.teacher, self.student)?;
        if let Some(labels) = self.labels {
            inputs = inputs.with_labels(labels)?;
        }
        if !self.mask.is_all() {
            inputs = inputs.with_mask(self.mask)?;
        }
        if self.projection.weight.is_some() || self.projection.bias.is_some() {
            inputs = inputs.with_projection(self.projection)?;
        }
        MapCall::new(inputs)
    }
}

/// Why a backend does not run a plan.
///
/// ```
/// let reason = densekd::Unsupported { backend: "cpu", reason: "no such type" };
/// assert_eq!(reason.to_string(), "backend cpu cannot run this loss: no such type");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The backend.
    pub backend: &'static str,
    /// What it lacks.
    pub reason: &'static str,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backend {} cannot run this loss: {}", self.backend, self.reason)
    }
}

impl std::error::Error for Unsupported {}

/// Why a submission failed.
///
/// ```
/// use densekd::BackendError;
/// let error = BackendError::from(densekd::core::Error::MaskWithUpsample);
/// assert!(error.to_string().contains("resize the maps first"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The request was wrong.
    #[error(transparent)]
    Request(#[from] densekd_core::Error),
    /// The backend does not run this plan.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The GPU or its driver.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] densekd_cuda::Error),
    /// The threads that were asked for could not be started.
    #[error("{threads} threads could not be started ({source}): ask for fewer with --threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the thread pool said.
        source: rayon::ThreadPoolBuildError,
    },
    /// An instruction set that was asked for, by [`Cpu::with_isa`](crate::Cpu::with_isa) or `DENSEKD_ISA`, is not
    /// one, or not one of this CPU.
    #[error("instruction set `{name}` is not one of this CPU, which has {available}: ask for one of these")]
    Isa {
        /// What was asked for.
        name: String,
        /// What there is.
        available: String,
    },
}
