//! A device and what is run on it.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::gpu::{self, Entered, Gpu};
use crate::kernel::Kernel;
use crate::task::{STRETCH, Strategy, Task};
use crate::{Error, uncovered};
use densekd_core::{DType, Plan, Tensor, TensorMut};
use std::ffi::c_void;

/// What a device says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    pub(crate) name: String,
    pub(crate) capability: (i32, i32),
    pub(crate) memory: usize,
    pub(crate) multiprocessors: u32,
}

/// A GPU. Cheap to keep, dear to open: the driver compiles the kernels at their first use.
///
/// It takes a share of the device's primary context, as other users of the driver in the process do, and leaves the
/// context that is current for the calling thread as it was.
///
/// ```
/// match densekd_cuda::Device::open(0) {
///     Ok(device) => println!("{}", device.name()),
///     Err(error) => println!("{error}"),
/// }
/// ```
#[derive(Debug)]
pub struct Device {
    pub(crate) gpu: Gpu,
    properties: Properties,
}

pub(crate) fn address(buffer: &gpu::Buffer<'_>) -> u64 {
    buffer.address()
}

/// One use of a plan on tensors in host memory.
///
/// ```
/// use densekd_core::{Order, Plan, Recipe, RowOptions, Shape};
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
///     gradient: Some((&mut gradient[..]).into()),
///     row_values: None,
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
    pub gradient: Option<TensorMut<'a>>,
    /// Where each row's divergence goes.
    pub row_values: Option<&'a mut [f64]>,
}

/// One use of a plan on tensors in device memory, in the order of a stream.
///
/// Addresses are the driver's (`CUdeviceptr`), of the primary context of the device.
///
/// ```
/// use densekd_core::{DType, Plan};
/// use densekd_cuda::DeviceCall;
/// /// The value alone, of tensors that another library holds.
/// fn value(plan: &Plan, [teacher, student, workspace, sum, overflowed]: [u64; 5]) -> DeviceCall<'_> {
///     let (mask, gradient, factor, stream) = (None, None, 1.0, std::ptr::null_mut());
///     let dtype = DType::Bf16;
///     DeviceCall { plan, dtype, teacher, student, mask, factor, gradient, workspace, sum, overflowed, stream }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceCall<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The type of teacher, student and gradient.
    pub dtype: DType,
    /// The teacher's elements.
    pub teacher: u64,
    /// The student's elements.
    pub student: u64,
    /// A byte a position `[N, H, W]`, 0 for one that is left out.
    pub mask: Option<u64>,
    /// What the gradient of the sum of rows is multiplied by: weight, tau^2, divisor and what comes from above.
    pub factor: f64,
    /// Where the gradient to the student goes.
    pub gradient: Option<u64>,
    /// [`Device::workspace`] bytes, at a multiple of 16. Afterwards it begins with each row's divergence, an `f64`.
    pub workspace: u64,
    /// Where the sum of rows goes, an `f64`.
    pub sum: u64,
    /// Where a `u32` goes: 0, or 1 where a finite gradient became infinite.
    pub overflowed: u64,
    /// The stream (`CUstream`), null for the default one.
    pub stream: *mut c_void,
}

/// What became of a [`HostCall`].
///
/// ```
/// let sum = densekd_cuda::Sum { sum: 6.0, overflowed: false };
/// assert_eq!(sum.sum / 3.0, 2.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sum {
    /// Sum of the rows' divergences.
    pub sum: f64,
    /// Whether the gradient holds an infinity that was a finite number.
    pub overflowed: bool,
}

/// Where everything lies in the workspace, in bytes from its beginning.
struct Workspace {
    parts: usize,
    whole: usize,
    sums: usize,
    bytes: usize,
}

impl Workspace {
    fn of(plan: &Plan, strategy: Strategy) -> Self {
        let rows = plan.rows();
        let (parts, whole) = strategy.states(rows);
        let at_parts = (rows * size_of::<f64>()).next_multiple_of(16);
        let at_whole = at_parts.saturating_add(parts);
        let sums = at_whole.saturating_add(whole);
        Self { parts: at_parts, whole: at_whole, sums, bytes: sums.saturating_add(Device::levels(rows)) }
    }
}

impl Device {
    /// How many devices the driver counts.
    ///
    /// # Errors
    /// [`Error::NoDevice`] without a driver, [`Error::DriverTooOld`], or what the driver answers.
    pub fn count() -> Result<u32, Error> {
        gpu::count()
    }

