//! What a call results in, and how the parts of it are put together.

use crate::Upstream;

/// Which gradients had a finite entry that was too large for the type it is stored in.
///
/// ```
/// use densekd_core::Overflowed;
/// let mut overflowed = Overflowed { student: true, teacher: false };
/// overflowed.add(Overflowed { student: false, teacher: true });
/// assert_eq!(overflowed, Overflowed { student: true, teacher: true });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overflowed {
    /// The gradient to the student.
    pub student: bool,
    /// The gradient to the teacher.
    pub teacher: bool,
}

impl Overflowed {
    /// Adds what another part of the rows met.
    pub fn add(&mut self, next: Self) {
        self.student |= next.student;
        self.teacher |= next.teacher;
    }
}

/// The result of a call: sum and divisor kept apart, so that accumulation steps, chunks and uneven ranks can
/// be put together before they are divided.
///
/// ```
/// use densekd_core::{Outcome, Overflowed};
/// let outcome = Outcome { sum: 6.0, divisor: 4.0, scale: 16.0, overflowed: Overflowed::default() };
/// assert_eq!(outcome.value(), 24.0);
/// assert_eq!(Outcome { divisor: 0.0, ..outcome }.value(), 0.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Sum of the rows' divergences.
    pub sum: f64,
    /// What it is divided by; 0 where no position counts.
    pub divisor: f64,
    /// Weight, and tau^2 where the recipe has it.
    pub scale: f64,
    /// Which gradients hold an infinity that was a finite number.
    pub overflowed: Overflowed,
}

impl Outcome {
    /// The loss: `scale * sum / divisor`, 0 where nothing counts.
    pub fn value(&self) -> f64 {
        if self.divisor == 0.0 { 0.0 } else { self.scale * self.sum / self.divisor }
    }

    /// What the gradient of the sum is multiplied by.
    pub(crate) fn gradient_scale(&self, upstream: Upstream) -> f64 {
        if self.divisor == 0.0 { 0.0 } else { self.scale * upstream.get() / self.divisor }
    }
}

/// What some of a plan's rows add to the whole: put together in the order of
/// [`Plan::jobs`](crate::Plan::jobs), they give the same bits whoever ran them.
///
/// ```
/// let mut sum = densekd_core::Partial::default();
/// sum.add(densekd_core::Partial { sum: 1.5, ..Default::default() });
/// assert_eq!(sum.sum, 1.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// Sum of the rows' divergences.
    pub sum: f64,
    /// Which gradients hold an infinity that was a finite number.
    pub overflowed: Overflowed,
}

impl Partial {
    /// Adds the part that comes next.
    pub fn add(&mut self, next: Self) {
        self.sum += next.sum;
        self.overflowed.add(next.overflowed);
    }
}
