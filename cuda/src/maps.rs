//! Losses of whole maps: which the kernels cover, and their runs on host and device memory.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::{Device, address, bytes, bytes_mut};
use crate::energy::{Energies, LARGEST_POWER};
use crate::gpu::Entered;
use crate::vectors::{Places, Pulled, Scale, Vectors};
use densekd_core::{AtMode, DType, MapOptions, MapPlan, Order, Overflowed, Tensor, TensorMut};
use std::ffi::c_void;

/// Why the kernels do not run a map loss; `None` where they do.
///
/// They cover distillation by Pearson correlation, attention transfer, and mimicking without a projection, of tensors of
/// any one type, with the gradients to both sides.
///
/// ```
/// use densekd_core::{Loss, Order, Shape, Term};
/// let shape = Shape::new([2, 16, 8, 8])?;
/// let plan = |loss: Loss| match Term::new(loss.defaults(), shape, shape, Order::Nchw)? {
///     Term::Map(plan) => Ok(plan),
///     Term::Row(_) => unreachable!(),
/// };
/// assert_eq!(densekd_cuda::uncovered_map(&plan(Loss::Pkd)?), None);
/// assert!(densekd_cuda::uncovered_map(&plan(Loss::Rkd)?).is_some());
/// # Ok::<(), densekd_core::Error>(())
/// ```
pub fn uncovered_map(plan: &MapPlan) -> Option<&'static str> {
    Form::of(plan).err()
}

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
///     teacher: teacher[..].into(),
///     student: student[..].into(),
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
    /// The teacher's elements.
    pub teacher: Tensor<'a>,
    /// The student's elements.
    pub student: Tensor<'a>,
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
///     let (grad_student, grad_teacher, upstream, stream) = (None, None, 1.0, std::ptr::null_mut());
///     let dtype = DType::F16;
///     MapDeviceCall {
///         plan, dtype, teacher, student, upstream, grad_student, grad_teacher, workspace, sum, overflowed, stream,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MapDeviceCall<'a> {
    /// The plan.
    pub plan: &'a MapPlan,
    /// The type of all tensors.
    pub dtype: DType,
    /// The teacher's elements.
    pub teacher: u64,
    /// The student's elements.
    pub student: u64,
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

/// A map loss as the kernels see it.
#[derive(Clone, Copy, Debug)]
struct Form {
    pairs: Pairs,
    /// What the sum is divided by.
    divisor: f64,
}

/// The pairs of vectors that it compares.
#[derive(Clone, Copy, Debug)]
enum Pairs {
    OfNumbers(Vectors),
    OfEnergies(Energies),
}

impl Form {
    /// By the plan alone; why not, where there are no kernels for it.
    fn of(plan: &MapPlan) -> Result<Self, &'static str> {
        let (teacher, student) = (plan.teacher(), plan.student());
        let of_numbers = |vectors| {
            let divisor = real(student.len());
            Self { pairs: Pairs::OfNumbers(vectors), divisor }
        };
        match plan.options() {
            MapOptions::Pkd(options) => {
                let scale = Scale::Standardise { eps: options.eps.get() };
                Ok(of_numbers(Vectors { share: 0.5, ..channels(plan, scale) }))
            }
            MapOptions::Mimic(_) if teacher != student => Err("its kernels take no projection"),
            MapOptions::Mimic(options) if options.standardise => {
                Ok(of_numbers(channels(plan, Scale::Standardise { eps: options.eps.get() })))
            }
            MapOptions::Mimic(_) => {
                let inner = student.len();
                Ok(of_numbers(Vectors { outer: 1, count: 1, inner, ..channels(plan, Scale::Raw) }))
            }
            MapOptions::At(options) if options.p.get() > LARGEST_POWER => Err("its kernels take p up to 3"),
            MapOptions::At(options) => {
                let (images, positions) = (student.images(), student.positions());
                let has_root = options.mode == AtMode::Paper;
                // Energies are sums where the definition has means.
                let [eps_of_teacher, eps_of_student] =
                    [teacher, student].map(|shape| options.eps.get() * real(shape.channels()));
                let scale = Scale::UnitLength { eps_of_teacher, eps_of_student };
                let vectors =
                    Vectors { outer: 1, count: images, inner: positions, scale, share: 1.0, has_root };
                let energies = Energies {
                    order: plan.order(),
                    images,
                    positions,
                    teacher_channels: teacher.channels(),
                    student_channels: student.channels(),
                    power: options.p.get(),
                    vectors,
                };
                let divisor = if has_root { real(images) } else { real(images) * real(positions) };
                Ok(Self { pairs: Pairs::OfEnergies(energies), divisor })
            }
            _ => Err("it has no kernels for this map loss"),
        }
    }

    fn workspace(&self, dtype: DType) -> usize {
        match self.pairs {
            Pairs::OfNumbers(vectors) => vectors.workspace(dtype),
            Pairs::OfEnergies(energies) => energies.workspace(),
        }
    }

    /// # Safety
    /// As [`Device::launch_map`].
    unsafe fn start(
        &self,
        device: &Device,
        gpu: &Entered<'_>,
        call: &MapDeviceCall<'_>,
    ) -> Result<(), Error> {
        let MapDeviceCall { dtype, teacher, student, workspace, sum, overflowed, stream, .. } = *call;
        let at = Places { teacher, student, workspace, sum, overflowed, stream };
        // SAFETY: `overflowed` is a `u32` of the caller's.
        unsafe { gpu.zero(overflowed, stream) }?;
        match &self.pairs {
            // SAFETY: the caller's promise, and as long a workspace as `workspace` says.
            Pairs::OfNumbers(vectors) => unsafe { vectors.measure(device, gpu, dtype, &at) },
            // SAFETY: the same.
            Pairs::OfEnergies(energies) => unsafe { energies.measure(device, gpu, dtype, &at) },
        }?;
        let factor = call.plan.scale() * call.upstream / self.divisor;
        for (gradient, to_teacher) in [(call.grad_student, false), (call.grad_teacher, true)] {
            let Some(gradient) = gradient else { continue };
            let to = Pulled { gradient, to_teacher, factor };
            match &self.pairs {
                // SAFETY: the caller's promise, after `measure`.
                Pairs::OfNumbers(vectors) => unsafe { vectors.pull(device, gpu, dtype, &at, to) },
                // SAFETY: the same.
                Pairs::OfEnergies(energies) => unsafe { energies.pull(device, gpu, dtype, &at, to) },
            }?;
        }
        Ok(())
    }
}

