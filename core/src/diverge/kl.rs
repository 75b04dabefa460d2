//! The Kullback-Leibler divergence of the student from the teacher.

use super::{Diverge, times_log};
use crate::arithmetic::Arithmetic;
use crate::row::RowStatistics;
use crate::space::{Distribution, Probabilities};

/// `sum_{p > 0} p (log p - log q)`: at least 0, and exactly 0 for equal distributions.
///
/// Gradient to the student's logits `(q - p) / tau`, to the teacher's `p (log p - log q - value) / tau`.
/// Cost: the value comes out of the statistics, in one sweep. Source: Kullback and Leibler 1951; in
/// distillation arXiv 1503.02531, over positions arXiv 2011.13256.
///
/// ```
/// use densekd_core::{Kl, RowLoss, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), Kl);
/// assert_eq!(loss.value(&[1.0_f32, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kl;

impl Diverge<Distribution> for Kl {
    const IN_F32: bool = true;
    const PULLS_EXCESS: bool = true;

    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        times_log(x.p, x.log_p, x.log_ratio)
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.p
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        self.term(x)
    }

    fn value_from(&self, statistics: &RowStatistics) -> Option<f64> {
        Some(statistics.kl)
    }

    fn student_total_from(&self, _statistics: &RowStatistics) -> Option<f64> {
        Some(-1.0)
    }

    fn teacher_total_from(&self, statistics: &RowStatistics) -> Option<f64> {
        Some(statistics.kl)
    }

    #[inline(always)]
    fn student_gradient<R: Arithmetic>(&self, x: Probabilities<R>, _total: R) -> R {
        -x.excess
    }
}