    /// Opens a device by its number.
    ///
    /// # Errors
    /// [`Error::NoDevice`] without a driver or such a device, [`Error::DriverTooOld`], [`Error::DeviceTooOld`], or
    /// what the driver answers.
    pub fn open(ordinal: u32) -> Result<Self, Error> {
        let (gpu, properties) = Gpu::open(ordinal)?;
        Ok(Self { gpu, properties })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.properties.name
    }

    /// Its compute capability, major and minor.
    pub const fn compute_capability(&self) -> (i32, i32) {
        self.properties.capability
    }

    /// Bytes of its memory.
    pub const fn total_memory(&self) -> usize {
        self.properties.memory
    }

    /// Bytes of workspace that a plan takes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`uncovered`] has a reason.
    pub fn workspace(plan: &Plan, dtype: DType) -> Result<usize, Error> {
        Ok(Workspace::of(plan, strategy(plan, dtype)?).bytes)
    }

    /// Runs a plan on tensors in host memory: copies them to the device, and the results back.
    ///
    /// # Errors
    /// [`Error::Unsupported`] and [`Error::Length`] before anything is done, [`Error::OutOfMemory`], or what the
    /// driver answers. All device memory is free again in any case.
    pub fn submit(&self, call: HostCall<'_>) -> Result<Sum, Error> {
        let HostCall { plan, teacher, student, mask, factor, mut gradient, mut row_values } = call;
        let (dtype, elements) = (student.dtype(), plan.shape().len());
        let types = [Some(teacher.dtype()), gradient.as_ref().map(TensorMut::dtype)];
        if types.into_iter().flatten().any(|other| other != dtype) {
            return Err(Error::Unsupported { reason: "its kernels take tensors of one type" });
        }
        let lengths = [
            ("teacher", Some(teacher.len()), elements),
            ("student", Some(student.len()), elements),
            ("mask", mask.map(<[u8]>::len), plan.shape().images() * plan.shape().positions()),
            ("gradient", gradient.as_ref().map(TensorMut::len), elements),
            ("row_values", row_values.as_ref().map(|values| values.len()), plan.rows()),
        ];
        for (buffer, found, wanted) in lengths {
            if let Some(found) = found.filter(|&found| found != wanted) {
                return Err(Error::Length { buffer, found, wanted });
            }
        }
        let workspace = Self::workspace(plan, dtype)?;

        let gpu = self.gpu.enter()?;
        let teacher = gpu.upload(bytes(teacher))?;
        let student = gpu.upload(bytes(student))?;
        let mask = mask.map(|mask| gpu.upload(mask)).transpose()?;
        let to =
            gradient.as_ref().map(|gradient| gpu.buffer(bytes(gradient.as_tensor()).len())).transpose()?;
        let workspace = gpu.buffer(workspace)?;
        let (sum, overflowed) = (gpu.buffer(size_of::<f64>())?, gpu.buffer(size_of::<u32>())?);
        let call = DeviceCall {
            plan,
            dtype,
            teacher: teacher.address(),
            student: student.address(),
            mask: mask.as_ref().map(address),
            factor,
            gradient: to.as_ref().map(address),
            workspace: workspace.address(),
            sum: sum.address(),
            overflowed: overflowed.address(),
            stream: std::ptr::null_mut(),
        };
        // SAFETY: the buffers are as long as the plan says, and freed below or after an error of the driver's, which
        // waits for kernels before it frees. The default stream is always there.
        unsafe { self.start(&gpu, &call) }?;
        gpu.synchronise(std::ptr::null_mut())?;
        if let (Some(gradient), Some(from)) = (&mut gradient, &to) {
            gpu.download(from, bytes_mut(gradient))?;
        }
        if let Some(values) = &mut row_values {
            gpu.download(&workspace, bytemuck::cast_slice_mut(values))?;
        }
        let (mut total, mut flags) = ([0.0_f64], [0_u32]);
        gpu.download(&sum, bytemuck::cast_slice_mut(&mut total))?;
        gpu.download(&overflowed, bytemuck::cast_slice_mut(&mut flags))?;
        Ok(Sum { sum: total[0], overflowed: flags[0] != 0 })
    }

    /// Starts a plan on tensors in device memory, in the order of the caller's stream, and returns before it is done.
    /// Nothing is allocated, and nothing waited for.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before anything is done, or what the driver answers.
    ///
    /// # Safety
    /// Every address is of device memory of this device, as long as the plan says, at a multiple of its numbers' size
    /// (`workspace`: of 16), and lives until the stream has done all of it; nobody else writes what is read, or touches
    /// what is written, meanwhile. `gradient`, `workspace`, `sum` and `overflowed` overlap nothing. The stream is null
    /// or one of the device's primary context.
    pub unsafe fn launch(&self, call: &DeviceCall<'_>) -> Result<(), Error> {
        let gpu = self.gpu.enter()?;
        // SAFETY: the caller's promise.
        unsafe { self.start(&gpu, call) }
    }

