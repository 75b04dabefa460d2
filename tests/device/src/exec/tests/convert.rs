//! Conversions.
use super::check;

/// The number that 16 bits of f16 are, by its definition.
pub(super) fn half(bits: u64) -> f64 {
    let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 1023) as f64);
    let magnitude = match exponent {
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        0 => fraction * 2_f64.powi(-24),
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 & 1 == 1 { -magnitude } else { magnitude }
}

fn brain(bits: u64) -> f64 {
    f64::from(f32::from_bits((bits as u32) << 16))
}

/// The pattern of 16 bits nearest to `x`, the even one of two, found by looking at all.
fn nearest(x: f64, of: fn(u64) -> f64, infinity: u64) -> u64 {
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = (x.to_bits() >> 63) << 15;
    let magnitude = x.abs();
    // Magnitudes grow with their patterns. Halfway to what would follow the largest, infinity begins.
    let value =
        |bits: u64| if bits < infinity { of(bits) } else { 2.0 * of(infinity - 1) - of(infinity - 2) };
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if of(middle) <= magnitude { low = middle } else { high = middle }
    }
    if magnitude.is_infinite() {
        return sign | infinity;
    }
    let (below, above) = (magnitude - value(low), value(high) - magnitude);
    sign | if below < above || (below == above && low % 2 == 0) { low } else { high }
}

#[test]
pub(super) fn halves() {
    check("cvt.f32.f16 $d, $a;", "f32", &["b16"], |v| {
        let x = half(v[0]) as f32;
        if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
    });
    check("cvt.f64.f16 $d, $a;", "f64", &["b16"], |v| {
        let x = half(v[0]);
        if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
    });
    let wide = |v: &[u64]| f64::from(f32::from_bits(v[0] as u32));
    check("cvt.rn.f16.f32 $d, $a;", "b16", &["f32"], |v| nearest(wide(v), half, 0x7c00));
    check("cvt.rn.bf16.f32 $d, $a;", "b16", &["f32"], |v| nearest(wide(v), brain, 0x7f80));
    check("cvt.rn.f16.f64 $d, $a;", "b16", &["f64"], |v| nearest(f64::from_bits(v[0]), half, 0x7c00));
    for (name, of, infinity) in [("f16", half as fn(u64) -> f64, 0x7c00), ("bf16", brain, 0x7f80)] {
        check(&format!("cvt.rn.{name}x2.f32 $d, $a, $b;"), "b32", &["f32"; 2], |v| {
            nearest(wide(v), of, infinity) << 16 | nearest(wide(&v[1..]), of, infinity)
        });
    }
    // Every half, as the stored form of itself.
    for bits in 0..=0xffff {
        let x = half(bits);
        assert!(x.is_nan() || nearest(x, half, 0x7c00) == bits);
    }
}

#[test]
pub(super) fn widths() {
    check("cvt.u64.u32 $d, $a;", "b64", &["b32"], |v| v[0]);
    check("cvt.s64.s32 $d, $a;", "b64", &["b32"], |v| i64::from(v[0] as i32) as u64);
    check("cvt.s32.s8 $d, $a;", "b32", &["b32"], |v| u64::from(i32::from(v[0] as i8) as u32));
    check("cvt.s16.s8 $d, $a;", "b16", &["b16"], |v| u64::from(i16::from(v[0] as i8) as u16));
    check("cvt.u32.u16 $d, $a;", "b32", &["b16"], |v| v[0]);
    check("cvt.u16.u32 $d, $a;", "b16", &["b32"], |v| v[0] & 0xffff);
    check("cvt.u32.u64 $d, $a;", "b32", &["b64"], |v| v[0] & 0xffff_ffff);
    check("cvt.u8.u32 $d, $a;", "b32", &["b32"], |v| v[0] & 0xff);
    check("cvt.sat.s32.s64 $d, $a;", "b32", &["b64"], |v| {
        let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
        u64::from((v[0] as i64).clamp(low, high) as u32)
    });
    check("cvt.sat.u8.s32 $d, $a;", "b32", &["b32"], |v| (v[0] as i32).clamp(0, 255) as u64);
}

#[test]
pub(super) fn whole_numbers_and_others() {
    macro_rules! whole {
        ($($name:literal $bits:literal $ty:ident $unsigned:ident)*) => {$(
            check(concat!("cvt.rn.f32.", $name, " $d, $a;"), "f32", &[$bits], |v| {
                u64::from((v[0] as $ty as f32).to_bits())
            });
            check(concat!("cvt.rn.f64.", $name, " $d, $a;"), "f64", &[$bits], |v| (v[0] as $ty as f64).to_bits());
            for (mode, of) in [
                ("rzi", f64::trunc as fn(f64) -> f64),
                ("rni", f64::round_ties_even),
                ("rmi", f64::floor),
                ("rpi", f64::ceil),
            ] {
                check(&format!("cvt.{mode}.{}.f32 $d, $a;", $name), $bits, &["f32"], |v| {
                    (of(f64::from(f32::from_bits(v[0] as u32))) as $ty as $unsigned).into()
                });
                check(&format!("cvt.{mode}.{}.f64 $d, $a;", $name), $bits, &["f64"], |v| {
                    (of(f64::from_bits(v[0])) as $ty as $unsigned).into()
                });
            }
        )*};
    }
    whole! { "u16" "b16" u16 u16 "s16" "b16" i16 u16 "u32" "b32" u32 u32 "s32" "b32" i32 u32 }
    whole! { "u64" "b64" u64 u64 "s64" "b64" i64 u64 }
    check("cvt.rmi.f32.f32 $d, $a;", "f32", &["f32"], |v| {
        let x = f32::from_bits(v[0] as u32).floor();
        if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
    });
    check("cvt.f64.f32 $d, $a;", "f64", &["f32"], |v| {
        let x = f64::from(f32::from_bits(v[0] as u32));
        if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
    });
    check("cvt.rn.f32.f64 $d, $a;", "f32", &["f64"], |v| {
        let x = f64::from_bits(v[0]) as f32;
        if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
    });
    check("cvt.rn.ftz.f32.f64 $d, $a;", "f32", &["f64"], |v| {
        let x = f64::from_bits(v[0]) as f32;
        let x = if x.is_subnormal() { 0.0_f32.copysign(x) } else { x };
        if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
    });
}
