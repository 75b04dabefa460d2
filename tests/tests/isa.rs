//! Every instruction set that this CPU has: the same answers within the same bounds, and on each the same bits
//! for any number of threads.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up is to fail")]

use densekd::{Backend, Cpu, Submission, selftest};
use densekd_core::{DType, Divergence, Element, Isa, Order, Plan, Recipe, RowOptions, Shape};
use densekd_tests::error::row_error_on;
use densekd_tests::rows::{GENES, decode};
use densekd_tests::samples;
use fastrand::Rng;
use half::{bf16, f16};
use std::num::NonZeroUsize;

#[test]
fn every_instruction_set_passes_the_golden_vectors() {
    let cases = selftest::built_in();
    for isa in Isa::available() {
        let report = selftest::run(&Cpu::new().with_isa(isa).unwrap(), &cases);
        let failed: Vec<_> = report.cases.iter().filter(|case| !case.ok).map(|case| &case.name).collect();
        assert!(failed.is_empty(), "{isa}: {failed:?}");
        assert_eq!(report.passed, cases.len(), "{isa}");
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
    for threads in [2, 3] {
        assert!(one == on(threads), "{isa}, {} threads, {:?}, {}", threads, plan.shape(), E::DTYPE);
    }
}

#[test]
fn threads_do_not_change_a_bit_on_any_instruction_set() {
    let mut rng = Rng::with_seed(11);
    for i in 0..200 {
        let dims = [rng.usize(1..4), rng.usize(1..40), rng.usize(1..50), rng.usize(1..50)];
        let shape = Shape::new(dims).unwrap();
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
