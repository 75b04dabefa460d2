//! Every instruction set that this CPU has gives the oracle's answers, to the golden vectors and to random rows.

#![allow(clippy::unwrap_used, reason = "tests")]

use densekd::{Cpu, Submission, selftest};
use densekd_core::{Isa, Order, Plan, Recipe, RowOptions, Shape, Temperature};
use densekd_tests::oracle::fast;
use densekd_tests::rows::ordinary;
use fastrand::Rng;

/// 64-bit Arm has NEON: where it is not found, the tests that name it would run something else.
#[test]
fn the_widest_is_found() {
    let wanted: &[Isa] = match std::env::consts::ARCH {
        "aarch64" => &[Isa::Neon],
        "x86_64" => &[Isa::Avx512, Isa::Avx2, Isa::Plain],
        _ => &[Isa::Plain],
    };
    assert!(wanted.contains(&Isa::detect()), "{:?}", Isa::detect());
    assert_eq!(Isa::available().last(), Some(Isa::Plain));
}

#[test]
fn each_passes_every_vector() {
    for isa in Isa::available() {
        let report = selftest::run(&Cpu::new().with_isa(isa).unwrap(), &selftest::built_in());
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.ok).map(|case| &case.name).collect();
        assert!(report.passed > 100 && failed.is_empty(), "{isa:?}: {failed:?}");
    }
}

/// Values within 1e-6, and gradients within 2e-6 of their row's largest entry, whatever the length and however near
/// the student.
#[test]
fn each_agrees_with_the_oracle_on_random_rows() {
    const TAU: f64 = 2.0;
    let mut rng = Rng::with_seed(5);
    for length in [1, 2, 3, 5, 15, 16, 17, 49, 63, 65, 200, 1023, 1025, 4096, 5000] {
        for noise in [3.0, 1.0, 0.1, 1e-3, 1e-6] {
            let pair = ordinary(&mut rng, length, noise, 5.0);
            let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
            let (teacher, student) = (wide(&pair.teacher), wide(&pair.student));
            let value = fast::kl_row(&teacher, &student, TAU);
            let wanted = fast::kl_row_gradient(&teacher, &student, TAU);
            let top = wanted.iter().fold(0.0_f64, |top, x| top.max(x.abs()));
            let options = RowOptions { tau: Temperature::new(TAU).unwrap(), ..RowOptions::CWD };
            let shape = Shape::new([1, 1, 1, length]).unwrap();
            let plan = Plan::new(Recipe::new(options).unwrap(), shape, Order::Nchw).unwrap();
            for isa in Isa::available() {
                let mut gradient = vec![0.0_f32; length];
                let submission = Submission {
                    grad_student: Some(gradient.as_mut_slice().into()),
                    ..Submission::new(&plan, &pair.teacher[..], &pair.student[..])
                };
                let cpu = Cpu::new().with_isa(isa).unwrap();
                let outcome = densekd::Backend::submit(&cpu, submission).unwrap();
                // The oracle has no weight: tau^2, and a divisor of 1.
                let off = (outcome.value() - TAU * TAU * value).abs();
                assert!(off <= 1e-6 * TAU * TAU * value, "{isa:?}, {length}, {noise}: {}", outcome.value());
                for (x, wanted) in gradient.iter().zip(&wanted) {
                    let off = (f64::from(*x) - TAU * TAU * wanted).abs();
                    assert!(off <= 2e-6 * TAU * TAU * top, "{isa:?}, {length}, {noise}: {x} for {wanted}");
                }
            }
        }
    }
}
