//! The largest magnitude of some numbers: the unit in which their squares neither over- nor underflow.

/// The larger of a magnitude so far and that of another number; NaN once either is.
pub(crate) fn larger(so_far: f64, x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x.abs() > so_far {
        x.abs()
    } else {
        so_far
    }
}
