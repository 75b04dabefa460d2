//! The row losses (CWD, PI, class KD) as their definitions read, in arbitrary precision.
//!
//! Written to be read beside the definitions, not to be fast: `p = exp(t/tau) / sum exp(t/tau)`,
//! `sum p (log p - log q)`, and so on, with numbers so long ([`BITS`]) that nothing cancels, underflows or
//! overflows on the way; only a kl, js or reverse kl of a row below 4e-133 is reported as 0. It shares no code
//! with the libraries that it judges. [`fast`] is a second truth, in f64, for long rows and for searches that
//! need many evaluations; it is bound to this one by tests.
//!
//! ```
//! use densekd_tests::oracle::{Case, Options, answer};
//! let case = Case {
//!     shape: [1, 1, 1, 2],
//!     teacher: vec![0.0, 1.0],
//!     student: vec![0.0, 1.0 + 1e-14],
//!     counted: None,
//!     options: Options { tau: 1.0, weight: 1.0, ..Options::cwd() },
//! };
//! let value = answer(&case).value;
//! assert!(value > 9.6e-30 && value < 1e-29);
//! ```

mod assemble;
mod case;
mod divergence;
pub mod fast;
mod layout;
pub mod maps;
mod number;
mod real_rows;
mod row;
mod softmax;
mod two_floats;
mod upsample;

pub use assemble::answer;
pub use case::{Answer, Case, Divergence, Divisor, Ignore, Norm, Options, Samples};
pub use number::BITS;
