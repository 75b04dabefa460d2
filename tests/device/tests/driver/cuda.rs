//! The driver as a program has it that opens the library.
#![allow(unsafe_code, reason = "functions of a library loaded at run time")]
use densekd_device::{Device, library};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Calls a function of the driver by its name, with its arguments and their types.
macro_rules! cu {
    ($cuda:expr, $name:ident($($value:expr => $ty:ty),*)) => {{
        let name = concat!(stringify!($name), "\0");
        let function = $cuda.get::<extern "C" fn($($ty),*) -> i32>(name.as_bytes());
        function($($value),*)
    }};
}

/// The library with a new device: one test at a time, for the device is the process's.
pub(crate) struct Cuda {
    library: Library,
    pub(crate) device: Device,
    _alone: MutexGuard<'static, ()>,
}

impl Cuda {
    pub(crate) fn new() -> Self {
        Self::load(library())
    }

    /// By the name of the driver, as the loader finds it.
    pub(crate) fn by_name() -> Self {
        Self::load(Path::new("libcuda.so.1"))
    }

    fn load(path: &Path) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: loading the simulated driver runs nothing.
        let library = unsafe { Library::new(path) }.unwrap();
        let device = Device::open().unwrap();
        device.reset();
        Self { library, device, _alone: alone }
    }

    /// The function `name`, of type `F`.
    pub(crate) fn get<F: Copy>(&self, name: &[u8]) -> F {
        // SAFETY: `cu!` is given the types that this function has in the driver's interface.
        *unsafe { self.library.get::<F>(name) }.unwrap()
    }

    /// Name and text of a code, where it has them.
    pub(crate) fn error(&self, code: i32) -> Option<[String; 2]> {
        let (mut name, mut text) = (std::ptr::null(), std::ptr::null());
        if cu!(self, cuGetErrorName(code => i32, &raw mut name => *mut *const c_char)) != 0 {
            return None;
        }
        assert_eq!(cu!(self, cuGetErrorString(code => i32, &raw mut text => *mut *const c_char)), 0);
        // SAFETY: both answered 0, so that both point to texts of the library, which stays loaded.
        Some([name, text].map(|t| unsafe { CStr::from_ptr(t) }.to_str().unwrap().to_owned()))
    }

    /// With the primary context current.
    pub(crate) fn ready() -> Self {
        let cuda = Self::new();
        assert_eq!(cu!(cuda, cuInit(0 => u32)), 0);
        cuda.enter();
        cuda
    }

    pub(crate) fn enter(&self) -> u64 {
        let mut context = 0;
        assert_eq!(cu!(self, cuDevicePrimaryCtxRetain(&raw mut context => *mut u64, 0 => i32)), 0);
        assert_eq!(cu!(self, cuCtxSetCurrent(context => u64)), 0);
        context
    }

    pub(crate) fn module(&self, text: &str) -> Result<u64, i32> {
        let (mut module, text) = (0, CString::new(text).unwrap());
        match cu!(self, cuModuleLoadData(&raw mut module => *mut u64, text.as_ptr() => *const c_char)) {
            0 => Ok(module),
            code => Err(code),
        }
    }

    pub(crate) fn function(&self, module: u64, name: &str) -> Result<u64, i32> {
        let (mut function, name) = (0, CString::new(name).unwrap());
        let name = name.as_ptr();
        match cu!(self, cuModuleGetFunction(&raw mut function => *mut u64, module => u64, name => *const c_char))
        {
            0 => Ok(function),
            code => Err(code),
        }
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<u64, i32> {
        let mut address = 0;
        match cu!(self, cuMemAlloc_v2(&raw mut address => *mut u64, bytes => usize)) {
            0 => Ok(address),
            code => Err(code),
        }
    }

    pub(crate) fn write(&self, to: u64, from: &[f32]) -> i32 {
        let (from, bytes) = (from.as_ptr().cast(), size_of_val(from));
        cu!(self, cuMemcpyHtoD_v2(to => u64, from => *const c_void, bytes => usize))
    }

    pub(crate) fn read(&self, from: u64, count: usize) -> Result<Vec<f32>, i32> {
        let mut out = vec![0.0_f32; count];
        let (to, bytes) = (out.as_mut_ptr().cast(), count * 4);
        match cu!(self, cuMemcpyDtoH_v2(to => *mut c_void, from => u64, bytes => usize)) {
            0 => Ok(out),
            code => Err(code),
        }
    }

    pub(crate) fn synchronise(&self) -> i32 {
        cu!(self, cuCtxSynchronize())
    }

    pub(crate) fn launch(
        &self,
        f: u64,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        args: *mut *mut c_void,
    ) -> i32 {
        let [x, y, z] = grid;
        let [a, b, c] = block;
        cu!(self, cuLaunchKernel(
            f => u64, x => u32, y => u32, z => u32, a => u32, b => u32, c => u32, shared => u32, 0 => u64,
            args => *mut *mut c_void, null_mut() => *mut *mut c_void
        ))
    }
}

pub(crate) use cu;
