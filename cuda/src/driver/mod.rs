//! The driver, found at run time: the functions that the bindings link are ours, and each forwards at its first call.
//!
//! So everything builds, starts and is tested where there is no CUDA at all. The library is `libcuda.so.1`, or what
//! the environment variable `DENSEKD_CUDA_LIBRARY` names when the first function is called.
#![allow(unsafe_code, reason = "functions of a foreign library")]

mod functions;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

/// The variable that names another library than `libcuda.so.1`.
pub(crate) const LIBRARY: &str = "DENSEKD_CUDA_LIBRARY";

const NO_DEVICE: c_int = 100;
const NOT_SUPPORTED: c_int = 801;
const UNKNOWN: c_int = 999;

/// The address of a function, or the code to answer in its place.
type Found = OnceLock<Result<usize, c_int>>;

thread_local! {
    /// What the last failed call on this thread answered, in the driver's own numbering.
    static LAST: Cell<c_int> = const { Cell::new(0) };
}

/// The loaded driver, or why there is none.
pub(crate) fn library() -> Result<&'static Library, &'static str> {
    static DRIVER: OnceLock<Result<Library, String>> = OnceLock::new();
    let open = || {
        let name = std::env::var_os(LIBRARY).unwrap_or_else(|| "libcuda.so.1".into());
        // SAFETY: the initialisers of a driver ask nothing of their caller; that the library named is a driver is for
        // who names it to see to.
        unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| error.to_string())
    };
    DRIVER.get_or_init(open).as_ref().map_err(String::as_str)
}

/// The code of the last failed call on this thread, which the bindings may know as 999 only.
pub(crate) fn last_code() -> i32 {
    LAST.get()
}

/// What the driver says of a code.
pub(crate) fn describe(code: i32) -> String {
    let mut text = std::ptr::null();
    // SAFETY: `text` outlives the call, which sets it to a string that lasts for ever, or leaves it.
    let status = unsafe { functions::cuGetErrorString(code, &raw mut text) };
    if status != 0 || text.is_null() {
        return "the driver has no words for it".to_owned();
    }
    // SAFETY: the driver's strings end in a NUL and are never freed.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn find(slot: &Found, name: &CStr) -> Result<usize, c_int> {
    *slot.get_or_init(|| {
        let library = library().map_err(|_| NO_DEVICE)?;
        // SAFETY: only the address is taken; the caller gives it its type.
        let symbol = unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) };
        symbol.map(|symbol| symbol.into_raw() as usize).map_err(|_| NOT_SUPPORTED)
    })
}

/// Keeps a failure's code, and hands on one that the bindings have in their enumeration: any other number in it would be
/// undefined behaviour.
fn checked(code: c_int) -> c_int {
    if code != 0 {
        LAST.set(code);
    }
    match code {
        0..=8
        | 34
        | 100..=102
        | 200..=202
        | 205..=224
        | 300..=304
        | 400
        | 401
        | 500
        | 600
        | 700..=705
        | 708..=720
        | 800..=809
        | 900..=911 => code,
        _ => UNKNOWN,
    }
}
