//! Counts in formulas.

/// A count as the number that a sum is divided by.
#[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
pub(crate) const fn real(count: usize) -> f64 {
    count as f64
}
