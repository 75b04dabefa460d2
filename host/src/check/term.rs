//! Any loss: rows by rows, and whole maps by the value of the whole.
//!
//! A map loss has no rows whose values could be subtracted one by one, so an entry costs two values of the whole
//! loss at every step of the ladder, which is left as soon as the derivative is known well enough. The arithmetic
//! is `f64` throughout, and so is the tolerance, beside the rounding to the stored type.

use super::grid::{Grid, element};
use super::ladder::{Difference, Ladder, Rung, STEPS};
use super::range::Range;
use super::report::{Entry, Report};
use super::survey::Random;
use super::{Numbers, Options, judge};
use crate::backend::{Backend, BackendError};
use crate::io::Values;
use crate::term::{TermSubmission, row_mask};
use densekd_core::{Error, MapPlan, Outcome, Tensor, Term, Upstream};
use std::collections::BTreeSet;

/// How far the value of a whole loss may be off, as a share of it.
const VALUE_ERROR: f64 = 16.0 * f64::EPSILON;

/// Entries that are not finite and are looked at besides those asked for.
const ODD: usize = 4;

/// Checks the gradient to the student of any loss against differences of its value, as [`check`](super::check)
/// does for a row loss. Of the submission the inputs are read; its outputs are left alone.
///
/// An entry of a map loss whose gradient is 0 by the loss's definition where no derivative exists (that of a zero
/// vector's direction) counts as unresolved.
///
/// Cost of a map loss: some ten values of the whole loss for each entry.
///
/// # Errors
/// [`BackendError`]: inputs that do not fit the loss, or a backend that does not run it.
///
/// ```
/// use densekd::check::{Options, check_term};
/// use densekd::core::{Loss, Order, Shape, Term};
/// use densekd::TermSubmission;
/// let (student, teacher) = (Shape::new([2, 2, 3, 3])?, Shape::new([2, 4, 3, 3])?);
/// let term = Term::new(Loss::At.defaults(), student, teacher, Order::Nchw)?;
/// let t: Vec<f32> = (0..72).map(|i| (i * 37 % 11) as f32 - 5.0).collect();
/// let s: Vec<f32> = (0..36).map(|i| (i * 29 % 13) as f32 - 6.0).collect();
/// let submission = TermSubmission::new(&term, Some(t.as_slice().into()), s.as_slice());
/// let report = check_term(&densekd::Cpu::new(), &submission, Options::default())?;
/// assert!(report.ok && report.entries == 36, "{report}");
/// # Ok::<(), densekd::BackendError>(())
/// ```
pub fn check_term(
    backend: &dyn Backend,
    submission: &TermSubmission<'_>,
    options: Options,
) -> Result<Report, BackendError> {
    match submission.term {
        Term::Row(plan) => {
            let teacher = submission.teacher.ok_or(Error::TeacherMissing)?;
            let mask = row_mask(plan, submission.labels, submission.mask)?;
            super::check(backend, plan, teacher, submission.student, mask, options)
        }
        Term::Map(plan) => Probe { backend, plan, given: submission }.check(options),
    }
}

/// A map loss whose student is perturbed.
struct Probe<'a> {
    backend: &'a dyn Backend,
    plan: &'a MapPlan,
    given: &'a TermSubmission<'a>,
}

/// The gradient in range.
struct Gradient {
    stored: Values,
    upstream: f64,
    outcome: Outcome,
    largest: f64,
}