    /// Waits for a stream, null for the default one.
    ///
    /// # Errors
    /// What the driver answers, for work that failed meanwhile, too.
    ///
    /// # Safety
    /// The stream is null or one of the device's primary context.
    pub unsafe fn synchronise(&self, stream: *mut c_void) -> Result<(), Error> {
        self.gpu.enter()?.synchronise(stream)
    }

    /// # Safety
    /// As [`Device::launch`].
    unsafe fn start(&self, gpu: &Entered<'_>, call: &DeviceCall<'_>) -> Result<(), Error> {
        let plan = call.plan;
        let strategy = strategy(plan, call.dtype)?;
        let at = Workspace::of(plan, strategy);
        let address = |offset: usize| call.workspace + offset as u64;
        let mut task = Task {
            teacher: call.teacher,
            student: call.student,
            gradient: call.gradient.unwrap_or_default(),
            mask: call.mask.unwrap_or_default(),
            values: call.workspace,
            parts: address(at.parts),
            whole: address(at.whole),
            overflowed: call.overflowed,
            ..Task::new(plan, strategy, call.factor)
        };
        // SAFETY: `overflowed` is a `u32` of the caller's.
        unsafe { gpu.zero(call.overflowed, call.stream) }?;
        let mut run = |kernel, pieces: u64, per_block: u64| {
            let blocks = self.blocks(pieces.div_ceil(per_block));
            // SAFETY: the kernel's one parameter is a `Task`, whose memory the caller vouches for; the parts lie in the
            // workspace where `Workspace` has counted room for them.
            unsafe { gpu.launch(kernel, blocks, call.stream, &mut [(&raw mut task).cast()]) }
        };
        let rows = plan.rows() as u64;
        match strategy {
            Strategy::Whole(kernel, per_block) => run(kernel, rows, per_block)?,
            Strategy::Parts { states, gradient, per_row, per_block } => {
                run(states, rows * per_row, per_block)?;
                run(Kernel::WHOLE, rows, u64::from(Kernel::THREADS / 32))?;
                if call.gradient.is_some() {
                    run(gradient, rows * per_row, per_block)?;
                }
            }
        }
        // SAFETY: as above, and the sums of all levels but the last lie in the workspace.
        unsafe { self.total(gpu, (call.workspace, rows), address(at.sums), call.sum, call.stream) }
    }

    /// Bytes for the sums of so many values at all levels: each has at most half of what the one before has, and one.
    pub(crate) const fn levels(values: usize) -> usize {
        (values.div_ceil(2048) + 64) * size_of::<f64>()
    }

    /// Adds so many values to one `sum`, a stretch a block, then the stretches' sums, until one is left.
    ///
    /// # Safety
    /// As [`Device::launch`]; from `sums` on there are [`Device::levels`] bytes.
    pub(crate) unsafe fn total(
        &self,
        gpu: &Entered<'_>,
        (mut values, mut count): (u64, u64),
        mut sums: u64,
        sum: u64,
        stream: *mut c_void,
    ) -> Result<(), Error> {
        loop {
            let stretches = count.div_ceil(STRETCH);
            let mut to = if stretches == 1 { sum } else { sums };
            let parameters = &mut [(&raw mut values).cast(), (&raw mut count).cast(), (&raw mut to).cast()];
            // SAFETY: the kernel's parameters are two addresses with the count between; the rest is the caller's.
            unsafe { gpu.launch(Kernel::TOTAL, self.blocks(stretches), stream, parameters) }?;
            if stretches == 1 {
                return Ok(());
            }
            (values, count, sums) = (to, stretches, sums + stretches * size_of::<f64>() as u64);
        }
    }

    /// Blocks for so many pieces: the kernels stride over what is more than the device holds at once.
    pub(crate) fn blocks(&self, pieces: u64) -> u32 {
        u32::try_from(pieces).unwrap_or(u32::MAX).clamp(1, self.properties.multiprocessors.saturating_mul(32))
    }
}

pub(crate) const LACKS_TYPE: Error = Error::Unsupported { reason: "its kernels lack the type" };

fn strategy(plan: &Plan, dtype: DType) -> Result<Strategy, Error> {
    if let Some(reason) = uncovered(plan, dtype) {
        return Err(Error::Unsupported { reason });
    }
    Strategy::of(plan, dtype).ok_or(LACKS_TYPE)
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
