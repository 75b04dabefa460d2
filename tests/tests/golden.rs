//! The golden vectors of every loss, by every way through the library: the core on one thread and the CPU
//! backend on several, channels first and channels last, and the `f32` vectors once more in `f64`.

use densekd::{Backend, selftest, vectors::Case};
use densekd_tests::backends::{ChannelsLast, Sequential};
use densekd_tests::engine::cpu;
use densekd_tests::golden::in_f64;

fn passes(backend: &dyn Backend, cases: &[Case]) {
    for (order, backend) in [("nchw", backend), ("nhwc", &ChannelsLast(backend) as &dyn Backend)] {
        let report = selftest::run(backend, cases);
        let failed: Vec<String> = report
            .cases
            .iter()
            .filter(|case| !case.ok)
            .map(|case| format!("{}: {:.2} of the tolerance, {}", case.name, case.max_error, case.detail))
            .collect();
        assert!(failed.is_empty(), "{order}, {} failed:\n{}", failed.len(), failed.join("\n"));
        assert_eq!((report.passed, report.unsupported.len()), (cases.len(), 0), "{order}");
    }
}

fn every_vector() -> Vec<Case> {
    let cases = selftest::built_in();
    assert_eq!(cases.len(), 57 + 15 + 68, "cwd, pi and the losses of maps");
    cases
}

#[test]
fn the_core_passes_every_vector() {
    passes(&Sequential, &every_vector());
}

#[test]
fn the_core_passes_every_vector_in_f64() {
    assert!(in_f64().len() > 60, "{} are left", in_f64().len());
    passes(&Sequential, &in_f64());
}

#[test]
fn one_two_and_three_threads_pass_every_vector() {
    for threads in 1..=3 {
        passes(cpu(threads), &every_vector());
        passes(cpu(threads), &in_f64());
    }
}

/// Who judges must be able to say no: each vector with one number moved by twice its tolerance fails.
#[test]
fn a_number_off_by_twice_its_tolerance_is_found() {
    let report = selftest::run(&Sequential, &every_vector());
    for (case, report) in every_vector().iter().zip(&report.cases) {
        let moved = |x: f64, [relative, absolute]: [f64; 2], scale: f64| {
            // An error below half the tolerance cannot hide a change of twice the tolerance.
            x + 2.0 * (relative * scale + absolute).max(f64::MIN_POSITIVE)
        };
        let mut wrong = Vec::new();
        if case.value.is_finite() && case.value != 0.0 {
            let value = moved(case.value, case.tolerance.value, case.value.abs());
            wrong.push(Case { value, ..case.clone() });
        }
        let largest = case.grad_student.iter().filter(|x| x.is_finite()).fold(0.0_f64, |a, x| a.max(x.abs()));
        if case.dtype == "f32"
            && largest > 0.0
            && let Some(at) = case.grad_student.iter().position(|x| x.abs() >= largest)
        {
            let mut grad_student = case.grad_student.clone();
            grad_student[at] = moved(grad_student[at], case.tolerance.gradient, largest);
            wrong.push(Case { grad_student, ..case.clone() });
        }
        assert!(report.max_error < 1.0, "{}: {}", case.name, report.max_error);
        let found = selftest::run(&Sequential, &wrong);
        assert_eq!(found.failed, wrong.len(), "{} is passed with a wrong number", case.name);
    }
}
