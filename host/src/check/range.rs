//! Powers of two that bring a gradient into the range of the type that it is stored in.

use densekd_core::DType;

/// The exponents that a type holds well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    least: i32,
    most: i32,
    /// What to aim at from outside.
    aim: i32,
    /// The step from nothing, or from infinity.
    step: i32,
    /// How many steps from nothing are taken: a gradient that is 0 may be so by right.
    pub(super) from_nothing: u32,
}

impl Range {
    pub(super) const fn of(dtype: DType) -> Self {
        let (least, most, aim, step, from_nothing) = match dtype {
            DType::F16 => (4, 14, 10, 24, 2),
            DType::F64 => (-900, 900, 0, 0, 0),
            _ => (-60, 60, 0, 80, 1),
        };
        Self { least, most, aim, step, from_nothing }
    }

    /// By how much the exponent of the upstream gradient has to rise, where the gradient's largest entry is this.
    pub(super) fn shift(&mut self, overflowed: bool, largest: f64) -> i32 {
        if overflowed {
            return -self.step;
        }
        if largest == 0.0 {
            let goes_on = self.from_nothing > 0;
            self.from_nothing = self.from_nothing.saturating_sub(1);
            return if goes_on { self.step } else { 0 };
        }
        let now = exponent_of(largest);
        if (self.least..=self.most).contains(&now) { 0 } else { self.aim - now }
    }
}

/// The exponent of a positive number's power of two.
#[allow(clippy::cast_possible_truncation, reason = "exponents of f64 are within 1100")]
fn exponent_of(x: f64) -> i32 {
    x.log2().floor() as i32
}
