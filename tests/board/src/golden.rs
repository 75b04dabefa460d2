//! Golden vectors: values, gradients and degenerate rows.

use crate::host::{print, say};
use densekd_core::single::{Polynomial, RowKl};

/// A case whose rows are a map's channels.
struct Case {
    name: &'static str,
    /// Entries of a row.
    len: usize,
    tau: f32,
    /// What the rows' divergences, and their gradients, are multiplied by.
    scale: f64,
    value: f64,
    /// Relative and absolute; the gradient's is relative to its row's largest entry.
    value_bound: [f64; 2],
    gradient_bound: [f64; 2],
    teacher: &'static [f32],
    student: &'static [f32],
    gradient: &'static [f64],
}

static CASES: &[Case] = include!(env!("DENSEKD_GOLDEN"));

fn is_within(got: f64, want: f64, [relative, absolute]: [f64; 2], size: f64) -> bool {
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= relative * size + absolute
}

fn check(case: &Case) {
    let Some(loss) = RowKl::<Polynomial>::new(case.tau) else { panic!("a temperature of {}", case.tau) };
    let (mut gradient, mut sums) = ([0.0_f32; 128], [0.0_f64; 2]);
    let rows =
        case.teacher.chunks(case.len).zip(case.student.chunks(case.len)).zip(case.gradient.chunks(case.len));
    for ((teacher, student), want) in rows {
        let gradient = &mut gradient[..case.len];
        sums[0] += f64::from(loss.gradient(teacher, student, case.scale as f32, gradient));
        sums[1] += f64::from(loss.value(teacher, student));
        let largest = want.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
        for (&got, &want) in gradient.iter().zip(want) {
            let is_right = is_within(f64::from(got), want, case.gradient_bound, largest);
            assert!(is_right, "{got:e} in the gradient, not {want:e}, of {largest:e}");
        }
    }
    for sum in sums {
        let (got, want) = (case.scale * sum, case.value);
        assert!(is_within(got, want, case.value_bound, want.abs()), "{got:e}, not {want:e}");
    }
}

/// A panic ends the run.
pub(crate) fn run() {
    for case in CASES {
        print!("test {} ... ", case.name);
        check(case);
        say!("ok");
    }
}
