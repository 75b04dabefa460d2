//! The core on a board: golden vectors, and what a row costs.
#![no_std]
#![no_main]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "counts and lengths are small"
)]

#[cfg(target_os = "none")]
mod figures;
mod golden;
#[macro_use]
mod host;
mod integers;
#[cfg_attr(target_arch = "arm", path = "machine/arm.rs")]
#[cfg_attr(target_arch = "riscv32", path = "machine/riscv.rs")]
#[cfg_attr(target_arch = "wasm32", path = "machine/wasm.rs")]
mod machine;

/// What the start-up code calls.
fn run() -> ! {
    golden::run();
    integers::run();
    #[cfg(target_os = "none")]
    figures::print();
    host::exit(0)
}
