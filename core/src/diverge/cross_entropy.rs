//! The cross-entropy of the student under the teacher.

use super::{Diverge, times_log};
use crate::arithmetic::Arithmetic;
use crate::row::RowStatistics;
use crate::space::{Distribution, Probabilities};

/// `-sum_{p > 0} p log q`: the KL divergence plus the teacher's entropy, so the same gradient to the student
/// and a floor that is not 0.
///
/// Cost: two sweeps. Source: the loss of mmdetection-distiller and of SKD's pixel-wise term.
///
/// ```
/// use densekd_core::{CrossEntropy, RowLoss, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), CrossEntropy);
/// assert!((loss.value(&[0.0_f32, 0.0], &[0.0, 0.0]) - 2.0_f64.ln()).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy;

impl Diverge<Distribution> for CrossEntropy {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        times_log(x.p, x.log_p, -x.log_q)
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.p
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        self.term(x)
    }

    fn student_total_from(&self, _statistics: &RowStatistics) -> Option<f64> {
        Some(-1.0)
    }

    #[inline(always)]
    fn student_gradient<R: Arithmetic>(&self, x: Probabilities<R>, _total: R) -> R {
        -x.excess
    }
}
