//! Losses of arrays in the memory of a CUDA device, in the order of the caller's stream.

use pyo3::prelude::*;

/// What a launch reads and writes.
#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing is launched"))]
pub(crate) struct Call<'a, 'py> {
    pub(crate) student: &'a Bound<'py, PyAny>,
    pub(crate) teacher: Option<&'a Bound<'py, PyAny>>,
    pub(crate) workspace: &'a Bound<'py, PyAny>,
    pub(crate) totals: &'a Bound<'py, PyAny>,
    pub(crate) labels: Option<&'a Bound<'py, PyAny>>,
    pub(crate) mask: Option<&'a Bound<'py, PyAny>>,
    /// Labels and mask once more, in the main memory.
    pub(crate) known_labels: Option<&'a Bound<'py, PyAny>>,
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
    use crate::loss::{labels_of, term};
    use crate::tensor::{Array, ArrayMut, Memory};
    use densekd::core::{DType, Error, Labels, MapPlan, Mask, Options, Plan, Term, Upstream};
    use densekd::gpu::{Device, DeviceCall, KeptStates, LabelsDeviceCall, MapDeviceCall, classes};
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

    /// Bytes that a loss takes, and that the classes of a map's positions take behind them.
    fn bytes(term: &Term, dtype: DType) -> PyResult<[usize; 2]> {
        let (loss, classes) = match term {
            Term::Row(plan) => (Device::workspace(plan, dtype), 0),
            Term::Map(plan) => {
                let positions = plan.student().images() * plan.student().positions();
                let classes = if plan.takes_labels() { positions * size_of::<i32>() } else { 0 };
                (Device::map_workspace(plan, dtype), classes)
            }
        };
        Ok([loss.map_err(exception)?.next_multiple_of(16), classes])
    }

    pub(crate) fn workspace(
        options: Options,
        student: &Bound<'_, PyAny>,
        teacher: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<usize> {
        let student = Array::new("student", student)?;
        let teacher = teacher.map(|teacher| Array::new("teacher", teacher)).transpose()?;
        let term = term(options, (&student, &None), (teacher.as_ref(), &None))?;
        Ok(bytes(&term, dtype(&student, &teacher)?)?.iter().sum())
    }

    /// What is known of a map loss's labels: where they and their mask are on the device, and what they say.
    struct Known<'a> {
        labels: u64,
        mask: Option<u64>,
        size: [usize; 2],
        said: Labels<'a>,
        counted: Mask<'a>,
        /// Where the classes go.
        classes: u64,
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
        let labels = array("labels", call.labels)?;
        let (said, counted) = (array("known_labels", call.known_labels)?, array("counted", call.counted)?);
        let mut read = vec![&student];
        read.extend([&teacher, &labels, &mask].into_iter().flatten());
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
        let [of_loss, of_classes] = bytes(&term, dtype)?;
        let at = Addresses {
            dtype,
            student: student.address()?,
            teacher: address(teacher.as_ref())?,
            mask: mask.as_ref().map(Array::mask_address).transpose()?,
            grad_student: address(grad_student.as_ref().map(ArrayMut::array))?,
            grad_teacher: address(grad_teacher.as_ref().map(ArrayMut::array))?,
            workspace: room(&workspace, of_loss + of_classes)?,
            totals: room(&totals, 2 * size_of::<f64>())?,
            stream: call.stream,
        };
        let upstream = Upstream::new(call.upstream).map_err(exception)?;
        let device = device(ordinal)?;
        let cells = both("mask and counted are the same mask", mask.as_ref(), counted.as_ref())?;
        let cells = cells.map(Array::to_mask).transpose()?;
        let said = both("labels and known_labels are the same labels", labels.as_ref(), said.as_ref())?;
        let said = said.map(labels_of).transpose()?;
        match &term {
            Term::Row(plan) => {
                if teacher.is_none() {
                    return Err(exception(Error::TeacherMissing));
                }
                if said.is_some() {
                    return Err(exception(Error::Unused { input: "labels" }));
                }
                let counted = Mask::new(plan.shape(), None, cells).map_err(exception)?;
                py.detach(|| rows(&device, plan, &counted, upstream, &at))
            }
            Term::Map(plan) => {
                let unused = match (plan.takes_labels(), &said, cells) {
                    (true, None, _) => Some(Error::LabelsMissing),
                    (false, Some(_), _) => Some(Error::Unused { input: "labels" }),
                    (false, _, Some(_)) => Some(Error::Unused { input: "a mask" }),
                    _ => None,
                };
                if let Some(error) = unused {
                    return Err(exception(error));
                }
                let counted = Mask::new(plan.student(), None, cells).map_err(exception)?;
                let known = said.zip(labels.as_ref()).map(|(said, labels)| {
                    let (labels, size) = (labels.labels_address()?, said.size());
                    let classes = at.workspace + of_loss as u64;
                    Ok::<_, PyErr>(Known { labels, mask: at.mask, size, said, counted, classes })
                });
                let known = known.transpose()?;
                py.detach(|| map(&device, plan, known.as_ref(), upstream, &at))
            }
        }
    }

    /// What is on the device, as it is in the main memory.
    fn both<'a>(
        same: &str,
        on_device: Option<&Array>,
        in_memory: Option<&'a Array>,
    ) -> PyResult<Option<&'a Array>> {
        match (on_device, in_memory) {
            (None, None) => Ok(None),
            (Some(there), Some(here)) if there.shape() == here.shape() => Ok(Some(here)),
            _ => Err(PyValueError::new_err(format!("{same}, given together"))),
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

    fn map(
        device: &Device,
        plan: &MapPlan,
        known: Option<&Known<'_>>,
        upstream: Upstream,
        at: &Addresses,
    ) -> PyResult<f64> {
        let stream = std::ptr::with_exposed_provenance_mut(at.stream);
        let mut of_positions = None;
        if let Some(&Known { labels, mask, size, said, counted, classes: to }) = known {
            if said.images() != plan.student().images() {
                let (buffer, found, wanted) = ("labels", said.images(), plan.student().images());
                return Err(exception(Error::Length { buffer, found, wanted }));
            }
            let said = classes(plan, said, counted).map_err(exception)?;
            let call = LabelsDeviceCall { plan, labels, size, mask, classes: to, stream };
            // SAFETY: labels and mask are of this device, as long as those in the main memory, whose lengths were checked; the
            // workspace has room for the classes behind what the loss takes.
            unsafe { device.launch_labels(&call) }.map_err(exception)?;
            of_positions = Some((to, said.iter().filter(|&&class| class >= 0).count()));
        }
        let call = MapDeviceCall {
            plan,
            dtype: at.dtype,
            teacher: at.teacher,
            student: at.student,
            classes: of_positions,
            upstream: upstream.get(),
            grad_student: at.grad_student,
            grad_teacher: at.grad_teacher,
            workspace: at.workspace,
            sum: at.totals,
            overflowed: at.totals + size_of::<f64>() as u64,
            stream,
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
