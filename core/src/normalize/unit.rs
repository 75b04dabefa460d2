//! Vectors of length 1.

use super::{NormalizeVector, Scaled};
use crate::Epsilon;
use crate::map::Moments;
use crate::space::Unit;

/// How a norm is kept from 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Guard {
    AtLeast,
    Add,
}

/// `u = x / max(|x|, eps)`, or `x / (|x| + eps)`. The zero vector has no direction: u = 0, and no gradient.
///
/// Gradient: `dx = (du - u <u, du> d / |x|) / d`, d the divisor; without its second term where d is the constant eps,
/// or is taken for a constant ([`detached`](Self::detached)).
///
/// ```
/// use densekd_core::{Epsilon, Mse, UnitLength, VectorLoss};
/// let loss = VectorLoss::new(UnitLength::at_least(Epsilon::new(1e-12)?), Mse);
/// // Only directions count.
/// assert_eq!(loss.value(&[1.0, 2.0], &[4.0, 8.0]), 0.0);
/// assert_eq!(loss.value(&[1.0, 0.0], &[0.0, 3.0]), 2.0);
/// # Ok::<(), densekd_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitLength {
    eps: f64,
    guard: Guard,
    detached: bool,
}

impl UnitLength {
    /// Divides by `max(|x|, eps)`.
    pub const fn at_least(eps: Epsilon) -> Self {
        Self { eps: eps.get(), guard: Guard::AtLeast, detached: false }
    }

    /// Divides by `|x| + eps`.
    pub const fn plus(eps: Epsilon) -> Self {
        Self { eps: eps.get(), guard: Guard::Add, detached: false }
    }

    /// The same, whose gradient takes the divisor for a constant.
    #[must_use]
    pub const fn detached(self) -> Self {
        Self { detached: true, ..self }
    }

    /// The same for vectors that are counted in such units, which eps is not.
    pub(crate) fn in_units(self, unit: f64) -> Self {
        Self { eps: self.eps / unit, ..self }
    }

    /// What the numbers of a vector of this norm are divided by, and the share of what points along it that a
    /// gradient loses.
    pub(crate) fn divisor(self, norm: f64) -> (f64, f64) {
        let eps = self.eps;
        let (divisor, lost) = match self.guard {
            // What has no direction is 0, whatever eps is.
            _ if norm == 0.0 => (f64::INFINITY, 0.0),
            Guard::Add => (norm + eps, (norm + eps) / norm),
            Guard::AtLeast if norm <= eps => (eps, 0.0),
            Guard::AtLeast => (norm, 1.0),
        };
        (divisor, if self.detached { 0.0 } else { lost })
    }

    /// How the numbers of a vector of this norm become coordinates.
    pub(crate) fn of(self, norm: f64) -> Scaled<Unit> {
        let (divisor, lost) = self.divisor(norm);
        Scaled::new(0.0, 1.0 / divisor, lost)
    }
}

impl NormalizeVector for UnitLength {
    type Space = Unit;

    fn scaled(&self, moments: &Moments) -> Scaled<Unit> {
        self.of(moments.norm())
    }
}
