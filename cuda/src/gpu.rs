//! The bindings, and all that is unsafe about them: nothing of theirs leaves this module.
//!
//! A context is current for a thread: whoever works enters it, and finds the one of before again when done. What needs
//! the context to be freed borrows from [`Entered`] or is freed in [`Gpu::drop`].
#![allow(unsafe_code, reason = "the driver's functions")]

mod pool;

use crate::Error;
use crate::device::Properties;
use crate::driver::{describe, last_code, library};
use crate::kernel::{Kernel, Source};
use crate::text::{BASE, Target};
use cust::context::Context;
use cust::device::{Device, DeviceAttribute};
use cust::error::{CudaError, CudaResult};
use cust::module::Module;
use cust::sys::{self, CUcontext, cudaError_enum as Status};
use pool::{Block, Event, Pool};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// A device with its primary context, the modules loaded so far, and what is kept between submissions.
#[derive(Debug)]
pub(crate) struct Gpu {
    modules: [OnceLock<Module>; Source::COUNT],
    pool: Pool,
    lost: OnceLock<Error>,
    ordinal: i32,
    target: Target,
    /// After the others, which need it to be freed.
    context: Context,
}

// SAFETY: a context, a module and what the pool keeps are handles that the driver lets any thread use; which context is
// current is a matter of the thread, and settled by `enter`.
unsafe impl Send for Gpu {}
// SAFETY: as above; nothing of a `Gpu` changes through a shared reference but its cells and what is behind its locks.
unsafe impl Sync for Gpu {}

/// How many devices there are.
pub(crate) fn count() -> Result<u32, Error> {
    start()?;
    named("cuDeviceGetCount", Device::num_devices())
}

