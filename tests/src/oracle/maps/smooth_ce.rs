//! Cross-entropy with smoothed labels.

use super::case::{Inputs, MapCase, count};
use super::vectors::softmax;
use super::{Number, number};

/// The mean over counted positions of -sum y log q, y = (1 - a) onehot + a / C.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let student = &inputs.student;
    let (tau, a) = (case.number("tau"), case.number("smoothing"));
    let mut terms = Vec::new();
    for n in 0..student.images {
        for i in 0..student.positions() {
            let label = case.label(n, i);
            if label == case.integer("ignore_index") || !case.counts(n, i) {
                continue;
            }
            let target = usize::try_from(label).expect("labels are classes");
            let (_, log_q) = softmax(&student.pixel(n, i), &tau);
            let y = |c: usize| {
                let hard = if c == target { number(1.0) - &a } else { number(0.0) };
                hard + &a / count(student.channels)
            };
            terms.push(-log_q.iter().enumerate().map(|(c, log_q)| y(c) * log_q).sum::<Number>());
        }
    }
    let n = count(terms.len());
    if terms.is_empty() { number(0.0) } else { terms.into_iter().sum::<Number>() / n }
}
