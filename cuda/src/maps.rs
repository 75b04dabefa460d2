//! Runs of losses of whole maps, on host and on device memory.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::{Device, check_all};
use crate::form::Form;
use crate::gpu::Entered;
use crate::host::{address, bytes, bytes_mut};
use densekd_core::{DType, MapPlan, Overflowed, Tensor, TensorMut};
use std::ffi::c_void;

/// One use of a map loss on tensors in host memory, all of one type.
///
/// ```
/// use densekd_core::{Loss, Order, Shape, Term};
/// use densekd_cuda::{Device, MapHostCall};
/// let shape = Shape::new([1, 1, 1, 3])?;
/// let Term::Map(plan) = Term::new(Loss::Pkd.defaults(), shape, shape, Order::Nchw)? else { unreachable!() };
/// let (teacher, student) = ([0.0_f32, 1.0, 2.0], [2.0_f32, 1.0, 0.0]);
/// let mut gradient = [0.0_f32; 3];
/// let call = MapHostCall {
///     plan: &plan,
///     teacher: Some(teacher[..].into()),
///     student: student[..].into(),
///     classes: None,
///     upstream: 1.0,
///     grad_student: Some((&mut gradient[..]).into()),
///     grad_teacher: None,
/// };
/// if let Ok(device) = Device::open(0) {
///     let done = device.submit_map(call)?;
///     assert!(plan.scale() * done.sum / done.divisor > 0.0);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MapHostCall<'a> {
    /// The plan.
    pub plan: &'a MapPlan,
    /// The teacher's elements, where the loss compares with one.
    pub teacher: Option<Tensor<'a>>,
    /// The student's elements.
    pub student: Tensor<'a>,
    /// The class of every position `[N, H, W]`, below 0 for one that is left out; of a loss that takes labels.
    pub classes: Option<&'a [i32]>,
    /// The gradient from above.
    pub upstream: f64,
    /// Where the gradient to the student goes.
    pub grad_student: Option<TensorMut<'a>>,
    /// Where the gradient to the teacher goes.
    pub grad_teacher: Option<TensorMut<'a>>,
}

/// One use of a map loss on tensors in device memory, in the order of a stream.
///
/// Addresses are the driver's (`CUdeviceptr`), of the primary context of the device.
///
/// ```
/// use densekd_core::{DType, MapPlan};
/// use densekd_cuda::MapDeviceCall;
/// /// The value alone, of tensors that another library holds.
/// fn value(plan: &MapPlan, [teacher, student, workspace, sum, overflowed]: [u64; 5]) -> MapDeviceCall<'_> {
///     MapDeviceCall {
///         plan,
///         dtype: DType::F16,
///         teacher: Some(teacher),
///         student,
///         classes: None,
///         upstream: 1.0,
///         grad_student: None,
///         grad_teacher: None,
///         workspace,
///         sum,
///         overflowed,
///         stream: std::ptr::null_mut(),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapDeviceCall<'a> {
    /// The plan.
    pub plan: &'a MapPlan,
    /// The type of all tensors.
    pub dtype: DType,
    /// The teacher's elements, where the loss compares with one.
    pub teacher: Option<u64>,
    /// The student's elements.
    pub student: u64,
    /// Of a loss that takes labels: the class of every position `[N, H, W]`, an `i32`, below 0 for one that is left
    /// out; and how many are not.
    pub classes: Option<(u64, usize)>,
    /// The gradient from above.
    pub upstream: f64,
    /// Where the gradient to the student goes.
    pub grad_student: Option<u64>,
    /// Where the gradient to the teacher goes.
    pub grad_teacher: Option<u64>,
    /// [`Device::map_workspace`] bytes, at a multiple of 16.
    pub workspace: u64,
    /// Where the sum goes, an `f64`.
    pub sum: u64,
    /// Where a `u32` goes, with bit 0 set where a finite gradient to the student became infinite, bit 1 where one to
    /// the teacher did.
    pub overflowed: u64,
    /// The stream (`CUstream`), null for the default one.
    pub stream: *mut c_void,
}

/// What became of a [`MapHostCall`].
///
/// ```
/// use densekd_cuda::MapSum;
/// let done = MapSum { sum: 6.0, divisor: 3.0, overflowed: Default::default() };
/// assert_eq!(done.sum / done.divisor, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapSum {
    /// The sum, before the plan's scale.
    pub sum: f64,
    /// What it is to be divided by.
    pub divisor: f64,
    /// Which gradients hold an infinity that was a finite number.
    pub overflowed: Overflowed,
}

fn form(plan: &MapPlan, dtype: DType) -> Result<Form, Error> {
    Form::on(plan, dtype).map_err(|reason| Error::Unsupported { reason })
}

impl Device {
    /// Bytes of workspace that a map loss takes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`uncovered_map`](crate::uncovered_map) has a reason.
    pub fn map_workspace(plan: &MapPlan, dtype: DType) -> Result<usize, Error> {
        Ok(form(plan, dtype)?.workspace(dtype))
    }

