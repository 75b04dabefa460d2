//! The caller's side of the driver, for tests with pointers of their own.
#![allow(unsafe_code, reason = "the driver's functions")]

use libloading::Library;
use std::ffi::{c_int, c_void};

/// The caller's side of the driver, as another library of the process has it.
pub(crate) struct Driver {
    library: Library,
    /// Of device 0, which is not current until it is set.
    pub(crate) context: *mut c_void,
}

impl Driver {
    pub(crate) fn open() -> Self {
        // SAFETY: the simulated driver runs nothing when it is loaded.
        let library = unsafe { Library::new(densekd_device::library()) }.unwrap();
        let mut driver = Self { library, context: std::ptr::null_mut() };
        let mut context = std::ptr::null_mut();
        driver.call(
            "cuDevicePrimaryCtxRetain",
            |f: unsafe extern "C" fn(*mut *mut c_void, c_int) -> c_int| {
                // SAFETY: `context` outlives the call.
                unsafe { f(&raw mut context, 0) }
            },
        );
        driver.context = context;
        driver
    }

    /// Calls a function of the driver, which must succeed.
    pub(crate) fn call<F: Copy>(&self, name: &str, call: impl FnOnce(F) -> c_int) {
        // SAFETY: every caller gives the function the type that the driver declares.
        let function = unsafe { self.library.get::<F>(name.as_bytes()) }.unwrap();
        assert_eq!(call(*function), 0, "{name}");
    }

    pub(crate) fn set_current(&self, context: *mut c_void) {
        // SAFETY: the context is alive, or null.
        self.call("cuCtxSetCurrent", |f: unsafe extern "C" fn(*mut c_void) -> c_int| unsafe { f(context) });
    }

    pub(crate) fn allocate(&self, bytes: usize) -> u64 {
        let mut address = 0;
        self.call("cuMemAlloc_v2", |f: unsafe extern "C" fn(*mut u64, usize) -> c_int| {
            // SAFETY: `address` outlives the call.
            unsafe { f(&raw mut address, bytes) }
        });
        address
    }

    /// Memory with these numbers in it.
    pub(crate) fn copy<T>(&self, of: &[T]) -> u64 {
        let address = self.allocate(size_of_val(of));
        self.upload(address, of);
        address
    }

    pub(crate) fn upload<T>(&self, to: u64, from: &[T]) {
        self.call("cuMemcpyHtoD_v2", |f: unsafe extern "C" fn(u64, *const c_void, usize) -> c_int| {
            // SAFETY: the allocation has room for the slice, of plain numbers.
            unsafe { f(to, from.as_ptr().cast(), size_of_val(from)) }
        });
    }

    pub(crate) fn download<T>(&self, to: &mut [T], from: u64) {
        self.call("cuMemcpyDtoH_v2", |f: unsafe extern "C" fn(*mut c_void, u64, usize) -> c_int| {
            // SAFETY: the allocation is as long as the slice, of plain numbers.
            unsafe { f(to.as_mut_ptr().cast(), from, size_of_val(to)) }
        });
    }
}
