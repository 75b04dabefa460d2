//! Modules, functions, launches.
use super::pointers::log;
use super::{Arguments, HostWrite, JitOptions, JitValues, Out, Text, functions};
use crate::driver::code;
use crate::driver::{Handle, Shape};
use std::ffi::{c_int, c_uint};

functions! {
    cuModuleLoadData(module: Out<Handle>, image: Text) |d| {
        let loaded = d.module_load(image.get().map_err(|_| code::INVALID_IMAGE)?)?;
        module.put(loaded)
    };
    cuModuleLoadDataEx(module: Out<Handle>, image: Text, count: c_uint, options: JitOptions, values: JitValues) |d| {
        let loaded = d.module_load(image.get().map_err(|_| code::INVALID_IMAGE)?);
        if loaded.is_err() {
            log(count, &options, &values, &d.report)?;
        }
        module.put(loaded?)
    };
    cuModuleUnload(module: Handle) |d| d.module_unload(module);
    cuModuleGetFunction(function: Out<Handle>, module: Handle, name: Text) |d| {
        function.put(d.module_function(module, name.get()?)?)
    };
    cuModuleGetGlobal_v2(address: Out<u64>, size: Out<usize>, module: Handle, name: Text) |d| {
        let (base, bytes) = d.module_global(module, name.get()?)?;
        address.put_if_wanted(base);
        size.put_if_wanted(bytes as usize);
        Ok(())
    };
    cuFuncGetAttribute(value: Out<c_int>, attribute: c_int, function: Handle) |d| {
        value.put(d.function_attribute(attribute, function)?)
    };
    cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) |d| {
        d.function_set(function, attribute, value)
    };
    cuFuncSetCacheConfig(function: Handle, _config: c_int) |d| d.parameters(function).map(|_| ());
    cuFuncSetSharedMemConfig(function: Handle, _config: c_int) |d| d.parameters(function).map(|_| ());
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: Out<c_int>, function: Handle, threads: c_int, shared: usize) |d| {
        let threads = u32::try_from(threads).map_err(|_| code::INVALID_VALUE)?;
        blocks.put(d.blocks_that_fit(function, threads, shared as u64)? as c_int)
    };
    cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: Handle, blocks: c_int, _threads: c_int) |d| {
        let blocks = u32::try_from(blocks).map_err(|_| code::INVALID_VALUE)?;
        bytes.put(d.shared_that_fits(function, blocks)? as usize)
    };
    cuLaunchKernel(
        function: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        dynamic_shared: c_uint,
        stream: Handle,
        arguments: Arguments,
        extra: HostWrite,
    ) |d| {
        let params = d.parameters(function)?;
        // Arguments as one buffer are a second way that nobody here goes.
        if !extra.is_null() {
            return Err(code::NOT_SUPPORTED);
        }
        let block = arguments.gather(&params)?;
        let grid = [grid_x, grid_y, grid_z];
        let threads = [block_x, block_y, block_z];
        d.launch(function, Shape { grid, threads, dynamic_shared }, stream, &block)
    };
}
