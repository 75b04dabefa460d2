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

/// `x` where there is mass, 0 where there is none: 0 log 0 = 0.
#[inline(always)]
fn where_mass<R: Arithmetic>(mass: R, x: R) -> R {
    if mass > R::zero() { x } else { R::zero() }
}
