//! What binds every backend of densekd to one truth: the oracle, and the tests that hold the golden vectors
//! against it.

pub mod accuracy;
pub mod backends;
#[cfg(feature = "draws")]
pub mod draws;
pub mod engine;
pub mod error;
pub mod golden;
pub mod kind;
pub mod map_samples;
pub mod maps;
pub mod oracle;
pub mod rows;
pub mod samples;
pub mod search;
pub mod terms;
pub mod tolerance;
