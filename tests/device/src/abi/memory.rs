//! Memory of the device and of the host, and copies. The asynchronous forms are done when they return.
use super::pointers::{host_allocate, host_free};
use super::{HostRead, HostWrite, Out, functions};
use crate::driver::code::{self, Answer};
use crate::driver::{Driver, Handle};
use std::ffi::{c_int, c_uchar, c_uint, c_ushort};

fn copy_out(d: &mut Driver, to: &HostWrite, from: u64, bytes: usize) -> Answer<()> {
    // The host's bytes may be of no value yet, so that they are only ever written.
    let mut copy = vec![0; bytes];
    d.copy_out(&mut copy, from)?;
    to.put(&copy)
}

fn lock_pages(d: &mut Driver, bytes: usize) -> Answer<u64> {
    d.synchronise()?;
    let address = host_allocate(bytes as u64).ok_or(code::INVALID_VALUE)?;
    d.host.insert(address, bytes as u64);
    Ok(address)
}

/// `CU_POINTER_ATTRIBUTE_*`: the context, the type of memory, the pointer of the device, its ordinal. Of memory that no
/// driver knows there are none.
fn attribute(d: &Driver, to: &HostWrite, which: c_int, address: u64) -> Answer<()> {
    const ON_HOST: u32 = 1;
    const ON_DEVICE: u32 = 2;
    let (context, memory) =
        if d.is_page_locked(address) { (d.current()?, ON_HOST) } else { (d.owner(address)?, ON_DEVICE) };
    match which {
        1 => to.put(&context.to_le_bytes()),
        2 => to.put(&memory.to_le_bytes()),
        3 => to.put(&address.to_le_bytes()),
        9 => to.put(&d.device_of(context)?.to_le_bytes()),
        _ => Err(code::INVALID_VALUE),
    }
}

functions! {
    cuMemAlloc_v2(address: Out<u64>, bytes: usize) |d| address.put(d.allocate(bytes as u64)?);
    cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) |d| {
        d.stream(stream)?;
        address.put(d.allocate(bytes as u64)?)
    };
    cuMemFree_v2(address: u64) |d| d.free(address);
    cuMemFreeAsync(address: u64, stream: Handle) |d| d.stream(stream).and_then(|()| d.free(address));
    cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) |d| {
        let (left, all) = d.memory_info()?;
        free.put(left as usize)?;
        total.put(all as usize)
    };
    cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, address: u64) |d| {
        let (start, bytes) = d.address_range(address)?;
        base.put_if_wanted(start);
        size.put_if_wanted(bytes as usize);
        Ok(())
    };
    cuPointerGetAttribute(data: HostWrite, which: c_int, address: u64) |d| attribute(d, &data, which, address);
    cuMemAllocHost_v2(address: Out<u64>, bytes: usize) |d| address.put(lock_pages(d, bytes)?);
    cuMemHostAlloc(address: Out<u64>, bytes: usize, _flags: c_uint) |d| address.put(lock_pages(d, bytes)?);
    cuMemFreeHost(address: u64) |d| {
        d.synchronise()?;
        let bytes = d.host.remove(&address).ok_or(code::INVALID_VALUE)?;
        host_free(address, bytes);
        Ok(())
    };
    cuMemcpyHtoD_v2(to: u64, from: HostRead, bytes: usize) |d| d.copy_in(to, from.get(bytes)?);
    cuMemcpyHtoDAsync_v2(to: u64, from: HostRead, bytes: usize, stream: Handle) |d| {
        d.stream(stream)?;
        d.copy_in(to, from.get(bytes)?)
    };
    cuMemcpyDtoH_v2(to: HostWrite, from: u64, bytes: usize) |d| copy_out(d, &to, from, bytes);
    cuMemcpyDtoHAsync_v2(to: HostWrite, from: u64, bytes: usize, stream: Handle) |d| {
        d.stream(stream)?;
        copy_out(d, &to, from, bytes)
    };
    cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) |d| d.copy_within(to, from, bytes as u64);
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) |d| {
        d.stream(stream)?;
        d.copy_within(to, from, bytes as u64)
    };
    cuMemsetD8_v2(to: u64, value: c_uchar, count: usize) |d| d.fill(to, &[value], count);
    cuMemsetD16_v2(to: u64, value: c_ushort, count: usize) |d| d.fill(to, &value.to_le_bytes(), count);
    cuMemsetD32_v2(to: u64, value: c_uint, count: usize) |d| d.fill(to, &value.to_le_bytes(), count);
    cuMemsetD8Async(to: u64, value: c_uchar, count: usize, stream: Handle) |d| {
        d.stream(stream)?;
        d.fill(to, &[value], count)
    };
    cuMemsetD16Async(to: u64, value: c_ushort, count: usize, stream: Handle) |d| {
        d.stream(stream)?;
        d.fill(to, &value.to_le_bytes(), count)
    };
    cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: Handle) |d| {
        d.stream(stream)?;
        d.fill(to, &value.to_le_bytes(), count)
    };
}