    /// Runs a map loss on tensors in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Length`] before anything is done, [`Error::OutOfMemory`], or what the
    /// driver answers. Device memory is kept for the next submission, see [`Device::trim`].
    pub fn submit_map(&self, call: MapHostCall<'_>) -> Result<MapSum, Error> {
        let MapHostCall { plan, teacher, student, classes, upstream, mut grad_student, mut grad_teacher } =
            call;
        let dtype = student.dtype();
        let (of_student, of_teacher) = (plan.student().len(), plan.teacher().len());
        let buffers = [
            ("teacher", teacher, of_teacher),
            ("student", Some(student), of_student),
            ("grad_student", grad_student.as_ref().map(TensorMut::as_tensor), of_student),
            ("grad_teacher", grad_teacher.as_ref().map(TensorMut::as_tensor), of_teacher),
        ];
        for (buffer, tensor, wanted) in buffers {
            let Some(tensor) = tensor else { continue };
            if tensor.dtype() != dtype {
                return Err(Error::Unsupported { reason: "its kernels take tensors of one type" });
            }
            if tensor.len() != wanted {
                return Err(Error::Length { buffer, found: tensor.len(), wanted });
            }
        }
        let positions = plan.student().images() * plan.student().positions();
        if let Some(classes) = classes.filter(|classes| classes.len() != positions) {
            return Err(Error::Length { buffer: "classes", found: classes.len(), wanted: positions });
        }
        let form = form(plan, dtype)?;

        let gpu = self.gpu.enter()?;
        let teacher = teacher.map(|teacher| gpu.upload(bytes(teacher))).transpose()?;
        let student = gpu.upload(bytes(student))?;
        let counted = classes.map_or(0, |classes| classes.iter().filter(|&&class| class >= 0).count());
        let classes = classes.map(|classes| gpu.upload(bytemuck::cast_slice(classes))).transpose()?;
        let room = |gradient: &Option<TensorMut<'_>>| {
            gradient.as_ref().map(|gradient| gpu.buffer(bytes(gradient.as_tensor()).len())).transpose()
        };
        let (to_student, to_teacher) = (room(&grad_student)?, room(&grad_teacher)?);
        let workspace = gpu.buffer(form.workspace(dtype))?;
        let (sum, overflowed) = (gpu.buffer(size_of::<f64>())?, gpu.buffer(size_of::<u32>())?);
        let call = MapDeviceCall {
            plan,
            dtype,
            teacher: teacher.as_ref().map(address),
            student: student.address(),
            classes: classes.as_ref().map(|classes| (classes.address(), counted)),
            upstream,
            grad_student: to_student.as_ref().map(address),
            grad_teacher: to_teacher.as_ref().map(address),
            workspace: workspace.address(),
            sum: sum.address(),
            overflowed: overflowed.address(),
            stream: gpu.stream()?,
        };
        // SAFETY: the buffers are as long as the plan says. Below or after an error they are given back, and then used in the
        // order of the same stream alone, or freed by the driver, which waits for kernels before it frees.
        let divisor = unsafe { form.start(self, &gpu, &call) }?;
        gpu.synchronise(call.stream)?;
        for (gradient, from) in [(&mut grad_student, &to_student), (&mut grad_teacher, &to_teacher)] {
            if let (Some(gradient), Some(from)) = (gradient, from) {
                gpu.download(from, bytes_mut(gradient))?;
            }
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        let overflowed = Overflowed { student: flags[0] & 1 != 0, teacher: flags[0] & 2 != 0 };
        Ok(MapSum { sum: total[0], divisor, overflowed })
    }

    /// Starts a map loss on tensors in device memory, in the order of the caller's stream, and returns before it is
    /// done: what the sum is to be divided by, after the plan's scale. Nothing is allocated, and nothing waited for.
    ///
    /// # Errors
    /// Before anything is done [`Error::Unsupported`], and [`Error::NotOnDevice`] or [`Error::OtherDevice`] for an address
    /// that is none of the device's; or what the driver answers.
    ///
    /// # Safety
    /// As [`Device::launch`], of the addresses of [`MapDeviceCall`].
    pub unsafe fn launch_map(&self, call: &MapDeviceCall<'_>) -> Result<f64, Error> {
        form(call.plan, call.dtype)?;
        let gpu = self.gpu.enter()?;
        let maps = [
            ("teacher", call.teacher),
            ("student", Some(call.student)),
            ("classes", call.classes.map(|(classes, _)| classes)),
            ("grad_student", call.grad_student),
            ("grad_teacher", call.grad_teacher),
            ("workspace", Some(call.workspace)),
        ];
        let always = [("sum", Some(call.sum)), ("overflowed", Some(call.overflowed))];
        check_all(&gpu, maps.into_iter().filter(|_| call.plan.student().len() > 0).chain(always))?;
        // SAFETY: the caller's promise.
        unsafe { self.start_map(&gpu, call) }
    }

    /// # Safety
    /// As [`Device::launch_map`].
    pub(crate) unsafe fn start_map(&self, gpu: &Entered<'_>, call: &MapDeviceCall<'_>) -> Result<f64, Error> {
        // SAFETY: the caller's promise.
        unsafe { form(call.plan, call.dtype)?.start(self, gpu, call) }
    }
}