/// The channels as vectors, over images and positions.
fn channels(plan: &MapPlan, scale: Scale) -> Vectors {
    let shape = plan.student();
    let (outer, inner) = match plan.order() {
        Order::Nchw => (shape.images(), shape.positions()),
        Order::Nhwc => (shape.images() * shape.positions(), 1),
    };
    Vectors { outer, count: shape.channels(), inner, scale, share: 1.0, has_root: false }
}

#[allow(clippy::cast_precision_loss, reason = "sizes of tensors in memory are below 2^53")]
const fn real(count: usize) -> f64 {
    count as f64
}

fn form(plan: &MapPlan) -> Result<Form, Error> {
    Form::of(plan).map_err(|reason| Error::Unsupported { reason })
}

impl Device {
    /// Bytes of workspace that a map loss takes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`uncovered_map`] has a reason.
    pub fn map_workspace(plan: &MapPlan, dtype: DType) -> Result<usize, Error> {
        Ok(form(plan)?.workspace(dtype))
    }

    /// Runs a map loss on tensors in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Length`] before anything is done, [`Error::OutOfMemory`], or what the
    /// driver answers. All device memory is free again in any case.
    pub fn submit_map(&self, call: MapHostCall<'_>) -> Result<MapSum, Error> {
        let MapHostCall { plan, teacher, student, upstream, mut grad_student, mut grad_teacher } = call;
        let dtype = student.dtype();
        let (of_student, of_teacher) = (plan.student().len(), plan.teacher().len());
        let buffers = [
            ("teacher", Some(teacher), of_teacher),
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
        let workspace = Self::map_workspace(plan, dtype)?;

        let gpu = self.gpu.enter()?;
        let (teacher, student) = (gpu.upload(bytes(teacher))?, gpu.upload(bytes(student))?);
        let room = |gradient: &Option<TensorMut<'_>>| {
            gradient.as_ref().map(|gradient| gpu.buffer(bytes(gradient.as_tensor()).len())).transpose()
        };
        let (to_student, to_teacher) = (room(&grad_student)?, room(&grad_teacher)?);
        let workspace = gpu.buffer(workspace)?;
        let (sum, overflowed) = (gpu.buffer(size_of::<f64>())?, gpu.buffer(size_of::<u32>())?);
        let call = MapDeviceCall {
            plan,
            dtype,
            teacher: teacher.address(),
            student: student.address(),
            upstream,
            grad_student: to_student.as_ref().map(address),
            grad_teacher: to_teacher.as_ref().map(address),
            workspace: workspace.address(),
            sum: sum.address(),
            overflowed: overflowed.address(),
            stream: std::ptr::null_mut(),
        };
        let form = form(plan)?;
        // SAFETY: the buffers are as long as the plan says, and freed below or after an error of the driver's, which
        // waits for kernels before it frees. The default stream is always there.
        unsafe { form.start(self, &gpu, &call) }?;
        gpu.synchronise(std::ptr::null_mut())?;
        for (gradient, from) in [(&mut grad_student, &to_student), (&mut grad_teacher, &to_teacher)] {
            if let (Some(gradient), Some(from)) = (gradient, from) {
                gpu.download(from, bytes_mut(gradient))?;
            }
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        let overflowed = Overflowed { student: flags[0] & 1 != 0, teacher: flags[0] & 2 != 0 };
        Ok(MapSum { sum: total[0], divisor: form.divisor, overflowed })
    }

    /// Starts a map loss on tensors in device memory, in the order of the caller's stream, and returns before it is
    /// done: what the sum is to be divided by, after the plan's scale. Nothing is allocated, and nothing waited for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before anything is done, or what the driver answers.
    ///
    /// # Safety
    /// As [`Device::launch`], of the addresses of [`MapDeviceCall`].
    pub unsafe fn launch_map(&self, call: &MapDeviceCall<'_>) -> Result<f64, Error> {
        let form = form(call.plan)?;
        let gpu = self.gpu.enter()?;
        // SAFETY: the caller's promise.
        unsafe { form.start(self, &gpu, call) }?;
        Ok(form.divisor)
    }
}
