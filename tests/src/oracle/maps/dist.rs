//! DIST: Pearson correlations of probabilities, over classes and over samples.

use super::case::{Inputs, Map, MapCase, count};
use super::vectors::{Vector, centred, dot, is_zero, mean, norm, softmax, square};
use super::{Number, number};

/// <a', b'> / (|a'| |b'| + eps); 0 for constant vectors.
fn pearson(a: &[Number], b: &[Number], eps: &Number) -> Number {
    let (a, b) = (centred(a), centred(b));
    if is_zero(&a) || is_zero(&b) { number(0.0) } else { dot(&a, &b) / (norm(&a) * norm(&b) + eps) }
}

/// The mean of 1 - r over pairs of vectors.
fn distance(a: &[Vector], b: &[Vector], eps: &Number) -> Number {
    let terms: Vector = a.iter().zip(b).map(|(a, b)| number(1.0) - pearson(a, b, eps)).collect();
    mean(&terms)
}

/// The softmax over classes of every position of every image.
fn rows(map: &Map, tau: &Number) -> Vec<Vector> {
    let places = (0..map.images).flat_map(|n| (0..map.positions()).map(move |i| (n, i)));
    places.map(|(n, i)| softmax(&map.pixel(n, i), tau).0).collect()
}

fn columns(rows: &[Vector]) -> Vec<Vector> {
    (0..rows[0].len()).map(|c| rows.iter().map(|row| row[c].clone()).collect()).collect()
}

/// tau^2 (beta mean over rows of 1 - r + gamma mean over columns of 1 - r).
pub(super) fn value(inputs: &Inputs, case: &MapCase) -> Number {
    let (tau, eps) = (case.number("tau"), case.number("eps"));
    let (s, t) = (rows(&inputs.student, &tau), rows(&inputs.teacher, &tau));
    let inter = distance(&s, &t, &eps);
    let intra = distance(&columns(&s), &columns(&t), &eps);
    let scale = if case.flag("tau_square") { square(&tau) } else { count(1) };
    scale * (case.number("inter_weight") * inter + case.number("intra_weight") * intra)
}
