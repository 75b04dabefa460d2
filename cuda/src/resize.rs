//! Resizes of maps in device memory: what the kernels of `resize.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::LACKS_TYPE;
use crate::kernel::{Kernel, Typed};
use crate::on::{Layout, On, Room};
use densekd_core::{DType, Order, Resize, ResizeMode, Shape};

/// An axis: the same bytes as `Axis` in `kernels/resize.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Axis {
    from: u64,
    to: u64,
    taps: u64,
    reach: u64,
}

/// The parameter of the kernels: the same bytes as `ResizeTask` in `kernels/resize.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ResizeTask {
    from: u64,
    to: u64,
    overflowed: u64,
    images: u64,
    map: Layout,
    resized: Layout,
    rows: Axis,
    columns: Axis,
    mode: u32,
    bit: u32,
}

const _: () = assert!(size_of::<ResizeTask>() == 168 && align_of::<ResizeTask>() == 8);

/// Bytes of `Taps` and of `Reach` in `kernels/resize.cu`.
const TAPS: usize = 24;
const REACH: usize = 8;

/// Numbers in device memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) address: u64,
    pub(crate) dtype: DType,
}

/// A resize of all planes of a map, into another memory order, too, and another type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resizing {
    /// With the axes' places in the workspace.
    task: ResizeTask,
    count: [u64; 2],
}

impl Resizing {
    /// Of maps of a shape from one memory order to another; without a resize numbers are converted, and no more.
    pub(crate) fn new(shape: Shape, [from, to]: [Order; 2], resize: Option<Resize>, room: &mut Room) -> Self {
        let [images, channels, height, width] = shape.dims().map(|dim| dim as u64);
        let [low, high] = resize.map_or([[height, width]; 2], |resize| {
            [resize.from(), resize.to()].map(|extents| extents.map(|extent| extent as u64))
        });
        let area = |[height, width]: [u64; 2]| height * width;
        let count = [low, high].map(|extents| images * channels * area(extents));
        let converts = resize.is_none() && from == to;
        let map = Layout::new(shape, from);
        let (images, map, resized, low, high) = if converts {
            (1, Layout::flat(count[0]), Layout::flat(count[1]), [1; 2], [1; 2])
        } else {
            let resized = Layout { positions: area(high), ..Layout::new(shape, to) };
            let resized = if to == Order::Nchw { Layout { across: area(high), ..resized } } else { resized };
            (images, map, resized, low, high)
        };
        let mut axis = |k: usize| Axis {
            from: low[k],
            to: high[k],
            taps: room.take(high[k], TAPS),
            reach: room.take(low[k], REACH),
        };
        let (rows, columns) = (axis(0), axis(1));
        let mode = match resize.map_or(ResizeMode::Nearest, |resize| resize.mode()) {
            ResizeMode::Nearest => 0,
            ResizeMode::Bilinear { align_corners: false } => 1,
            ResizeMode::Bilinear { align_corners: true } => 2,
            ResizeMode::Area => 3,
        };
        Self {
            task: ResizeTask { images, map, resized, rows, columns, mode, ..ResizeTask::default() },
            count,
        }
    }

    /// Numbers of the resized map.
    pub(crate) const fn resized(&self) -> u64 {
        self.count[1]
    }

    /// Starts what the others read.
    ///
    /// # Safety
    /// The axes' places are of device memory that lives until the stream has come by.
    pub(crate) unsafe fn prepare(&self, on: &On<'_>) -> Result<(), Error> {
        let cells = |axis: &Axis| axis.from + axis.to;
        let most = cells(&self.task.rows).max(cells(&self.task.columns));
        // SAFETY: the kernel's one parameter is a `ResizeTask`; room for the axes was counted in `new`.
        unsafe { on.run(Kernel::RESIZE_AXES, self.task, most, u64::from(Kernel::THREADS)) }
    }

    /// Starts the resized map, of `f32` or `f64`, at a multiple of 16.
    ///
    /// # Safety
    /// After [`prepare`](Self::prepare); the addresses are of device memory for as many numbers, until the stream has come by.
    pub(crate) unsafe fn forward(&self, on: &On<'_>, from: Numbers, to: Numbers) -> Result<(), Error> {
        let typed = if to.dtype == DType::F64 { Typed::RESIZE_DOUBLE } else { Typed::RESIZE_SINGLE };
        let kernel = typed.of(from.dtype).ok_or(LACKS_TYPE)?;
        // Of a thread: as many as 16 bytes hold of the smaller type.
        let run = 16 / from.dtype.size().min(to.dtype.size()) as u64;
        let task = ResizeTask { from: from.address, to: to.address, ..self.task };
        // SAFETY: the kernel's one parameter is a `ResizeTask`; the maps are the caller's.
        unsafe { on.run(kernel, task, self.count[1].div_ceil(run), u64::from(Kernel::THREADS)) }
    }

    /// Starts the gradient to the map, of that to the resized one, of `f32` or `f64`; `bit` is set where a finite number
    /// became infinite.
    ///
    /// # Safety
    /// As [`forward`](Self::forward).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, from: Numbers, to: Numbers, bit: u32) -> Result<(), Error> {
        let typed =
            if from.dtype == DType::F64 { Typed::RESIZE_PULL_DOUBLE } else { Typed::RESIZE_PULL_SINGLE };
        let kernel = typed.of(to.dtype).ok_or(LACKS_TYPE)?;
        let overflowed = on.at.overflowed;
        let task = ResizeTask { from: from.address, to: to.address, overflowed, bit, ..self.task };
        // SAFETY: as in `forward`.
        unsafe { on.run(kernel, task, self.count[0], u64::from(Kernel::THREADS)) }
    }
}
