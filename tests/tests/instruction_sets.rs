//! Every instruction set that this CPU has gives the oracle's answers, to the golden vectors and to random rows, and on
//! each the same bits for any number of threads.

#![allow(clippy::unwrap_used, reason = "tests")]

use densekd::{Backend, Cpu, Submission, selftest};
use densekd_core::{
    DType, Divergence, Element, Isa, Order, Plan, Recipe, RowOptions, Shape, Temperature, Tensor,
};
use densekd_tests::error::row_error_on;
use densekd_tests::oracle::fast;
use densekd_tests::rows::{GENES, decode, ordinary};
use densekd_tests::samples;
use fastrand::Rng;
use half::{bf16, f16};
use std::num::NonZeroUsize;

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
                let outcome = cpu.submit(submission).unwrap();
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

#[test]
fn every_instruction_set_keeps_the_bounds_on_contrived_rows() {
    let mut rng = Rng::with_seed(3);
    for _ in 0..2000 {
        let pair = decode(&std::array::from_fn::<f64, GENES, _>(|_| rng.f64()));
        for isa in Isa::available() {
            let error = row_error_on(isa, &pair);
            assert!(error.value <= 4e-6 && error.gradient <= 2e-6, "{isa}: {error:?} of {pair:?}");
        }
    }
}

/// Ordinary rows of every size of the KL divergence, longer than a block too.
#[test]
fn every_instruction_set_keeps_the_promise_on_ordinary_rows() {
    let mut rng = Rng::with_seed(5);
    for i in 0..600 {
        let length = [17, 49, 64, 300, 1024, 1500, 5000][i % 7];
        let distance = 10_f64.powf(-7.0 * rng.f64() + 0.7);
        let shift = [0.0, 5.0, 1000.0][rng.usize(..3)];
        let mut row = || -> Vec<f64> { (0..length).map(|_| 4.0 * samples::normal(&mut rng)).collect() };
        let (student, noise) = (row(), row());
        #[allow(clippy::cast_possible_truncation, reason = "rows are those of f32")]
        let pair = densekd_tests::rows::RowPair {
            teacher: student.iter().zip(&noise).map(|(s, n)| (s + distance * n + shift) as f32).collect(),
            student: student.iter().map(|&s| s as f32).collect(),
            tau: 4.0,
        };
        for isa in Isa::available() {
            let error = row_error_on(isa, &pair);
            assert!(
                error.value <= 1e-6 && error.gradient <= 2e-6,
                "{isa}: {error:?}, {length}, {distance:e}"
            );
        }
    }
}

/// The bits of a loss and its gradient.
fn bits<E: Element>(cpu: &Cpu, plan: &Plan, teacher: &[E], student: &[E]) -> (u64, Vec<u64>) {
    let mut gradient = vec![E::default(); student.len()];
    let grad_student = Some(gradient.as_mut_slice().into());
    let submission = Submission { grad_student, ..Submission::new(plan, teacher, student) };
    let value = cpu.submit(submission).unwrap().value();
    (value.to_bits(), gradient.iter().map(|x| x.widen::<f64>().to_bits()).collect())
}

fn agrees<E: Element>(plan: &Plan, teacher: &[f64], student: &[f64], isa: Isa) {
    let narrow = |x: &[f64]| x.iter().map(|&x| E::narrow(x)).collect::<Vec<E>>();
    let (teacher, student) = (narrow(teacher), narrow(student));
    let on = |threads| {
        let cpu = Cpu::with_threads(NonZeroUsize::new(threads).unwrap()).unwrap().with_isa(isa).unwrap();
        bits(&cpu, plan, &teacher, &student)
    };
    let one = on(1);
    if plan.in_place().is_ok() {
        let mut written = student.clone();
        let cpu = Cpu::new().with_isa(isa).unwrap();
        let value = cpu.submit(Submission::new(plan, &teacher[..], &mut written[..])).unwrap().value();
        let gradient = written.iter().map(|x| x.widen::<f64>().to_bits()).collect();
        assert!(one == (value.to_bits(), gradient), "{isa}, in place, {:?}, {}", plan.shape(), E::DTYPE);
    }
    for threads in [2, 3] {
        assert!(one == on(threads), "{isa}, {} threads, {:?}, {}", threads, plan.shape(), E::DTYPE);
    }
}

