//! How large the gradient is, for the type that it is cast to.

use super::case::{Case, ratio};
use super::text::{number, optional};
use crate::backend::{BackendError, Submission};
use densekd_core::{DType, Plan, Recipe, RowOptions, TensorMut};
use half::f16;
use serde::Serialize;

/// The power of two that the largest entry is brought to: 64 times below the end of `f16`, since steps differ.
const TARGET: f64 = 10.0;

/// The gradient to the student of channel-wise distillation at tau = 4, weight 1.
///
/// ```
/// use densekd::core::{Mask, Order, Shape};
/// use densekd::{Cpu, doctor};
/// let (t, s) = ([0.0_f32, 1.0, 2.0, 4.0], [0.0_f32, 0.0, 1.0, 3.0]);
/// let (shape, order) = (Shape::new([1, 2, 1, 2])?, Order::Nchw);
/// let report = doctor::examine(&Cpu::new(), shape, order, t[..].into(), s[..].into(), Mask::ALL)?;
/// let gradient = report.gradient;
/// let scaled = gradient.largest * gradient.loss_scale.unwrap_or(1.0);
/// assert!((512.0..2048.0).contains(&scaled));
/// # Ok::<(), densekd::BackendError>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gradient {
    /// The largest finite |g|.
    #[serde(serialize_with = "number")]
    pub largest: f64,
    /// Entries that are NaN or infinite.
    pub non_finite: usize,
    /// Entries that are finite and not 0.
    pub nonzero: usize,
    /// The share of these that is 0 or subnormal in `f16`; NaN where there are none.
    #[serde(serialize_with = "number")]
    pub f16_underflow: f64,
    /// The power of two that, multiplied in before the cast, brings the largest to about 2^10; none where all
    /// are 0.
    #[serde(serialize_with = "optional")]
    pub loss_scale: Option<f64>,
    /// The share that would still underflow then.
    #[serde(serialize_with = "number")]
    pub f16_underflow_scaled: f64,
}

impl Gradient {
    /// Of the case's student.
    pub(super) fn of(case: Case<'_>) -> Result<Self, BackendError> {
        let plan = Plan::new(Recipe::new(RowOptions::CWD)?, case.shape, case.order)?;
        let length = case.shape.len();
        if case.student.dtype() == DType::F64 {
            let mut gradient = vec![0.0_f64; length];
            submit(case, &plan, gradient.as_mut_slice().into())?;
            Ok(Self::measure(&gradient))
        } else {
            let mut gradient = vec![0.0_f32; length];
            submit(case, &plan, gradient.as_mut_slice().into())?;
            Ok(Self::measure(&gradient))
        }
    }

    fn measure<E: Copy + Into<f64>>(gradient: &[E]) -> Self {
        let all = || gradient.iter().map(|&g| g.into()).map(f64::abs);
        let nonzero = || all().filter(|g| g.is_finite() && *g != 0.0);
        let largest = nonzero().fold(0.0, f64::max);
        let exponent = (TARGET - largest.log2()).round().clamp(-1000.0, 1000.0);
        let scale = if largest == 0.0 { 1.0 } else { exponent.exp2() };
        let (mut count, mut lost, mut lost_scaled) = (0, 0, 0);
        for g in nonzero() {
            count += 1;
            lost += usize::from(underflows(g));
            lost_scaled += usize::from(underflows(g * scale));
        }
        Self {
            largest,
            non_finite: all().filter(|g| !g.is_finite()).count(),
            nonzero: count,
            f16_underflow: ratio(lost, count),
            loss_scale: (largest != 0.0).then_some(scale),
            f16_underflow_scaled: ratio(lost_scaled, count),
        }
    }
}

fn submit(case: Case<'_>, plan: &Plan, gradient: TensorMut<'_>) -> Result<(), BackendError> {
    case.backend.submit(Submission {
        plan,
        teacher: case.teacher,
        student: case.student.into(),
        mask: case.mask,
        grad_student: Some(gradient),
        ..Submission::new(plan, case.teacher, case.student)
    })?;
    case.backend.synchronise()
}

fn underflows(g: f64) -> bool {
    f16::from_f64(g) < f16::MIN_POSITIVE
}
