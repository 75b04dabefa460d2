//! Any loss on any backend: the two families behind one submission.

use crate::backend::{Backend, BackendError, MapSubmission, Submission};
use densekd_core::{Error, Labels, Mask, Outcome, Plan, Projection, Tensor, TensorMut, Term, Upstream};

/// One use of a loss, of whichever family: what is read and what is to be written.
///
/// ```
/// use densekd::{Cpu, TermSubmission};
/// use densekd::core::{Loss, Order, Shape, Term};
/// let shape = Shape::new([1, 1, 2, 2])?;
/// let (teacher, student) = ([1.0_f32, 2.0, 3.0, 4.0], [4.0_f32, 3.0, 2.0, 1.0]);
/// for loss in [Loss::Cwd, Loss::At] {
///     let term = Term::new(loss.defaults(), shape, shape, Order::Nchw)?;
///     let mut gradient = [0.0_f32; 4];
///     let submission = TermSubmission {
///         grad_student: Some(gradient.as_mut_slice().into()),
///         ..TermSubmission::new(&term, Some(teacher[..].into()), &student[..])
///     };
///     assert!(submission.submit(&Cpu::new())?.value() > 0.0);
///     assert!(gradient[0] > 0.0);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TermSubmission<'a> {
    /// The loss on its shapes.
    pub term: &'a Term,
    /// The teacher's elements, where the loss compares with one.
    pub teacher: Option<Tensor<'a>>,
    /// The student's elements.
    pub student: Tensor<'a>,
    /// Labels: classes where the loss takes them, and positions to leave out by the ignore index.
    pub labels: Option<Labels<'a>>,
    /// 0 for every position to leave out.
    pub mask: Option<&'a [u8]>,
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

impl<'a> TermSubmission<'a> {
    /// A submission that asks for the value alone, with upstream gradient 1.
    pub fn new(term: &'a Term, teacher: Option<Tensor<'a>>, student: impl Into<Tensor<'a>>) -> Self {
        Self {
            term,
            teacher,
            student: student.into(),
            labels: None,
            mask: None,
            projection: Projection::default(),
            upstream: Upstream::ONE,
            grad_student: None,
            grad_teacher: None,
            grad_projection: None,
        }
    }

    /// The same inputs with another student, and no outputs.
    pub(crate) fn again<'b>(&self, student: Tensor<'b>) -> TermSubmission<'b>
    where
        'a: 'b,
    {
        let Self { term, teacher, labels, mask, projection, .. } = *self;
        TermSubmission { labels, mask, projection, ..TermSubmission::new(term, teacher, student) }
    }

    /// Runs it. Row losses take labels of the map's own height and width only.
    ///
    /// # Errors
    /// [`BackendError`]: what the checks found, or what the machine refused.
    pub fn submit(self, backend: &dyn Backend) -> Result<Outcome, BackendError> {
        let row_mask = match self.term {
            Term::Row(plan) => row_mask(plan, self.labels, self.mask)?,
            Term::Map(_) => Mask::ALL,
        };
        let Self { term, teacher, student, labels, mask, projection, upstream, .. } = self;
        let Self { grad_student, grad_teacher, grad_projection, .. } = self;
        match term {
            Term::Row(plan) => {
                let teacher = teacher.ok_or(Error::TeacherMissing)?;
                if projection.weight.is_some() || projection.bias.is_some() || grad_projection.is_some() {
                    return Err(Error::Unused { input: "a projection" }.into());
                }
                backend.capability(plan, teacher.dtype(), student.dtype())?;
                Ok(backend.submit(Submission {
                    mask: row_mask,
                    upstream,
                    grad_student,
                    grad_teacher,
                    ..Submission::new(plan, teacher, student)
                })?)
            }
            Term::Map(plan) => {
                backend.map_capability(plan)?;
                let mask = Mask::new(plan.student(), None, mask)?;
                backend.submit_map(MapSubmission {
                    labels,
                    mask,
                    projection,
                    upstream,
                    grad_student,
                    grad_teacher,
                    grad_projection,
                    ..MapSubmission::new(plan, teacher, student)
                })
            }
        }
    }
}

/// The positions that a row loss counts.
pub(crate) fn row_mask<'a>(
    plan: &Plan,
    labels: Option<Labels<'a>>,
    mask: Option<&'a [u8]>,
) -> Result<Mask<'a>, Error> {
    let ignored = plan.recipe().options().ignore_index;
    Mask::new(plan.shape(), labels.map(|labels| (labels.data(), ignored)), mask)
}
