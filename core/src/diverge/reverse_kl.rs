//! The Kullback-Leibler divergence of the teacher from the student.

use super::{Diverge, times_log};
use crate::arithmetic::Arithmetic;
use crate::row::RowStatistics;
use crate::space::{Distribution, Probabilities};

/// `sum_{q > 0} q (log q - log p)`: mode-seeking where the KL divergence is mass-covering.
///
/// Gradient to the student `q (log q - log p - value) / tau`, to the teacher `(p - q) / tau`. Each term is
/// taken with `p - q` added, which sums to 0 over the row and makes every term at least 0. Cost: two sweeps.
/// Source: arXiv 2306.08543.
///
/// ```
/// use densekd_core::{Kl, ReverseKl, RowLoss, Softmax, Temperature};
/// let softmax = Softmax::new(Temperature::ONE);
/// let (a, b) = ([0.5_f32, -1.0, 0.25], [0.0, 1.0, 0.5]);
/// let reverse = RowLoss::new(softmax, ReverseKl).value(&a, &b);
/// assert!((reverse / RowLoss::new(softmax, Kl).value(&b, &a) - 1.0).abs() < 1e-6);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseKl;

impl Diverge<Distribution> for ReverseKl {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        let r = x.log_ratio;
        if r.abs() <= R::one() {
            x.q * (r * r * r.expm1_rest())
        } else {
            x.excess + times_log(x.q, x.log_q, -r)
        }
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        times_log(x.q, x.log_q, -x.log_ratio)
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.q
    }

    fn value_from(&self, statistics: &RowStatistics) -> Option<f64> {
        statistics.student_is_empty().then_some(0.0)
    }

    fn teacher_total_from(&self, statistics: &RowStatistics) -> Option<f64> {
        Some(if statistics.student_is_empty() { 0.0 } else { -1.0 })
    }

    #[inline(always)]
    fn teacher_gradient<R: Arithmetic>(&self, x: Probabilities<R>, total: R) -> R {
        // The sum of q is 1, unless the student has no distribution at all.
        if total == R::zero() { total } else { x.excess }
    }
}
