//! Floating-point instructions.
use super::check;

/// A result's bits, a NaN being the one of devices.
fn bits32(x: f32) -> u64 {
    if x.is_nan() { 0x7fff_ffff } else { u64::from(x.to_bits()) }
}

fn bits64(x: f64) -> u64 {
    if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
}

fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b < a || (b.is_sign_negative() && b == a) { b } else { a }
}

fn greatest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b > a || (b.is_sign_positive() && b == a) { b } else { a }
}

#[test]
pub(super) fn arithmetic() {
    type Two32 = fn(f32, f32) -> f32;
    type Two64 = fn(f64, f64) -> f64;
    let f32s: [(&str, Two32); 11] = [
        ("add.f32", |a, b| a + b),
        ("add.rn.f32", |a, b| a + b),
        ("sub.f32", |a, b| a - b),
        ("mul.f32", |a, b| a * b),
        ("div.rn.f32", |a, b| a / b),
        ("min.f32", |a, b| least(a.into(), b.into()) as f32),
        ("max.f32", |a, b| greatest(a.into(), b.into()) as f32),
        ("max.NaN.f32", |a, b| {
            if a.is_nan() || b.is_nan() { f32::NAN } else { greatest(a.into(), b.into()) as f32 }
        }),
        (
            "min.NaN.f32",
            |a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { least(a.into(), b.into()) as f32 },
        ),
        ("add.sat.f32", |a, b| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 }),
        ("mul.ftz.f32", |a, b| flushed(flushed(a) * flushed(b))),
    ];
    for (name, of) in f32s {
        check(&format!("{name} $d, $a, $b;"), "f32", &["f32"; 2], |v| {
            bits32(of(f32::from_bits(v[0] as u32), f32::from_bits(v[1] as u32)))
        });
    }
    let f64s: [(&str, Two64); 8] = [
        ("add.f64", |a, b| a + b),
        ("sub.f64", |a, b| a - b),
        ("sub.rn.f64", |a, b| a - b),
        ("mul.f64", |a, b| a * b),
        ("mul.rn.f64", |a, b| a * b),
        ("div.rn.f64", |a, b| a / b),
        ("min.f64", least),
        ("max.f64", greatest),
    ];
    for (name, of) in f64s {
        check(&format!("{name} $d, $a, $b;"), "f64", &["f64"; 2], |v| {
            bits64(of(f64::from_bits(v[0]), f64::from_bits(v[1])))
        });
    }
}

#[test]
pub(super) fn one_operand_and_fused() {
    type One32 = fn(f32) -> f32;
    let ones: [(&str, One32); 6] = [
        ("neg.f32", |a| -a),
        ("abs.f32", f32::abs),
        ("sqrt.rn.f32", f32::sqrt),
        ("rcp.rn.f32", |a| 1.0 / a),
        ("neg.ftz.f32", |a| flushed(-a)),
        ("sqrt.rn.ftz.f32", |a| flushed(flushed(a).sqrt())),
    ];
    for (name, of) in ones {
        check(&format!("{name} $d, $a;"), "f32", &["f32"], |v| bits32(of(f32::from_bits(v[0] as u32))));
    }
    check("neg.f64 $d, $a;", "f64", &["f64"], |v| bits64(-f64::from_bits(v[0])));
    check("sqrt.rn.f64 $d, $a;", "f64", &["f64"], |v| bits64(f64::from_bits(v[0]).sqrt()));
    check("rcp.rn.f64 $d, $a;", "f64", &["f64"], |v| bits64(1.0 / f64::from_bits(v[0])));
    check("copysign.f32 $d, $a, $b;", "f32", &["f32"; 2], |v| {
        bits32(f32::from_bits((v[1] & 0x7fff_ffff | v[0] & 0x8000_0000) as u32))
    });
    check("fma.rn.f32 $d, $a, $b, $c;", "f32", &["f32"; 3], |v| {
        let [a, b, c] = [v[0], v[1], v[2]].map(|x| f32::from_bits(x as u32));
        bits32(a.mul_add(b, c))
    });
    check("fma.rn.ftz.f32 $d, $a, $b, $c;", "f32", &["f32"; 3], |v| {
        let [a, b, c] = [v[0], v[1], v[2]].map(|x| flushed(f32::from_bits(x as u32)));
        bits32(flushed(a.mul_add(b, c)))
    });
    check("fma.rn.f64 $d, $a, $b, $c;", "f64", &["f64"; 3], |v| {
        let [a, b, c] = [v[0], v[1], v[2]].map(f64::from_bits);
        bits64(a.mul_add(b, c))
    });
}

