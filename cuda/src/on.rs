//! Where a map loss runs: device, entered context, type of tensors, addresses.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::{Device, LACKS_TYPE};
use crate::gpu::Entered;
use crate::kernel::{Kernel, Typed};
use densekd_core::{DType, Order, Shape};
use std::ffi::c_void;

/// Where the tensors and the results are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) teacher: u64,
    pub(crate) student: u64,
    /// As many bytes as the loss says, of which the values are the first.
    pub(crate) workspace: u64,
    pub(crate) sum: u64,
    pub(crate) overflowed: u64,
    pub(crate) stream: *mut c_void,
}

/// Which gradient is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulled {
    /// Where it goes, as long as the tensor that it is to.
    pub(crate) gradient: u64,
    pub(crate) to_teacher: bool,
    /// What the gradient of the sum is multiplied by.
    pub(crate) factor: f64,
}

/// A use of a loss.
#[derive(Clone, Copy)]
pub(crate) struct On<'a> {
    pub(crate) device: &'a Device,
    pub(crate) gpu: &'a Entered<'a>,
    pub(crate) dtype: DType,
    pub(crate) at: Places,
}

impl On<'_> {
    /// The kernel for the tensors' type.
    pub(crate) fn kernel(&self, typed: Typed) -> Result<Kernel, Error> {
        typed.of(self.dtype).ok_or(LACKS_TYPE)
    }

    /// Starts a kernel on so many pieces, of which a block takes `per_block`.
    ///
    /// # Safety
    /// `task` has the bytes of the kernel's one parameter, and every address in it is of device memory, as large as the
    /// kernel takes it to be, that lives until the stream has come by.
    pub(crate) unsafe fn run<T: Copy>(
        &self,
        kernel: Kernel,
        mut task: T,
        pieces: u64,
        per_block: u64,
    ) -> Result<(), Error> {
        let blocks = self.device.blocks(pieces.div_ceil(per_block));
        // SAFETY: the caller's promise.
        unsafe { self.gpu.launch(kernel, blocks, self.at.stream, &mut [(&raw mut task).cast()]) }
    }

    /// Starts kernels one after another, each on so many pieces, of which a block takes so many.
    ///
    /// # Safety
    /// As [`run`](Self::run), of each.
    pub(crate) unsafe fn run_each<T: Copy, const N: usize>(
        &self,
        task: &T,
        kernels: [(Kernel, u64, u64); N],
    ) -> Result<(), Error> {
        for (kernel, pieces, per_block) in kernels {
            // SAFETY: the caller's promise.
            unsafe { self.run(kernel, *task, pieces, per_block) }?;
        }
        Ok(())
    }

    /// Adds the workspace's first so many numbers to the sum; `levels` is where [`Device::levels`] bytes are.
    ///
    /// # Safety
    /// The values were written by what was started before, and the levels have room.
    pub(crate) unsafe fn total(&self, values: u64, levels: u64) -> Result<(), Error> {
        let Places { workspace, sum, stream, .. } = self.at;
        // SAFETY: the caller's promise.
        unsafe { self.device.total(self.gpu, (workspace, values), levels, sum, stream) }
    }
}

/// Where the numbers of a map are: the same bytes as `Extent` in `kernels/position.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) positions: u64,
    pub(crate) channels: u64,
    pub(crate) inner: u64,
}

impl Extent {
    pub(crate) fn new(shape: Shape, order: Order) -> Self {
        let inner = if order == Order::Nchw { shape.positions() } else { 1 };
        let positions = shape.images() * shape.positions();
        Self { positions: positions as u64, channels: shape.channels() as u64, inner: inner as u64 }
    }

    /// Whether a position's channels lie together.
    pub(crate) const fn is_last(&self) -> bool {
        self.inner == 1
    }

    /// Positions that a block walks at once.
    pub(crate) fn per_block(&self) -> u64 {
        u64::from(if self.is_last() { Kernel::THREADS / 32 } else { Kernel::THREADS })
    }
}

/// Where the numbers of images are: the same bytes as `Layout` in `kernels/adapt.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Layout {
    pub(crate) channels: u64,
    pub(crate) positions: u64,
    pub(crate) across: u64,
    pub(crate) along: u64,
}

impl Layout {
    pub(crate) fn new(shape: Shape, order: Order) -> Self {
        let (channels, positions) = (shape.channels() as u64, shape.positions() as u64);
        let (across, along) = if order == Order::Nchw { (positions, 1) } else { (1, channels) };
        Self { channels, positions, across, along }
    }

    /// Of numbers that lie one after another, whatever they are.
    pub(crate) const fn flat(count: u64) -> Self {
        Self { channels: count, positions: 1, across: 1, along: count }
    }

    /// Whether the channels of a position lie together.
    pub(crate) const fn is_last(&self) -> bool {
        self.across == 1
    }

    /// The same numbers as one image, where channels are last.
    pub(crate) const fn of_all(self, images: u64) -> Self {
        Self { positions: self.positions * images, ..self }
    }
}

/// Workspace handed out piece by piece, each at a multiple of 16.
pub(crate) struct Room {
    end: u64,
}

impl Room {
    pub(crate) const fn from(start: u64) -> Self {
        Self { end: start }
    }

    /// Where so many pieces of `size` bytes begin.
    pub(crate) const fn take(&mut self, count: u64, size: usize) -> u64 {
        let start = self.end.next_multiple_of(16);
        self.end = start.saturating_add(count.saturating_mul(size as u64));
        start
    }

    /// Bytes that were handed out, where it began at 0.
    pub(crate) fn bytes(&self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }
}
