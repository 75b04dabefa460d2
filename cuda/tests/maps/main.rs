//! Losses of whole maps on the simulated device, the shipped kernels against the core.
#![allow(unsafe_code, reason = "a variable of the process's environment")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod classes;
#[path = "../device/mod.rs"]
mod device;
mod not_finite;
mod relations;
mod support;
mod vectors;
