//! The gradient against differences of the value, on the user's own tensors: what
//! `torch.autograd.gradcheck` does, made for rows ([`check()`]); [`check_term`] takes any loss.
//!
//! # What is compared
//! The gradient is the backend's, in the student's type and memory order. The value is the backend's too, of
//! copies of the entries' rows widened to `f64` (exactly) and perturbed in one entry each. An entry is in one
//! row, so the rows' values are subtracted row by row and no digit is lost to the other rows' sum. For the
//! cross-entropy the rows' KL divergences are taken: they differ from it by the teacher's entropy, in which the
//! student does not occur and most digits would be lost.
//!
//! # What can be told
//! With x = h/tau for a step h, a row's KL divergence is
//! `V(x) = V - p x + log(1 + q (e^x - 1))`, so a central difference is `(q - p)/tau` up to
//! `q (1 - q) (1 - 2 q) x^2 / (6 tau)`, and up to the noise `2 d V(x) / (2 x tau)` of values that are good to a
//! share d, 1e-13. Differences at h, h/4, h/16, ... are combined (Richardson), each order taking x^2 more away,
//! and among all combinations the one with the least sum of spread and noise is kept, with that sum as its
//! error. What remains is the noise, about `d (V/x + q x/2)`, at the best x, which is some sqrt(2 V / q) or 1/4
//! where that is more:
//! - far off (V about 1, the row's largest |q - p| = g): 1e-13 V / g, thus 1e-9 of g for g = 1e-4;
//! - near agreement (V = 1e-12, g about q sqrt(2 V)): 1e-13 sqrt(V/q) / sqrt(V) = 1e-13 / sqrt(q), thus 1e-10 of
//!   g for q = 1e-6. That V itself is tiny costs nothing, because V has no cancellation.
//!
//! To the noise belong, too, the rounding of exponents far from 0 (2^-50 of the row's range over tau), of sums whose
//! terms have either sign (an epsilon, a mask in the softmax) and of interpolated logits; a step that rounding makes
//! unequal on its two sides is corrected by the curvature.
//!
//! So a difference is good to some 1e-9 of the row's largest entry, and what limits the check is the gradient:
//! its arithmetic is held to 2e-6 of the row's largest entry in `f32`. The tolerance is 1e-5 of it in `f32`
//! arithmetic (that of `f32`, `f16` and `bf16` tensors) and 1e-7 in `f64`, plus one rounding to the stored type
//! (`rtol` of the entry: 2^-24, 2^-11, 2^-8), plus `atol` and the difference's own error. `atol` is half the stored
//! type's least number and at least 1e-9 of the tensor's largest entry (1e-15 in `f64`), below which rows may be
//! lost to the arithmetic. Where that error is larger than
//! the tolerance the entry is counted as unresolved: neither right nor wrong.
//!
//! Half-precision gradients of close tensors would be 0 in the stored type. The gradient is asked for with an
//! upstream gradient, a power of two, that brings its largest entry into range (and is divided by it again), as
//! a loss scale does in training.

mod grid;
mod ladder;
mod number;
mod probe;
mod range;
mod report;
mod survey;
mod term;

use crate::backend::{Backend, BackendError, Submission};
use crate::io::Values;
use densekd_core::{DType, Inputs, Mask, Norm, Plan, Tensor, Upstream};
use grid::{RowGrid, element};
use ladder::Difference;
use probe::{Place, Probe};
use range::Range;
pub use report::{Entry, Failure, Report};
use std::collections::{BTreeMap, BTreeSet};
use survey::{Survey, finite_rows};
pub use term::check_term;

/// How much is checked.
///
/// ```
/// let options = densekd::check::Options { entries: 8, ..Default::default() };
/// assert_eq!(options.seed, 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// How many entries are perturbed, at least 1. Some are the largest of their rows.
    pub entries: usize,
    /// Picks the others; the same seed picks the same ones.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { entries: 64, seed: 0 }
    }
}

