//! How two normalised rows differ, one divergence a file.

mod cross_entropy;
mod jensen_shannon;
mod kl;
mod masked;
mod mse;
mod reverse_kl;
mod smoothed;

pub use cross_entropy::CrossEntropy;
pub use jensen_shannon::JensenShannon;
pub use kl::Kl;
pub use masked::{MaskedCrossEntropy, MaskedKl};
pub use mse::Mse;
pub use reverse_kl::ReverseKl;
pub use smoothed::{SmoothedCrossEntropy, SmoothedKl};

use crate::arithmetic::Arithmetic;
use crate::row::RowStatistics;
use crate::space::Space;

/// A divergence on a space: one term a position, and its cotangents.
///
/// On distributions a cotangent is taken with respect to the *logarithm* of the probability (so that one of
/// an underflowed probability is 0 and not infinity times 0); on reals with respect to the number itself.
/// [`Space::pull_student`] then gives the gradient, up to the normalisation's factor.
///
/// What is known of the whole row already (a KL divergence comes out of the statistics) is said by the
/// `..._from` functions, and saves the pass that would add it up.
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
