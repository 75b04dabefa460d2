//! Relations between images: what the kernels of `rkd.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::form::real;
use crate::kernel::{Kernel, Typed};
use crate::on::{On, Pulled, Room};
use densekd_core::{RkdOptions, Shape};

/// The same bytes as `Side` in `kernels/rkd.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    map: u64,
    lengths: u64,
    squares: u64,
    inverses: u64,
    pulls: u64,
    along: u64,
    unit: u64,
}

/// The parameter of the kernels: the same bytes as `RkdTask` there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RkdTask {
    /// Teacher, student.
    sides: [Side; 2],
    parts: u64,
    values: u64,
    sum: u64,
    gradient: u64,
    overflowed: u64,
    images: u64,
    length: u64,
    parts_of_image: u64,
    per_distance: f64,
    per_angle: f64,
    factor: f64,
    is_scaled: u32,
    side: u32,
}

const _: () = assert!(size_of::<RkdTask>() == 208 && align_of::<RkdTask>() == 8);

/// Bytes of `Length` in `kernels/rkd.cu`, and of `Unit`.
const LENGTH: usize = 24;
const UNIT: usize = 16;
/// Numbers of an image that a block takes, and images either way of which it measures the pairs.
const PART: u64 = 4096;
const TILE: u64 = 16;
/// Images of which a thread pulls one number each.
const TOGETHER: u64 = 8;

/// Two maps of one shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Relations {
    pub(crate) options: RkdOptions,
    pub(crate) shape: Shape,
}

/// What is kept.
struct Kept {
    task: RkdTask,
    levels: u64,
}

impl Relations {
    /// Everything in a workspace that begins so.
    fn kept(&self, workspace: u64) -> (Kept, Room) {
        let (images, mut room) = (self.shape.images() as u64, Room::from(workspace));
        let length = self.shape.len() as u64 / images.max(1);
        let (pairs, parts_of_image, number) = (images * images, length.div_ceil(PART), size_of::<f64>());
        let values = room.take(pairs, number);
        let sides = [(); 2].map(|()| Side {
            map: 0,
            lengths: room.take(images, LENGTH),
            squares: room.take(pairs, number),
            inverses: room.take(pairs, number),
            pulls: room.take(pairs, number),
            along: room.take(images, number),
            unit: room.take(1, UNIT),
        });
        let parts = room.take(2 * parts_of_image * pairs, number);
        let levels = room.take(Device::levels(usize::try_from(pairs).unwrap_or(usize::MAX)) as u64, 1);
        let count = real(self.shape.images());
        let task = RkdTask {
            sides,
            parts,
            values,
            images,
            length,
            parts_of_image,
            per_distance: self.options.distance_weight.get() / (count * count),
            per_angle: self.options.angle_weight.get() / (count * count * count),
            is_scaled: u32::from(self.options.normalize),
            ..RkdTask::default()
        };
        (Kept { task, levels }, room)
    }

    /// Bytes of workspace: what parts of the images add to the distances of all pairs among them.
    pub(crate) fn workspace(&self) -> usize {
        self.kept(0).1.bytes()
    }

    fn kept_on(&self, on: &On<'_>) -> Kept {
        let (mut kept, _) = self.kept(on.at.workspace);
        for (side, map) in kept.task.sides.iter_mut().zip([on.at.teacher, on.at.student]) {
            side.map = map;
        }
        kept.task = RkdTask { sum: on.at.sum, overflowed: on.at.overflowed, ..kept.task };
        kept
    }

    /// Starts the value: what the gradients are made of stays in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let Kept { task, levels } = self.kept_on(on);
        let RkdTask { images, parts_of_image, .. } = task;
        let (pairs, across) = (images * images, images.div_ceil(TILE));
        let (threads, warps) = (u64::from(Kernel::THREADS), u64::from(Kernel::THREADS / 32));
        let kernels = [
            (on.kernel(Typed::RKD_NORMS)?, 2 * parts_of_image * images, 1),
            (Kernel::RKD_LENGTHS, 2 * images, warps),
            (on.kernel(Typed::RKD_DISTANCES)?, 2 * parts_of_image * across * across, 1),
            (Kernel::RKD_EDGES, 2 * pairs, warps),
            (Kernel::RKD_UNITS, 2, 1),
            (Kernel::RKD_TRIANGLES, pairs, threads),
            (Kernel::RKD_ALONG, 2 * images, warps),
        ];
        // SAFETY: the kernels' one parameter is an `RkdTask`; the maps are the caller's, and what is kept has room in the
        // workspace where `kept` has counted it.
        unsafe { on.run_each(&task, kernels) }?;
        // SAFETY: the values were just written, and the levels have room in the workspace.
        unsafe { on.total(pairs, levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let Kept { task, .. } = self.kept_on(on);
        let Pulled { gradient, to_teacher, factor } = to;
        let task = RkdTask { gradient, factor, side: u32::from(!to_teacher), ..task };
        let pieces = task.length.div_ceil(u64::from(Kernel::THREADS)) * task.images.div_ceil(TOGETHER);
        // SAFETY: as in `measure`; the gradient is as long as the map.
        unsafe { on.run(on.kernel(Typed::RKD_PULL)?, task, pieces, 1) }
    }
}
