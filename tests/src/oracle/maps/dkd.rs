//! DKD: the KL divergence split into target against rest, and within the rest.

use super::case::{Inputs, MapCase, count};
use super::vectors::{Vector, kl, softmax, square};
use super::{Number, number};

/// alpha TCKD + beta NCKD of logits with a target class.
fn row(t: &[Number], s: &[Number], target: usize, case: &MapCase) -> Number {
    let tau = case.number("tau");
    if t.len() == 1 {
        return number(0.0);
    }
    let ((p, _), (q, _)) = (softmax(t, &tau), softmax(s, &tau));
    let rest = |x: &[Number]| -> Vector {
        x.iter().enumerate().filter(|(c, _)| *c != target).map(|(_, x)| x.clone()).collect()
    };
    let split = |p: &Vector| [p[target].clone(), rest(p).into_iter().sum::<Number>()];
    let term = |b: &Number, bq: &Number| b * (b.ln() - bq.ln());
    let ([b, b_rest], [bq, bq_rest]) = (split(&p), split(&q));
    let tckd = term(&b, &bq) + term(&b_rest, &bq_rest);
    let ((p, log_p), (_, log_q)) = (softmax(&rest(t), &tau), softmax(&rest(s), &tau));
    case.number("alpha") * tckd + case.number("beta") * kl(&p, &log_p, &log_q)
}

/// tau^2 / D times the sum over counted positions.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, .. } = inputs;
    let mut rows = Vec::new();
    for n in 0..student.images {
        for i in 0..student.positions() {
            let label = case.label(n, i);
            if label != case.integer("ignore_index") && case.counts(n, i) {
                let target = usize::try_from(label).expect("labels are classes");
                rows.push(row(&teacher.pixel(n, i), &student.pixel(n, i), target, case));
            }
        }
    }
    let divisor = if case.is("divisor", "sum") {
        1
    } else if case.is("divisor", "batch") {
        student.images
    } else {
        rows.len()
    };
    if rows.is_empty() {
        return number(0.0);
    }
    let scale = if case.flag("tau_square") { square(&case.number("tau")) } else { count(1) };
    scale * rows.into_iter().sum::<Number>() / count(divisor)
}
