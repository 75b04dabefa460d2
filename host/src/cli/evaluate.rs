//! One pair of maps: value, channels and gradients.

use super::failure::Failure;
use super::machine::Machine;
use super::maps::{Map, Maps};
use super::options::Choice;
use super::output::Number;
use super::outputs::Gradients;
use super::positions::{PositionFiles, Positions};
use super::projection::{Part, ProjectionArgs};
use super::target::{GradientReport, Target};
use densekd::core::{Norm, Options, Order, Outcome, Shape, Term, Upstream};
use densekd::io::{Array, Values};
use densekd::{Submission, TermSubmission};
use serde::Serialize;

/// What is asked for besides the value.
pub(crate) struct Wants {
    /// The gradient from above.
    pub(crate) upstream: Upstream,
    /// Each channel's share.
    pub(crate) channels: bool,
    /// Where gradients go.
    pub(crate) gradients: Gradients<Option<Target>>,
}

/// What became of one pair.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PairReport {
    /// The loss.
    pub(crate) value: Number,
    /// `[N, C, H, W]` of the student's map.
    pub(crate) shape: [usize; 4],
    /// That of the teacher's, where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) teacher_shape: Option<[usize; 4]>,
    /// The type of the student's numbers.
    pub(crate) dtype: &'static str,
    /// The type of the teacher's numbers: for people, as JSON's `dtype` is the student's.
    #[serde(skip)]
    pub(crate) teacher_dtype: Option<&'static str>,
    /// Where the teacher's tensor was found.
    pub(crate) teacher: Option<String>,
    /// Where the student's tensor was found.
    pub(crate) student: String,
    /// The sum before divisor and scale.
    pub(crate) sum: Number,
    /// What the sum is divided by.
    pub(crate) divisor: Number,
    /// What the sum is multiplied by.
    pub(crate) scale: Number,
    /// What each channel adds to the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_channel: Option<Vec<Number>>,
    /// The gradients that were asked for.
    #[serde(flatten)]
    pub(crate) gradients: GradientReports,
}

/// What became of the gradients.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct GradientReports {
    /// To the student.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad: Option<GradientReport>,
    /// To the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad_teacher: Option<GradientReport>,
    /// To the projection's weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad_projection: Option<GradientReport>,
    /// To the projection's bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) grad_projection_bias: Option<GradientReport>,
}

impl GradientReports {
    /// Those that there are, with their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &GradientReport)> {
        let all = [
            ("grad", &self.grad),
            ("grad_teacher", &self.grad_teacher),
            ("grad_projection", &self.grad_projection),
            ("grad_projection_bias", &self.grad_projection_bias),
        ];
        all.into_iter().filter_map(|(name, report)| Some((name, report.as_ref()?)))
    }
}

