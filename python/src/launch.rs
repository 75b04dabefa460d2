//! Losses of arrays in the memory of a CUDA device, in the order of the caller's stream.

use pyo3::prelude::*;

/// What a launch reads and writes.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing is launched"))]
pub(crate) struct Call<'a, 'py> {
    pub(crate) student: &'a Bound<'py, PyAny>,
    pub(crate) teacher: Option<&'a Bound<'py, PyAny>>,
    pub(crate) workspace: &'a Bound<'py, PyAny>,
    pub(crate) totals: &'a Bound<'py, PyAny>,
    pub(crate) mask: Option<&'a Bound<'py, PyAny>>,
    pub(crate) counted: Option<&'a Bound<'py, PyAny>>,
    pub(crate) upstream: f64,
    pub(crate) stream: usize,
    pub(crate) grad_student: Option<&'a Bound<'py, PyAny>>,
    pub(crate) grad_teacher: Option<&'a Bound<'py, PyAny>>,
}

#[cfg(feature = "cuda")]
pub(crate) use with::{launch, workspace};
#[cfg(not(feature = "cuda"))]
pub(crate) use without::{launch, workspace};

#[cfg(feature = "cuda")]
#[allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]
mod with {
    use super::Call;
    use crate::backend::exception;
    use crate::loss::term;
    use crate::tensor::{Array, ArrayMut, Memory};
    use densekd::core::{DType, Error, MapPlan, Mask, Options, Plan, Term, Upstream};
    use densekd::gpu::{Device, DeviceCall, KeptStates, MapDeviceCall};
    use pyo3::exceptions::{PyTypeError, PyValueError};
    use pyo3::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};

    /// The devices of the process, opened when they are first asked for.
    static DEVICES: Mutex<BTreeMap<u32, Arc<Device>>> = Mutex::new(BTreeMap::new());

    fn device(ordinal: u32) -> PyResult<Arc<Device>> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = devices.get(&ordinal) {
            return Ok(Arc::clone(device));
        }
        let device = Arc::new(Device::open(ordinal).map_err(exception)?);
        devices.insert(ordinal, Arc::clone(&device));
        Ok(device)
    }

    /// The one device that all arrays are on.
    fn place(arrays: &[&Array]) -> PyResult<u32> {
        let mut found = None;
        for array in arrays {
            let Memory::Cuda(ordinal) = array.memory() else {
                let (name, there) = (array.name(), array.memory());
                return Err(PyValueError::new_err(format!("{name} is on {there}: wanted a CUDA device")));
            };
            match found {
                None => found = Some(ordinal),
                Some(first) if first == ordinal => {}
                Some(first) => {
                    let (name, there) = (array.name(), array.memory());
                    return Err(PyValueError::new_err(format!(
                        "{name} is on {there}, the student on {}: wanted one device",
                        Memory::Cuda(first)
                    )));
                }
            }
        }
        found.ok_or_else(|| PyValueError::new_err("no array is given"))
    }

    /// The one type of all maps.
    fn dtype<'a>(student: &Array, others: impl IntoIterator<Item = &'a Array>) -> PyResult<DType> {
        let dtype = student.dtype()?;
        for other in others {
            let found = other.dtype()?;
            if found != dtype {
                let name = other.name();
                return Err(PyTypeError::new_err(format!("{name} is of {found}, the student of {dtype}")));
            }
        }
        Ok(dtype)
    }

    fn bytes(term: &Term, dtype: DType) -> PyResult<usize> {
        match term {
            Term::Row(plan) => Device::workspace(plan, dtype),
            Term::Map(plan) => Device::map_workspace(plan, dtype),
        }
        .map_err(exception)
    }

    pub(crate) fn workspace(
        options: Options,
        student: &Bound<'_, PyAny>,
        teacher: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let student = Array::new("student", student)?;
        let teacher = teacher.map(|teacher| Array::new("teacher", teacher)).transpose()?;
        let term = term(options, (&student, &None), (teacher.as_ref(), &None))?;
        bytes(&term, dtype(&student, &teacher)?)
    }

    /// Addresses of what a call reads and writes.
    struct Addresses {
        dtype: DType,
        student: u64,
        teacher: Option<u64>,
        mask: Option<u64>,
        grad_student: Option<u64>,
        grad_teacher: Option<u64>,
        workspace: u64,
        totals: u64,
        stream: usize,
    }

    pub(crate) fn launch(py: Python<'_>, options: Options, call: &Call<'_, '_>) -> PyResult<f64> {
        let array = |name, object: Option<&Bound<'_, PyAny>>| {
            object.map(|object| Array::new(name, object)).transpose()
        };
        let student = Array::new("student", call.student)?;
        let (teacher, mask) = (array("teacher", call.teacher)?, array("mask", call.mask)?);
        let counted = array("counted", call.counted)?;
        let mut read = vec![&student];
        read.extend([&teacher, &mask].into_iter().flatten());
        let written = |name, object, before: &[_]| ArrayMut::if_given(name, object, &read, before);
        let grad_student = written("grad_student", call.grad_student, &[])?;
        let grad_teacher = written("grad_teacher", call.grad_teacher, &[&grad_student])?;
        let workspace = written("workspace", Some(call.workspace), &[&grad_student, &grad_teacher])?;
        let totals = written("totals", Some(call.totals), &[&grad_student, &grad_teacher, &workspace])?;

        let gradients = || [&grad_student, &grad_teacher].into_iter().flatten().map(ArrayMut::array);
        let scratch = || [&workspace, &totals].into_iter().flatten().map(ArrayMut::array);
        let ordinal = place(&read.iter().copied().chain(gradients()).chain(scratch()).collect::<Vec<_>>())?;
        let term = term(options, (&student, &grad_student), (teacher.as_ref(), &grad_teacher))?;
        let dtype = dtype(&student, teacher.iter().chain(gradients()))?;
        let address = |array: Option<&Array>| array.map(Array::address).transpose();
        let room = |array: &Option<ArrayMut>, wanted| {
            array.as_ref().map_or(Ok(0), |array| array.array().room(wanted))
        };
        let at = Addresses {
            dtype,
            student: student.address()?,
            teacher: address(teacher.as_ref())?,
            mask: mask.as_ref().map(Array::mask_address).transpose()?,
            grad_student: address(grad_student.as_ref().map(ArrayMut::array))?,
            grad_teacher: address(grad_teacher.as_ref().map(ArrayMut::array))?,
            workspace: room(&workspace, bytes(&term, dtype)?)?,
            totals: room(&totals, 2 * size_of::<f64>())?,
            stream: call.stream,
        };
        let upstream = Upstream::new(call.upstream).map_err(exception)?;
        let device = device(ordinal)?;
        match &term {
            Term::Row(plan) => {
                if teacher.is_none() {
                    return Err(exception(Error::TeacherMissing));
                }
                let cells = match (&mask, &counted) {
                    (None, None) => None,
                    (Some(mask), Some(counted)) if mask.shape() == counted.shape() => {
                        Some(counted.to_mask()?)
                    }
                    _ => {
                        return Err(PyValueError::new_err(
                            "mask and counted are the same mask, given together",
                        ));
                    }
                };
                let counted = Mask::new(plan.shape(), None, cells).map_err(exception)?;
                py.detach(|| rows(&device, plan, &counted, upstream, &at))
            }
            Term::Map(plan) => {
                if mask.is_some() || counted.is_some() {
                    return Err(exception(Error::Unused { input: "a mask" }));
                }
                py.detach(|| map(&device, plan, upstream, &at))
            }
        }
    }

    fn rows(
        device: &Device,
        plan: &Plan,
        counted: &Mask<'_>,
        upstream: Upstream,
        at: &Addresses,
    ) -> PyResult<f64> {
        let divisor = plan.divisor(counted);
        let scale = if divisor == 0.0 { 0.0 } else { plan.recipe().scale() / divisor };
        let call = DeviceCall {
            plan,
            dtype: at.dtype,
            teacher: at.teacher.unwrap_or_default(),
            student: at.student,
            mask: at.mask,
            factor: scale * upstream.get(),
            grad_student: at.grad_student,
            grad_teacher: at.grad_teacher,
            states: KeptStates::Drop,
            workspace: at.workspace,
            sum: at.totals,
            overflowed: at.totals + size_of::<f64>() as u64,
            stream: std::ptr::with_exposed_provenance_mut(at.stream),
        };
        // SAFETY: the addresses are of arrays of this device which are as long as the plan says, aligned and disjoint from
        // what is written, as was checked; that they stay, and that the stream is the device's, the caller has promised.
        unsafe { device.launch(&call) }.map_err(exception)?;
        Ok(scale)
    }

    fn map(device: &Device, plan: &MapPlan, upstream: Upstream, at: &Addresses) -> PyResult<f64> {
        let call = MapDeviceCall {
            plan,
            dtype: at.dtype,
            teacher: at.teacher,
            student: at.student,
            classes: None,
            upstream: upstream.get(),
            grad_student: at.grad_student,
            grad_teacher: at.grad_teacher,
            workspace: at.workspace,
            sum: at.totals,
            overflowed: at.totals + size_of::<f64>() as u64,
            stream: std::ptr::with_exposed_provenance_mut(at.stream),
        };
        // SAFETY: as for rows.
        let divisor = unsafe { device.launch_map(&call) }.map_err(exception)?;
        Ok(if divisor == 0.0 { 0.0 } else { plan.scale() / divisor })
    }
}

#[cfg(not(feature = "cuda"))]
mod without {
    use super::Call;
    use densekd::core::Options;
    use pyo3::exceptions::PyNotImplementedError;
    use pyo3::prelude::*;

    fn refused() -> PyErr {
        PyNotImplementedError::new_err(
            "this build of densekd has no kernels for CUDA devices: move maps to the CPU, or build it with the feature cuda",
        )
    }

    pub(crate) fn workspace(
        _: Options,
        _: &Bound<'_, PyAny>,
        _: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        Err(refused())
    }

    pub(crate) fn launch(_: Python<'_>, _: Options, _: &Call<'_, '_>) -> PyResult<f64> {
        Err(refused())
    }
}
