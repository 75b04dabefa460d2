//! The golden vectors once more, with `f64` inputs.

use densekd::{selftest, vectors::Case};

/// The smallest gradient that counts in `f64`: vectors say 0 for what is below 1e-100, and near vectors have
/// gradients down to 1e-21.
const FLOOR: f64 = 1e-38;

/// The `f32` vectors with `f64` inputs, within what their authors ask of `f64`; the absolute part of their
/// tolerance, which is made for `f32`, gives way to a floor.
///
/// ```
/// assert!(densekd_tests::golden::in_f64().iter().all(|case| case.dtype == "f64"));
/// ```
pub fn in_f64() -> Vec<Case> {
    let mut cases = selftest::built_in();
    cases.retain(|case| case.dtype == "f32");
    for case in &mut cases {
        "f64".clone_into(&mut case.dtype);
        let relative = if case.name.contains("near") { 1e-9 } else { 1e-12 };
        for bound in [&mut case.tolerance.value, &mut case.tolerance.gradient] {
            if *bound != [0.0, 0.0] {
                *bound = [relative, bound[1].min(FLOOR)];
            }
        }
    }
    cases
}
