//! Products of 32-bit integers on cores of any width.

/// Whether a product of 32-bit numbers has 32 bits alone: of Arm's cores ARMv6-M's, which have no compare-and-swap either.
const IS_NARROW: bool = cfg!(all(target_arch = "arm", not(target_has_atomic = "32")));

/// The upper half of a product.
#[inline(always)]
pub(super) fn high(a: u32, b: u32) -> u32 {
    if IS_NARROW { high_by_halves(a, b) } else { split(u64::from(a) * u64::from(b)).1 }
}

/// A product with a small number.
#[inline(always)]
pub(super) fn by_byte(a: u32, k: u8) -> u64 {
    if IS_NARROW { by_halves(a, k) } else { u64::from(a) * u64::from(k) }
}

/// Lower and upper half.
#[inline(always)]
fn split(x: u64) -> (u32, u32) {
    #[allow(clippy::cast_possible_truncation, reason = "halves")]
    (x as u32, (x >> 32) as u32)
}

#[inline(always)]
fn high_by_halves(a: u32, b: u32) -> u32 {
    let ((a0, a1), (b0, b1)) = ((a & 0xffff, a >> 16), (b & 0xffff, b >> 16));
    // No sum is beyond 32 bits: (2^16 - 1)^2 + 2 (2^16 - 1) = 2^32 - 1.
    let first = a1 * b0 + ((a0 * b0) >> 16);
    let second = a0 * b1 + (first & 0xffff);
    a1 * b1 + (first >> 16) + (second >> 16)
}

#[inline(always)]
fn by_halves(a: u32, k: u8) -> u64 {
    let k = u32::from(k);
    u64::from((a & 0xffff) * k) + (u64::from((a >> 16) * k) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_products_are_the_wide_ones() {
        let mut x = 1_u32;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x.rotate_left(16)
        };
        let ends = [0, 1, 0xffff, 0x1_0000, 0x8000_0000, u32::MAX];
        let any = (0..1000).map(|_| [next(), next()]);
        for [a, b] in any.chain(ends.into_iter().flat_map(|a| ends.map(|b| [a, b]))) {
            assert_eq!(high_by_halves(a, b), split(u64::from(a) * u64::from(b)).1, "{a} {b}");
            let k = b.to_le_bytes()[0];
            assert_eq!(by_halves(a, k), u64::from(a) * u64::from(k), "{a} {k}");
        }
    }
}
