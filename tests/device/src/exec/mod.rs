//! Runs kernels: warps in lockstep where their lanes agree, blocks and warps in an order drawn from a seed.
mod access;
mod approx;
mod block;
mod convert;
mod counters;
mod float;
mod global;
mod integer;
mod launch;
mod random;
mod shared;
mod sync;
#[cfg(test)]
mod tests;
mod violation;
mod warp;

pub use counters::Counters;
pub(crate) use global::Memory;
pub(crate) use launch::{Launch, launch};

/// Generic addresses of this many bytes from here lie in shared memory.
pub(crate) const SHARED_WINDOW: u64 = 0x0100_0000_0000;
/// And of this many from here in local memory.
pub(crate) const LOCAL_WINDOW: u64 = 0x0200_0000_0000;
const WINDOW: u64 = 1 << 32;
