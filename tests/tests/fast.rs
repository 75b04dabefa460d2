//! The fast truth against the exact one.

#![allow(clippy::float_cmp, reason = "exact zeros and infinities are what is promised")]

use densekd_tests::oracle::{Answer, Case, Divergence, Divisor, Options, answer, fast};
use fastrand::Rng;

/// Relative: nine roundings of an f64. A term has about as many, a sum of terms that are all at least 0 has
/// no more than its terms.
const TOLERANCE: f64 = 2e-15;

/// Below it the exact oracle reports 0.
const FLOOR: f64 = 1e-120;

struct Row {
    teacher: Vec<f64>,
    student: Vec<f64>,
    tau: f64,
    kind: String,
}

fn exact(divergence: Divergence, row: &Row) -> Answer {
    answer(&Case {
        shape: [1, 1, 1, row.teacher.len()],
        teacher: row.teacher.clone(),
        student: row.student.clone(),
        counted: None,
        options: Options {
            divergence,
            divisor: Divisor::Sum,
            tau: row.tau,
            tau_square: false,
            weight: 1.0,
            ..Options::cwd()
        },
    })
}

fn noise(source: &mut Rng, length: usize, size: f64) -> Vec<f64> {
    (0..length).map(|_| size * (2.0 * source.f64() - 1.0)).collect()
}

/// Rows whose student is the teacher, moved by a constant and by noise: KL from 1e1 to 1e-28.
fn near(source: &mut Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for shift in [0.0, 5.0, 100.0, 1000.0] {
        for digits in 0..=14 {
            for tau in [1.0, 3.0] {
                let length = source.usize(2..=40);
                let distance = 5.0 * 10_f64.powi(-digits);
                let teacher = noise(source, length, 4.0);
                let moved = noise(source, length, distance);
                let student = teacher.iter().zip(moved).map(|(t, d)| t + shift + d).collect();
                rows.push(Row { teacher, student, tau, kind: format!("near {distance:e} + {shift}") });
            }
        }
    }
    rows
}

/// Rows of which one entry holds nearly all mass, on both sides or only on one, the same or another.
fn peaked(source: &mut Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for height in [5.0, 30.0, 300.0, 740.0, 2000.0, 6e4] {
        for distance in [3.0, 1e-3, 1e-9] {
            for (of_teacher, of_student) in [(true, true), (true, false), (false, true)] {
                let length = source.usize(2..=40);
                let mut teacher = noise(source, length, 2.0);
                let moved = noise(source, length, distance);
                let mut student: Vec<f64> = teacher.iter().zip(moved).map(|(t, d)| t + d).collect();
                let peak = source.usize(0..length);
                let other = if source.bool() { peak } else { source.usize(0..length) };
                teacher[peak] += if of_teacher { height } else { 0.0 };
                student[other] += if of_student { height } else { 0.0 };
                rows.push(Row { teacher, student, tau: 1.0, kind: format!("peak {height}, {distance:e}") });
            }
        }
    }
    rows
}

/// Rows whose mass sits where the other side has next to none.
fn far(source: &mut Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for depth in [1.0, 20.0, 100.0, 400.0, 700.0, 745.0, 1e4] {
        let length = source.usize(4..=40);
        let mut teacher = noise(source, length, 3.0);
        let mut student = noise(source, length, 3.0);
        for i in 0..length {
            let side = if i % 2 == 0 { &mut teacher } else { &mut student };
            side[i] -= depth;
        }
        rows.push(Row { teacher, student, tau: 1.0, kind: format!("far {depth}") });
    }
    rows
}

fn rows() -> Vec<Row> {
    let mut source = Rng::with_seed(20);
    let mut rows = near(&mut source);
    for _ in 0..2 {
        rows.extend(peaked(&mut source));
        rows.extend(far(&mut source));
    }
    for i in 0..rows.len() / 8 {
        let row = &mut rows[8 * i];
        row.teacher[0] = f64::NEG_INFINITY;
        row.student[0] = f64::NEG_INFINITY;
    }
    rows
}

fn relative(got: f64, want: f64) -> f64 {
    if (got - want).abs() <= FLOOR || got == want { 0.0 } else { ((got - want) / want).abs() }
}

