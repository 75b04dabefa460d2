//! Half the squared difference of standardised vectors.

use super::{Diverge, DivergeVector};
use crate::arithmetic::Arithmetic;
use crate::space::{Coordinates, Standardised};

/// `sum (z_s - z_t)^2 / 2`: of standardised vectors of K numbers `(K - 1) (1 - Pearson's correlation)`, up to eps.
///
/// Gradient `z_s - z_t`, through the standardisation. Source: arXiv 2207.02039.
///
/// ```
/// use densekd_core::{Epsilon, HalfMse, Standardise, VectorLoss};
/// let loss = VectorLoss::new(Standardise::new(Epsilon::ZERO), HalfMse);
/// assert!((loss.value(&[0.0, 1.0], &[1.0, 0.0]) - 2.0).abs() < 1e-15);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HalfMse;

impl HalfMse {
    /// The sums of terms, and of cotangent times coordinate of teacher and student, from those of `z_t e` and `e e`,
    /// e the difference of coordinates.
    pub(crate) const fn sums(along_teacher: f64, squares: f64) -> [f64; 3] {
        [0.5 * squares, -along_teacher, along_teacher + squares]
    }
}

/// Half the squared difference of coordinates, by the name that it has in a space.
macro_rules! half_squared {
    ($name:ident: $($space:ident),+) => {$(
        impl Diverge<$space> for $name {
            #[inline(always)]
            fn term<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                let e = x.difference();
                e * e * R::from_f64(0.5)
            }

            #[inline(always)]
            fn student_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                x.difference()
            }

            #[inline(always)]
            fn teacher_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                -x.difference()
            }
        }
    )+};
}

pub(super) use half_squared;

half_squared!(HalfMse: Standardised);

impl DivergeVector<Standardised> for HalfMse {}