#[test]
fn threads_do_not_change_a_bit_on_any_instruction_set() {
    let mut rng = Rng::with_seed(11);
    for i in 0..200 {
        // Every tenth has rows that are cut.
        let long = [1, rng.usize(1..3), 1, rng.usize(131_073..300_000)];
        let short = [rng.usize(1..4), rng.usize(1..40), rng.usize(1..50), rng.usize(1..50)];
        let shape = Shape::new(if i % 10 == 9 { long } else { short }).unwrap();
        let order = if rng.bool() { Order::Nchw } else { Order::Nhwc };
        let divergence =
            [Divergence::Kl, Divergence::Kl, Divergence::Ce, Divergence::ReverseKl][rng.usize(..4)];
        let options = if rng.bool() { RowOptions::CWD } else { RowOptions::PI };
        let recipe = Recipe::new(RowOptions { divergence, ..options }).unwrap();
        let plan = Plan::new(recipe, shape, order).unwrap();
        let noise = 10_f64.powf(-4.0 * rng.f64());
        let teacher: Vec<f64> = (0..shape.len()).map(|_| 4.0 * samples::normal(&mut rng)).collect();
        let student: Vec<f64> = teacher.iter().map(|t| t + noise * samples::normal(&mut rng)).collect();
        let available: Vec<Isa> = Isa::available().collect();
        let isa = available[i % available.len()];
        match [DType::F32, DType::F16, DType::Bf16][i % 3] {
            DType::F16 => agrees::<f16>(&plan, &teacher, &student, isa),
            DType::Bf16 => agrees::<bf16>(&plan, &teacher, &student, isa),
            _ => agrees::<f32>(&plan, &teacher, &student, isa),
        }
    }
}

/// Rows of every kernel for rows that lie together: a gradient of another type than the maps is that of their own type,
/// rounded once.
#[test]
fn a_gradient_of_another_type_is_rounded_once() {
    fn check<M: Element, G: Element>(maps: [&[M]; 2], plan: &Plan, isa: Isa, wide: &[f32]) {
        let mut gradient = vec![G::narrow(7.0_f64); wide.len()];
        let submission = Submission {
            grad_student: Some(G::tensor_mut(&mut gradient)),
            ..Submission::new(plan, M::tensor(maps[0]), M::tensor(maps[1]))
        };
        Cpu::new().with_isa(isa).unwrap().submit(submission).unwrap();
        let wanted: Vec<f64> = wide.iter().map(|&x| G::narrow(x).widen()).collect();
        let found: Vec<f64> = gradient.iter().map(|x| x.widen()).collect();
        assert!(found == wanted, "{} of {}, {isa:?}, rows of {}", G::DTYPE, M::DTYPE, plan.row_len());
    }
    for length in [7, 64, 65, 1000, 5000] {
        let shape = Shape::new([1, 3, 1, length]).unwrap();
        let plan = Plan::new(Recipe::new(RowOptions::CWD).unwrap(), shape, Order::Nchw).unwrap();
        let mut rng = Rng::with_seed(11);
        for noise in [3.0, 0.1] {
            let pair = ordinary(&mut rng, 3 * length, noise, 5.0);
            let halves = |row: &[f32]| row.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
            let (teacher, student) = (halves(&pair.teacher), halves(&pair.student));
            for isa in Isa::available() {
                let wide = |teacher: Tensor<'_>, student: Tensor<'_>| {
                    let mut wide = vec![7.0_f32; 3 * length];
                    let submission = Submission {
                        grad_student: Some(wide.as_mut_slice().into()),
                        ..Submission::new(&plan, teacher, student)
                    };
                    Cpu::new().with_isa(isa).unwrap().submit(submission).unwrap();
                    wide
                };
                let of_singles = wide(Tensor::from(&pair.teacher[..]), Tensor::from(&pair.student[..]));
                let maps = [&pair.teacher[..], &pair.student[..]];
                check::<f32, f16>(maps, &plan, isa, &of_singles);
                check::<f32, bf16>(maps, &plan, isa, &of_singles);
                check::<f32, f64>(maps, &plan, isa, &of_singles);
                let of_halves = wide(Tensor::from(&teacher[..]), Tensor::from(&student[..]));
                check::<f16, f16>([&teacher, &student], &plan, isa, &of_halves);
                check::<f16, bf16>([&teacher, &student], &plan, isa, &of_halves);
            }
        }
    }
}
