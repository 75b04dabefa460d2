//! The pointers that callers pass. Each type states what the driver's contract promises of it; only here are they
//! followed.
#![allow(unsafe_code, reason = "pointers of the C interface")]
use crate::driver::code::{Answer, INVALID_VALUE};
use crate::ptx::Param;
use std::ffi::{CStr, c_char, c_int, c_void};

/// Where one result goes: null, or valid for a write.
#[derive(Debug)]
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Null is an invalid value.
    pub(crate) fn put(self, value: T) -> Answer<()> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: it is not null, and the caller promises that it may be written.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// For results that the caller may not want.
    pub(crate) fn put_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: it is not null, and the caller promises that it may be written.
            unsafe { self.0.write(value) };
        }
    }
}

/// A text: null, or it ends with a zero byte and lives as long as the call.
#[derive(Debug)]
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    pub(crate) fn get(&self) -> Answer<&str> {
        if self.0.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: it is not null, and the caller promises a text that ends and outlives the call.
        let text = unsafe { CStr::from_ptr(self.0) };
        text.to_str().map_err(|_| INVALID_VALUE)
    }
}

/// Memory of the host that is read, valid for as many bytes as the call says.
#[derive(Debug)]
#[repr(transparent)]
pub struct HostRead(*const c_void);

impl HostRead {
    pub(crate) fn get(&self, bytes: usize) -> Answer<&[u8]> {
        match (self.0.is_null(), bytes) {
            (_, 0) => Ok(&[]),
            (true, _) => Err(INVALID_VALUE),
            // SAFETY: the caller promises so many bytes, and leaves them alone until the call returns.
            (false, _) => Ok(unsafe { std::slice::from_raw_parts(self.0.cast(), bytes) }),
        }
    }
}

/// Memory of the host that is written, valid for as many bytes as the call says.
#[derive(Debug)]
#[repr(transparent)]
pub struct HostWrite(*mut c_void);

impl HostWrite {
    pub(crate) fn put(&self, bytes: &[u8]) -> Answer<()> {
        match (self.0.is_null(), bytes.len()) {
            (_, 0) => Ok(()),
            (true, _) => Err(INVALID_VALUE),
            (false, n) => {
                // SAFETY: the caller promises so many bytes; `bytes` is our own, so that the two do not overlap.
                unsafe { self.0.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), n) };
                Ok(())
            }
        }
    }

    /// `text` with a zero byte, cut to `room`.
    pub(crate) fn put_text(&self, text: &str, room: usize) -> Answer<()> {
        let Some(kept) = room.checked_sub(1) else { return Err(INVALID_VALUE) };
        let mut bytes = text.as_bytes()[..text.len().min(kept)].to_vec();
        bytes.push(0);
        self.put(&bytes)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

/// A kernel's arguments: null, or one pointer for each parameter, valid for its size.
#[derive(Debug)]
#[repr(transparent)]
pub struct Arguments(*const HostRead);

impl Arguments {
    /// The block of parameters.
    pub(crate) fn gather(&self, params: &[Param]) -> Answer<Vec<u8>> {
        let size = params.last().map_or(0, |p| p.offset + p.bytes);
        let mut block = vec![0; size as usize];
        if self.0.is_null() && !params.is_empty() {
            return Err(INVALID_VALUE);
        }
        for (n, p) in params.iter().enumerate() {
            // SAFETY: it is not null, and the caller promises a pointer for each of the kernel's parameters.
            let place = unsafe { self.0.add(n) };
            // SAFETY: it points to one of those.
            let argument = unsafe { place.read() };
            block[p.offset as usize..][..p.bytes as usize].copy_from_slice(argument.get(p.bytes as usize)?);
        }
        Ok(block)
    }
}

/// Names of options for the compiler of PTX: null, or as many as the call says.
#[derive(Debug)]
#[repr(transparent)]
pub struct JitOptions(*const c_int);

/// Their values, of pointer size.
#[derive(Debug)]
#[repr(transparent)]
pub struct JitValues(*const *mut c_void);

/// `CU_JIT_ERROR_LOG_BUFFER` and `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
const LOG: c_int = 5;
const LOG_SIZE: c_int = 6;

/// Writes `text` into the log that the options name, if they do.
pub(crate) fn log(count: u32, options: &JitOptions, values: &JitValues, text: &str) -> Answer<()> {
    let find = |wanted: c_int| -> Option<*mut c_void> {
        if options.0.is_null() || values.0.is_null() {
            return None;
        }
        // SAFETY: neither is null, and the caller promises `count` of each.
        let options = unsafe { std::slice::from_raw_parts(options.0, count as usize) };
        // SAFETY: as above.
        let values = unsafe { std::slice::from_raw_parts(values.0, count as usize) };
        options.iter().zip(values).find(|(o, _)| **o == wanted).map(|(_, v)| *v)
    };
    match (find(LOG), find(LOG_SIZE)) {
        // The size is the value itself, in place of a pointer.
        (Some(buffer), Some(size)) => HostWrite(buffer).put_text(text, size as usize & 0xffff_ffff),
        _ => Ok(()),
    }
}

/// A function of the caller's with its argument.
pub type Callback = Option<unsafe extern "C" fn(*mut c_void)>;

/// Calls back.
pub(crate) fn call(function: Callback, argument: *mut c_void) -> Answer<()> {
    let function = function.ok_or(INVALID_VALUE)?;
    // SAFETY: the caller promises that the function takes this argument.
    unsafe { function(argument) };
    Ok(())
}

/// Page-locked memory: ordinary memory that the driver owns. None: there is none, or it has no size.
pub(crate) fn host_allocate(bytes: u64) -> Option<u64> {
    let layout = host_layout(bytes)?;
    // SAFETY: the layout has a size, `host_layout` sees to that.
    let memory = unsafe { std::alloc::alloc(layout) };
    (!memory.is_null()).then_some(memory as u64)
}

/// Gives back what [`host_allocate`] gave for `bytes`, once: the caller has just taken it off its list.
pub(crate) fn host_free(address: u64, bytes: u64) {
    if let Some(layout) = host_layout(bytes) {
        // SAFETY: the address came from `host_allocate` with this size and has left the list of what is alive.
        unsafe { std::alloc::dealloc(address as *mut u8, layout) };
    }
}

fn host_layout(bytes: u64) -> Option<std::alloc::Layout> {
    let bytes = usize::try_from(bytes).ok().filter(|b| *b > 0)?;
    std::alloc::Layout::from_size_align(bytes, 4096).ok()
}
