//! One row pair, with the degenerate ones told apart first.

use super::case::Options;
use super::divergence::diverge;
use super::number::Number;

/// A row's value and its gradients, before the scale.
pub(super) struct Row {
    /// The divergence.
    pub(super) value: Number,
    /// Its gradient to the student's logits.
    pub(super) student: Vec<Number>,
    /// Its gradient to the teacher's logits.
    pub(super) teacher: Vec<Number>,
}

impl Row {
    /// A row whose value and gradients are all the same number.
    pub(super) fn uniform(x: &Number, length: usize) -> Self {
        Self { value: x.clone(), student: vec![x.clone(); length], teacher: vec![x.clone(); length] }
    }
}

/// Whether a row cannot be normalised: NaN is no number, and +inf would need all the mass of every +inf.
pub(super) fn has_no_meaning(teacher: &[Number], student: &[Number]) -> bool {
    teacher.iter().chain(student).any(|x| x.is_nan() || x.is_plus_infinity())
}

/// The divergence of two rows of logits. `counted` says whose terms count.
///
/// Degenerate rows, in this order: NaN or +inf anywhere gives NaN throughout; a teacher of -inf only says
/// nothing and gives 0. The others are what the formulas say with `0 log 0 = 0`.
pub(super) fn row(teacher: &[Number], student: &[Number], options: &Options, counted: &[bool]) -> Row {
    if has_no_meaning(teacher, student) {
        return Row::uniform(&Number::Nan, teacher.len());
    }
    if teacher.iter().all(Number::is_minus_infinity) {
        return Row::uniform(&Number::zero(), teacher.len());
    }
    let (tau, eps) = (Number::from(options.tau), Number::from(options.eps));
    diverge(options.divergence, teacher, student, &tau, &eps, counted)
}
