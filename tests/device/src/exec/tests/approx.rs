//! Approximate instructions: near the exact result by what PTX allows, a function of the seed, exact without one.
use super::evaluate;

type One = fn(f64) -> f64;

const NAMES: [(&str, One); 6] = [
    ("ex2.approx.ftz.f32", f64::exp2),
    ("lg2.approx.ftz.f32", f64::log2),
    ("rcp.approx.ftz.f32", |x| 1.0 / x),
    ("sqrt.approx.ftz.f32", f64::sqrt),
    ("rsqrt.approx.ftz.f32", |x| 1.0 / x.sqrt()),
    ("tanh.approx.f32", f64::tanh),
];

/// Numbers of f32 between two, which have one sign.
fn apart(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

#[test]
pub(super) fn errors_are_those_that_are_allowed() {
    for (name, of) in NAMES {
        let (mut off, mut exact) = (0, 0);
        for (values, got) in evaluate(&format!("{name} $d, $a;"), "f32", &["f32"], 7) {
            let x = f32::from_bits(values[0] as u32);
            let (x, got) = (if name.contains("ftz") { flushed(x) } else { x }, f32::from_bits(got as u32));
            let want = of(f64::from(x)) as f32;
            let want = if name.contains("ftz") { flushed(want) } else { want };
            if want.is_nan() {
                assert!(got.is_nan(), "{name} of {x}: {got}");
            } else if name.starts_with("lg2") && x > 0.5 && x < 2.0 {
                assert!(
                    (f64::from(got) - of(f64::from(x))).abs() <= 2_f64.powi(-22) + 2_f64.powi(-25),
                    "{name} of {x}: {got}"
                );
            } else if want == 0.0 || want.is_infinite() {
                assert_eq!(got, want, "{name} of {x}");
            } else {
                assert!(apart(got, want) <= 2, "{name} of {x}: {got}, not {want}");
                off += u32::from(got != want);
                exact += u32::from(got == want);
            }
        }
        assert!(off > exact, "{name}: {off} are off, {exact} exact");
    }
}

#[test]
pub(super) fn without_a_seed_they_are_exact() {
    for (name, of) in NAMES {
        for (values, got) in evaluate(&format!("{name} $d, $a;"), "f32", &["f32"], 0) {
            let x = f32::from_bits(values[0] as u32);
            let (x, got) = (if name.contains("ftz") { flushed(x) } else { x }, f32::from_bits(got as u32));
            let want = of(f64::from(x)) as f32;
            let want = if name.contains("ftz") { flushed(want) } else { want };
            assert!(got == want || (got.is_nan() && want.is_nan()), "{name} of {x}: {got}, not {want}");
        }
    }
}

#[test]
pub(super) fn one_seed_gives_one_result() {
    let of = |seed| evaluate("ex2.approx.ftz.f32 $d, $a;", "f32", &["f32"], seed);
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
pub(super) fn quotients() {
    for name in ["div.approx.f32", "div.full.f32"] {
        for (values, got) in evaluate(&format!("{name} $d, $a, $b;"), "f32", &["f32"; 2], 7) {
            let [a, b] = [values[0], values[1]].map(|x| f32::from_bits(x as u32));
            let (got, want) = (f32::from_bits(got as u32), a / b);
            assert!(
                (got.is_nan() && want.is_nan()) || got == want || apart(got, want) <= 2,
                "{a} / {b}: {got}"
            );
        }
    }
}
