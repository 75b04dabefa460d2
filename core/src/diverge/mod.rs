//! How two normalised rows or vectors differ, one divergence a file.

mod cosine;
mod cross_entropy;
mod euclidean;
mod half_mse;
mod jensen_shannon;
mod kl;
mod masked;
mod mse;
mod reverse_kl;
mod score;
mod smooth_l1;
mod smoothed;

pub use cosine::Cosine;
pub use cross_entropy::CrossEntropy;
pub use euclidean::Euclidean;
pub use half_mse::HalfMse;
pub use jensen_shannon::JensenShannon;
pub use kl::Kl;
pub use masked::{MaskedCrossEntropy, MaskedKl};
pub use mse::Mse;
pub use reverse_kl::ReverseKl;
pub use score::{Hinge, Wasserstein};
pub use smooth_l1::SmoothL1;
pub use smoothed::{SmoothedCrossEntropy, SmoothedKl};

use crate::arithmetic::Arithmetic;
use crate::row::RowStatistics;
use crate::space::{Space, VectorSpace};

/// A divergence on a space: one term a position, and its cotangents.
///
/// On distributions a cotangent is taken with respect to the *logarithm* of the probability (so that one of
/// an underflowed probability is 0 and not infinity times 0); elsewhere with respect to the number itself.
/// [`Space::pull_student`] then gives the gradient, up to the normalisation's factor.
///
/// What is known of the whole row already (a KL divergence comes out of the statistics) is said by the
/// `..._from` functions, and saves the pass that would add it up.
#[diagnostic::on_unimplemented(message = "`{Self}` is not defined on the space `{S}`")]
pub trait Diverge<S: Space>: Copy + Send + Sync {
    /// Whether `f32` arithmetic is enough for `f32` and half tensors: each entry of value and gradients is right
    /// by itself. Elsewhere sums over the row are subtracted, and close or saturated rows would lose their
    /// gradient; those are evaluated in `f64`.
    const IN_F32: bool = false;

    /// Whether the student's gradient is q - p and nothing else, so that it needs the statistics alone.
    const PULLS_EXCESS: bool = false;

    /// The term of one position.
    fn term<R: Arithmetic>(&self, x: S::Point<R>) -> R;

    /// Derivative of the row's value with respect to log q (or s) here.
    fn student_cotangent<R: Arithmetic>(&self, x: S::Point<R>) -> R;

    /// Derivative of the row's value with respect to log p (or t) here.
    fn teacher_cotangent<R: Arithmetic>(&self, x: S::Point<R>) -> R;

    /// The row's value, where the statistics tell.
    fn value_from(&self, _statistics: &RowStatistics) -> Option<f64> {
        None
    }

    /// The sum of the student's cotangents, where it is known or not needed.
    fn student_total_from(&self, _statistics: &RowStatistics) -> Option<f64> {
        None
    }

    /// The sum of the teacher's cotangents, where it is known or not needed.
    fn teacher_total_from(&self, _statistics: &RowStatistics) -> Option<f64> {
        None
    }

    /// The gradient to the student before the normalisation's factor.
    #[inline(always)]
    fn student_gradient<R: Arithmetic>(&self, x: S::Point<R>, total: R) -> R {
        S::pull_student(x, self.student_cotangent(x), total)
    }

    /// The gradient to the teacher before the normalisation's factor.
    #[inline(always)]
    fn teacher_gradient<R: Arithmetic>(&self, x: S::Point<R>, total: R) -> R {
        S::pull_teacher(x, self.teacher_cotangent(x), total)
    }
}

/// A divergence of whole vectors: what the sum of its terms makes of it.
///
/// ```
/// use densekd_core::{DivergeVector, Euclidean, Unit};
/// assert_eq!((Euclidean.finish(0.25, true), Euclidean.slope(0.25)), (0.5, 1.0));
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not defined on vectors of the space `{S}`")]
pub trait DivergeVector<S: VectorSpace>: Diverge<S> {
    /// The value from the sum of the terms; `directions` where both vectors have one.
    fn finish(&self, sum: f64, directions: bool) -> f64 {
        let _ = directions;
        sum
    }

    /// The derivative of the value by the sum.
    fn slope(&self, sum: f64) -> f64 {
        let _ = sum;
        1.0
    }
}

/// `mass * log`, 0 where there is no mass (0 log 0 = 0) and infinite where the log is, however small the mass: a
/// probability that underflowed is not 0. A log out of range overflows with what mass there is.
#[inline(always)]
fn times_log<R: Arithmetic>(mass: R, log_mass: R, log: R) -> R {
    if log_mass == R::neg_infinity() {
        R::zero()
    } else if log == R::infinity() || (log == R::max_value() && mass > R::zero()) {
        R::infinity()
    } else {
        mass * log
    }
}
