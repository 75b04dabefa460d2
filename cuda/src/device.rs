//! A device and what is run on it.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::enlarged::Enlarged;
use crate::gpu::{self, Entered, Gpu};
use crate::kernel::Kernel;
use crate::strategy::{Asked, Strategy};
use crate::task::{How, STATE, STRETCH, TOTALS, Task};
use crate::{Error, uncovered, uncovered_statistics};
use densekd_core::{DType, Plan};
use std::ffi::c_void;

/// What a device says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Properties {
    pub(crate) name: String,
    pub(crate) capability: (i32, i32),
    pub(crate) memory: usize,
    pub(crate) multiprocessors: u32,
    /// Bytes of shared memory that a block may have.
    pub(crate) shared: u32,
    /// What its kernels were compiled for.
    pub(crate) kernels: &'static str,
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

/// One use of a plan on tensors in device memory, in the order of a stream.
///
/// Addresses are the driver's (`CUdeviceptr`), of the primary context of the device.
///
/// ```
/// use densekd_core::{DType, Plan};
/// use densekd_cuda::{DeviceCall, KeptStates};
/// /// The value alone, of tensors that another library holds.
/// fn value(plan: &Plan, [teacher, student, workspace, sum, overflowed]: [u64; 5]) -> DeviceCall<'_> {
///     DeviceCall {
///         plan,
///         dtype: DType::Bf16,
///         teacher,
///         student,
///         mask: None,
///         factor: 1.0,
///         grad_student: None,
///         grad_teacher: None,
///         states: KeptStates::Drop,
///         workspace,
///         sum,
///         overflowed,
///         stream: std::ptr::null_mut(),
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeviceCall<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The type of teacher, student and gradients.
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
    pub grad_student: Option<u64>,
    /// Where the gradient to the teacher goes.
    pub grad_teacher: Option<u64>,
    /// What becomes of the rows' states.
    pub states: KeptStates,
    /// [`Device::workspace`] bytes, at a multiple of 16. Afterwards it begins with each row's divergence, an `f64`.
    pub workspace: u64,
    /// Where the sum of rows goes, an `f64`.
    pub sum: u64,
    /// Where a `u32` goes: bit 0 where a finite gradient to the student became infinite, bit 1 where one to the teacher.
    pub overflowed: u64,
    /// The stream (`CUstream`), null for the default one.
    pub stream: *mut c_void,
}

/// What becomes of the rows' states between two calls, of the value and of the gradient: [`Device::STATE`] bytes a row at
/// a multiple of 4, in device memory. What one call writes another of the same plan and tensors may read.
///
/// ```
/// assert_eq!(densekd_cuda::KeptStates::default(), densekd_cuda::KeptStates::Drop);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeptStates {
    /// One call does it all.
    #[default]
    Drop,
    /// The first of two calls writes them here.
    Write(u64),
    /// The second of two calls reads them here, and does not merge rows again.
    Read(u64),
}

/// Where everything lies in the workspace, in bytes from its beginning.
struct Workspace {
    parts: usize,
    whole: usize,
    part_totals: usize,
    totals: usize,
    sums: usize,
    bytes: usize,
}

impl Workspace {
    /// The same for every call of a plan, so that one workspace serves them all.
    fn of(plan: &Plan, dtype: DType) -> Self {
        let rows = plan.rows();
        let parts = match Strategy::most_parts_of_row(plan, dtype) {
            1 => 0,
            parts => rows.saturating_mul(usize::try_from(parts).unwrap_or(usize::MAX)),
        };
        let of_rows = if parts == 0 { 0 } else { rows };
        let mut end = 0_usize;
        let mut take = |count: usize, size: usize| {
            let start = end.next_multiple_of(16);
            end = start.saturating_add(count.saturating_mul(size));
            start
        };
        take(rows, size_of::<f64>());
        Self {
            parts: take(parts, STATE),
            whole: take(of_rows, STATE),
            part_totals: take(parts, TOTALS),
            totals: take(of_rows, TOTALS),
            sums: take(Device::levels(rows), 1),
            bytes: end,
        }
    }
}

