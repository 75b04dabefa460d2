//! Start, errors, devices.
use super::{HostWrite, Out, functions};
use crate::driver::code::{self, describe};
use std::ffi::{c_char, c_int, c_uint};

functions! {
    cuInit(flags: c_uint) |d| d.initialise(flags);
    cuDriverGetVersion(version: Out<c_int>) |d| version.put(d.settings.driver);
    cuGetErrorName(error: c_int, text: Out<*const c_char>) |_| match describe(error) {
        Some((name, _)) => text.put(name.as_ptr()),
        None => text.put(std::ptr::null()).and(Err(code::INVALID_VALUE)),
    };
    cuGetErrorString(error: c_int, text: Out<*const c_char>) |_| match describe(error) {
        Some((_, sentence)) => text.put(sentence.as_ptr()),
        None => text.put(std::ptr::null()).and(Err(code::INVALID_VALUE)),
    };
    cuDeviceGet(device: Out<c_int>, ordinal: c_int) |d| device.put(d.device_get(ordinal)?);
    cuDeviceGetCount(count: Out<c_int>) |d| count.put(d.device_count()?);
    cuDeviceGetName(name: HostWrite, length: c_int, device: c_int) |d| {
        let text = d.device_name(device)?;
        name.put_text(&text, usize::try_from(length).map_err(|_| code::INVALID_VALUE)?)
    };
    cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) |d| uuid.put(d.device_uuid(device)?);
    cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) |d| uuid.put(d.device_uuid(device)?);
    cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) |d| bytes.put(d.device_memory(device)? as usize);
    cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) |d| {
        value.put(d.device_attribute(attribute, device)?)
    };
}
