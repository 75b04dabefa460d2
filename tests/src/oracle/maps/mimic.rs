//! MIMIC: the mean squared difference of y = W s + b and the teacher.

use super::case::{Inputs, Map, MapCase, count};
use super::standardised::channels;
use super::vectors::{Vector, dot, minus};
use super::{Number, number};

/// y = W s + b at every position; W absent: the identity, b absent: 0.
fn projected(inputs: &Inputs) -> Map {
    let Inputs { student, teacher, weight, bias, .. } = inputs;
    let output = |n: usize, c: usize, i: usize| {
        let s = student.pixel(n, i);
        let y = match weight {
            Some(weight) => dot(&weight[c * s.len()..(c + 1) * s.len()], &s),
            None => s[c].clone(),
        };
        y + bias.as_ref().map_or(number(0.0), |bias| bias[c].clone())
    };
    let mut y = Vec::new();
    for n in 0..teacher.images {
        for c in 0..teacher.channels {
            y.extend((0..teacher.positions()).map(|i| output(n, c, i)));
        }
    }
    Map { x: y, ..teacher.clone() }
}

/// `sum (y - t)^2 / (N C_t M)`, of standardised channels where asked for.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let (y, teacher) = (projected(inputs), &inputs.teacher);
    let of = |map: &Map| -> Vec<Vector> {
        if case.flag("standardise") { channels(map, &case.number("eps")) } else { vec![map.x.clone()] }
    };
    let pairs = of(&y).into_iter().zip(of(teacher));
    let sum: Number = pairs.map(|(y, t)| minus(&y, &t)).map(|e| dot(&e, &e)).sum();
    sum / count(teacher.x.len())
}