/// Checks the gradient to the student against differences of the value (see the [module](self)).
///
/// Positions that are ignored before the softmax, and images that are not summed, must have gradient exactly 0:
/// all of them are looked at. Rows whose value is NaN or infinite cannot be checked and are counted, as are
/// entries whose differences or scale overflow; where nothing else is left the check fails. A gradient that is
/// NaN where the value is finite is a failure.
///
/// Cost: a few gradients, one in most cases, and 25 values of the chosen entries' rows (of whole images under
/// `upsample`). Memory: the gradient, a number a row, and 24 MiB or one row's copies.
///
/// # Errors
/// [`BackendError`]: tensors that do not fit the plan, or a backend that does not run it on these types or on
/// `f64`.
///
/// ```
/// use densekd::check::{Options, check};
/// use densekd::core::{Mask, Order, Plan, Recipe, RowOptions, Shape};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 3, 4, 5])?, Order::Nchw)?;
/// let teacher: Vec<f32> = (0..60).map(|i| (i * 37 % 11) as f32).collect();
/// let student: Vec<f32> = teacher.iter().map(|t| t * 0.999).collect();
/// let (t, s) = (teacher.as_slice().into(), student.as_slice().into());
/// let report = check(&densekd::Cpu::new(), &plan, t, s, Mask::ALL, Options::default())?;
/// assert!(report.ok && report.max_error < report.tolerance, "{report}");
/// assert!(report.to_string().ends_with("ok"));
/// # Ok::<(), densekd::BackendError>(())
/// ```
pub fn check(
    backend: &dyn Backend,
    plan: &Plan,
    teacher: Tensor<'_>,
    student: Tensor<'_>,
    mask: Mask<'_>,
    options: Options,
) -> Result<Report, BackendError> {
    // Checked here, since a submission's first complaint would be of a gradient that nobody handed in.
    Inputs::new(plan, teacher, student, mask)?;
    let probe = Probe { backend, plan, teacher, student, mask, rows: RowGrid::new(plan) };
    let Gradient { stored, upstream, finite, skipped, survey } = gradient(&probe)?;
    let stored = stored.as_tensor();
    let places = survey.places(&probe, stored, &finite, (options.entries, options.seed));
    let differences = probe.differences(&places)?;

    let numbers = Numbers::of(plan, teacher.dtype(), student.dtype());
    let divisor = plan.divisor(&mask);
    let factor = if divisor == 0.0 { 0.0 } else { plan.recipe().scale() / divisor };
    let scales = row_scales(&survey, &places, &differences, factor * upstream);
    // The least part of the largest gradient that a row can have which arithmetic has to hold.
    let tau = plan.recipe().options().tau.get();
    let natural = 1e-38 * (factor * upstream).abs() / tau;
    let floor = numbers.floor.max(numbers.tensor_floor * survey.largest).max(natural);
    let mut report = Report {
        backend: backend.name(),
        dtype: student.dtype().name(),
        scale: "row",
        tolerance: numbers.tolerance,
        rtol: numbers.rounding,
        atol: floor / upstream,
        upstream,
        ignored: survey.left_out,
        skipped_non_finite: skipped,
        ..Report::default()
    };
    let mut checked_rows = BTreeSet::new();
    for (place, difference) in places.iter().zip(&differences) {
        let Some(difference) = difference else {
            // The row's value is finite, and no two steps away from it are. Other rows are counted already.
            report.unresolved += usize::from(finite.get(place.row) == Some(&true));
            continue;
        };
        let scale = scales.get(&place.row).copied().unwrap_or(0.0);
        let analytic = element(stored, place.flat);
        let judged = judge(tau, &numbers, (analytic, *difference), factor * upstream, (scale, floor));
        let Some(Judgement { error, allowed }) = judged else {
            report.unresolved += 1;
            continue;
        };
        checked_rows.insert(place.row);
        report.entries += 1;
        report.note_eps(difference.eps);
        let index = probe.rows.grid().index(place.flat);
        let numeric = difference.slope * factor;
        report.see(Entry { index, analytic: analytic / upstream, numeric, error }, allowed);
    }
    report.rows = checked_rows.len();
    report.settle(survey.not_zero.map(|flat| Entry {
        index: probe.rows.grid().index(flat),
        analytic: element(stored, flat) / upstream,
        numeric: 0.0,
        error: f64::INFINITY,
    }));
    Ok(report)
}

/// The gradient in range, and what it is made of.
struct Gradient {
    stored: Values,
    upstream: f64,
    finite: Vec<bool>,
    /// Rows of the plan whose value is not finite.
    skipped: usize,
    survey: Survey,
}

