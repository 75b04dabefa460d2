//! Holistic distillation: the scores of a discriminator, and the penalty on its gradient.

use super::case::{Inputs, MapCase};
use super::vectors::{mean, norm, square};
use super::{Number, number};

/// max(0, x).
fn positive(x: Number) -> Number {
    x.max(&number(0.0))
}

/// By role and adversary.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let (s, t) = (&inputs.student.x, &inputs.teacher.x);
    let one = number(1.0);
    if case.is("role", "generator") {
        -mean(s)
    } else if case.is("role", "gradient_penalty") {
        let lengths = (0..inputs.student.images).map(|n| norm(&inputs.student.image(n)));
        mean(&lengths.map(|length| square(&(length - &one))).collect::<Vec<_>>())
    } else if case.is("adversary", "wgan-gp") {
        mean(s) - mean(t)
    } else {
        let of_student: Vec<Number> = s.iter().map(|s| positive(&one + s)).collect();
        let of_teacher: Vec<Number> = t.iter().map(|t| positive(&one - t)).collect();
        mean(&of_student) + mean(&of_teacher)
    }
}
