//! The losses of whole maps as their definitions read, in arbitrary precision: values only.
//!
//! One file a loss, each a function from maps and settings to a number, written to be read beside the
//! definition. No gradient is derived anywhere: [`derivative`] is the central difference of the value with a
//! step of 2^-60 in numbers of 192 bits, right to some 30 digits, so that no closed form judges another.
//!
//! ```
//! use densekd_tests::oracle::maps::{MapCase, Setting, Variable, derivative, value};
//! let case = MapCase {
//!     settings: vec![("eps", Setting::Number(0.0)), ("weight", Setting::Number(1.0))],
//!     ..MapCase::new("pkd", [1, 1, 1, 3], vec![1.0, 2.0, 6.0], Some(vec![3.0, 1.0, 2.0]))
//! };
//! assert!((value(&case) - (1.0 + 1.0 / 28.0_f64.sqrt()) * 2.0 / 3.0).abs() < 1e-15);
//! // Standardised maps do not see a shift.
//! assert!(derivative(&case, Variable::Student, &[1.0, 1.0, 1.0]).abs() < 1e-30);
//! ```

mod at;
mod case;
mod dist;
mod dkd;
mod gradient;
mod ho;
mod ifvd;
mod la;
mod mimic;
mod pa;
mod pkd;
mod rkd;
mod smooth_ce;
mod standardised;
mod vectors;

pub use case::{MapCase, Setting};
pub use gradient::{Variable, derivative, gradient};

use super::number::Number;
use case::{Inputs, number};

/// The loss.
///
/// # Panics
/// For a loss that is none of these, or a setting that is missing.
pub fn value(case: &MapCase) -> f64 {
    number_of(case, &Inputs::new(case)).to_f64()
}

fn number_of(case: &MapCase, inputs: &Inputs) -> Number {
    let formula = match case.loss.as_str() {
        "at" => at::value,
        "la" => la::value,
        "pa" => pa::value,
        "ifvd" => ifvd::value,
        "mimic" => mimic::value,
        "pkd" => pkd::value,
        "dist" => dist::value,
        "dkd" => dkd::value,
        "rkd" => rkd::value,
        "smooth_ce" => smooth_ce::value,
        "ho" => ho::value,
        other => panic!("{other} is no loss of maps"),
    };
    case.number("weight") * formula(inputs, case)
}
