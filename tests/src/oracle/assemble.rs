//! From rows to the loss of a tensor.

use super::case::{Answer, Case, Norm, Options};
use super::layout::Layout;
use super::number::Number;
use super::real_rows;
use super::row::{Row, row};
use super::upsample::Upsample;

/// The loss and its gradients for upstream 1: `k sum_rows phi(norm(T), norm(S))`,
/// `k = weight (tau^2) / D`.
///
/// # Panics
///
/// If the case is one that the losses refuse with a typed error: lengths that do not fit the shape, a
/// temperature that is none, options that do not go together.
pub fn answer(case: &Case) -> Answer {
    case.check();
    let options = &case.options;
    let resize = Upsample::new(case.shape, options.upsample);
    let numbers = |x: &[f64]| resize.apply(&x.iter().copied().map(Number::from).collect::<Vec<_>>());
    let (teacher, student) = (numbers(&case.teacher), numbers(&case.student));
    let layout = Layout { shape: resize.enlarged(case.shape), counted: case.counted.as_deref() };

    let scale = scale(options, &layout.divisor(options));
    let mut grad_student = vec![Number::zero(); student.len()];
    let mut grad_teacher = vec![Number::zero(); teacher.len()];
    let mut rows = Vec::new();
    for elements in layout.rows(options) {
        if elements.is_empty() {
            rows.push(Number::zero());
            continue;
        }
        let take = |x: &[Number]| elements.iter().map(|&i| x[i].clone()).collect::<Vec<_>>();
        let counted: Vec<bool> = elements.iter().map(|&i| layout.is_counted(i)).collect();
        let one = compare(&take(&teacher), &take(&student), options, &counted);
        for ((&i, to_student), to_teacher) in elements.iter().zip(&one.student).zip(&one.teacher) {
            grad_student[i] = &scale * to_student;
            grad_teacher[i] = &scale * to_teacher;
        }
        rows.push(one.value);
    }
    let round = |x: &[Number]| x.iter().map(Number::to_f64).collect::<Vec<_>>();
    Answer {
        value: (scale * rows.iter().cloned().sum::<Number>()).to_f64(),
        rows: round(&rows),
        grad_student: round(&resize.pull(&grad_student)),
        grad_teacher: round(&resize.pull(&grad_teacher)),
    }
}

/// `weight (tau^2 if tau_square) / D`, and 0 if nothing is counted.
fn scale(options: &Options, divisor: &Number) -> Number {
    if divisor.is_zero() {
        return Number::zero();
    }
    let (tau, weight) = (Number::from(options.tau), Number::from(options.weight));
    let square = if options.tau_square { &tau * &tau } else { Number::one() };
    weight * square / divisor
}

/// One row by the norm's space.
fn compare(teacher: &[Number], student: &[Number], options: &Options, counted: &[bool]) -> Row {
    match options.norm {
        Norm::Channel | Norm::Spatial => row(teacher, student, options, counted),
        Norm::ChannelMean => real_rows::mean(teacher, student, &Number::from(options.tau)),
        Norm::None => real_rows::unnormalised(teacher, student),
    }
}
