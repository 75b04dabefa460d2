//! Pair-wise affinity: what the kernels of `pa.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::kernel::{Kernel, Typed};
use crate::on::{Extent, On, Pulled, Room};
use densekd_core::{Order, PaEpsMode, PaOptions, PaPool, Shape};

/// The same bytes as `Windows` in `kernels/pa.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Windows {
    images: u64,
    count: u64,
    columns: u64,
    height: u64,
    width: u64,
    tall: u64,
    wide: u64,
}

/// The parameter of the kernels: the same bytes as `PaTask` there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct PaTask {
    map: u64,
    gradient: u64,
    units: u64,
    pulls: u64,
    chosen: u64,
    scales: u64,
    teacher_units: u64,
    student_units: u64,
    apart: u64,
    values: u64,
    overflowed: u64,
    extent: Extent,
    windows: Windows,
    teacher_channels: u64,
    student_channels: u64,
    eps: f64,
    factor: f64,
    pool: u32,
    eps_is_least: u32,
    is_detached: u32,
    bit: u32,
}

const _: () = assert!(size_of::<PaTask>() == 216 && align_of::<PaTask>() == 8);

/// Rows and columns of a product that a block makes.
const TILE: u64 = 32;
/// Cells of a window from which on a warp shares them.
const LARGE: u64 = 32;

/// Two maps of the same positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pairwise {
    pub(crate) options: PaOptions,
    pub(crate) teacher: Shape,
    pub(crate) student: Shape,
    pub(crate) order: Order,
}

/// What is kept, but for what is a side's own.
struct Kept {
    /// Teacher, student.
    sides: [PaTask; 2],
    levels: u64,
    /// Tiles of all D.
    tiles: u64,
}

impl Pairwise {
    fn windows(&self) -> Windows {
        let [images, _, height, width] = self.student.dims().map(|length| length as u64);
        let [tall, wide] = self.options.window(self.student).map(|length| length.get() as u64);
        let columns = width.div_ceil(wide).max(1);
        Windows { images, count: columns * height.div_ceil(tall).max(1), columns, height, width, tall, wide }
    }

    /// What the sum is divided by.
    pub(crate) fn divisor(&self) -> f64 {
        let Windows { images, count, .. } = self.windows();
        #[allow(clippy::cast_precision_loss, reason = "counts beyond 2^53 are beyond any memory")]
        let [images, count] = [images, count].map(|x| x as f64);
        images * (count * count)
    }

    /// Everything in a workspace that begins so.
    fn kept(&self, workspace: u64) -> (Kept, Room) {
        let (windows, mut room) = (self.windows(), Room::from(workspace));
        let nodes = windows.images * windows.count;
        let across = windows.count.div_ceil(TILE);
        let tiles = windows.images * across * across;
        let number = size_of::<f64>();
        let values = room.take(tiles, number);
        let apart = room.take(nodes * windows.count, number);
        let channels = [self.teacher, self.student].map(|shape| shape.channels() as u64);
        // The gradients to the sides come one after the other.
        let pulls = room.take(nodes * channels[0].max(channels[1]), number);
        let own = [self.teacher, self.student].map(|shape| {
            let numbers = nodes * shape.channels() as u64;
            let chosen = if self.options.pool == PaPool::Max { numbers } else { 0 };
            PaTask {
                units: room.take(numbers, number),
                chosen: room.take(chosen, size_of::<u32>()),
                scales: room.take(2 * nodes, number),
                extent: Extent::new(shape, self.order),
                ..PaTask::default()
            }
        });
        let levels = room.take(Device::levels(usize::try_from(tiles).unwrap_or(usize::MAX)) as u64, 1);
        let [teacher_units, student_units] = own.map(|task| task.units);
        let sides = own.map(|task| PaTask {
            pulls,
            teacher_units,
            student_units,
            apart,
            values,
            windows,
            teacher_channels: channels[0],
            student_channels: channels[1],
            eps: self.options.eps.get(),
            pool: u32::from(self.options.pool == PaPool::Avg),
            eps_is_least: u32::from(self.options.eps_mode == PaEpsMode::Max),
            is_detached: u32::from(self.options.detach_norm),
            ..task
        });
        (Kept { sides, levels, tiles }, room)
    }

    /// Bytes of workspace: the differences of all pairs of an image's windows among them.
    pub(crate) fn workspace(&self) -> usize {
        self.kept(0).1.bytes()
    }

    fn kept_on(&self, on: &On<'_>) -> Kept {
        let (mut kept, _) = self.kept(on.at.workspace);
        for (task, (map, bit)) in kept.sides.iter_mut().zip([(on.at.teacher, 2), (on.at.student, 1)]) {
            *task = PaTask { map, bit, overflowed: on.at.overflowed, ..*task };
        }
        kept
    }

    /// Starts the value: directions and differences stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let Kept { sides, levels, tiles } = self.kept_on(on);
        let warps = u64::from(Kernel::THREADS / 32);
        for task in sides {
            let Windows { images, count, tall, wide, .. } = task.windows;
            // Neighbouring threads read neighbouring channels where those are last.
            let by_warps = !task.extent.is_last() && tall * wide >= LARGE;
            let (typed, per_block) = if by_warps {
                (Typed::PA_POOL_WARP, warps)
            } else {
                (Typed::PA_POOL_THREAD, u64::from(Kernel::THREADS))
            };
            let nodes = images * count;
            let pools = [
                (on.kernel(typed)?, nodes * task.extent.channels, per_block),
                (Kernel::PA_SCALE, nodes, warps),
            ];
            // SAFETY: the kernels' one parameter is a `PaTask`; the maps are the caller's, and what is kept has room in
            // the workspace where `kept` has counted it.
            unsafe { on.run_each(&task, pools) }?;
        }
        // SAFETY: the same; the directions were just written.
        unsafe { on.run(Kernel::PA_APART, sides[0], tiles, 1) }?;
        // SAFETY: the values were just written, and the levels have room in the workspace.
        unsafe { on.total(tiles, levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let Kept { sides: [teacher, student], .. } = self.kept_on(on);
        let Pulled { gradient, to_teacher, factor } = to;
        let task = PaTask { gradient, factor, ..if to_teacher { teacher } else { student } };
        let Windows { images, count, .. } = task.windows;
        let tiles = images * count.div_ceil(TILE) * task.extent.channels.div_ceil(TILE);
        let spread = if task.extent.is_last() { Typed::PA_SPREAD_LAST } else { Typed::PA_SPREAD_PLANES };
        let pulls = [
            (Kernel::PA_SLOPES, tiles, 1),
            (Kernel::PA_TURN, images * count, u64::from(Kernel::THREADS / 32)),
            (on.kernel(spread)?, task.extent.positions, task.extent.per_block()),
        ];
        // SAFETY: as in `measure`; the gradient is as long as the map.
        unsafe { on.run_each(&task, pulls) }
    }
}