/// The worst relative error of a value over all rows, and where.
fn worst(divergence: Divergence, value: impl Fn(&[f64], &[f64], f64) -> f64) -> (f64, String) {
    let error = |row: Row| {
        let want = exact(divergence, &row).value;
        (relative(value(&row.teacher, &row.student, row.tau), want), format!("{}: {want:e}", row.kind))
    };
    rows().into_iter().map(error).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are rows")
}

fn check((error, row): (f64, String)) {
    assert!(error <= TOLERANCE, "{error:e} at {row}");
}

#[test]
fn kl_is_the_exact_one() {
    check(worst(Divergence::Kl, fast::kl_row));
}

#[test]
fn reverse_kl_is_the_exact_one() {
    check(worst(Divergence::ReverseKl, fast::reverse_kl_row));
}

#[test]
fn js_is_the_exact_one() {
    check(worst(Divergence::Js, fast::js_row));
}

#[test]
fn the_gradient_of_kl_is_the_exact_one() {
    let error = |row: Row| {
        let want = exact(Divergence::Kl, &row).grad_student;
        let got = fast::kl_row_gradient(&row.teacher, &row.student, row.tau);
        let scale = want.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
        let error = got.iter().zip(&want).map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
        (if error <= FLOOR { 0.0 } else { error / scale }, row.kind)
    };
    check(rows().into_iter().map(error).max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are rows"));
}

#[test]
fn the_rows_reach_from_10_to_1e_28() {
    let values: Vec<f64> = rows().iter().map(|x| fast::kl_row(&x.teacher, &x.student, x.tau)).collect();
    assert!(values.iter().any(|&x| x > 1e1));
    assert!(values.iter().any(|&x| x > 0.0 && x < 1e-28));
}

#[test]
fn long_rows_are_as_good_as_short_ones() {
    let mut source = Rng::with_seed(3);
    let teacher = noise(&mut source, 1500, 6.0);
    let student = teacher.iter().zip(noise(&mut source, 1500, 1e-9)).map(|(t, d)| t + 100.0 + d).collect();
    let row = Row { teacher, student, tau: 4.0, kind: String::new() };
    let want = exact(Divergence::Kl, &row).value;
    assert!(relative(fast::kl_row(&row.teacher, &row.student, row.tau), want) <= TOLERANCE);
}

#[test]
fn degenerate_rows_are_the_exact_ones() {
    let none = f64::NEG_INFINITY;
    let sides =
        [[0.0, 1.0, 2.0], [0.0, none, 2.0], [none; 3], [0.0, f64::NAN, 1.0], [0.0, f64::INFINITY, none]];
    for teacher in sides {
        for student in sides {
            let row = Row { teacher: teacher.into(), student: student.into(), tau: 2.0, kind: String::new() };
            let same = |got: f64, want: f64| {
                assert!(
                    got == want || (got.is_nan() && want.is_nan()) || relative(got, want) < TOLERANCE,
                    "{teacher:?} {student:?}: {got} {want}"
                );
            };
            let truth = exact(Divergence::Kl, &row);
            same(fast::kl_row(&teacher, &student, 2.0), truth.value);
            same(fast::reverse_kl_row(&teacher, &student, 2.0), exact(Divergence::ReverseKl, &row).value);
            same(fast::js_row(&teacher, &student, 2.0), exact(Divergence::Js, &row).value);
            for (got, want) in fast::kl_row_gradient(&teacher, &student, 2.0).iter().zip(truth.grad_student) {
                same(*got, want);
            }
        }
    }
}

#[test]
fn rows_equal_up_to_a_constant_are_exactly_zero() {
    let teacher = [0.25, -3.5, 7.0, 1.0];
    let student = teacher.map(|t| t + 1000.0);
    assert_eq!(fast::kl_row(&teacher, &student, 0.3), 0.0);
    assert_eq!(fast::js_row(&teacher, &student, 0.3), 0.0);
    assert!(fast::kl_row_gradient(&teacher, &student, 0.3).iter().all(|&g| g == 0.0));
}
