//! Approximate instructions: the exact result, then an error within what PTX allows, drawn from the seed.
use super::random::mix;
use crate::ptx::op::{Approx, Flags};

/// Largest error, in units in the last place.
const ULPS: i32 = 2;

/// The result for one lane.
pub(super) fn approx(op: Approx, flags: Flags, seed: u64, a: u64) -> u64 {
    let x = flushed(f32::from_bits(a as u32), flags.ftz);
    let wide = f64::from(x);
    let exact = match op {
        // Subnormal arguments give exactly one.
        Approx::Exp2 if x == 0.0 || x.is_subnormal() => return finished(1.0, flags),
        Approx::Exp2 => wide.exp2(),
        Approx::Log2 => wide.log2(),
        Approx::Reciprocal => 1.0 / wide,
        Approx::Sqrt => wide.sqrt(),
        Approx::ReciprocalSqrt => 1.0 / wide.sqrt(),
        Approx::Tanh => wide.tanh(),
    };
    let drawn = draw(seed, op as u64 ^ a << 8);
    let near = exact as f32;
    // A logarithm near 1 has its error absolute: its last place means nothing there.
    if op == Approx::Log2 && x > 0.5 && x < 2.0 {
        return finished((exact + f64::from(drawn) * 2_f64.powi(-23)) as f32, flags);
    }
    finished(moved(near, drawn), flags)
}

/// A quotient within two units in the last place.
pub(super) fn quotient(flags: Flags, seed: u64, a: u64, b: u64) -> u64 {
    let (x, y) = (flushed(f32::from_bits(a as u32), flags.ftz), flushed(f32::from_bits(b as u32), flags.ftz));
    finished(moved((f64::from(x) / f64::from(y)) as f32, draw(seed, a ^ b << 32)), flags)
}

fn flushed(x: f32, ftz: bool) -> f32 {
    super::float::Real::flushed(x, ftz)
}

fn finished(x: f32, flags: Flags) -> u64 {
    super::float::Real::finished(x, flags)
}

/// From `-ULPS` to `ULPS`. Seed 0 is exact.
fn draw(seed: u64, of: u64) -> i32 {
    if seed == 0 { 0 } else { (mix(seed ^ mix(of)) % (2 * ULPS as u64 + 1)) as i32 - ULPS }
}

/// `x`, some numbers further from zero; zeros, infinities and NaNs stay, and nothing becomes one of them.
fn moved(x: f32, ulps: i32) -> f32 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let moved = f32::from_bits(x.to_bits().wrapping_add_signed(ulps));
    if moved.is_finite() && moved != 0.0 && moved.signum() == x.signum() { moved } else { x }
}
