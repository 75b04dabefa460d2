//! Options of a loss as Python writes and reads them.

use densekd::core::{OptionError, OptionValue, Options};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple};

/// Sets what a call's keywords name.
pub(crate) fn set(options: &mut Options, given: &Bound<'_, PyDict>) -> PyResult<()> {
    for (name, value) in given {
        let name: String = name.extract()?;
        set_one(options, &name, &value)?;
    }
    Ok(())
}

fn set_one(options: &mut Options, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let refused = |error: OptionError| match error {
        // As Python says of keywords that a function does not have.
        OptionError::Unknown { .. } => PyTypeError::new_err(format!("{name}: {error}")),
        OptionError::Kind { .. } => PyTypeError::new_err(format!("{error}, not {}", shown(value))),
        error => PyValueError::new_err(format!("{name}: {error}")),
    };
    if value.is_none() {
        return options.set(name, OptionValue::Null).map_err(refused);
    }
    // Before the numbers: a bool is an int to Python.
    if let Ok(flag) = value.cast::<PyBool>() {
        return options.set(name, OptionValue::Flag(flag.is_true())).map_err(refused);
    }
    if value.is_instance_of::<PyInt>() {
        let integer = value.extract().map_err(|_| PyValueError::new_err(format!("{name} is {value}")))?;
        return options.set(name, OptionValue::Integer(integer)).map_err(refused);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return options.set(name, OptionValue::Name(&text.to_cow()?)).map_err(refused);
    }
    if let Ok([height, width]) = value.extract::<[i64; 2]>() {
        return options.set(name, OptionValue::Pair([height, width])).map_err(refused);
    }
    match value.extract() {
        Ok(number) => options.set(name, OptionValue::Number(number)).map_err(refused),
        Err(_) => Err(PyTypeError::new_err(format!("{name} cannot be {}", shown(value)))),
    }
}

/// A value as a message names it.
fn shown(value: &Bound<'_, PyAny>) -> String {
    value.repr().map_or_else(|_| "this object".to_owned(), |text| text.to_string())
}

/// Every option with its value.
pub(crate) fn all<'py>(py: Python<'py>, options: &Options) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    for field in options.fields() {
        all.set_item(field.name, to_python(py, options.get(field.name).unwrap_or(OptionValue::Null))?)?;
    }
    Ok(all)
}

fn to_python<'py>(py: Python<'py>, value: OptionValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        OptionValue::Null => py.None().into_bound(py),
        OptionValue::Flag(flag) => PyBool::new(py, flag).to_owned().into_any(),
        OptionValue::Integer(number) => PyInt::new(py, number).into_any(),
        OptionValue::Number(number) => PyFloat::new(py, number).into_any(),
        OptionValue::Name(name) => PyString::new(py, name).into_any(),
        OptionValue::Pair(pair) => PyTuple::new(py, pair)?.into_any(),
    })
}
