//! The gradient to the student in the student's place.

use crate::call::{Call, Inputs, Outputs};
use crate::element::{Element, Tensor};
use crate::engine::Student;
use crate::isa::Isa;
use crate::mask::Mask;
use crate::outcome::{Outcome, Partial};
use crate::plan::Plan;
use crate::segments::{Overwritten, Segmented};
use crate::{Error, Upstream};
use core::marker::PhantomData;
use core::ops::Range;

/// A loss whose gradient to the student overwrites the student, so that a step needs no gradient tensor: for rows that
/// lie together in memory ([`Plan::in_place`]), and with no gradient to the teacher beside it.
///
/// A job copies its part of the student, and a long row's segment its own, so that the copy is bounded. Value,
/// statistics and gradient have the bits of a [`Call`]; row values and statistics go where they do.
///
/// ```
/// use densekd_core::{InPlace, Mask, Order, Outputs, Plan, Recipe, RowOptions, Shape, Upstream};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 2, 1, 3])?, Order::Nchw)?;
/// let teacher = [0.0_f32, 1.0, 2.0, 3.0, 1.0, 2.0];
/// let mut student = [0.5_f32, 1.0, 0.0, 2.0, 2.0, 2.0];
/// let mut copy = vec![0.0; plan.in_place()?];
/// let loss = InPlace::<f32>::new(&plan, &teacher[..], Mask::ALL, Upstream::ONE)?;
/// let outcome = loss.run_all(&mut student, &mut copy, Outputs::default())?;
/// assert!(outcome.value() > 0.0);
/// // What stands there now is the gradient.
/// assert!(student.iter().sum::<f32>().abs() < 1e-6);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InPlace<'a, E> {
    /// Its student has no elements, and the right type.
    call: Call<'a>,
    student: PhantomData<E>,
}

impl<'a, E: Element> InPlace<'a, E> {
    /// Checks that the plan allows it, and the teacher's length.
    ///
    /// # Errors
    /// [`Error::InPlace`] as [`Plan::in_place`], else as [`Inputs::new`].
    pub fn new(
        plan: &'a Plan,
        teacher: impl Into<Tensor<'a>>,
        mask: Mask<'a>,
        upstream: Upstream,
    ) -> Result<Self, Error> {
        plan.in_place()?;
        let student: &[E] = &[];
        let inputs = Inputs::without_student(plan, teacher.into(), student.into(), mask)?;
        Ok(Self { call: Call::new(inputs, upstream), student: PhantomData })
    }

    /// [`Call::with_isa`].
    #[must_use]
    pub const fn with_isa(self, isa: Isa) -> Self {
        Self { call: self.call.with_isa(isa), student: PhantomData }
    }

    /// Runs one job on its part of the student, which it overwrites.
    ///
    /// # Errors
    /// [`Error::Length`] for a part of the student that is not that of the job, or a copy that is shorter than
    /// [`Plan::in_place`] says; [`Error::InPlace`] where a gradient is asked for besides; else as [`Call::run`]. Nothing
    /// is written then.
    pub fn run(
        &self,
        job: Range<usize>,
        student: &mut [E],
        copy: &mut [E],
        mut outputs: Outputs<'_>,
    ) -> Result<Partial, Error> {
        let plan = self.call.plan();
        let room = plan.in_place()?;
        let wanted = job.len().saturating_mul(plan.row_len());
        if student.len() != wanted {
            return Err(Error::Length { buffer: "student", found: student.len(), wanted });
        }
        let wanted = if plan.is_cut() { room } else { wanted };
        if copy.len() < wanted {
            return Err(Error::Length { buffer: "copy", found: copy.len(), wanted });
        }
        check(&outputs)?;
        self.call.run_with(job, &mut outputs, Student::Overwritten(Overwritten::new(student, copy)))
    }

    /// Runs the segments of one job of long rows, each of which is lent its part of the student: [`Call::run_segments`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_segments(
        &self,
        job: Range<usize>,
        mut outputs: Outputs<'_>,
        segmented: &mut dyn Segmented,
    ) -> Result<Partial, Error> {
        check(&outputs)?;
        self.call.run_with(job, &mut outputs, Student::Segmented(segmented))
    }

    /// Runs the whole loss on the caller's thread; row values and statistics cover all rows of the plan.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_all(
        &self,
        student: &mut [E],
        copy: &mut [E],
        mut outputs: Outputs<'_>,
    ) -> Result<Outcome, Error> {
        let plan = self.call.plan();
        let (found, wanted) = (student.len(), plan.shape().len());
        if found != wanted {
            return Err(Error::Length { buffer: "student", found, wanted });
        }
        outputs.fit(plan)?;
        let mut total = Partial::default();
        for job in plan.jobs() {
            let part = job.start * plan.row_len()..job.end * plan.row_len();
            let part = student.get_mut(part).unwrap_or_default();
            total.add(self.run(job.clone(), part, copy, outputs.part(&job))?);
        }
        Ok(self.outcome(total))
    }

    /// The result, from the sum over all jobs.
    pub fn outcome(&self, total: Partial) -> Outcome {
        self.call.outcome(total)
    }
}

/// The student's gradient is the only one.
fn check(outputs: &Outputs<'_>) -> Result<(), Error> {
    let asked = match outputs {
        Outputs { grad_student: Some(_), .. } => "a gradient tensor beside it",
        Outputs { grad_teacher: Some(_), .. } => "a gradient to the teacher",
        _ => return Ok(()),
    };
    Err(Error::InPlace { asked })
}
