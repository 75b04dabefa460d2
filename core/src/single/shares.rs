//! Gradients out of integers: an entry's two probabilities in units of one power of two.

use super::wide;

/// Whether the core multiplies floats.
const HAS_FLOATS: bool = !cfg!(any(
    all(target_arch = "arm", target_abi = "eabi"),
    all(target_arch = "riscv32", not(target_feature = "f"))
));

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
        let digits = u64::from(factor.to_bits() & 0x007f_ffff | 0x0080_0000);
        // Digits times 2^(7 + bits) over a sum is at most 2^31, and so is its product's upper half with an entry. Of sums as many
        // bits are taken as leave the smaller 31 of them.
        let down = bits.saturating_sub(30);
        let numerator = digits << (bits - down) << 9;
        let share = |sum: u64| {
            #[allow(clippy::cast_possible_truncation, reason = "up to 2^31")]
            numerator.checked_div(sum >> down).map(|share| ((share + 2) >> 2) as u32)
        };
        let (of_p, of_w) = (share(p)?, share(w)?);
        let exponent = power.wrapping_add(1).wrapping_sub(bits) << 23;
        // A bit that is added above all others turns the sign.
        let unit = exponent.wrapping_add(factor.to_bits() & 1 << 31);
        Some(Self { of_p, of_w, unit, beyond })
    }

    /// Of an entry.
    #[inline(always)]
    pub(super) fn difference(&self, p: u32, w: u32) -> f32 {
        let difference = wide::high(w, self.of_w).wrapping_sub(wide::high(p, self.of_p)).cast_signed();
        #[allow(clippy::cast_precision_loss, reason = "the rounding that the gradient's type has")]
        let number = difference as f32;
        if HAS_FLOATS {
            return number * f32::from_bits(1.0_f32.to_bits().wrapping_add(self.unit));
        }
        if difference == 0 { 0.0 } else { f32::from_bits(number.to_bits().wrapping_add(self.unit)) }
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
