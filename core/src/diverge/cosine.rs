//! The cosine distance.

use super::half_mse::half_squared;
use super::{Diverge, DivergeVector};
use crate::arithmetic::Arithmetic;
use crate::space::{CentredUnit, Coordinates, Unit};

/// `1 - <u_s, u_t>`, of unit vectors, centred or not: of centred ones 1 less Pearson's correlation. 1 where either has
/// no direction.
///
/// Taken as `|u_s - u_t|^2 / 2`, so that close vectors do not cancel. Gradient `-u_t`, of which what points along
/// `u_s` is lost on the way through the normalisation. Source: arXiv 2205.10536.
///
/// ```
/// use densekd_core::{Cosine, Epsilon, UnitLength, VectorLoss};
/// let loss = VectorLoss::new(UnitLength::at_least(Epsilon::ZERO), Cosine);
/// let close = loss.value(&[1.0, 0.0], &[1.0, 1e-12]);
/// assert!((close / 5e-25 - 1.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine;

half_squared!(Cosine: Unit, CentredUnit);

macro_rules! one_without_direction {
    ($($space:ident),+) => {$(
        impl DivergeVector<$space> for Cosine {
            fn finish(&self, sum: f64, directions: bool) -> f64 {
                if directions { sum } else { 1.0 }
            }
        }
    )+};
}

one_without_direction!(Unit, CentredUnit);
