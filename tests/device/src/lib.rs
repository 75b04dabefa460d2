//! A CUDA device without one, for tests: the functions of the driver over an interpreter of PTX.
//!
//! The build script makes a shared library of this source, [`library`], that stands for `libcuda.so.1`: code that opens
//! the driver at run time runs unchanged, and the PTX that it loads is interpreted, never translated. A test reaches
//! the device by [`Device`]: counters, leaks, reports, faults, properties.
//!
//! Every access to memory is checked: inside an allocation that is alive, aligned, of bytes that somebody wrote (global
//! and shared memory), not by the read-only path of what the same launch writes, without a race with another thread of
//! the block (shared memory). Barriers and exchanges between lanes must be reached by all threads they name. A violation
//! loses the context with the code that a device gives, and its text is printed and kept.
//!
//! What PTX leaves open is drawn from a seed: the order of blocks and warps; what registers and memory hold that nobody
//! wrote; whether a product and a sum that name no rounding are fused; by how much approximate instructions are off, up
//! to two units in the last place, or the 2^-22 that a logarithm near 1 may be. What goes beyond what clang makes of our
//! kernels is refused when a module is loaded, arithmetic in half precision and atomic sums of floating-point numbers
//! among it.
//!
//! What is not seen: races between blocks, fences that are missing (memory is sequentially consistent), the order of
//! streams (work is done when it is asked for). What is seen too sharply: a barrier of some lanes of a warp orders
//! nothing in shared memory; one of all its lanes does. Functions that are missing here (textures, graphs, managed
//! memory) are for whoever opens the library to report.
//!
//! | environment variable `DENSEKD_DEVICE_...` | what it sets | else |
//! | --- | --- | --- |
//! | `CAPABILITY` | compute capability | `8.0` |
//! | `DRIVER` | version of CUDA, times 1000 and minor times 10 | `12040` |
//! | `MEMORY` | bytes of global memory | 4 GiB |
//! | `MULTIPROCESSORS` | their number | 108 |
//! | `COUNT` | devices; they share one memory | 1 |
//! | `SEED` | order, junk, errors of approximations; 0: natural order, no errors | 1 |
//! | `STEPS` | most instructions of a warp, beyond which the launch times out | 2^26 |
//! | `FAULT` | `cuMemAlloc_v2=2@3,...`: code 2 at the third call of that function | none |
//!
//! `CUDA_LAUNCH_BLOCKING=1` has a launch itself answer that it failed, as the real driver does.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_lossless,
    reason = "registers are bits: a cast is what the instruction says"
)]
#[doc(hidden)]
pub mod abi;
#[cfg(not(densekd_driver))]
mod client;
mod driver;
mod exec;
mod ptx;

#[cfg(not(densekd_driver))]
pub use client::{Code, Device, library};
pub use driver::Live;
pub use exec::Counters;
