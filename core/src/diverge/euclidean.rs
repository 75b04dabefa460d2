//! The Euclidean distance.

use super::{Diverge, DivergeVector};
use crate::arithmetic::Arithmetic;
use crate::space::{Coordinates, Unit};

/// `|u_s - u_t|`, of unit vectors.
///
/// Gradient `(u_s - u_t) / |u_s - u_t|`, 0 where they are equal, through the normalisation. Source: arXiv 1612.03928,
/// equation 2.
///
/// ```
/// use densekd_core::{Epsilon, Euclidean, UnitLength, VectorLoss};
/// let loss = VectorLoss::new(UnitLength::at_least(Epsilon::ZERO), Euclidean);
/// assert_eq!(loss.value(&[1.0, 0.0], &[0.0, 3.0]), 2.0_f64.sqrt());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Euclidean;

impl Diverge<Unit> for Euclidean {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
        let e = x.difference();
        e * e
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
        x.difference() * R::from_f64(2.0)
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
        x.difference() * R::from_f64(-2.0)
    }
}

impl DivergeVector<Unit> for Euclidean {
    fn finish(&self, sum: f64, _directions: bool) -> f64 {
        libm::sqrt(sum)
    }

    fn slope(&self, sum: f64) -> f64 {
        if sum == 0.0 { 0.0 } else { 0.5 / libm::sqrt(sum) }
    }
}
