//! Divergences whose ignored terms are dropped after the softmax (`ignore after`).

use super::{Diverge, times_log};
use crate::arithmetic::Arithmetic;
use crate::space::{Distribution, Probabilities};

/// A term where the position counts, else 0.
#[inline(always)]
fn counted<R: Arithmetic>(counted: R, term: R) -> R {
    if counted > R::zero() { term } else { R::zero() }
}

/// `sum c p (log p - log q)` over positions with c = 1, the softmax taken over all positions. Not a
/// divergence: it may be negative.
///
/// Gradient to the student `(q sum_j c_j p_j - c p) / tau`, to the teacher `J(c (log p - log q + 1))`.
/// Cost: two sweeps. Source: `cwd_loss.py` of `SuperGradients`.
///
/// ```
/// use densekd_core::{Diverge, MaskedKl, Probabilities};
/// let point = Probabilities { p: 0.5_f64, q: 0.25, excess: 0.25, log_ratio: 2.0_f64.ln(),
///     log_p: 0.5_f64.ln(), log_q: 0.25_f64.ln(), counted: 0.0 };
/// assert_eq!(MaskedKl.term(point), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedKl;

impl Diverge<Distribution> for MaskedKl {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        counted(x.counted, times_log(x.p, x.log_p, x.log_ratio))
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.counted * x.p
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        counted(x.counted, times_log(x.p, x.log_p, x.log_ratio) + x.p)
    }
}

/// `-sum c p log q` over positions with c = 1, the softmax taken over all positions.
///
/// Gradient to the student `(q sum_j c_j p_j - c p) / tau`, to the teacher `J(-c log q)`. Cost: two sweeps.
///
/// ```
/// use densekd_core::{Diverge, MaskedCrossEntropy, Probabilities};
/// let point = Probabilities { p: 0.5_f64, q: 0.25, excess: 0.25, log_ratio: 2.0_f64.ln(),
///     log_p: 0.5_f64.ln(), log_q: 0.25_f64.ln(), counted: 1.0 };
/// assert_eq!(MaskedCrossEntropy.term(point), 0.5 * 4.0_f64.ln());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaskedCrossEntropy;

impl Diverge<Distribution> for MaskedCrossEntropy {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        counted(x.counted, times_log(x.p, x.log_p, -x.log_q))
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.counted * x.p
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        self.term(x)
    }
}
