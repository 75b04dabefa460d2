//! Streams and events. Work is done when it is asked for, so that nothing is ever waited for.
use super::pointers::call;
use super::{Callback, Out, answer, functions};
use crate::driver::Handle;
use crate::driver::code::SUCCESS;
use std::ffi::{c_int, c_uint, c_void};

functions! {
    cuStreamCreate(stream: Out<Handle>, flags: c_uint) |d| stream.put(d.stream_create(flags, 0)?);
    cuStreamCreateWithPriority(stream: Out<Handle>, flags: c_uint, priority: c_int) |d| {
        stream.put(d.stream_create(flags, priority)?)
    };
    cuStreamDestroy_v2(stream: Handle) |d| d.stream_destroy(stream);
    cuStreamSynchronize(stream: Handle) |d| d.stream(stream);
    cuStreamQuery(stream: Handle) |d| d.stream(stream);
    cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) |d| {
        d.stream(stream).and_then(|()| d.event(event))
    };
    cuStreamGetFlags(stream: Handle, flags: Out<c_uint>) |d| flags.put(d.stream_flags(stream)?);
    cuStreamGetPriority(stream: Handle, priority: Out<c_int>) |d| priority.put(d.stream_priority(stream)?);
    cuStreamGetCtx(stream: Handle, context: Out<Handle>) |d| context.put(d.stream_context(stream)?);
    cuEventCreate(event: Out<Handle>, flags: c_uint) |d| event.put(d.event_create(flags)?);
    cuEventDestroy_v2(event: Handle) |d| d.event_destroy(event);
    cuEventRecord(event: Handle, stream: Handle) |d| d.event_record(event, stream);
    cuEventSynchronize(event: Handle) |d| d.event(event);
    cuEventQuery(event: Handle) |d| d.event(event);
    cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) |d| {
        milliseconds.put(d.elapsed(start, end)?)
    };
}

/// `cuLaunchHostFunc` of the driver. The function is called without the driver's lock, for it may call the driver.
#[cfg_attr(densekd_driver, unsafe(no_mangle))]
#[allow(non_snake_case, reason = "the name is the driver's")]
pub extern "C" fn cuLaunchHostFunc(stream: Handle, function: Callback, argument: *mut c_void) -> c_int {
    match answer("cuLaunchHostFunc", |d| d.stream(stream)) {
        SUCCESS => call(function, argument).err().unwrap_or(SUCCESS),
        code => code,
    }
}
