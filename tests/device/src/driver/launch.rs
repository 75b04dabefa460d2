//! Launches and how many blocks fit.
use super::code::{self, Answer};
use super::{Driver, Handle};
use crate::exec::{Launch, launch};
use crate::ptx::{Kernel, Param};
use std::sync::Arc;

/// Sizes of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) threads: [u32; 3],
    pub(crate) dynamic_shared: u32,
}

/// Threads that a multiprocessor holds.
const THREADS_OF_MULTIPROCESSOR: u32 = 2048;
/// Blocks that it holds.
const BLOCKS_OF_MULTIPROCESSOR: u32 = 32;

impl Driver {
    /// The parameters of a function, in their order.
    pub(crate) fn parameters(&self, function: Handle) -> Answer<Vec<Param>> {
        self.current()?;
        self.functions.get(&function).map(|f| f.kernel.params.clone()).ok_or(code::INVALID_HANDLE)
    }

    /// Runs the kernel. A violation loses the context, as on a device: the next call says so, or this one where
    /// launches block.
    pub(crate) fn launch(
        &mut self,
        function: Handle,
        shape: Shape,
        stream: Handle,
        params: &[u8],
    ) -> Answer<()> {
        let context = self.current()?;
        self.stream(stream)?;
        let f = self.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        let kernel = Arc::clone(&f.kernel);
        check(&kernel, shape, f.dynamic_shared)?;
        let run = Launch {
            kernel: &kernel,
            grid: shape.grid,
            threads: shape.threads,
            dynamic_shared: shape.dynamic_shared,
            params,
            seed: self.settings.seed,
            step_limit: self.settings.steps,
        };
        let counters = self.counters.entry(kernel.name.clone()).or_default();
        let Err(failure) = launch(&run, &mut self.memory, counters) else { return Ok(()) };
        self.say(failure.to_string());
        self.fail(context, failure.code());
        if self.settings.blocking { Err(failure.code()) } else { Ok(()) }
    }

    /// Blocks of `threads` that a multiprocessor holds at once, as far as threads and shared memory limit it.
    pub(crate) fn blocks_that_fit(&self, function: Handle, threads: u32, dynamic_shared: u64) -> Answer<u32> {
        self.current()?;
        let f = self.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        if threads == 0 {
            return Err(code::INVALID_VALUE);
        }
        let by_threads = THREADS_OF_MULTIPROCESSOR / threads.next_multiple_of(32);
        // Each block takes a KiB for the system.
        let shared = u64::from(f.kernel.shared) + dynamic_shared + 1024;
        let by_shared = (u64::from(self.settings.shared_opt_in()) + 1024) / shared;
        Ok(by_threads.min(by_shared as u32).min(BLOCKS_OF_MULTIPROCESSOR))
    }

    /// Dynamic shared memory that lets `blocks` run at once on a multiprocessor.
    pub(crate) fn shared_that_fits(&self, function: Handle, blocks: u32) -> Answer<u64> {
        self.current()?;
        let f = self.functions.get(&function).ok_or(code::INVALID_HANDLE)?;
        let all = self.settings.shared_opt_in() + 1024;
        let each = all.checked_div(blocks).ok_or(code::INVALID_VALUE)?;
        Ok(u64::from(each.saturating_sub(1024 + f.kernel.shared).min(f.dynamic_shared)))
    }
}

fn check(kernel: &Kernel, shape: Shape, most_dynamic: u32) -> Answer<()> {
    let Shape { grid: [gx, gy, gz], threads: [x, y, z], dynamic_shared } = shape;
    let count = u64::from(x) * u64::from(y) * u64::from(z);
    let grid = gx > 0 && gy > 0 && gz > 0 && gx >> 31 == 0 && gy <= 65535 && gz <= 65535;
    let block = (1..=1024).contains(&count) && z <= 64;
    if !grid || !block || dynamic_shared > most_dynamic {
        return Err(code::INVALID_VALUE);
    }
    match kernel.max_threads {
        Some(most) if count > u64::from(most) => Err(code::INVALID_VALUE),
        _ => Ok(()),
    }
}
