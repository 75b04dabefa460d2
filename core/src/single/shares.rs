//! Gradients out of integers: an entry's two probabilities in units of one power of two.

use super::wide;

/// What an exponential of 0 is as an integer.
pub(super) const ONE: u32 = u32::MAX;

/// A sum of integers as it is multiplied and divided.
#[allow(clippy::cast_precision_loss, reason = "rounded to 2^-53 of itself")]
pub(super) fn real(sum: u64) -> f64 {
    sum as f64
}

/// `factor (q - p)` for entries of two rows of exponentials, by two products and a difference of integers: the factor's own
/// digits are in the multipliers, its power of two is added to the result's exponent.
pub(super) struct Shares {
    of_p: u32,
    of_w: u32,
    /// Exponent and sign, added to the bits of a number that is not 0.
    unit: u32,
    /// What is left of a factor that an exponent does not hold.
    beyond: f32,
}

impl Shares {
    /// For the sums of both rows, whose largest entry is [`ONE`]; none of no rows.
    pub(super) fn new(p: u64, w: u64, factor: f32) -> Option<Self> {
        let is_usual = (1e-15..=1e15).contains(&factor.abs());
        let (factor, beyond) = if is_usual { (factor, 1.0) } else { (1.0, factor) };
        let bits = p.min(w).checked_ilog2()?;
        // The factor is from 1/2 to 1 times 2^power.
        let power = (factor.to_bits() >> 23 & 0xff).wrapping_sub(126);
        let digits = f64::from(f32::from_bits(factor.to_bits() & 0x007f_ffff | 126 << 23));
        // 2^(31 + bits) over a sum is at most 2^31, and so is its product's upper half with an entry.
        let numerator = f64::from_bits(u64::from(1023 + 31 + bits) << 52) * digits;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "up to 2^31")]
        let [of_p, of_w] = [p, w].map(|sum| (numerator / real(sum) + 0.5) as u32);
        let exponent = power.wrapping_add(1).wrapping_sub(bits) << 23;
        // A bit that is added above all others turns the sign.
        let unit = exponent.wrapping_add(factor.to_bits() & 1 << 31);
        Some(Self { of_p, of_w, unit, beyond })
    }

    /// Of an entry.
    #[inline(always)]
    pub(super) fn difference(&self, p: u32, w: u32) -> f32 {
        let difference = wide::high(w, self.of_w).wrapping_sub(wide::high(p, self.of_p)).cast_signed();
        if difference == 0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "the rounding that the gradient's type has")]
        let number = difference as f32;
        f32::from_bits(number.to_bits().wrapping_add(self.unit))
    }

    /// After all entries.
    pub(super) fn finish(&self, gradient: &mut [f32]) {
        if self.beyond != 1.0 {
            for g in gradient {
                *g *= self.beyond;
            }
        }
    }
}
