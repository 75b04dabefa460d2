//! Rows that are compared as they are, or by their mean: squared differences of real numbers.

use super::number::Number;
use super::row::{Row, has_no_meaning};

/// `sum (s - t)^2`; to the student `2 (s - t)`, to the teacher the opposite. The temperature does not enter.
///
/// An entry that is -inf on both sides has no term; on one side only it makes the value infinite.
pub(super) fn unnormalised(teacher: &[Number], student: &[Number]) -> Row {
    if let Some(row) = degenerate(teacher, student) {
        return row;
    }
    let difference = |(t, s): (&Number, &Number)| {
        if t.is_minus_infinity() && s.is_minus_infinity() { Number::zero() } else { s - t }
    };
    let d: Vec<Number> = teacher.iter().zip(student).map(difference).collect();
    let student: Vec<Number> = d.iter().map(|d| Number::from(2.0) * d).collect();
    Row { value: d.iter().map(|d| d * d).sum(), teacher: student.iter().map(|g| -g).collect(), student }
}

/// `d^2`, `d = mean(s)/tau - mean(t)/tau`; to every student entry `2 d/(count tau)`, to the teacher the
/// opposite.
pub(super) fn mean(teacher: &[Number], student: &[Number], tau: &Number) -> Row {
    if let Some(row) = degenerate(teacher, student) {
        return row;
    }
    let count = Number::from(student.len());
    let sum = |x: &[Number]| x.iter().cloned().sum::<Number>();
    let d = (sum(student) - sum(teacher)) / &count / tau;
    let g = Number::from(2.0) * &d / &count / tau;
    Row { value: &d * &d, student: vec![g.clone(); student.len()], teacher: vec![-g; student.len()] }
}

/// The rows that the rules for every divergence decide.
fn degenerate(teacher: &[Number], student: &[Number]) -> Option<Row> {
    if has_no_meaning(teacher, student) {
        return Some(Row::uniform(&Number::Nan, teacher.len()));
    }
    teacher.iter().all(Number::is_minus_infinity).then(|| Row::uniform(&Number::zero(), teacher.len()))
}
