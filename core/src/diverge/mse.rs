//! The squared difference.

use super::{Diverge, DivergeVector};
use crate::arithmetic::Arithmetic;
use crate::space::{Coordinates, Difference, Distribution, Probabilities, Real, Standardised, Unit};

/// `sum (student - teacher)^2`, of probabilities, of coordinates or of plain numbers.
///
/// Gradient `2 (student - teacher)`, through the softmax where there is one. Cost: two sweeps of
/// distributions, one of numbers. Source: `divergence mse` of `TorchDistiller`.
///
/// ```
/// use densekd_core::{Mse, RowLoss, Softmax, Temperature};
/// let loss = RowLoss::new(Softmax::new(Temperature::ONE), Mse);
/// let value = loss.value(&[0.0_f32, 0.0], &[f32::ln(3.0), 0.0]);
/// assert!((value - 0.125).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mse;

impl Diverge<Distribution> for Mse {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        x.excess * x.excess
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        -(x.q + x.q) * x.excess
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Probabilities<R>) -> R {
        (x.p + x.p) * x.excess
    }
}

impl Diverge<Real> for Mse {
    #[inline(always)]
    fn term<R: Arithmetic>(&self, x: Difference<R>) -> R {
        x.difference * x.difference
    }

    #[inline(always)]
    fn student_cotangent<R: Arithmetic>(&self, x: Difference<R>) -> R {
        x.difference + x.difference
    }

    #[inline(always)]
    fn teacher_cotangent<R: Arithmetic>(&self, x: Difference<R>) -> R {
        -(x.difference + x.difference)
    }

    fn student_total_from(&self, _statistics: &crate::RowStatistics) -> Option<f64> {
        Some(0.0)
    }

    fn teacher_total_from(&self, _statistics: &crate::RowStatistics) -> Option<f64> {
        Some(0.0)
    }
}

macro_rules! of_coordinates {
    ($($space:ident),+) => {$(
        impl Diverge<$space> for Mse {
            #[inline(always)]
            fn term<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                Diverge::<Real>::term(self, Difference { difference: x.difference() })
            }

            #[inline(always)]
            fn student_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                Diverge::<Real>::student_cotangent(self, Difference { difference: x.difference() })
            }

            #[inline(always)]
            fn teacher_cotangent<R: Arithmetic>(&self, x: Coordinates<R>) -> R {
                Diverge::<Real>::teacher_cotangent(self, Difference { difference: x.difference() })
            }
        }

        impl DivergeVector<$space> for Mse {}
    )+};
}

of_coordinates!(Unit, Standardised);

impl DivergeVector<Real> for Mse {}