/// The driver's version.
fn start() -> Result<i32, Error> {
    library().map_err(|reason| Error::NoDevice { reason: reason.to_owned() })?;
    named("cuInit", cust::init(cust::CudaFlags::empty()))?;
    let mut found = 0;
    // SAFETY: `found` outlives the call.
    status("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut found) })?;
    let wanted = BASE.driver;
    if found < wanted { Err(Error::DriverTooOld { found, wanted }) } else { Ok(found) }
}

/// Bytes of shared memory that a block may ask for, which the bindings have no name for.
fn most_shared(device: Device) -> Result<u32, Error> {
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    let mut found = 0;
    // SAFETY: `found` outlives the call.
    let got = unsafe { sys::cuDeviceGetAttribute(&raw mut found, attribute, device.as_raw()) };
    status("cuDeviceGetAttribute", got).map(|()| found.max(0).unsigned_abs())
}

/// The context of before, current again when this goes.
struct Before(CUcontext);

impl Before {
    fn keep() -> Result<Self, Error> {
        let mut context = std::ptr::null_mut();
        // SAFETY: `context` outlives the call.
        status("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&raw mut context) })?;
        Ok(Self(context))
    }
}

impl Drop for Before {
    fn drop(&mut self) {
        // SAFETY: the context was current on this thread, or is null, which means none.
        if unsafe { sys::cuCtxSetCurrent(self.0) } != Status::CUDA_SUCCESS {
            // It was destroyed meanwhile: better none than ours, which the thread never asked for.
            // SAFETY: null means none.
            unsafe { sys::cuCtxSetCurrent(std::ptr::null_mut()) };
        }
    }
}

impl Gpu {
    /// Takes a share of the device's primary context.
    pub(crate) fn open(ordinal: u32) -> Result<(Self, Properties), Error> {
        let driver = start()?;
        let devices = named("cuDeviceGetCount", Device::num_devices())?;
        if ordinal >= devices {
            return Err(Error::NoDevice { reason: format!("device {ordinal} of {devices}") });
        }
        let device = named("cuDeviceGet", Device::get_device(ordinal))?;
        let attribute = |which| named("cuDeviceGetAttribute", device.get_attribute(which));
        let capability = (
            attribute(DeviceAttribute::ComputeCapabilityMajor)?,
            attribute(DeviceAttribute::ComputeCapabilityMinor)?,
        );
        let target = Target::of(capability, driver);
        let properties = Properties {
            name: named("cuDeviceGetName", device.name())?,
            capability,
            memory: named("cuDeviceTotalMem", device.total_memory())?,
            multiprocessors: attribute(DeviceAttribute::MultiprocessorCount)?.max(1).unsigned_abs(),
            shared: most_shared(device)?,
            kernels: target.name,
        };
        if properties.capability < BASE.capability {
            let (name, found, wanted) = (properties.name, properties.capability, BASE.capability);
            return Err(Error::DeviceTooOld { name, found, wanted });
        }
        // The bindings make the context current, too.
        let before = Before::keep()?;
        let context = named("cuDevicePrimaryCtxRetain", Context::new(device))?;
        drop(before);
        let (modules, pool, lost) = (Default::default(), Pool::default(), OnceLock::new());
        let ordinal = device.as_raw();
        Ok((Self { modules, pool, lost, ordinal, target, context }, properties))
    }

    /// Makes the context current for this thread.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, Error> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        let before = Before::keep()?;
        let entered = Entered { gpu: self, _before: before, stays: PhantomData };
        // SAFETY: the context is alive as long as `self`.
        entered.note(status("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.context.as_raw()) }))?;
        Ok(entered)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Where it cannot be told what was current, nothing is afterwards: modules are not left behind for that.
        let _before = Before::keep().unwrap_or(Before(std::ptr::null_mut()));
        // SAFETY: the context is alive as long as `self`.
        unsafe { sys::cuCtxSetCurrent(self.context.as_raw()) };
        // Kernels may still run on streams of the caller's. A lost context refuses, and has none.
        // SAFETY: a context is current.
        unsafe { sys::cuCtxSynchronize() };
        for module in &mut self.modules {
            drop(module.take());
        }
        self.pool.clear();
    }
}

/// A thread on which the context is current.
pub(crate) struct Entered<'g> {
    gpu: &'g Gpu,
    _before: Before,
    /// The context is current for one thread only.
    stays: PhantomData<*const ()>,
}

/// A mark in a stream, with the time.
#[derive(Debug)]
pub(crate) struct Mark(Event);

/// Device memory, kept for another when it goes.
pub(crate) struct Buffer<'e> {
    /// Until it goes.
    block: Option<Block>,
    pool: &'e Pool,
}

impl Buffer<'_> {
    pub(crate) fn address(&self) -> u64 {
        self.block.as_ref().map_or(0, |block| block.address)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.block.as_ref().map_or(0, |block| block.bytes)
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

impl Entered<'_> {
    /// So many bytes, at least one, of unspecified content.
    pub(crate) fn buffer(&self, bytes: usize) -> Result<Buffer<'_>, Error> {
        let pool = &self.gpu.pool;
        if let Some(block) = self.note(pool.take(bytes))? {
            return Ok(Buffer { block: Some(block), pool });
        }
        let (mut free, mut total) = (0, 0);
        // SAFETY: both outlive the call.
        let got = unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut total) };
        self.note(status("cuMemGetInfo", got))?;
        Err(Error::OutOfMemory { wanted: bytes, free, total })
    }

    /// The stream of submissions.
    pub(crate) fn stream(&self) -> Result<*mut c_void, Error> {
        Ok(self.note(self.gpu.pool.stream())?.cast())
    }

    /// A mark, to be recorded.
    pub(crate) fn mark(&self) -> Result<Mark, Error> {
        Ok(Mark(self.note(Event::with_time())?))
    }

    /// Sets a mark at the end of what is in the stream of submissions.
    pub(crate) fn record(&self, mark: &Mark) -> Result<(), Error> {
        self.note(mark.0.record(self.gpu.pool.stream()?))
    }

    /// Seconds between two marks that the stream has come by.
    pub(crate) fn between(&self, first: &Mark, second: &Mark) -> Result<f64, Error> {
        Ok(1e-3 * f64::from(self.note(first.0.milliseconds(&second.0))?))
    }

    /// Copies one buffer's bytes to another of as many, in the order of the stream of submissions.
    pub(crate) fn copy(&self, to: &Buffer<'_>, from: &Buffer<'_>) -> Result<(), Error> {
        let (bytes, stream) = (to.bytes().min(from.bytes()), self.gpu.pool.stream()?);
        // SAFETY: both buffers have so many bytes; once they are given back, nobody uses them but in the stream's order.
        let copied = unsafe { sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), bytes, stream) };
        self.note(status("cuMemcpyDtoDAsync", copied))
    }

    /// Zeroes a buffer, in the order of the stream of submissions.
    pub(crate) fn clear(&self, buffer: &Buffer<'_>) -> Result<(), Error> {
        let stream = self.gpu.pool.stream()?;
        // SAFETY: the buffer has so many bytes, as above.
        let cleared = unsafe { sys::cuMemsetD8Async(buffer.address(), 0, buffer.bytes(), stream) };
        self.note(status("cuMemsetD8Async", cleared))
    }

    /// Frees the device memory that is kept and not in use.
    pub(crate) fn trim(&self) {
        self.gpu.pool.trim();
    }

    /// A buffer with these bytes, in the order of the stream of submissions.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Buffer<'_>, Error> {
        let buffer = self.buffer(bytes.len())?;
        // SAFETY: the buffer has so many bytes; once it is given back, nobody uses it but in the stream's order.
        self.note(unsafe { self.gpu.pool.send(buffer.address(), bytes) })?;
        Ok(buffer)
    }

    /// The first of a buffer's bytes, after what is in the stream of submissions.
    pub(crate) fn download(&self, buffer: &Buffer<'_>, bytes: &mut [u8]) -> Result<(), Error> {
        let (found, wanted) = (buffer.bytes(), bytes.len());
        if wanted > found {
            return Err(Error::Length { buffer: "device buffer", found, wanted });
        }
        // SAFETY: the buffer has so many bytes, as was just checked.
        self.note(unsafe { self.gpu.pool.receive(buffer.address(), bytes) })
    }

    /// Fails where an address is not of this device's memory.
    pub(crate) fn check(&self, buffer: &'static str, address: u64) -> Result<(), Error> {
        let function = "cuPointerGetAttribute";
        let attribute = |which| {
            let mut found = 0_i32;
            // SAFETY: both attributes are numbers of 32 bits, and `found` outlives the call.
            let got = unsafe { sys::cuPointerGetAttribute((&raw mut found).cast(), which, address) };
            status(function, got).map(|()| found)
        };
        let memory = match attribute(sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE) {
            // So the driver says that it has never heard of it.
            Err(Error::Driver { code: 1, .. }) => return Err(Error::NotOnDevice { buffer, address }),
            got => self.note(got)?,
        };
        if memory == sys::CUmemorytype::CU_MEMORYTYPE_HOST as i32 {
            return Err(Error::NotOnDevice { buffer, address });
        }
        let found = self.note(attribute(sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL))?;
        let wanted = self.gpu.ordinal;
        if found == wanted { Ok(()) } else { Err(Error::OtherDevice { buffer, found, wanted }) }
    }

    /// Waits for a stream, null for the default one.
    pub(crate) fn synchronise(&self, stream: *mut c_void) -> Result<(), Error> {
        // SAFETY: the caller of `Device::launch` promises that the stream is one of this context, or it is null.
        self.note(status("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(stream.cast()) }))
    }

    /// Zeroes four bytes, in the stream's order.
    ///
    /// # Safety
    /// `address` is a multiple of 4 and of device memory that lives until the stream comes to it.
    pub(crate) unsafe fn zero(&self, address: u64, stream: *mut c_void) -> Result<(), Error> {
        // SAFETY: the caller's promise.
        self.note(status("cuMemsetD32Async", unsafe { sys::cuMemsetD32Async(address, 0, 1, stream.cast()) }))
    }

    /// Starts a kernel on so many blocks.
    ///
    /// # Safety
    /// `parameters` point to values of the kernel's parameter types, in their order; every address in them is of
    /// device memory, as large as the kernel takes it to be, that lives until the kernel ends.
    pub(crate) unsafe fn launch(
        &self,
        kernel: Kernel,
        blocks: u32,
        stream: *mut c_void,
        parameters: &mut [*mut c_void],
    ) -> Result<(), Error> {
        let function =
            self.note(named("cuModuleGetFunction", self.module(kernel.source)?.get_function(kernel.name)))?;
        if kernel.shared > 0 {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module of the current context.
            let set =
                unsafe { sys::cuFuncSetAttribute(function.to_raw(), most, kernel.shared.cast_signed()) };
            self.note(status("cuFuncSetAttribute", set))?;
        }
        // SAFETY: the function is of a loaded module of the current context; the rest is the caller's promise.
        let launched = unsafe {
            sys::cuLaunchKernel(
                function.to_raw(),
                blocks,
                1,
                1,
                kernel.threads,
                1,
                1,
                kernel.shared,
                stream.cast(),
                parameters.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        let launched = status("cuLaunchKernel", launched).map_err(|error| match error {
            Error::Driver { code, text, .. } => Error::Launch { kernel: kernel.name, code, text },
            error => error,
        });
        self.note(launched)
    }

    /// A module, compiled by the driver at its first use.
    fn module(&self, source: Source) -> Result<&Module, Error> {
        let cell = &self.gpu.modules[source as usize];
        if let Some(module) = cell.get() {
            return Ok(module);
        }
        let module =
            self.note(named("cuModuleLoadData", Module::from_ptx(source.ptx(self.gpu.target), &[])))?;
        // Where another thread was first, its module is used, and this one unloaded.
        Ok(cell.get_or_init(|| module))
    }

    /// Remembers that the context is lost.
    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error @ Error::Lost { .. }) = &result {
            let _ = self.gpu.lost.set(error.clone());
        }
        result
    }
}

fn named<T>(function: &'static str, result: CudaResult<T>) -> Result<T, Error> {
    result.map_err(|error| match error {
        CudaError::UnknownError => failure(function, last_code()),
        error => failure(function, error as i32),
    })
}

fn status(function: &'static str, status: Status) -> Result<(), Error> {
    match status {
        Status::CUDA_SUCCESS => Ok(()),
        Status::CUDA_ERROR_UNKNOWN => Err(failure(function, last_code())),
        status => Err(failure(function, status as i32)),
    }
}

/// The error of a code of the driver's.
fn failure(function: &'static str, code: i32) -> Error {
    let text = describe(code);
    match code {
        100 | 101 => Error::NoDevice { reason: text },
        801 => Error::MissingFunction { function },
        // After these the context is of no more use: memory faults, asserts, timeouts, faults of the hardware.
        214 | 220 | 700 | 702 | 709 | 710 | 714..=721 => Error::Lost { code, text },
        _ => Error::Driver { function, code, text },
    }
}
