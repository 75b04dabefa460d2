//! What several definitions share: products, norms, directions, correlations, softmaxes.

use super::{Number, number};

pub(super) type Vector = Vec<Number>;

pub(super) fn dot(a: &[Number], b: &[Number]) -> Number {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn norm(a: &[Number]) -> Number {
    dot(a, a).sqrt()
}

pub(super) fn minus(a: &[Number], b: &[Number]) -> Vector {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

pub(super) fn over(a: &[Number], divisor: &Number) -> Vector {
    a.iter().map(|a| a / divisor).collect()
}

pub(super) fn is_zero(a: &[Number]) -> bool {
    a.iter().all(Number::is_zero)
}

/// a / max(|a|, eps); 0 for 0.
pub(super) fn unit(a: &[Number], eps: &Number) -> Vector {
    if is_zero(a) { a.to_vec() } else { over(a, &norm(a).max(eps)) }
}

/// `<a, b> / (max(|a|, eps) max(|b|, eps))`; 0 where one of them is 0.
pub(super) fn cosine(a: &[Number], b: &[Number], eps: &Number) -> Number {
    dot(&unit(a, eps), &unit(b, eps))
}

pub(super) fn square(x: &Number) -> Number {
    x * x
}

pub(super) fn mean(a: &[Number]) -> Number {
    let sum: Number = a.iter().cloned().sum();
    sum / super::case::count(a.len())
}

/// a - mean a, exactly 0 for equal numbers.
pub(super) fn centred(a: &[Number]) -> Vector {
    // The mean of equal numbers need not be one of them after rounding; their differences are 0.
    let shifted: Vector = a.iter().map(|x| x - &a[0]).collect();
    let mean = mean(&shifted);
    shifted.iter().map(|x| x - &mean).collect()
}

/// The probabilities at a temperature, and their logarithms.
pub(super) fn softmax(logits: &[Number], tau: &Number) -> (Vector, Vector) {
    let largest = logits.iter().fold(Number::MINUS_INFINITY, Number::max);
    let x: Vector = logits.iter().map(|t| (t - &largest) / tau).collect();
    let e: Vector = x.iter().map(Number::exp).collect();
    let z: Number = e.iter().cloned().sum();
    let log_z = z.ln();
    (over(&e, &z), x.iter().map(|x| x - &log_z).collect())
}

/// sum p (log p - log q).
pub(super) fn kl(p: &[Number], log_p: &[Number], log_q: &[Number]) -> Number {
    dot(p, &minus(log_p, log_q))
}

pub(super) fn half() -> Number {
    number(0.5)
}
