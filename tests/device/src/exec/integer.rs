//! Integer instructions on values of one lane. Registers hold values zero-extended to 64 bits.
use super::float::{mask, ordered};
use crate::ptx::op::{Int1, Int2, Int3, Order};
use crate::ptx::types::Type;

/// The arithmetic of one width and sign.
trait Integer: Copy + Ord {
    const ZERO: Self;
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    fn int1(self, op: Int1) -> u64;
    fn int2(self, op: Int2, b: Self) -> u64;
    fn shift(self, op: Int2, amount: u64) -> Self;
    /// The full product, to be cut.
    fn product(self, b: Self) -> i128;
    /// `length` bits from `start`, extended by the sign.
    fn extract(self, start: u64, length: u64) -> u64;
}

macro_rules! integer {
    ($($ty:ident as $unsigned:ident)*) => {$(
        impl Integer for $ty {
            const ZERO: Self = 0;

            fn of(bits: u64) -> Self {
                bits as Self
            }

            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }

            #[inline(always)]
            fn int1(self, op: Int1) -> u64 {
                match op {
                    Int1::Not => (!self).bits(),
                    Int1::Negate => Self::ZERO.wrapping_sub(self).bits(),
                    Int1::Abs => if self < 0 as Self { Self::ZERO.wrapping_sub(self).bits() } else { self.bits() },
                    Int1::Count => u64::from(self.count_ones()),
                    Int1::LeadingZeros => u64::from(self.leading_zeros()),
                    Int1::Reverse => self.reverse_bits().bits(),
                }
            }

            #[inline(always)]
            fn int2(self, op: Int2, b: Self) -> u64 {
                match op {
                    Int2::Add => self.wrapping_add(b),
                    Int2::Sub => self.wrapping_sub(b),
                    Int2::MulLow => self.wrapping_mul(b),
                    Int2::MulHigh => (self.product(b) >> $ty::BITS) as Self,
                    Int2::MulWide => return self.product(b) as u64,
                    // Undefined in PTX; all ones is what devices give.
                    Int2::Div => if b == 0 { Self::of(u64::MAX) } else { self.wrapping_div(b) },
                    Int2::Rem => if b == 0 { self } else { self.wrapping_rem(b) },
                    Int2::Min => self.min(b),
                    Int2::Max => self.max(b),
                    Int2::And => self & b,
                    Int2::Or => self | b,
                    Int2::Xor => self ^ b,
                    Int2::ShiftLeft | Int2::ShiftRight => self.shift(op, b.bits()),
                }
                .bits()
            }

            fn shift(self, op: Int2, amount: u64) -> Self {
                let within = amount < u64::from($ty::BITS);
                match op {
                    Int2::ShiftLeft => if within { self << amount } else { 0 },
                    // Twice half of the width fills with the sign.
                    _ => if within { self >> amount } else { self >> ($ty::BITS / 2) >> ($ty::BITS / 2) },
                }
            }

            fn product(self, b: Self) -> i128 {
                // The product of two u64 can need bit 127; only its bits count.
                (self as i128).wrapping_mul(b as i128)
            }

            fn extract(self, start: u64, length: u64) -> u64 {
                let (start, length) = ((start & 255) as u32, (length & 255) as u32);
                if length == 0 {
                    return 0;
                }
                if start >= $ty::BITS {
                    // Beyond the top there is only the sign.
                    return self.shift(Int2::ShiftRight, 255).bits();
                }
                let above = $ty::BITS - (start + length).min($ty::BITS);
                (self << above).shift(Int2::ShiftRight, u64::from(above + start)).bits()
            }
        }
    )*};
}
integer! { u16 as u16 i16 as u16 u32 as u32 i32 as u32 u64 as u64 i64 as u64 }

/// Runs `$body` with `$T` as the Rust type of `$ty`.
macro_rules! with_integer {
    ($ty:expr, $T:ident => $body:expr) => {
        match ($ty.bits(), $ty.is_signed()) {
            (16, false) => {
                type $T = u16;
                $body
            }
            (16, true) => {
                type $T = i16;
                $body
            }
            (32, false) => {
                type $T = u32;
                $body
            }
            (32, true) => {
                type $T = i32;
                $body
            }
            (_, false) => {
                type $T = u64;
                $body
            }
            (_, true) => {
                type $T = i64;
                $body
            }
        }
    };
}

