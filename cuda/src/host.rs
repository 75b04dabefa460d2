//! Calls on tensors in host memory: copied to the device, and the results back.
#![allow(unsafe_code, reason = "kernels write through addresses, here of buffers made for them")]

use crate::device::{Device, DeviceCall, KeptStates};
use crate::states::{State, read_states, written_states};
use crate::{Error, gpu, uncovered_statistics};
use densekd_core::{KeptStatistics, Overflowed, Plan, Tensor, TensorMut};

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

impl HostCall<'_> {
    /// Whether all tensors are of one type and all buffers as long as the plan says.
    fn check(&self) -> Result<(), Error> {
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
        if let Some(reason) = kept.and_then(|_| uncovered_statistics(plan)) {
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
        Ok(())
    }
}

impl Device {
    /// Runs a plan on tensors in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::Length`] and [`Error::Statistics`] before anything is done,
    /// [`Error::OutOfMemory`], or what the driver answers. All device memory is free again in any case.
    pub fn submit(&self, call: HostCall<'_>) -> Result<Sum, Error> {
        call.check()?;
        let HostCall {
            plan,
            teacher,
            student,
            mask,
            factor,
            mut grad_student,
            mut grad_teacher,
            mut row_values,
            mut statistics,
        } = call;
        let dtype = student.dtype();
        let workspace = Self::workspace(plan, dtype)?;
        let tau = plan.recipe().options().tau;
        let read = match &statistics {
            KeptStatistics::Read(kept) => Some(read_states(tau, kept)?),
            _ => None,
        };

        let gpu = self.gpu.enter()?;
        let teacher = gpu.upload(bytes(teacher))?;
        let student = gpu.upload(bytes(student))?;
        let mask = mask.map(|mask| gpu.upload(mask)).transpose()?;
        let room = |gradient: &Option<TensorMut<'_>>| {
            gradient.as_ref().map(|gradient| gpu.buffer(bytes(gradient.as_tensor()).len())).transpose()
        };
        let (to_student, to_teacher) = (room(&grad_student)?, room(&grad_teacher)?);
        let states = match (&statistics, &read) {
            (_, Some(read)) => Some(gpu.upload(bytemuck::cast_slice(read))?),
            (KeptStatistics::Write(kept), _) => Some(gpu.buffer(kept.len() * Self::STATE)?),
            _ => None,
        };
        let workspace = gpu.buffer(workspace)?;
        let (sum, overflowed) = (gpu.buffer(size_of::<f64>())?, gpu.buffer(size_of::<u32>())?);
        let call = DeviceCall {
            plan,
            dtype,
            teacher: teacher.address(),
            student: student.address(),
            mask: mask.as_ref().map(address),
            factor,
            grad_student: to_student.as_ref().map(address),
            grad_teacher: to_teacher.as_ref().map(address),
            states: match (&states, &read) {
                (None, _) => KeptStates::Drop,
                (Some(states), None) => KeptStates::Write(states.address()),
                (Some(states), Some(_)) => KeptStates::Read(states.address()),
            },
            workspace: workspace.address(),
            sum: sum.address(),
            overflowed: overflowed.address(),
            stream: std::ptr::null_mut(),
        };
        // SAFETY: the buffers are as long as the plan says, and freed below or after an error of the driver's, which
        // waits for kernels before it frees. The default stream is always there.
        unsafe { self.start(&gpu, &call) }?;
        gpu.synchronise(std::ptr::null_mut())?;
        for (gradient, from) in [(&mut grad_student, &to_student), (&mut grad_teacher, &to_teacher)] {
            if let (Some(gradient), Some(from)) = (gradient, from) {
                gpu.download(from, bytes_mut(gradient))?;
            }
        }
        if let (KeptStatistics::Write(kept), Some(from)) = (&mut statistics, &states) {
            let mut written = vec![State::default(); kept.len()];
            gpu.download(from, bytemuck::cast_slice_mut(&mut written))?;
            written_states(tau, &written, kept);
        }
        if let Some(values) = &mut row_values {
            gpu.download(&workspace, bytemuck::cast_slice_mut(values))?;
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        let overflowed = Overflowed { student: flags[0] & 1 != 0, teacher: flags[0] & 2 != 0 };
        Ok(Sum { sum: total[0], overflowed })
    }
}

pub(crate) fn address(buffer: &gpu::Buffer<'_>) -> u64 {
    buffer.address()
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
