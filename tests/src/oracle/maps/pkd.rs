//! PKD: half the mean squared difference of standardised channels.

use super::Number;
use super::case::{Inputs, MapCase, count};
use super::standardised::channels;
use super::vectors::{dot, minus};

/// `sum (z_s - z_t)^2 / (2 N C M)`.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, .. } = inputs;
    let eps = case.number("eps");
    let pairs = channels(student, &eps).into_iter().zip(channels(teacher, &eps));
    let sum: Number = pairs.map(|(s, t)| minus(&s, &t)).map(|e| dot(&e, &e)).sum();
    sum / count(2 * student.x.len())
}
