//! Attention transfer: Q(j) = (1/C) sum over c of |x|^p, v = Q / max(|Q|, eps).

use super::Number;
use super::case::{Inputs, Map, MapCase, count};
use super::vectors::{Vector, dot, minus, norm, unit};

/// v of an image.
fn attention(map: &Map, n: usize, case: &MapCase) -> Vector {
    let energy = |position| -> Number {
        let powers = map.pixel(n, position).iter().map(|x| x.abs().power(case.size("p"))).sum::<Number>();
        powers / count(map.channels)
    };
    unit(&(0..map.positions()).map(energy).collect::<Vector>(), &case.number("eps"))
}

/// `code`: `sum |v_s - v_t|^2 / (N M)`; `paper`: `sum |v_s - v_t| / N`.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, .. } = inputs;
    let images = 0..student.images;
    let differences = images.map(|n| minus(&attention(student, n, case), &attention(teacher, n, case)));
    if case.is("mode", "code") {
        let sum: Number = differences.map(|e| dot(&e, &e)).sum();
        sum / count(student.images * student.positions())
    } else {
        let sum: Number = differences.map(|e| norm(&e)).sum();
        sum / count(student.images)
    }
}
