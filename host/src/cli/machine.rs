//! Which backend runs the loss.

use super::failure::Failure;
use super::parse::count;
use clap::{Args, ValueEnum};
use densekd::core::Isa;
use densekd::{Backend, Cpu};
use std::num::NonZeroUsize;

/// A backend by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// The best one there is; the report says which
    Auto,
    /// All cores, by the widest SIMD instructions that they have
    Cpu,
    /// An NVIDIA GPU
    Cuda,
}

/// The flags.
#[derive(Args, Debug)]
#[command(next_help_heading = "Backend")]
pub(crate) struct BackendArgs {
    /// Where it is computed
    #[arg(long, value_name = "NAME", value_enum, default_value_t = BackendName::Auto)]
    backend: BackendName,
    /// CPU threads; the result is the same bit for bit for any number [default: one a core]
    #[arg(long, value_name = "N", value_parser = count)]
    threads: Option<NonZeroUsize>,
    /// The GPU, by its number in `densekd list backends` [default: the first]
    #[arg(long, value_name = "N")]
    device: Option<u32>,
}

/// A backend at work.
pub(crate) struct Machine {
    /// The backend.
    pub(crate) backend: Box<dyn Backend>,
    /// Its CPU threads.
    pub(crate) threads: usize,
    /// The instruction set of row losses on its CPU.
    pub(crate) isa: Isa,
    /// Whether it was chosen for the user.
    pub(crate) is_auto: bool,
}

impl BackendArgs {
    /// Starts the backend.
    pub(crate) fn start(&self) -> Result<Machine, Failure> {
        let cpu = self.threads.map_or_else(|| Ok(Cpu::new()), Cpu::with_threads)?;
        let (threads, isa, is_auto) = (cpu.threads(), cpu.isa()?, self.backend == BackendName::Auto);
        let backend = match self.backend {
            BackendName::Cpu => Box::new(cpu),
            BackendName::Auto => auto(cpu, self.device)?,
            BackendName::Cuda => cuda(self.device)?,
        };
        Ok(Machine { backend, threads, isa, is_auto })
    }
}

#[cfg(feature = "cuda")]
fn open(device: Option<u32>) -> Result<densekd::Cuda, Failure> {
    densekd::Cuda::open(device.unwrap_or_default()).map_err(|error| match error {
        densekd::BackendError::Cuda(error) => Failure::NoCuda { reason: error.to_string() },
        error => error.into(),
    })
}

#[cfg(feature = "cuda")]
fn cuda(device: Option<u32>) -> Result<Box<dyn Backend>, Failure> {
    Ok(Box::new(open(device)?))
}

/// The GPU, and the CPU for what its kernels lack. Without a GPU the CPU alone, where none was named: `densekd list
/// backends` says why.
#[cfg(feature = "cuda")]
fn auto(cpu: Cpu, device: Option<u32>) -> Result<Box<dyn Backend>, Failure> {
    match open(device) {
        Ok(cuda) => Ok(Box::new(densekd::Auto::new(cuda, cpu))),
        Err(_) if device.is_none() => Ok(Box::new(cpu)),
        Err(failure) => Err(failure),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_device: Option<u32>) -> Result<Box<dyn Backend>, Failure> {
    Err(Failure::NoCuda { reason: "this build is without it".to_owned() })
}

#[cfg(not(feature = "cuda"))]
fn auto(cpu: Cpu, device: Option<u32>) -> Result<Box<dyn Backend>, Failure> {
    if device.is_none() { Ok(Box::new(cpu)) } else { cuda(device) }
}
