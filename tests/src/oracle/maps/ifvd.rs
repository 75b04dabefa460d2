//! Intra-class feature variation: the cosine of each pixel and its class's prototype.

use super::case::{Inputs, Map, MapCase, count};
use super::vectors::{Vector, cosine, square};
use super::{Number, number};

/// The class of a pixel, if it has one.
fn class(case: &MapCase, n: usize, position: usize) -> Option<i64> {
    let label = case.label(n, position);
    let is_class = label != case.integer("ignore_index") && (0..case.integer("num_classes")).contains(&label);
    (is_class && case.counts(n, position)).then_some(label)
}

/// c = sum x / (n + 1e-6) over the pixels of a class.
fn prototype(map: &Map, n: usize, members: &[usize]) -> Vector {
    let divisor = count(members.len()) + number(1e-6);
    let sum = |c| members.iter().map(|&i| map.at(n, c, i).clone()).sum::<Number>();
    (0..map.channels).map(|c| sum(c) / &divisor).collect()
}

/// `sum (f_s - f_t)^2 / m`, m the number of pixels, or of those with a class.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let Inputs { student, teacher, .. } = inputs;
    let eps = number(1e-8);
    let mut terms = Vec::new();
    for n in 0..student.images {
        for k in 0..case.integer("num_classes") {
            let members: Vec<usize> =
                (0..student.positions()).filter(|&i| class(case, n, i) == Some(k)).collect();
            let (c_s, c_t) = (prototype(student, n, &members), prototype(teacher, n, &members));
            for &i in &members {
                let f_s = cosine(&student.pixel(n, i), &c_s, &eps);
                let f_t = cosine(&teacher.pixel(n, i), &c_t, &eps);
                terms.push(square(&(f_s - f_t)));
            }
        }
    }
    let every = student.images * student.positions();
    let m = if case.flag("count_ignored") { every } else { terms.len() };
    if terms.is_empty() { number(0.0) } else { terms.into_iter().sum::<Number>() / count(m) }
}
