//! The smooth absolute difference.

use super::{Diverge, DivergeVector};
use crate::arithmetic::Arithmetic;
use crate::space::{Difference, Real};

/// `sum h(student - teacher)`, `h(d) = d^2 / 2` for `|d| < 1`, else `|d| - 1/2`: Huber's loss with threshold 1.
///
/// Gradient d, cut at -1 and 1. Source: Huber 1964; arXiv 1904.05068 for relations.
///
/// ```
/// use densekd_core::{Raw, SmoothL1, VectorLoss};
/// assert_eq!(VectorLoss::new(Raw, SmoothL1).value(&[0.0, 0.0], &[0.5, -3.0]), 0.125 + 2.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothL1;

impl Diverge<Real> for SmoothL1 {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Difference<R>) -> R {
        let (d, half) = (x.difference.abs(), R::from_f64(0.5));
        if d < R::one() { half * d * d } else { d - half }
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Difference<R>) -> R {
        let d = x.difference;
        if d.abs() < R::one() { d } else { d.signum() }
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Difference<R>) -> R {
        -self.student_cotangent(x)
    }

    fn student_total_from(&self, _statistics: &crate::RowStatistics) -> Option<f64> {
        Some(0.0)
    }

    fn teacher_total_from(&self, _statistics: &crate::RowStatistics) -> Option<f64> {
        Some(0.0)
    }
}

impl DivergeVector<Real> for SmoothL1 {}