/// `out[lane] = op(a[lane])` for every lane.
pub(super) fn int1(op: Int1, ty: Type, a: &[u64; 32]) -> [u64; 32] {
    with_integer!(ty, T => std::array::from_fn(|n| T::of(a[n]).int1(op)))
}

/// The amount of a shift is 32 bits wide whatever is shifted.
pub(super) fn int2(op: Int2, ty: Type, a: &[u64; 32], b: &[u64; 32]) -> [u64; 32] {
    if matches!(op, Int2::ShiftLeft | Int2::ShiftRight) {
        return with_integer!(ty, T => std::array::from_fn(|n| T::of(a[n]).shift(op, b[n]).bits()));
    }
    with_integer!(ty, T => std::array::from_fn(|n| T::of(a[n]).int2(op, T::of(b[n]))))
}

pub(super) fn int3(op: Int3, ty: Type, a: &[u64; 32], b: &[u64; 32], c: &[u64; 32]) -> [u64; 32] {
    with_integer!(ty, T => std::array::from_fn(|n| {
        let (x, y, z) = (T::of(a[n]), T::of(b[n]), T::of(c[n]));
        match op {
            Int3::MadLow => x.wrapping_mul(y).wrapping_add(z).bits(),
            Int3::MadHigh => T::of((x.product(y) >> T::BITS) as u64).wrapping_add(z).bits(),
            // The sum is as wide as the product; 32 bits wrap within their own width by the mask of the register.
            Int3::MadWide => (x.product(y) as u64).wrapping_add(c[n]),
            Int3::ExtractBits => x.extract(b[n], c[n]),
            Int3::FunnelLeft { wrap } => funnel(a[n], b[n], 32 - amount(c[n], wrap)),
            Int3::FunnelRight { wrap } => funnel(a[n], b[n], amount(c[n], wrap)),
            Int3::Permute => permute(a[n], b[n], c[n]),
            Int3::Lut(table) => lut(table, a[n], b[n], c[n]),
        }
    }))
}

/// One bit a lane.
pub(super) fn compare(order: Order, ty: Type, a: &[u64; 32], b: &[u64; 32]) -> u32 {
    with_integer!(ty, T => mask(|n| ordered(order, &T::of(a[n]), &T::of(b[n]))))
}

fn amount(amount: u64, wrap: bool) -> u64 {
    if wrap { amount & 31 } else { amount.min(32) }
}

/// 32 bits of `high:low`, from `right` on.
fn funnel(low: u64, high: u64, right: u64) -> u64 {
    (high << 32 | low) >> right & 0xffff_ffff
}

/// Four bytes out of eight; bit 3 of a selector spreads the byte's sign.
fn permute(a: u64, b: u64, selectors: u64) -> u64 {
    let all = (b << 32 | a).to_le_bytes();
    (0..4).fold(0, |out, n| {
        let selector = selectors >> (4 * n);
        let byte = all[(selector & 7) as usize];
        let byte = if selector & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 };
        out | u64::from(byte) << (8 * n)
    })
}

fn lut(table: u8, a: u64, b: u64, c: u64) -> u64 {
    (0..8).filter(|row| table >> row & 1 == 1).fold(0, |out, row| {
        let of = |x: u64, bit: u32| if row >> bit & 1 == 1 { x } else { !x };
        out | of(a, 2) & of(b, 1) & of(c, 0) & 0xffff_ffff
    })
}

/// `length` bits of `a` put into `b` at `start`.
pub(super) fn insert(bits: u8, a: u64, b: u64, start: u64, length: u64) -> u64 {
    let (start, length) = ((start & 255) as u32, (length & 255) as u32);
    if start >= u32::from(bits) {
        return b;
    }
    let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let mask = ones << start;
    b & !mask | a << start & mask
}
