//! Contexts.
use super::{Out, functions};
use crate::driver::{Driver, Handle};
use std::ffi::{c_int, c_uint};

functions! {
    cuDevicePrimaryCtxRetain(context: Out<Handle>, device: c_int) |d| context.put(d.primary_retain(device)?);
    cuDevicePrimaryCtxRelease_v2(device: c_int) |d| d.primary_release(device);
    cuDevicePrimaryCtxReset_v2(device: c_int) |d| d.primary_reset(device);
    cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: c_uint) |d| d.primary_flags(device, flags);
    cuDevicePrimaryCtxGetState(device: c_int, flags: Out<c_uint>, active: Out<c_int>) |d| {
        let (set, exists) = d.primary_state(device)?;
        flags.put(set)?;
        active.put(c_int::from(exists))
    };
    cuCtxCreate_v2(context: Out<Handle>, flags: c_uint, device: c_int) |d| {
        context.put(d.context_create(flags, device)?)
    };
    cuCtxDestroy_v2(context: Handle) |d| d.context_destroy(context);
    cuCtxSetCurrent(context: Handle) |d| d.set_current(context);
    cuCtxGetCurrent(context: Out<Handle>) |d| context.put(d.get_current()?);
    cuCtxPushCurrent_v2(context: Handle) |d| d.push_current(context);
    cuCtxPopCurrent_v2(context: Out<Handle>) |d| {
        let popped = d.pop_current()?;
        context.put_if_wanted(popped);
        Ok(())
    };
    cuCtxGetDevice(device: Out<c_int>) |d| device.put(d.current_device()?);
    cuCtxGetFlags(flags: Out<c_uint>) |d| flags.put(d.context_flags()?);
    cuCtxGetApiVersion(_context: Handle, version: Out<c_uint>) |d| version.put(d.settings.driver as c_uint);
    cuCtxGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) |d| {
        d.synchronise()?;
        least.put_if_wanted(Driver::PRIORITIES.0);
        greatest.put_if_wanted(Driver::PRIORITIES.1);
        Ok(())
    };
    cuCtxSynchronize() |d| d.synchronise();
}