impl Probe<'_> {
    fn check(&self, options: Options) -> Result<Report, BackendError> {
        let student = self.given.student;
        let Gradient { stored, upstream, outcome, largest } = self.gradient()?;
        let stored = stored.as_tensor();
        let numbers = Numbers::new(true, student.dtype());
        let factor = if outcome.divisor == 0.0 { 0.0 } else { outcome.scale / outcome.divisor };
        let mut report = Report {
            backend: self.backend.name(),
            dtype: student.dtype().name(),
            scale: "tensor",
            tolerance: numbers.tolerance,
            rtol: numbers.rounding,
            upstream,
            ..Report::default()
        };
        if !outcome.value().is_finite() {
            report.skipped_non_finite = 1;
            report.settle(None);
            return Ok(report);
        }
        let places = places(stored, options);
        let enough = 1e-2 * numbers.tolerance * largest / (factor * upstream).abs();
        let differences = self.differences(&places, outcome.sum, enough)?;
        let found = differences.iter().flatten().map(|found| (found.slope * factor * upstream).abs());
        let scale = found.filter(|x| x.is_finite()).fold(largest, f64::max);
        let floor = numbers.floor.max(numbers.tensor_floor * scale);
        report.atol = floor / upstream;
        let grid = Grid::new(self.plan.student(), self.plan.order());
        let mut images = BTreeSet::new();
        for (&flat, difference) in places.iter().zip(differences) {
            let analytic = element(stored, flat);
            let judged = difference.and_then(|difference| {
                let unsure = difference.error * (factor * upstream).abs();
                let undefined = analytic == 0.0 && unsure > numbers.tolerance * scale;
                let (of, by) = ((analytic, difference), factor * upstream);
                let judged = judge(1.0, &numbers, of, by, (scale, floor)).filter(|_| !undefined);
                judged.map(|judged| (judged, difference))
            });
            let Some((judged, difference)) = judged else {
                report.unresolved += 1;
                continue;
            };
            let index = grid.index(flat);
            images.insert(index[0]);
            report.entries += 1;
            report.note_eps(difference.eps);
            let entry = Entry {
                index,
                analytic: analytic / upstream,
                numeric: difference.slope * factor,
                error: judged.error,
            };
            report.see(entry, judged.allowed);
        }
        report.rows = images.len();
        report.settle(None);
        Ok(report)
    }

    fn submit(&self, submission: TermSubmission<'_>) -> Result<Outcome, BackendError> {
        let outcome = submission.submit(self.backend)?;
        self.backend.synchronise()?;
        Ok(outcome)
    }

    /// Asks for the gradient until its largest entry is in the stored type's range.
    fn gradient(&self) -> Result<Gradient, BackendError> {
        let student = self.given.student;
        let mut range = Range::of(student.dtype());
        let mut exponent = 0;
        let mut attempt = 0;
        loop {
            let upstream = 2.0_f64.powi(exponent);
            let mut stored = Values::zeros(student.dtype(), student.len());
            let outcome = self.submit(TermSubmission {
                upstream: Upstream::new(upstream)?,
                grad_student: Some(stored.as_tensor_mut()),
                ..self.given.again(student)
            })?;
            let sizes = stored.to_f64().into_iter().map(f64::abs);
            let largest = sizes.filter(|x| x.is_finite()).fold(0.0, f64::max);
            let by = range.shift(outcome.overflowed.student, largest);
            attempt += 1;
            if by == 0 || attempt == 5 {
                return Ok(Gradient { stored, upstream, outcome, largest });
            }
            exponent = (exponent + by).clamp(-900, 900);
        }
    }

    /// The derivative of the sum by each of the entries; none where it cannot be told.
    fn differences(
        &self,
        places: &BTreeSet<usize>,
        start: f64,
        enough: f64,
    ) -> Result<Vec<Option<Difference>>, BackendError> {
        let mut student = numbers(self.given.student);
        let unit = typical(&student);
        let mut one = |flat: usize| {
            let centre = student.get(flat).copied().unwrap_or(f64::NAN);
            if !centre.is_finite() {
                return Ok(None);
            }
            let mut value = |x: f64| {
                student[flat] = x;
                self.submit(self.given.again(Tensor::F64(&student))).map(|outcome| outcome.sum)
            };
            let mut ladder = Ladder::new();
            for step in 1..=STEPS {
                let h = unit * 0.25_f64.powi(step);
                let (above, below) = (centre + h, centre - h);
                let (plus, minus) = (value(above)?, value(below)?);
                let (distance, second) = (above - below, plus + minus - 2.0 * start);
                // Where a step was rounded the two sides differ, and the curvature shows in the difference.
                let uneven = 2.0 * second * ((above - centre) - (centre - below)) / distance;
                ladder.push(Rung {
                    distance,
                    difference: plus - minus - uneven,
                    noise: VALUE_ERROR * (plus.abs() + minus.abs()),
                    second,
                });
                if ladder.error() <= enough {
                    break;
                }
            }
            student[flat] = centre;
            Ok(ladder.difference())
        };
        places.iter().map(|&flat| one(flat)).collect()
    }
}

/// The numbers, exactly.
fn numbers(tensor: Tensor<'_>) -> Vec<f64> {
    (0..tensor.len()).map(|flat| element(tensor, flat)).collect()
}

/// The size of the numbers, a power of two, so that most steps are exact.
fn typical(numbers: &[f64]) -> f64 {
    let finite = || numbers.iter().map(|x| x.abs()).filter(|x| x.is_finite());
    let largest = finite().fold(0.0, f64::max);
    if largest == 0.0 {
        return 1.0;
    }
    let (count, sum) = finite().fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + (x / largest).powi(2)));
    (largest * (sum / count).sqrt()).log2().floor().exp2()
}

/// Half of them the largest entries, the others any; and a few that are not finite.
fn places(gradient: Tensor<'_>, options: Options) -> BTreeSet<usize> {
    let len = gradient.len();
    let wanted = options.entries.clamp(1, len.max(1));
    let size = |flat: usize| element(gradient, flat).abs();
    let (mut finite, odd): (Vec<usize>, Vec<usize>) = (0..len).partition(|&flat| size(flat).is_finite());
    let top = wanted.div_ceil(2);
    if (1..finite.len()).contains(&top) {
        finite.select_nth_unstable_by(top, |&a, &b| size(b).total_cmp(&size(a)).then(a.cmp(&b)));
    }
    let mut random = Random::new(options.seed);
    for i in top..wanted.min(finite.len()) {
        let other = i + random.below(finite.len() - i);
        finite.swap(i, other);
    }
    finite.into_iter().take(wanted).chain(odd.into_iter().take(ODD)).collect()
}
