//! The softmax of a row pair in one sweep.
//!
#![doc = include_str!("one-sweep-kl.md")]

pub(crate) mod columns;
mod part;
mod state;
mod statistics;
mod sweep;
mod two_terms;
mod vector;

pub use state::RowState;
pub(crate) use state::per_quarter;
pub(crate) use statistics::Kind;
pub use statistics::{RowStatistics, RowSums};
pub use sweep::Workspace;
pub(crate) use sweep::{BLOCK, BlockSum, Reference};
pub(crate) use vector::{
    Gradient as VectorGradient, Kept, Lanes, ShortRows, Statistics as VectorStatistics, are_short, kept_room,
};
