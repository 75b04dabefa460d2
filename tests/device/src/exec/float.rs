//! Floating-point instructions on values of one lane, rounded to nearest even.
use crate::ptx::op::{Flags, Float1, Float2, Order, Test};

/// f32 or f64 in a register.
pub(super) trait Real: Copy + PartialOrd {
    fn of(bits: u64) -> Self;
    fn bits(self) -> u64;
    /// Subnormal numbers become zeros of their sign.
    fn flushed(self, ftz: bool) -> Self;
    fn finished(self, flags: Flags) -> u64;
    fn float1(self, op: Float1) -> Self;
    fn float2(self, op: Float2, b: Self) -> Self;
    fn fused(self, b: Self, c: Self) -> Self;
}

macro_rules! real {
    ($($ty:ident, $bits:ident, $nan:literal;)*) => {$(
        impl Real for $ty {
            #[inline(always)]
            fn of(bits: u64) -> Self {
                Self::from_bits(bits as $bits)
            }

            #[inline(always)]
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }

            #[inline(always)]
            fn flushed(self, ftz: bool) -> Self {
                if ftz && self.is_subnormal() { (0.0 as Self).copysign(self) } else { self }
            }

            /// A NaN is the one that devices make.
            #[inline(always)]
            fn finished(self, flags: Flags) -> u64 {
                let value = self.flushed(flags.ftz);
                if flags.sat {
                    return if value > 0.0 { value.min(1.0).bits() } else { 0 };
                }
                if value.is_nan() { $nan } else { value.bits() }
            }

            #[inline(always)]
            fn float1(self, op: Float1) -> Self {
                match op {
                    Float1::Negate => -self,
                    Float1::Abs => self.abs(),
                    Float1::Sqrt => self.sqrt(),
                    Float1::Reciprocal => 1.0 / self,
                }
            }

            #[inline(always)]
            fn float2(self, op: Float2, b: Self) -> Self {
                match op {
                    Float2::Add => self + b,
                    Float2::Sub => self - b,
                    Float2::Mul => self * b,
                    Float2::Div => self / b,
                    // Of the zeros, the negative one is the lesser.
                    Float2::Min if self == b => if self.is_sign_negative() { self } else { b },
                    Float2::Max if self == b => if self.is_sign_negative() { b } else { self },
                    Float2::Min => self.min(b),
                    Float2::Max => self.max(b),
                    Float2::MinNan => if self.is_nan() || b.is_nan() { Self::NAN } else { self.float2(Float2::Min, b) },
                    Float2::MaxNan => if self.is_nan() || b.is_nan() { Self::NAN } else { self.float2(Float2::Max, b) },
                    Float2::CopySign => b.copysign(self),
                }
            }

            #[inline(always)]
            fn fused(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }
        }
    )*};
}
real! {
    f32, u32, 0x7fff_ffff;
    f64, u64, 0x7ff8_0000_0000_0000;
}

macro_rules! with_real {
    ($bits:expr, $T:ident => $body:expr) => {
        if $bits == 32 {
            type $T = f32;
            $body
        } else {
            type $T = f64;
            $body
        }
    };
}

pub(super) fn float1(op: Float1, bits: u8, flags: Flags, a: &[u64; 32]) -> [u64; 32] {
    with_real!(bits, T => std::array::from_fn(|n| T::of(a[n]).flushed(flags.ftz).float1(op).finished(flags)))
}

pub(super) fn float2(op: Float2, bits: u8, flags: Flags, a: &[u64; 32], b: &[u64; 32]) -> [u64; 32] {
    with_real!(bits, T => std::array::from_fn(|n| {
        let (x, y) = (T::of(a[n]).flushed(flags.ftz), T::of(b[n]).flushed(flags.ftz));
        x.float2(op, y).finished(flags)
    }))
}

pub(super) fn fused(bits: u8, flags: Flags, a: &[u64; 32], b: &[u64; 32], c: &[u64; 32]) -> [u64; 32] {
    with_real!(bits, T => std::array::from_fn(|n| {
        let x = |from: &[u64; 32]| T::of(from[n]).flushed(flags.ftz);
        x(a).fused(x(b), x(c)).finished(flags)
    }))
}

/// The sum or difference of a product, its `second` side or its first, and `other`, rounded once.
pub(super) fn fused_sum(
    op: Float2,
    bits: u8,
    flags: Flags,
    [x, y]: [&[u64; 32]; 2],
    other: &[u64; 32],
    second: bool,
) -> [u64; 32] {
    let negate = |row: &[u64; 32]| row.map(|v| v ^ 1 << (bits - 1));
    match (op, second) {
        (Float2::Sub, true) => fused(bits, flags, &negate(x), y, other),
        (Float2::Sub, false) => fused(bits, flags, x, y, &negate(other)),
        _ => fused(bits, flags, x, y, other),
    }
}

/// One bit a lane.
pub(super) fn compare(test: Test, bits: u8, ftz: bool, a: &[u64; 32], b: &[u64; 32]) -> u32 {
    with_real!(bits, T => mask(|n| {
        let (x, y) = (T::of(a[n]).flushed(ftz), T::of(b[n]).flushed(ftz));
        let nan = x.is_nan() || y.is_nan();
        match test {
            Test::BothNumbers => !nan,
            Test::EitherNan => nan,
            Test::Order { unordered, .. } if nan => unordered,
            Test::Order { order, .. } => ordered(order, &x, &y),
        }
    }))
}

#[inline(always)]
pub(super) fn ordered<T: PartialOrd>(order: Order, x: &T, y: &T) -> bool {
    match order {
        Order::Equal => x == y,
        Order::NotEqual => x != y,
        Order::Less => x < y,
        Order::LessEqual => x <= y,
        Order::Greater => x > y,
        Order::GreaterEqual => x >= y,
    }
}

/// The bits of the lanes for which `of` holds.
#[inline(always)]
pub(super) fn mask(of: impl Fn(usize) -> bool) -> u32 {
    (0..32).fold(0, |mask, n| mask | u32::from(of(n)) << n)
}