/// Runs the loss on one pair, and writes its gradients.
pub(crate) fn evaluate(
    machine: &Machine,
    choice: &Choice,
    (maps, files, projection): (&Maps, &PositionFiles, &ProjectionArgs),
    wants: &Wants,
) -> Result<PairReport, Failure> {
    let (student, teacher) = (&maps.student, maps.teacher.as_ref());
    let term = maps.term(choice.options)?;
    let positions = Positions::read(files, student.shape, choice.options.takes_labels())?;
    let projection = projection.read(maps)?;
    let Gradients { student: to_student, teacher: to_teacher, projection: to_weight, bias: to_bias } =
        &wants.gradients;
    let tensors = [
        (to_student, Some(&student.tensor)),
        (to_teacher, teacher.map(|teacher| &teacher.tensor)),
        (to_weight, projection.weight.as_ref().map(|part| &part.tensor)),
        (to_bias, projection.bias.as_ref().map(|part| &part.tensor)),
    ];
    for (target, like) in tensors {
        target.as_ref().zip(like).map_or(Ok(()), |(target, like)| target.check(like))?;
    }

    let zeros = |like: &Array| Values::zeros(like.dtype(), like.len());
    let mut grad = to_student.as_ref().map(|_| zeros(&student.tensor));
    let mut grad_teacher = to_teacher.as_ref().and(teacher).map(|teacher| zeros(&teacher.tensor));
    let (inputs, outputs) = (student.shape.channels(), maps.teacher_shape().channels());
    let mut grad_projection =
        (to_weight.is_some() || to_bias.is_some()).then(|| (vec![0.0; inputs * outputs], vec![0.0; outputs]));
    let mut rows = rows(&term, wants.channels);
    let submission = TermSubmission {
        labels: positions.labels()?,
        mask: positions.mask(),
        projection: projection.as_projection(),
        upstream: wants.upstream,
        grad_student: grad.as_mut().map(Values::as_tensor_mut),
        grad_teacher: grad_teacher.as_mut().map(Values::as_tensor_mut),
        grad_projection: grad_projection.as_mut().map(|(weight, bias)| (&mut **weight, &mut **bias)),
        ..TermSubmission::new(&term, maps.teacher(), student.numbers())
    };
    let outcome =
        submit(machine, submission, rows.as_deref_mut(), &positions).map_err(|error| match error {
            Failure::Backend(error) => maps.fault(error),
            error => error,
        })?;

    let of_map = |target: &Option<Target>, gradient: Option<Values>, map: Option<&Map>, overflowed| match (
        target, gradient, map,
    ) {
        (Some(target), Some(gradient), Some(map)) => {
            target.write(gradient, &map.tensor, (map.shape, maps.order, overflowed)).map(Some)
        }
        _ => Ok(None),
    };
    let of_part = |target: &Option<Target>, gradient: Option<&[f64]>, part: &Option<Part>, dims| {
        let (Some(target), Some(gradient), Some(part)) = (target, gradient, part) else { return Ok(None) };
        let (gradient, overflowed) = part.narrow(gradient);
        target.write(gradient, &part.tensor, (Shape::new(dims)?, Order::Nchw, overflowed)).map(Some)
    };
    let (weight, bias) = grad_projection.as_ref().map(|(weight, bias)| (&**weight, &**bias)).unzip();
    let (teacher_shape, overflowed) = (maps.teacher_shape().dims(), outcome.overflowed);
    Ok(PairReport {
        value: Number(outcome.value()),
        shape: student.shape.dims(),
        teacher_shape: (teacher_shape != student.shape.dims()).then_some(teacher_shape),
        dtype: student.tensor.dtype().name(),
        teacher_dtype: teacher.map(|teacher| teacher.tensor.dtype().name()),
        teacher: teacher.map(|teacher| teacher.at.to_string()),
        student: student.at.to_string(),
        sum: Number(outcome.sum),
        divisor: Number(outcome.divisor),
        scale: Number(outcome.scale),
        per_channel: rows.map(|rows| channels(&rows, student.shape.channels(), &outcome)),
        gradients: GradientReports {
            grad: of_map(to_student, grad, Some(student), overflowed.student)?,
            grad_teacher: of_map(to_teacher, grad_teacher, teacher, overflowed.teacher)?,
            grad_projection: of_part(to_weight, weight, &projection.weight, [outputs, inputs, 1, 1])?,
            grad_projection_bias: of_part(to_bias, bias, &projection.bias, [outputs, 1, 1, 1])?,
        },
    })
}

/// A number for every row, of a loss that has rows.
fn rows(term: &Term, wanted: bool) -> Option<Vec<f64>> {
    match term {
        Term::Row(plan) if wanted => Some(vec![0.0; plan.rows()]),
        _ => None,
    }
}

fn submit(
    machine: &Machine,
    submission: TermSubmission<'_>,
    rows: Option<&mut [f64]>,
    positions: &Positions,
) -> Result<Outcome, Failure> {
    let outcome = match (submission.term, submission.teacher) {
        (Term::Row(plan), Some(teacher)) if rows.is_some() => {
            let TermSubmission { student, upstream, grad_student, grad_teacher, .. } = submission;
            let runs = machine.backend.capability(plan, teacher.dtype(), student.dtype());
            runs.map_err(densekd::BackendError::from)?;
            machine.backend.submit(Submission {
                mask: positions.counted(plan.shape(), plan.recipe().options().ignore_index)?,
                upstream,
                grad_student,
                grad_teacher,
                row_values: rows,
                ..Submission::new(plan, teacher, student)
            })?
        }
        _ => submission.submit(&*machine.backend)?,
    };
    machine.backend.synchronise()?;
    Ok(outcome)
}

/// Whether each channel of each image is a row of its own.
pub(crate) fn has_channels(options: &Options) -> bool {
    options.row().is_some_and(|options| !matches!(options.norm, Norm::Spatial))
}

/// What each channel adds to the value: its rows, one an image, in the order n C + c.
fn channels(rows: &[f64], channels: usize, outcome: &Outcome) -> Vec<Number> {
    let of = |c: usize| rows.iter().skip(c).step_by(channels.max(1)).sum();
    (0..channels).map(|c| Number(Outcome { sum: of(c), ..*outcome }.value())).collect()
}
