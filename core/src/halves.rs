//! Half precision to `f32` and back without a branch, so that the loops which read and write tensors take many
//! entries at a time. The same bits as the crate `half` gives, any NaN as the quiet one.

use half::{bf16, f16};

/// Exact.
#[inline(always)]
#[allow(clippy::cast_precision_loss, reason = "the 10 bits of a subnormal number fit")]
pub(crate) fn f16_to_f32(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = bits & 0x7fff;
    // Eight bits of exponent instead of five: their biases differ by 112.
    let normal = (magnitude << 13).wrapping_add(112 << 23);
    let special = (magnitude << 13) | 0x7f80_0000;
    let subnormal = (magnitude.cast_signed() as f32 * (1.0 / 16_777_216.0)).to_bits();
    let small = if magnitude < 0x400 { subnormal } else { normal };
    let magnitude = if magnitude >= 0x7c00 { special } else { small };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

/// Exact.
#[inline(always)]
pub(crate) fn bf16_to_f32(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

/// To the nearest, ties to even.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is 0")]
pub(crate) fn f32_to_f16(x: f32) -> f16 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = magnitude.wrapping_add(0xfff).wrapping_add((magnitude >> 13) & 1);
    let normal = rounded.wrapping_sub(112 << 23) >> 13;
    // Beside 0.5 the last place is 2^-24, the smallest f16: the addition rounds there.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    // From 65520 on the nearest is infinity.
    let bounded = if magnitude >= 0x477f_f000 { 0x7c00 } else { finite };
    let result = if magnitude > 0x7f80_0000 { 0x7e00 } else { bounded };
    f16::from_bits((result | (bits >> 16) & 0x8000) as u16)
}

/// To the nearest, ties to even.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "what is cut off is 0")]
pub(crate) fn f32_to_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add((bits >> 16) & 1) >> 16;
    let quiet = (bits >> 16) | 0x40;
    bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: f32, b: f32) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    #[test]
    fn every_half_widens_as_the_crate_half_has_it() {
        for bits in 0..=u16::MAX {
            let (x, y) = (f16::from_bits(bits), bf16::from_bits(bits));
            assert!(same(f16_to_f32(x), x.to_f32()), "f16 {bits:#x}");
            assert!(same(bf16_to_f32(y), y.to_f32()), "bf16 {bits:#x}");
        }
    }

    #[test]
    fn numbers_at_between_and_beside_all_halves_narrow_as_the_crate_half_has_it() {
        // Steps of 256 meet every half and every midpoint of two; their neighbours are where rounding turns.
        for step in 0..=u32::MAX >> 8 {
            for beside in [0, 1, u32::MAX] {
                let x = f32::from_bits((step << 8).wrapping_add(beside));
                let (f, b) = (f32_to_f16(x), f32_to_bf16(x));
                assert!(same(f.to_f32(), f16::from_f32(x).to_f32()), "f16 of {x:e}");
                assert!(same(b.to_f32(), bf16::from_f32(x).to_f32()), "bf16 of {x:e}");
            }
        }
    }
}
