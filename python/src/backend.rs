//! The CPU backend of the process.

use densekd::{BackendError, Cpu};
use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::num::NonZeroUsize;
use std::sync::{Arc, RwLock};

/// What losses run on; none until the first asks for it.
static CPU: RwLock<Option<Arc<Cpu>>> = RwLock::new(None);

/// The backend, with threads of its own.
pub(crate) fn cpu() -> PyResult<Arc<Cpu>> {
    let held = CPU.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
    match held {
        Some(cpu) => Ok(cpu),
        None => start(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
    }
}

fn start(threads: NonZeroUsize) -> PyResult<Arc<Cpu>> {
    let cpu = Arc::new(Cpu::with_threads(threads).map_err(exception)?);
    *CPU.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::clone(&cpu));
    Ok(cpu)
}

/// Sets how many threads losses run on. Results do not depend on it.
#[pyfunction]
pub(crate) fn set_num_threads(threads: usize) -> PyResult<()> {
    let threads =
        NonZeroUsize::new(threads).ok_or_else(|| PyValueError::new_err("threads is 0: ask for 1 or more"))?;
    start(threads).map(|_| ())
}

/// How many threads losses run on.
#[pyfunction]
pub(crate) fn num_threads() -> PyResult<usize> {
    Ok(cpu()?.threads())
}

/// Forgets the threads of the process that this one was forked from: it does not have them.
#[pyfunction]
#[pyo3(name = "_after_fork")]
pub(crate) fn after_fork() {
    if let Ok(mut held) = CPU.try_write() {
        // Not dropped: that would wait for threads which are not there.
        std::mem::forget(held.take());
    }
}

/// The exception of Python that says the same.
pub(crate) fn exception(error: impl Into<BackendError>) -> PyErr {
    let error = error.into();
    let text = error.to_string();
    match error {
        BackendError::Request(_) => PyValueError::new_err(text),
        BackendError::Unsupported(_) => PyNotImplementedError::new_err(text),
        #[cfg(feature = "cuda")]
        BackendError::Cuda(densekd::gpu::Error::Unsupported { .. }) => PyNotImplementedError::new_err(text),
        _ => PyRuntimeError::new_err(text),
    }
}
