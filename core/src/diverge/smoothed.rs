//! Divergences with an epsilon inside the logarithms.

use super::Diverge;
use crate::Epsilon;
use crate::arithmetic::Arithmetic;
use crate::space::{Distribution, Probabilities};

/// `sum p (log(p + eps) - log(q + eps))`. Not a divergence: it may be slightly negative.
///
/// Gradient to the student `J(-p / (q + eps))`. Cost: two sweeps, with scalar logarithms. Source:
/// `CWDFeatureLoss` of `PaddleDetection` (eps 1e-5).
///
/// ```
/// use densekd_core::{Epsilon, RowLoss, SmoothedKl, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), SmoothedKl::new(Epsilon::new(1e-5)?));
/// assert!(loss.value(&[0.0_f32, f32::NEG_INFINITY], &[f32::NEG_INFINITY, 0.0]).is_finite());
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothedKl {
    eps: f64,
}

impl SmoothedKl {
    /// A KL divergence with this epsilon inside both logarithms.
    pub const fn new(eps: Epsilon) -> Self {
        Self { eps: eps.get() }
    }

    /// log(p + eps) - log(q + eps).
    fn log_ratio<R: Arithmetic>(self, x: Probabilities<R>) -> R {
        let eps = R::from_f64(self.eps);
        let smaller = if x.excess > R::zero() { x.q } else { x.p } + eps;
        let ratio = (x.excess.abs() / smaller).ln_1p();
        if x.excess > R::zero() { ratio } else { -ratio }
    }
}

impl Diverge<Distribution> for SmoothedKl {
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        x.p * self.log_ratio(x)
    }

    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.q * x.p / (x.q + R::from_f64(self.eps))
    }

    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        x.p * (self.log_ratio(x) + x.p / (x.p + R::from_f64(self.eps)))
    }
}

/// `-sum p log(q + eps)`.
///
/// Gradient to the student `J(-p / (q + eps))`. Cost: two sweeps, with scalar logarithms.
///
/// ```
/// use densekd_core::{Epsilon, RowLoss, SmoothedCrossEntropy, Softmax, Temperature};
/// let loss = SmoothedCrossEntropy::new(Epsilon::new(1.0)?);
/// let value = RowLoss::new(Softmax::new(Temperature::ONE), loss).value(&[0.0_f32, 0.0], &[0.0, 0.0]);
/// assert!((value + 1.5_f64.ln()).abs() < 1e-7);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothedCrossEntropy {
    eps: f64,
}

impl SmoothedCrossEntropy {
    /// A cross-entropy with this epsilon inside the logarithm.
    pub const fn new(eps: Epsilon) -> Self {
        Self { eps: eps.get() }
    }
}

impl Diverge<Distribution> for SmoothedCrossEntropy {
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.p * (x.q + R::from_f64(self.eps)).ln()
    }

    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -x.q * x.p / (x.q + R::from_f64(self.eps))
    }

    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        self.term(x)
    }
}
