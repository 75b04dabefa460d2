//! Rows whose logits are so large that differences of them lose digits: every finite row keeps the bound.
#![allow(clippy::unwrap_used, reason = "a test")]

use densekd_core::{Kl, RowLoss, Softmax, Temperature};
use fastrand::Rng;

fn value(tau: f64, t: &[f32], s: &[f32]) -> f64 {
    RowLoss::new(Softmax::new(Temperature::new(tau).unwrap()), Kl).value(t, s)
}

#[track_caller]
fn is(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-6 * want, "{got:e}, not {want:e}");
}

#[test]
fn the_teacher_far_above_the_student() {
    let (t, s) = ([5.344_328_3e16, -0.192_846_36], [-2.529_119e-7, 1_139_018.0]);
    is(value(0.0625, &t, &s), (1_139_018.0 + 2.529_119e-7_f64) / 0.0625);
}

#[test]
fn the_student_far_above_the_teacher() {
    assert_eq!(value(13.125, &[8.6e9, 7e-39], &[-1.05e34, -1.65e38]), 0.0);
}

#[test]
fn a_tie_at_the_top_of_a_student_of_any_size() {
    let size = 3.0e37;
    is(value(1.0, &[size, 0.0, -size], &[-size, -size, -3.0 * size]), 2.0_f64.ln());
}

#[test]
fn a_share_that_only_its_own_terms_show() {
    // KL = log(1 + e^-40), which the sum of exponentials does not hold beside its 1.
    is(value(1.0, &[1e20, 0.0], &[0.0, -40.0]), (-40.0_f64).exp());
}

/// A reference that no step can raise must not be raised for ever.
#[test]
fn rows_of_any_numbers_come_to_an_end() {
    let mut rng = Rng::with_seed(8);
    for _ in 0..40_000 {
        let tau = f64::from(rng.u8(1..)) / 16.0;
        let mut row = |len| -> Vec<f32> { (0..len).map(|_| f32::from_bits(rng.u32(..)) % 1e18).collect() };
        let (teacher, student) = (row(5), row(5));
        let value = value(tau, &teacher, &student);
        let finite = teacher.iter().chain(&student).all(|x| x.is_finite());
        assert!(value >= 0.0 || !finite, "{value}, {teacher:?} {student:?} at {tau}");
    }
}
