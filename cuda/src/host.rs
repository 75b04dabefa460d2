//! Calls on tensors in host memory: copied to the device, and the results back.
#![allow(unsafe_code, reason = "kernels write through addresses, here of buffers made for them")]

use crate::device::{Device, DeviceCall, KeptStates};
use crate::gpu::{Buffer, Entered};
use crate::states::{State, read_states, written_states};
use crate::{Error, uncovered_statistics};
use densekd_core::{KeptStatistics, Overflowed, Plan, Tensor, TensorMut};
use std::ffi::c_void;

/// One use of a plan on tensors in host memory.
///
/// ```
/// use densekd_core::{KeptStatistics, Order, Plan, Recipe, RowOptions, Shape};
/// use densekd_cuda::{Device, HostCall};
/// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
/// let (teacher, student) = ([0.0_f32, 1.0, 2.0], [2.0_f32, 1.0, 0.0]);
/// let mut gradient = [0.0_f32; 3];
/// let call = HostCall {
///     plan: &plan,
///     teacher: teacher[..].into(),
///     student: student[..].into(),
///     mask: None,
///     factor: plan.recipe().scale(),
///     grad_student: Some((&mut gradient[..]).into()),
///     grad_teacher: None,
///     row_values: None,
///     statistics: KeptStatistics::Drop,
/// };
/// if let Ok(device) = Device::open(0) {
///     assert!(device.submit(call)?.sum > 0.0);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HostCall<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The teacher's elements.
    pub teacher: Tensor<'a>,
    /// The student's elements, of the same type.
    pub student: Tensor<'a>,
    /// A byte a position `[N, H, W]`, 0 for one that is left out.
    pub mask: Option<&'a [u8]>,
    /// What the gradient of the sum of rows is multiplied by: weight, tau^2, divisor and what comes from above.
    pub factor: f64,
    /// Where the gradient to the student goes, of the same type.
    pub grad_student: Option<TensorMut<'a>>,
    /// Where the gradient to the teacher goes, of the same type.
    pub grad_teacher: Option<TensorMut<'a>>,
    /// Where each row's divergence goes.
    pub row_values: Option<&'a mut [f64]>,
    /// What becomes of the rows' statistics: those that the CPU keeps, which either may read of the other.
    pub statistics: KeptStatistics<'a>,
}

/// What became of a [`HostCall`].
///
/// ```
/// let sum = densekd_cuda::Sum { sum: 6.0, overflowed: Default::default() };
/// assert_eq!(sum.sum / 3.0, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    /// Sum of the rows' divergences.
    pub sum: f64,
    /// Which gradients hold an infinity that was a finite number.
    pub overflowed: Overflowed,
}

/// The buffers of a call.
pub(crate) struct Held<'e> {
    teacher: Buffer<'e>,
    student: Buffer<'e>,
    mask: Option<Buffer<'e>>,
    to_student: Option<Buffer<'e>>,
    to_teacher: Option<Buffer<'e>>,
    states: Option<Buffer<'e>>,
    workspace: Buffer<'e>,
    sum: Buffer<'e>,
    overflowed: Buffer<'e>,
}

impl HostCall<'_> {
    /// Whether the kernels cover it, all tensors are of one type and all buffers as long as the plan says; the states
    /// that it is to read.
    pub(crate) fn check(&self) -> Result<Option<Vec<State>>, Error> {
        let (plan, elements) = (self.plan, self.plan.shape().len());
        let gradients = [&self.grad_student, &self.grad_teacher];
        let types = gradients.map(|gradient| gradient.as_ref().map(TensorMut::dtype));
        if types
            .into_iter()
            .flatten()
            .chain([self.teacher.dtype()])
            .any(|other| other != self.student.dtype())
        {
            return Err(Error::Unsupported { reason: "its kernels take tensors of one type" });
        }
        let [to_student, to_teacher] = gradients.map(|gradient| gradient.as_ref().map(TensorMut::len));
        let kept = match &self.statistics {
            KeptStatistics::Drop => None,
            KeptStatistics::Write(kept) => Some(kept.len()),
            KeptStatistics::Read(kept) => Some(kept.len()),
        };
        if let Some(reason) = kept.and_then(|_| uncovered_statistics(plan, self.student.dtype())) {
            return Err(Error::Unsupported { reason });
        }
        let lengths = [
            ("teacher", Some(self.teacher.len()), elements),
            ("student", Some(self.student.len()), elements),
            ("mask", self.mask.map(<[u8]>::len), plan.shape().images() * plan.shape().positions()),
            ("grad_student", to_student, elements),
            ("grad_teacher", to_teacher, elements),
            ("row_values", self.row_values.as_ref().map(|values| values.len()), plan.rows()),
            ("statistics", kept, plan.rows()),
        ];
        for (buffer, found, wanted) in lengths {
            if let Some(found) = found.filter(|&found| found != wanted) {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        Device::workspace(plan, self.student.dtype())?;
        match &self.statistics {
            KeptStatistics::Read(kept) => Ok(Some(read_states(plan.recipe().options().tau, kept)?)),
            _ => Ok(None),
        }
    }

    /// Copies to the device what it reads, and makes room for what it writes.
    pub(crate) fn hold<'e>(&self, gpu: &'e Entered<'_>, read: Option<&[State]>) -> Result<Held<'e>, Error> {
        let room = |gradient: &Option<TensorMut<'_>>| {
            gradient.as_ref().map(|gradient| gpu.buffer(bytes(gradient.as_tensor()).len())).transpose()
        };
        Ok(Held {
            teacher: gpu.upload(bytes(self.teacher))?,
            student: gpu.upload(bytes(self.student))?,
            mask: self.mask.map(|mask| gpu.upload(mask)).transpose()?,
            to_student: room(&self.grad_student)?,
            to_teacher: room(&self.grad_teacher)?,
            states: match (&self.statistics, read) {
                (_, Some(read)) => Some(gpu.upload(bytemuck::cast_slice(read))?),
                (KeptStatistics::Write(kept), _) => Some(gpu.buffer(kept.len() * Device::STATE)?),
                _ => None,
            },
            workspace: gpu.buffer(Device::workspace(self.plan, self.student.dtype())?)?,
            sum: gpu.buffer(size_of::<f64>())?,
            overflowed: gpu.buffer(size_of::<u32>())?,
        })
    }
}

