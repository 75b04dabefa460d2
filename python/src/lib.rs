//! What the Python package is made of: losses with their options, and tensors that come by `DLPack`.

mod backend;
mod launch;
mod loss;
mod options;
mod rows;
mod tensor;

use densekd::core::{Loss, Preset};
use pyo3::prelude::*;

/// The names of all losses.
#[pyfunction]
fn losses() -> Vec<&'static str> {
    Loss::ALL.iter().map(|loss| loss.name()).collect()
}

/// The names of all presets, each with the repository and the files that it was read in.
#[pyfunction]
fn presets() -> Vec<(&'static str, &'static str, &'static str)> {
    Preset::ALL.iter().map(|preset| (preset.name, preset.repository, preset.source)).collect()
}

/// The extension module behind `densekd`.
#[pymodule(name = "_densekd", gil_used = false)]
fn extension(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<loss::PyLoss>()?;
    m.add_function(wrap_pyfunction!(losses, m)?)?;
    m.add_function(wrap_pyfunction!(presets, m)?)?;
    m.add_function(wrap_pyfunction!(backend::set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(backend::num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(backend::after_fork, m)?)?;
    Ok(())
}
