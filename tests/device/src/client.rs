//! How a test reaches the device that the code under test has loaded.
#![allow(unsafe_code, reason = "functions of a library loaded at run time")]
use crate::{Counters, Live};
use libloading::Library;
use std::ffi::{CString, c_char, c_int};
use std::path::Path;

/// The simulated driver: a shared library that stands for `libcuda.so.1`.
///
/// A test names it to the code under test by the environment variable `DENSEKD_CUDA_LIBRARY`, before the first call
/// of the driver; or puts its folder first in `LD_LIBRARY_PATH`.
///
/// ```
/// assert!(densekd_device::library().ends_with("libcuda.so.1"));
/// assert!(densekd_device::library().exists());
/// ```
pub fn library() -> &'static Path {
    Path::new(env!("DENSEKD_DEVICE_LIBRARY"))
}

/// The one device of the process, loaded by whoever came first.
///
/// ```
/// let device = densekd_device::Device::open()?;
/// device.set("MEMORY", "1048576")?;
/// device.fault("cuMemAlloc_v2", 1, 2)?;
/// assert_eq!(device.live().allocations, 0);
/// device.reset();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Device {
    library: Library,
}

/// A code that a function of the device answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub i32);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the simulated device answered {}", self.0)
    }
}

impl std::error::Error for Code {}

fn checked(code: c_int) -> Result<(), Code> {
    if code == 0 { Ok(()) } else { Err(Code(code)) }
}

impl Device {
    /// Loads the library, or takes it as it is where the process has it already.
    ///
    /// # Errors
    /// The loader's, where the library is gone.
    pub fn open() -> Result<Self, libloading::Error> {
        // SAFETY: the library is the one that this package builds; it runs nothing when it is loaded.
        unsafe { Library::new(library()) }.map(|library| Self { library })
    }

    /// Calls the function `name` of type `F`.
    fn call<F: Copy>(&self, name: &str, call: impl FnOnce(F) -> c_int) -> Result<(), Code> {
        // SAFETY: every caller in this file names a function of `abi/extra.rs` with the type that it has there.
        let function = unsafe { self.library.get::<F>(name.as_bytes()) };
        function.map_err(|_| Code(801)).and_then(|f| checked(call(*f)))
    }

    /// What was counted of a kernel since the last reset: nothing, where it was never launched.
    pub fn counters(&self, kernel: &str) -> Counters {
        let mut counters = Counters::default();
        if let Ok(name) = CString::new(kernel) {
            let _ = self.call(
                "densekd_device_counters",
                |f: extern "C" fn(*const c_char, *mut Counters) -> c_int| f(name.as_ptr(), &raw mut counters),
            );
        }
        counters
    }

    /// What exists and has not been given back.
    pub fn live(&self) -> Live {
        let mut live = Live::default();
        let _ = self.call("densekd_device_live", |f: extern "C" fn(*mut Live) -> c_int| f(&raw mut live));
        live
    }

    /// Text of the last violation or refused module, empty where there is none.
    pub fn report(&self) -> String {
        self.text("densekd_device_report", 4096)
    }

    /// Names of all calls of the driver since the last reset, in their order, as far as a MiB holds them.
    pub fn calls(&self) -> Vec<String> {
        self.text("densekd_device_calls", 1 << 20).lines().map(str::to_owned).collect()
    }

    /// A text of so many bytes at most.
    fn text(&self, function: &str, room: usize) -> String {
        let mut bytes = vec![0_u8; room];
        let _ = self.call(function, |f: extern "C" fn(*mut u8, usize) -> c_int| f(bytes.as_mut_ptr(), room));
        bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or_default());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Has a module of exactly this text be loaded as if it had been another, until the next reset.
    ///
    /// # Errors
    /// A text with a zero byte.
    pub fn replace(&self, text: &str, by: &str) -> Result<(), Code> {
        let [text, by] = [text, by].map(|text| CString::new(text).map_err(|_| Code(1)));
        let (text, by) = (text?, by?);
        self.call("densekd_device_replace", |f: extern "C" fn(*const c_char, *const c_char) -> c_int| {
            f(text.as_ptr(), by.as_ptr())
        })
    }

    /// Has the `nth` call from now on of a function of the driver, such as `cuMemAlloc_v2`, answer `code`, once.
    ///
    /// # Errors
    /// A name with a zero byte.
    pub fn fault(&self, function: &str, nth: u64, code: i32) -> Result<(), Code> {
        let name = CString::new(function).map_err(|_| Code(1))?;
        self.call("densekd_device_fault", |f: extern "C" fn(*const c_char, u64, c_int) -> c_int| {
            f(name.as_ptr(), nth, code)
        })
    }

    /// Sets a property by its name in the environment without `DENSEKD_DEVICE_`, see the crate's documentation.
    ///
    /// # Errors
    /// An unknown name, or a value that is none.
    pub fn set(&self, name: &str, value: &str) -> Result<(), Code> {
        let name = CString::new(name).map_err(|_| Code(1))?;
        let value = CString::new(value).map_err(|_| Code(1))?;
        self.call("densekd_device_set", |f: extern "C" fn(*const c_char, *const c_char) -> c_int| {
            f(name.as_ptr(), value.as_ptr())
        })
    }

    /// A new device: nothing exists any more, nothing is counted, properties are read from the environment again.
    pub fn reset(&self) {
        let _ = self.call("densekd_device_reset", |f: extern "C" fn() -> c_int| f());
    }
}
