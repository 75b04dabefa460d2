//! Vectors of mean 0 and standard deviation 1.

use super::{NormalizeVector, Scaled};
use crate::Epsilon;
use crate::map::Moments;
use crate::space::Standardised;

/// `z = (x - mean) / (sd + eps)`, sd the standard deviation over K - 1. One number, or K equal ones, have no spread:
/// z = 0, and no gradient.
///
/// Gradient: `dx = (dz - z <z, dz> (sd + eps) / (sd (K - 1))) / (sd + eps)`, of cotangents that sum to 0 as those of
/// differences do. Source: arXiv 2207.02039.
///
/// ```
/// use densekd_core::{Epsilon, HalfMse, Standardise, VectorLoss};
/// let loss = VectorLoss::new(Standardise::new(Epsilon::ZERO), HalfMse);
/// // An offset and a factor do not count; the value is (K - 1) (1 - Pearson's correlation).
/// assert!(loss.value(&[1.0, 2.0, 4.0], &[12.0, 14.0, 18.0]) < 1e-15);
/// assert!((loss.value(&[1.0, 2.0, 4.0], &[-1.0, -2.0, -4.0]) - 4.0).abs() < 1e-14);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardise {
    eps: Epsilon,
}

impl Standardise {
    /// With eps added to the deviation.
    pub const fn new(eps: Epsilon) -> Self {
        Self { eps }
    }
}

impl NormalizeVector for Standardise {
    type Space = Standardised;

    fn scaled(&self, moments: &Moments) -> Scaled<Standardised> {
        let sd = moments.deviation();
        if sd == 0.0 {
            return Scaled::new(moments.mean(), 0.0, 0.0);
        }
        // An overflow is no reason for a finite answer.
        let sd = if sd.is_finite() { sd } else { f64::NAN };
        let divisor = sd + self.eps.get();
        Scaled::new(moments.mean(), 1.0 / divisor, divisor / (sd * (moments.count() - 1.0)))
    }
}