impl Held<'_> {
    /// The call on these buffers.
    pub(crate) fn call<'a>(&self, of: &HostCall<'a>, stream: *mut c_void) -> DeviceCall<'a> {
        DeviceCall {
            plan: of.plan,
            dtype: of.student.dtype(),
            teacher: self.teacher.address(),
            student: self.student.address(),
            mask: self.mask.as_ref().map(address),
            factor: of.factor,
            grad_student: self.to_student.as_ref().map(address),
            grad_teacher: self.to_teacher.as_ref().map(address),
            states: match (&self.states, &of.statistics) {
                (None, _) => KeptStates::Drop,
                (Some(states), KeptStatistics::Read(_)) => KeptStates::Read(states.address()),
                (Some(states), _) => KeptStates::Write(states.address()),
            },
            workspace: self.workspace.address(),
            sum: self.sum.address(),
            overflowed: self.overflowed.address(),
            stream,
        }
    }

    /// Bytes of maps and gradients.
    pub(crate) fn moved(&self) -> usize {
        let gradients = [&self.to_student, &self.to_teacher].into_iter().flatten();
        gradients.chain([&self.teacher, &self.student]).map(bytes_of).sum()
    }
}

impl Device {
    /// Runs a plan on tensors in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Length`] and [`Error::Statistics`] before anything is done,
    /// [`Error::OutOfMemory`], or what the driver answers. Device memory is kept for the next submission, see
    /// [`Device::trim`].
    pub fn submit(&self, mut call: HostCall<'_>) -> Result<Sum, Error> {
        let read = call.check()?;
        let gpu = self.gpu.enter()?;
        let held = call.hold(&gpu, read.as_deref())?;
        let once = held.call(&call, gpu.stream()?);
        // SAFETY: the buffers are as long as the plan says. Below or after an error they are given back, and then used in the
        // order of the same stream alone, or freed by the driver, which waits for kernels before it frees.
        unsafe { self.start(&gpu, &once) }?;
        gpu.synchronise(once.stream)?;
        let gradients =
            [(&mut call.grad_student, &held.to_student), (&mut call.grad_teacher, &held.to_teacher)];
        for (gradient, from) in gradients {
            if let (Some(gradient), Some(from)) = (gradient, from) {
                gpu.download(from, bytes_mut(gradient))?;
            }
        }
        if let (KeptStatistics::Write(kept), Some(from)) = (&mut call.statistics, &held.states) {
            let mut written = vec![State::default(); kept.len()];
            gpu.download(from, bytemuck::cast_slice_mut(&mut written))?;
            written_states(call.plan.recipe().options().tau, &written, kept);
        }
        if let Some(values) = &mut call.row_values {
            gpu.download(&held.workspace, bytemuck::cast_slice_mut(values))?;
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&held.sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&held.overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        let overflowed = Overflowed { student: flags[0] & 1 != 0, teacher: flags[0] & 2 != 0 };
        Ok(Sum { sum: total[0], overflowed })
    }
}

pub(crate) fn address(buffer: &Buffer<'_>) -> u64 {
    buffer.address()
}

fn bytes_of(buffer: &Buffer<'_>) -> usize {
    buffer.bytes()
}

pub(crate) fn bytes(tensor: Tensor<'_>) -> &[u8] {
    match tensor {
        Tensor::F32(x) => bytemuck::cast_slice(x),
        Tensor::F64(x) => bytemuck::cast_slice(x),
        Tensor::F16(x) => bytemuck::cast_slice(x),
        Tensor::Bf16(x) => bytemuck::cast_slice(x),
    }
}

pub(crate) fn bytes_mut<'a>(tensor: &'a mut TensorMut<'_>) -> &'a mut [u8] {
    match tensor {
        TensorMut::F32(x) => bytemuck::cast_slice_mut(x),
        TensorMut::F64(x) => bytemuck::cast_slice_mut(x),
        TensorMut::F16(x) => bytemuck::cast_slice_mut(x),
        TensorMut::Bf16(x) => bytemuck::cast_slice_mut(x),
    }
}
