//! Conversions between types of numbers.
use super::float::Real;
use crate::ptx::op::{Conversion, Flags, Round};
use crate::ptx::types::Type;

/// A value of any type: whole numbers and floating-point numbers are each kept exactly.
#[derive(Clone, Copy)]
enum Value {
    Whole(i128),
    F32(f32),
    F64(f64),
}

/// Bits of `how.to`, extended by its sign to 64.
pub(super) fn convert(how: Conversion, bits: u64) -> u64 {
    let value = read(how.from, bits, how.flags.ftz);
    let value = match (value, how.round) {
        (value, Round::Nearest) | (value @ Value::Whole(_), _) => value,
        (Value::F32(x), round) => Value::F32(f32_whole(x, round)),
        (Value::F64(x), round) => Value::F64(f64_whole(x, round)),
    };
    write(how.to, value, how.flags)
}

/// Two halves in one register.
pub(super) fn pair(to: Type, a: u64, b: u64) -> u64 {
    let half = |x: u64| write(to, Value::F32(f32::of(x)), Flags::default());
    half(a) << 16 | half(b)
}

fn read(from: Type, bits: u64, ftz: bool) -> Value {
    match from {
        Type::Signed(8) => Value::Whole(i128::from(bits as i8)),
        Type::Signed(16) => Value::Whole(i128::from(bits as i16)),
        Type::Signed(32) => Value::Whole(i128::from(bits as i32)),
        Type::Signed(_) => Value::Whole(i128::from(bits as i64)),
        Type::Unsigned(n) | Type::Bits(n) => Value::Whole(i128::from(bits & (u64::MAX >> (64 - n)))),
        Type::Float(16) => Value::F32(half_to_f32(bits as u16)),
        Type::Bf16 => Value::F32(f32::from_bits((bits as u32) << 16)),
        Type::Float(32) => Value::F32(f32::of(bits).flushed(ftz)),
        Type::Float(_) => Value::F64(f64::of(bits)),
        Type::Pred => Value::Whole(i128::from(bits)),
    }
}

fn write(to: Type, value: Value, flags: Flags) -> u64 {
    match to {
        Type::Float(64) => match value {
            Value::Whole(n) => (n as f64).finished(flags),
            Value::F32(x) => f64::from(x).finished(Flags { ftz: false, ..flags }),
            Value::F64(x) => x.finished(flags),
        },
        Type::Float(32) => match value {
            Value::Whole(n) => (n as f32).finished(flags),
            Value::F32(x) => x.finished(flags),
            Value::F64(x) => (x as f32).finished(flags),
        },
        Type::Float(_) => u64::from(half(value, 5, 10)),
        Type::Bf16 => u64::from(half(value, 8, 7)),
        _ => whole(to, value, flags.sat),
    }
}

/// Saturated from a floating-point number, as devices do, a NaN to 0; else cut, unless saturation is asked for.
fn whole(to: Type, value: Value, sat: bool) -> u64 {
    let bits = u32::from(to.bits());
    let (low, high) = if to.is_signed() {
        (-(1_i128 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        (0, (1_i128 << bits) - 1)
    };
    let n = match value {
        Value::Whole(n) if !sat => {
            let cut = n as u64 & (u64::MAX >> (64 - bits));
            return if to.is_signed() { ((cut << (64 - bits)) as i64 >> (64 - bits)) as u64 } else { cut };
        }
        Value::Whole(n) => n,
        Value::F32(x) => x as i128,
        Value::F64(x) => x as i128,
    };
    n.clamp(low, high) as u64
}

macro_rules! whole {
    ($($name:ident $ty:ident)*) => {$(
        fn $name(x: $ty, round: Round) -> $ty {
            match round {
                Round::Nearest => x,
                Round::WholeNearest => x.round_ties_even(),
                Round::WholeZero => x.trunc(),
                Round::WholeDown => x.floor(),
                Round::WholeUp => x.ceil(),
            }
        }
    )*};
}
whole! { f32_whole f32 f64_whole f64 }

/// Bits of the f32 that equals a half.
pub(super) fn half_bits(bits: u64) -> u64 {
    half_to_f32(bits as u16).bits()
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 1023));
    match exponent {
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        0 => f32::from_bits(sign | (fraction as f32 * 2_f32.powi(-24)).to_bits()),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// A number of 16 bits, of `exponent` and `fraction` bits, rounded once to nearest even.
fn half(value: Value, exponent: u32, fraction: u32) -> u16 {
    let x = match value {
        Value::Whole(n) => n as f64,
        Value::F32(x) => f64::from(x),
        Value::F64(x) => x,
    };
    let sign = ((x.to_bits() >> 63) as u16) << 15;
    let infinity = ((1_u16 << exponent) - 1) << fraction;
    if x.is_nan() {
        return 0x7fff;
    }
    let magnitude = x.abs();
    let bias = (1 << (exponent - 1)) - 1;
    // The place of the last bit, of a normal number or of the smallest.
    let power = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - bias) - fraction as i32;
    let units = magnitude / 2_f64.powi(power);
    if magnitude.is_infinite() {
        return sign | infinity;
    }
    // Whole units of a subnormal or normal number; a carry moves on into the exponent by itself.
    let field = (power + fraction as i32 + bias) as i64 - 1;
    let rounded = units.round_ties_even() as i64 + (field << fraction);
    sign | rounded.min(i64::from(infinity)) as u16
}
