//! Distillation losses for dense prediction on a server's CPU: value and gradient, files, checks.
//!
//! ```
//! use densekd::core::RowOptions;
//! let teacher: Vec<f32> = (0..24).map(|i| (i % 5) as f32).collect();
//! let student: Vec<f32> = (0..24).map(|i| (i % 7) as f32).collect();
//! let (loss, gradient) = densekd::loss_and_gradient(RowOptions::CWD, [1, 2, 3, 4], &teacher, &student)?;
//! assert!(loss > 0.0 && gradient.len() == 24);
//! # Ok::<(), densekd::BackendError>(())
//! ```
//!
//! | to | use |
//! | --- | --- |
//! | evaluate a loss in a line | [`loss()`], [`loss_and_gradient`] |
//! | keep plans, masks, buffers | [`core::Plan`], [`Submission`], [`Backend`], [`Cpu`] |
//! | compare maps that do not match | [`AdaptedPair`], [`Adapter`] |
//! | add up several terms with weights and schedules | [`objective`] |
//! | read and write tensors | [`io`] |
//! | prepare a fixed teacher for a microcontroller | [`rows`] |
//! | run on an NVIDIA GPU | the feature `cuda`: `Cuda`, `Auto` |
//! | read options from words or JSON | [`options`] |
//! | trust a machine | [`selftest`], [`check`] |
//! | understand a loss that is NaN or does not move | [`doctor`] |

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

mod adapter;
#[cfg(feature = "cuda")]
mod auto;
mod backend;
pub mod check;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
pub mod doctor;
mod evaluate;
pub mod io;
pub mod objective;
pub mod options;
pub mod rows;
pub mod selftest;
mod sinks;
mod term;
pub mod vectors;

pub use adapter::{AdaptedMap, AdaptedOutcome, AdaptedPair, Adapter, Gradient, Gradients, Pulled};
#[cfg(feature = "cuda")]
pub use auto::Auto;
pub use backend::{Backend, BackendError, MapSubmission, Statistics, Student, Submission, Unsupported};
pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use densekd_core as core;
#[cfg(feature = "cuda")]
pub use densekd_cuda as gpu;
pub use evaluate::{loss, loss_and_gradient};
pub use term::TermSubmission;
