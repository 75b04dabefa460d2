//! One pair of maps: value, channels and gradients.

use super::failure::Failure;
use super::machine::Machine;
use super::maps::Maps;
use super::options::Choice;
use super::output::Number;
use super::positions::{PositionFiles, Positions};
use super::target::{GradientReport, Target};
use densekd::Submission;
use densekd::core::{Norm, Outcome, Overflowed, Plan, Upstream};
use densekd::io::{Array, Values};
use serde::Serialize;

/// What is asked for besides the value.
pub(crate) struct Wants {
    /// The gradient from above.
    pub(crate) upstream: Upstream,
    /// Each channel's share.
    pub(crate) channels: bool,
    /// The gradient to the student.
    pub(crate) grad: Option<Target>,
    /// The gradient to the teacher.
    pub(crate) grad_teacher: Option<Target>,
}

/// What became of one pair.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PairReport {
    /// The loss.
    pub(crate) value: Number,
    /// `[N, C, H, W]`.
    pub(crate) shape: [usize; 4],
    /// The type of the student's numbers.
    pub(crate) dtype: &'static str,
    /// The type of the teacher's numbers: for people, as JSON's `dtype` is the student's.
    #[serde(skip)]
    pub(crate) teacher_dtype: &'static str,
    /// Where the teacher's tensor was found.
    pub(crate) teacher: String,
    /// Where the student's tensor was found.
    pub(crate) student: String,
    /// Sum of the rows' divergences.
    pub(crate) sum: Number,
    /// What the sum is divided by.
    pub(crate) divisor: Number,
    /// What the sum is multiplied by.
    pub(crate) scale: Number,
    /// What each channel adds to the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_channel: Option<Vec<Number>>,
    /// The gradient to the student.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad: Option<GradientReport>,
    /// The gradient to the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad_teacher: Option<GradientReport>,
}

/// Runs the loss on one pair, and writes its gradients.
pub(crate) fn evaluate(
    machine: &Machine,
    choice: &Choice,
    (maps, files): (&Maps, &PositionFiles),
    wants: &Wants,
) -> Result<PairReport, Failure> {
    let plan = Plan::new(choice.recipe, maps.shape, maps.order)?;
    let positions = Positions::read(files, maps)?;
    let mask = positions.mask(maps.shape, choice.recipe.options().ignore_index)?;
    let (teacher, student) = (&maps.pair.teacher, &maps.pair.student);
    for (target, like) in [(&wants.grad, student), (&wants.grad_teacher, teacher)] {
        target.as_ref().map_or(Ok(()), |target| target.check(like))?;
    }

    let zeros = |like: &Array| Values::zeros(like.dtype(), like.len());
    let mut grad = wants.grad.as_ref().map(|_| zeros(student));
    let mut grad_teacher = wants.grad_teacher.as_ref().map(|_| zeros(teacher));
    let mut rows = wants.channels.then(|| vec![0.0; plan.rows()]);
    let outcome = submit(
        machine,
        &plan,
        Submission {
            mask,
            upstream: wants.upstream,
            grad_student: grad.as_mut().map(Values::as_tensor_mut),
            grad_teacher: grad_teacher.as_mut().map(Values::as_tensor_mut),
            row_values: rows.as_deref_mut(),
            ..Submission::new(&plan, maps.teacher(), maps.student())
        },
    )?;

    let write = |target: &Option<Target>, gradient, like, overflowed| match (target, gradient) {
        (Some(target), Some(gradient)) => {
            target.write(gradient, like, (maps.shape, maps.order, overflowed)).map(Some)
        }
        _ => Ok(None),
    };
    let Overflowed { student: student_overflowed, teacher: teacher_overflowed } = outcome.overflowed;
    Ok(PairReport {
        value: Number(outcome.value()),
        shape: maps.shape.dims(),
        dtype: student.dtype().name(),
        teacher_dtype: teacher.dtype().name(),
        teacher: maps.pair.teacher_at.to_string(),
        student: maps.pair.student_at.to_string(),
        sum: Number(outcome.sum),
        divisor: Number(outcome.divisor),
        scale: Number(outcome.scale),
        per_channel: rows.map(|rows| channels(&rows, maps.shape.channels(), &outcome)),
        grad: write(&wants.grad, grad, student, student_overflowed)?,
        grad_teacher: write(&wants.grad_teacher, grad_teacher, teacher, teacher_overflowed)?,
    })
}

fn submit(machine: &Machine, plan: &Plan, submission: Submission<'_>) -> Result<Outcome, Failure> {
    let (teacher, student) = (submission.teacher.dtype(), submission.student.dtype());
    machine.backend.capability(plan, teacher, student).map_err(densekd::BackendError::from)?;
    let outcome = machine.backend.submit(submission)?;
    machine.backend.synchronise()?;
    Ok(outcome)
}

/// Whether each channel of each image is a row of its own.
pub(crate) const fn has_channels(norm: Norm) -> bool {
    !matches!(norm, Norm::Spatial)
}

/// What each channel adds to the value: its rows, one an image, in the order n C + c.
fn channels(rows: &[f64], channels: usize, outcome: &Outcome) -> Vec<Number> {
    let of = |c: usize| rows.iter().skip(c).step_by(channels.max(1)).sum();
    (0..channels).map(|c| Number(Outcome { sum: of(c), ..*outcome }.value())).collect()
}
