//! Numbers in reports.

use serde::Serializer;

/// A number, or its name where JSON has no such number: `"nan"`, `"inf"`, `"-inf"`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
pub(super) fn finite_or_name<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        to.serialize_f64(*number)
    } else {
        to.serialize_str(if number.is_nan() {
            "nan"
        } else if *number > 0.0 {
            "inf"
        } else {
            "-inf"
        })
    }
}
