//! RKD: distances and angles between the samples of a batch.

use super::case::{Inputs, Map, MapCase, count};
use super::vectors::{Vector, dot, half, is_zero, minus, norm, over, square, unit};
use super::{Number, number};

/// d^2/2 for |d| < 1, else |d| - 1/2.
fn huber(d: &Number) -> Number {
    if (d.abs() - number(1.0)).is_negative() { half() * square(d) } else { d.abs() - half() }
}

/// Each sample as a vector, of length 1 where asked for.
fn samples(map: &Map, case: &MapCase) -> Vec<Vector> {
    let samples = (0..map.images).map(|n| map.image(n));
    samples.map(|x| if case.flag("normalize") { unit(&x, &number(1e-12)) } else { x }).collect()
}

/// `D_ij = sqrt(max(|u_i - u_j|^2, 1e-12))` over the mean of those off the diagonal; 0 on it.
fn distances(u: &[Vector]) -> Vector {
    let distance = |i: usize, j: usize| {
        let d = minus(&u[i], &u[j]);
        if i == j { number(0.0) } else { dot(&d, &d).max(&number(1e-12)).sqrt() }
    };
    let all: Vector =
        (0..u.len()).flat_map(|i| (0..u.len()).map(move |j| (i, j))).map(|(i, j)| distance(i, j)).collect();
    let mu = all.iter().cloned().sum::<Number>() / count(u.len() * (u.len() - 1));
    over(&all, &mu)
}

/// `psi_ijk = <e_ij, e_ik>`, `e_ij` the direction from i to j; 0 for samples that coincide.
fn angles(u: &[Vector]) -> Vector {
    let edge = |i: usize, j: usize| {
        let edge = minus(&u[j], &u[i]);
        if is_zero(&edge) { edge } else { over(&edge, &norm(&edge)) }
    };
    let mut angles = Vec::new();
    for i in 0..u.len() {
        let edges: Vec<Vector> = (0..u.len()).map(|j| edge(i, j)).collect();
        angles.extend(edges.iter().flat_map(|a| edges.iter().map(move |b| dot(a, b))));
    }
    angles
}

/// The mean of the Huber distances.
fn compare(s: &[Number], t: &[Number]) -> Number {
    minus(s, t).iter().map(huber).sum::<Number>() / count(s.len())
}

/// `distance_weight` times the mean over pairs + `angle_weight` times the mean over triples.
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let (s, t) = (samples(&inputs.student, case), samples(&inputs.teacher, case));
    if s.len() == 1 {
        return number(0.0);
    }
    case.number("distance_weight") * compare(&distances(&s), &distances(&t))
        + case.number("angle_weight") * compare(&angles(&s), &angles(&t))
}
