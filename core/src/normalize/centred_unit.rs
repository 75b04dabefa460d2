//! Vectors of mean 0 and length 1.

use super::{NormalizeVector, Scaled};
use crate::map::Moments;
use crate::space::CentredUnit;

/// `u = (x - mean) / |x - mean|`. A vector without spread has no direction: u = 0, and no gradient.
///
/// Gradient: `dx = (du - u <u, du>) / |x - mean|`, of cotangents that sum to 0 as those of [`Cosine`](crate::Cosine)
/// do.
///
/// ```
/// use densekd_core::{CentredUnitLength, Cosine, VectorLoss};
/// // 1 less Pearson's correlation.
/// let loss = VectorLoss::new(CentredUnitLength, Cosine);
/// assert!(loss.value(&[1.0, 2.0, 4.0], &[12.0, 14.0, 18.0]) < 1e-15);
/// assert!((loss.value(&[1.0, 2.0, 4.0], &[-1.0, -2.0, -4.0]) - 2.0).abs() < 1e-15);
/// assert_eq!(loss.value(&[1.0, 2.0, 4.0], &[5.0, 5.0, 5.0]), 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CentredUnitLength;

impl NormalizeVector for CentredUnitLength {
    type Space = CentredUnit;

    fn scaled(&self, moments: &Moments) -> Scaled<CentredUnit> {
        let spread = moments.spread();
        if spread == 0.0 { Scaled::NOTHING } else { Scaled::new(moments.mean(), 1.0 / spread, 1.0) }
    }
}