/// Fails at the first buffer that does not lie on the device.
pub(crate) fn check_all(
    gpu: &Entered<'_>,
    buffers: impl Iterator<Item = (&'static str, Option<u64>)>,
) -> Result<(), Error> {
    for (buffer, address) in buffers {
        if let Some(address) = address {
            gpu.check(buffer, address)?;
        }
    }
    Ok(())
}

impl Device {
    /// Bytes of a row's state, see [`KeptStates`].
    pub const STATE: usize = STATE;

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

    /// What its kernels were compiled for: `sm_80` on devices of compute capability 8.0 and later with a driver of CUDA
    /// 11.0 or later, where rows of `f16` and `bf16` have kernels of their own, else `sm_70`.
    pub const fn kernels(&self) -> &'static str {
        self.properties.kernels
    }

    /// Bytes of its memory.
    pub const fn total_memory(&self) -> usize {
        self.properties.memory
    }

    /// Frees the device memory that submissions have left to the next: as much as the largest of them took, and more
    /// where several ran at once. The next allocates anew.
    ///
    /// # Errors
    /// What the driver answers.
    ///
    /// ```
    /// if let Ok(device) = densekd_cuda::Device::open(0) {
    ///     device.trim()?;
    /// }
    /// # Ok::<(), densekd_cuda::Error>(())
    /// ```
    pub fn trim(&self) -> Result<(), Error> {
        self.gpu.enter()?.trim();
        Ok(())
    }

    /// Bytes of workspace that a plan takes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where [`uncovered`] has a reason.
    pub fn workspace(plan: &Plan, dtype: DType) -> Result<usize, Error> {
        if let Some(enlarged) = enlarged(plan)? {
            return enlarged.workspace(dtype);
        }
        let asked = Asked { masked: false, to_teacher: false, known: false };
        strategy(plan, dtype, asked, 0)?;
        Ok(Workspace::of(plan, dtype).bytes)
    }

    /// Starts a plan on tensors in device memory, in the order of the caller's stream, and returns before it is done.
    /// Nothing is allocated, and nothing waited for.
    ///
    /// # Errors
    /// Before anything is done [`Error::Unsupported`], and [`Error::NotOnDevice`] or [`Error::OtherDevice`] for an address
    /// that is none of the device's; or what the driver answers.
    ///
    /// # Safety
    /// Every address is of device memory of this device, as long as the plan says, at a multiple of its numbers' size
    /// (`workspace`: of 16), and lives until the stream has done all of it; nobody else writes what is read, or touches
    /// what is written, meanwhile. Gradients, states, `workspace`, `sum` and `overflowed` overlap nothing. The stream is
    /// null or one of the device's primary context.
    pub unsafe fn launch(&self, call: &DeviceCall<'_>) -> Result<(), Error> {
        let gpu = self.gpu.enter()?;
        let kept = match call.states {
            KeptStates::Drop => None,
            KeptStates::Write(kept) | KeptStates::Read(kept) => Some(kept),
        };
        // Of no rows nothing is read or written but these two.
        let of_rows = [
            ("teacher", Some(call.teacher)),
            ("student", Some(call.student)),
            ("mask", call.mask),
            ("grad_student", call.grad_student),
            ("grad_teacher", call.grad_teacher),
            ("states", kept),
            ("workspace", Some(call.workspace)),
        ];
        let always = [("sum", Some(call.sum)), ("overflowed", Some(call.overflowed))];
        check_all(&gpu, of_rows.into_iter().filter(|_| call.plan.rows() > 0).chain(always))?;
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
    pub(crate) unsafe fn start(&self, gpu: &Entered<'_>, call: &DeviceCall<'_>) -> Result<(), Error> {
        let plan = call.plan;
        let kept = match call.states {
            KeptStates::Drop => None,
            KeptStates::Write(kept) | KeptStates::Read(kept) => Some(kept),
        };
        if let Some(reason) = kept.and_then(|_| uncovered_statistics(plan, call.dtype)) {
            return Err(Error::Unsupported { reason });
        }
        if let Some(enlarged) = enlarged(plan)? {
            // SAFETY: the caller's promise.
            return unsafe { enlarged.start(self, gpu, call) };
        }
        let asked = Asked {
            masked: call.mask.is_some(),
            to_teacher: call.grad_teacher.is_some(),
            known: matches!(call.states, KeptStates::Read(_)),
        };
        let strategy = strategy(plan, call.dtype, asked, self.properties.shared)?;
        let in_parts = strategy.parts_of_row() > 1;
        let at = Workspace::of(plan, call.dtype);
        let address = |offset: usize| call.workspace + offset as u64;
        let mut task = Task {
            teacher: call.teacher,
            student: call.student,
            to_student: call.grad_student.unwrap_or_default(),
            to_teacher: call.grad_teacher.unwrap_or_default(),
            mask: call.mask.unwrap_or_default(),
            values: call.workspace,
            parts: address(at.parts),
            whole: kept.unwrap_or(if in_parts { address(at.whole) } else { 0 }),
            part_totals: address(at.part_totals),
            totals: address(at.totals),
            overflowed: call.overflowed,
            ..Task::new(plan, strategy, call.factor, asked)
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
            Strategy::Parts { states, totals, gradient, per_row, per_block } => {
                let (parts, rows_of_block) = (rows * per_row, u64::from(Kernel::THREADS / 32));
                let merges = !asked.known && !How::of(plan).is_of_numbers();
                if merges {
                    run(states, parts, per_block)?;
                }
                // Where the state is known already, its value is still to be written.
                if merges || totals.is_none() {
                    run(Kernel::WHOLE, rows, rows_of_block)?;
                }
                if let Some(totals) = totals {
                    run(totals, parts, per_block)?;
                    run(Kernel::TERMS_WHOLE, rows, rows_of_block)?;
                }
                if call.grad_student.is_some() || call.grad_teacher.is_some() {
                    run(gradient, parts, per_block)?;
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

fn enlarged(plan: &Plan) -> Result<Option<Enlarged>, Error> {
    let too_large = Error::Unsupported { reason: "its kernels resize to heights and widths of 2^30 at most" };
    Enlarged::of(plan).map_err(|_| too_large)
}

pub(crate) const LACKS_TYPE: Error = Error::Unsupported { reason: "its kernels lack the type" };

fn strategy(plan: &Plan, dtype: DType, asked: Asked, shared: u32) -> Result<Strategy, Error> {
    if let Some(reason) = uncovered(plan, dtype) {
        return Err(Error::Unsupported { reason });
    }
    Strategy::of(plan, dtype, asked, shared).ok_or(LACKS_TYPE)
}