#[test]
pub(super) fn comparisons() {
    type Test = fn(f64, f64) -> bool;
    let tests: [(&str, Test); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| !a.is_nan() && !b.is_nan() && a != b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a.is_nan() || b.is_nan() || a == b),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| !(a >= b)),
        ("leu", |a, b| !(a > b)),
        ("gtu", |a, b| !(a <= b)),
        ("geu", |a, b| !(a < b)),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, of) in tests {
        let line = |ty: &str| format!("setp.{name}.{ty} %p1, $a, $b;\nselp.b32 $d, 1, 0, %p1;");
        check(&line("f32"), "b32", &["f32"; 2], |v| {
            let [a, b] = [v[0], v[1]].map(|x| f64::from(f32::from_bits(x as u32)));
            u64::from(of(a, b))
        });
        check(&line("ftz.f32"), "b32", &["f32"; 2], |v| {
            let [a, b] = [v[0], v[1]].map(|x| f64::from(flushed(f32::from_bits(x as u32))));
            u64::from(of(a, b))
        });
        check(&line("f64"), "b32", &["f64"; 2], |v| {
            u64::from(of(f64::from_bits(v[0]), f64::from_bits(v[1])))
        });
        check(&line("f16"), "b32", &["b16"; 2], |v| {
            let [a, b] = [v[0], v[1]].map(super::convert::half);
            u64::from(of(a, b))
        });
    }
}

/// Results over many seeds: each must be one of `allowed`, and each of those must be met.
fn met(lines: &str, allowed: &[fn(f32, f32, f32) -> f32]) {
    let mut seen = vec![false; allowed.len()];
    for seed in 0..40 {
        for (v, got) in super::evaluate(lines, "f32", &["f32"; 3], seed) {
            let [a, b, c] = [v[0], v[1], v[2]].map(|x| f32::from_bits(x as u32));
            let answers: Vec<bool> = allowed.iter().map(|of| bits32(of(a, b, c)) == got).collect();
            assert!(answers.contains(&true), "{lines}: {a} {b} {c} gives {got:x}");
            if answers.iter().filter(|fits| **fits).count() == 1 {
                seen.iter_mut().zip(answers).for_each(|(seen, fits)| *seen |= fits);
            }
        }
    }
    assert!(!seen.contains(&false), "{lines}: {seen:?}");
}

#[test]
pub(super) fn products_and_sums_may_be_fused() {
    let product = "mul.f32 %f1, $a, $b;\n";
    met(&format!("{product}add.f32 $d, %f1, $c;"), &[|a, b, c| a * b + c, |a, b, c| a.mul_add(b, c)]);
    met(&format!("{product}sub.f32 $d, %f1, $c;"), &[|a, b, c| a * b - c, |a, b, c| a.mul_add(b, -c)]);
    met(&format!("{product}sub.f32 $d, $c, %f1;"), &[|a, b, c| c - a * b, |a, b, c| (-a).mul_add(b, c)]);
    // Not where a rounding is named, a factor has changed, or the product comes from elsewhere.
    for lines in [
        "mul.rn.f32 %f1, $a, $b;\nadd.f32 $d, %f1, $c;",
        "mul.f32 %f1, $a, $b;\nadd.rn.f32 $d, %f1, $c;",
        "mov.f32 %f2, $a;\nmul.f32 %f1, %f2, $b;\nmov.f32 %f2, $c;\nadd.f32 $d, %f1, $c;",
        "mul.f32 %f1, $a, $b;\n$next:\nadd.f32 $d, %f1, $c;\nsetp.ne.u32 %p1, %r0, %r0;\n@%p1 bra $next;",
    ] {
        met(lines, &[|a, b, c| a * b + c]);
    }
}

/// Equal inputs leave nothing only where their products are rounded by themselves.
#[test]
pub(super) fn a_difference_of_equal_products_shows_the_fusion() {
    let lines = "mul.f32 %f1, $a, $b;\nmul.f32 %f2, $a, $b;\nsub.f32 $d, %f1, %f2;";
    met(lines, &[|a, b, _| a * b - a * b, |a, b, _| a.mul_add(b, -(a * b))]);
}
