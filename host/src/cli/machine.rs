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
            BackendName::Auto => auto(cpu),
            BackendName::Cuda => cuda()?,
        };
        Ok(Machine { backend, threads, isa, is_auto })
    }
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Box<dyn Backend>, Failure> {
    match densekd::Cuda::open(0) {
        Ok(cuda) => Ok(Box::new(cuda)),
        Err(densekd::BackendError::Cuda(error)) => Err(Failure::NoCuda { reason: error.to_string() }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Box<dyn Backend>, Failure> {
    Err(Failure::NoCuda { reason: "this build is without it".to_owned() })
}

/// Without a GPU, the CPU alone: `densekd list backends` says why.
#[cfg(feature = "cuda")]
fn auto(cpu: Cpu) -> Box<dyn Backend> {
    match densekd::Cuda::open(0) {
        Ok(cuda) => Box::new(densekd::Auto::new(cuda, cpu)),
        Err(_) => Box::new(cpu),
    }
}

#[cfg(not(feature = "cuda"))]
fn auto(cpu: Cpu) -> Box<dyn Backend> {
    Box::new(cpu)
}