/// Asks for the gradient until its largest entry is in the stored type's range.
fn gradient(probe: &Probe<'_>) -> Result<Gradient, BackendError> {
    let Probe { backend, plan, teacher, student, mask, .. } = *probe;
    backend.capability(plan, teacher.dtype(), student.dtype())?;
    let mut range = Range::of(student.dtype());
    // A scale that is already large may overflow with a step from nothing, which makes NaN of 0.
    if plan.recipe().scale().abs() > 1e12 {
        range.from_nothing = 0;
    }
    let mut exponent = 0;
    let mut attempt = 0;
    loop {
        let upstream = 2.0_f64.powi(exponent);
        let mut stored = Values::zeros(student.dtype(), student.len());
        let mut row_values = vec![0.0; plan.rows()];
        let outcome = backend.submit(Submission {
            mask,
            upstream: Upstream::new(upstream)?,
            grad_student: Some(stored.as_tensor_mut()),
            row_values: Some(&mut row_values),
            ..Submission::new(plan, teacher, student)
        })?;
        backend.synchronise()?;
        let finite = finite_rows(probe, &row_values);
        let survey = Survey::new(probe, stored.as_tensor(), &finite);
        let by = range.shift(outcome.overflowed.student, survey.largest);
        attempt += 1;
        if by == 0 || attempt == 5 {
            let skipped = row_values.iter().filter(|value| !value.is_finite()).count();
            return Ok(Gradient { stored, upstream, finite, skipped, survey });
        }
        exponent = (exponent + by).clamp(-900, 900);
    }
}

/// What the types allow.
struct Numbers {
    stored: DType,
    /// Of the row's largest entry.
    tolerance: f64,
    /// Of the entry.
    rounding: f64,
    /// Half the least stored number; the least normal one where arithmetic may flush.
    floor: f64,
    /// Of the tensor's largest entry.
    tensor_floor: f64,
}

impl Numbers {
    fn of(plan: &Plan, teacher: DType, student: DType) -> Self {
        let wide = teacher == DType::F64
            || student == DType::F64
            || matches!(plan.recipe().options().norm, Norm::ChannelMean | Norm::None);
        Self::new(wide, student)
    }

    /// `wide`: arithmetic in `f64`.
    fn new(wide: bool, student: DType) -> Self {
        let (tolerance, tensor_floor) = if wide { (1e-7, 1e-15) } else { (1e-5, 1e-9) };
        let (rounding, floor) = match student {
            DType::F64 => (2.0_f64.powi(-53), f64::MIN_POSITIVE),
            DType::F16 => (2.0_f64.powi(-11), 2.0_f64.powi(-25)),
            DType::Bf16 => (2.0_f64.powi(-8), 2.0_f64.powi(-126)),
            _ => (2.0_f64.powi(-24), 2.0_f64.powi(-126)),
        };
        Self { stored: student, tolerance, rounding, floor, tensor_floor }
    }
}

/// What each row's entries are measured by: its largest, stored or found by a difference, so that a gradient
/// that is 0 throughout is not measured by itself.
fn row_scales(
    survey: &Survey,
    places: &[Place],
    differences: &[Option<Difference>],
    factor: f64,
) -> BTreeMap<usize, f64> {
    let mut scales = BTreeMap::new();
    for (place, difference) in places.iter().zip(differences) {
        let scale = scales
            .entry(place.row)
            .or_insert_with(|| survey.row_max.get(place.row).copied().unwrap_or_default());
        let found = difference.map_or(0.0, |difference| (difference.slope * factor).abs());
        if found.is_finite() {
            *scale = scale.max(found);
        }
    }
    scales
}

/// An entry's error as a share of its row's largest, and what is allowed of it.
#[derive(Clone, Copy)]
struct Judgement {
    error: f64,
    allowed: f64,
}

/// None where the difference does not tell.
fn judge(
    unit: f64,
    numbers: &Numbers,
    (analytic, difference): (f64, Difference),
    factor: f64,
    (scale, floor): (f64, f64),
) -> Option<Judgement> {
    let numeric = difference.slope * factor;
    let unsure = difference.error * factor.abs();
    if !analytic.is_finite() {
        // A gradient too large for its type is infinite by right.
        let stored = Values::from_f64(numbers.stored, &[numeric]).to_f64();
        let error = if stored.first() == Some(&analytic) { 0.0 } else { f64::INFINITY };
        return Some(Judgement { error, allowed: numbers.tolerance });
    }
    // A scale that overflows leaves nothing to compare, and NaN would pass below.
    if ![numeric, unsure, floor].iter().all(|x| x.is_finite()) {
        return None;
    }
    let share = |part: f64| if part > 0.0 { part / scale } else { 0.0 };
    let error = share((analytic - numeric).abs() - floor - unsure);
    let allowed = numbers.tolerance + share(numbers.rounding * numeric.abs());
    let resolved =
        (numbers.tolerance * scale).max(1e-12 * difference.curvature * unit * factor.abs()).max(floor);
    // An entry that is off by more than its difference is wrong however unsure that is.
    (unsure <= resolved || error > allowed).then_some(Judgement { error, allowed })
}
