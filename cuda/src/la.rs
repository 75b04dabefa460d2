//! Local affinity: what the kernels of `la.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::form::real;
use crate::kernel::{Kernel, Typed};
use crate::on::{Extent, On, Pulled, Room};
use densekd_core::{LaBorder, LaMode, LaOptions, Order, Shape};

/// The parameter of the kernels: the same bytes as `LaTask` in `kernels/la.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct LaTask {
    map: u64,
    gradient: u64,
    own: u64,
    other: u64,
    values: u64,
    apart: u64,
    overflowed: u64,
    extent: Extent,
    height: u64,
    width: u64,
    eps: f64,
    factor: f64,
    mode: u32,
    is_clipped: u32,
    bit: u32,
    unused: u32,
}

const _: () = assert!(size_of::<LaTask>() == 128 && align_of::<LaTask>() == 8);

/// Numbers that are kept of a pixel of a side.
const SUMS: u64 = 5;

/// Two maps of the same pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Affinity {
    pub(crate) options: LaOptions,
    pub(crate) teacher: Shape,
    pub(crate) student: Shape,
    pub(crate) order: Order,
}

/// Where everything is in the workspace.
struct Kept {
    values: u64,
    /// Of teacher and student.
    sums: [u64; 2],
    apart: u64,
    levels: u64,
}

impl Affinity {
    fn pixels(&self) -> usize {
        self.student.images() * self.student.positions()
    }

    fn kept(&self, workspace: u64) -> (Kept, Room) {
        let (pixels, mut room) = (self.pixels() as u64, Room::from(workspace));
        let mut take = |count| room.take(count, size_of::<f64>());
        let (values, sums) = (take(pixels), [take(SUMS * pixels), take(SUMS * pixels)]);
        let apart = take(pixels);
        let levels = room.take(Device::levels(self.pixels()) as u64, 1);
        (Kept { values, sums, apart, levels }, room)
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self) -> usize {
        self.kept(0).1.bytes()
    }

    /// What the sum is divided by.
    pub(crate) fn divisor(&self) -> f64 {
        let [images, _, height, width] = self.student.dims();
        let (up, left) = (height.saturating_sub(1), width.saturating_sub(1));
        let interior = images * height.saturating_sub(2) * width.saturating_sub(2);
        real(match (self.options.mode, self.options.border) {
            (LaMode::L2, LaBorder::Interior) => interior,
            (LaMode::L2, _) => images * height * width,
            (_, LaBorder::Interior) => 8 * interior,
            // Each pair of neighbours from both sides.
            (..) => 2 * images * (height * left + width * up + 2 * up * left),
        })
    }

    /// A side's task.
    fn task(&self, on: &On<'_>, kept: &Kept, to_teacher: bool) -> LaTask {
        let [of_teacher, of_student] = kept.sums;
        let (map, shape, own, other) = if to_teacher {
            (on.at.teacher, self.teacher, of_teacher, of_student)
        } else {
            (on.at.student, self.student, of_student, of_teacher)
        };
        let [_, _, height, width] = shape.dims();
        LaTask {
            map,
            own,
            other,
            values: kept.values,
            apart: kept.apart,
            overflowed: on.at.overflowed,
            extent: Extent::new(shape, self.order),
            height: height as u64,
            width: width as u64,
            eps: self.options.eps.get(),
            mode: match (self.options.mode, self.options.squared) {
                (LaMode::L2, true) => 0,
                (LaMode::L2, false) => 1,
                _ => 2,
            },
            is_clipped: u32::from(self.options.border == LaBorder::Clip),
            bit: if to_teacher { 2 } else { 1 },
            ..LaTask::default()
        }
    }

    /// Starts the value: sums at edges stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let (kept, _) = self.kept(on.at.workspace);
        let [student, teacher] = [false, true].map(|to_teacher| self.task(on, &kept, to_teacher));
        let pixels = student.extent.positions;
        for task in [teacher, student] {
            let typed = if task.extent.is_last() { Typed::LA_EDGES_LAST } else { Typed::LA_EDGES_PLANES };
            // SAFETY: the kernel's one parameter is an `LaTask`; the map is the caller's, and the sums have room in the
            // workspace.
            unsafe { on.run(on.kernel(typed)?, task, pixels, task.extent.per_block()) }?;
        }
        // SAFETY: the same, of values and differences; the sums were just written.
        unsafe { on.run(Kernel::LA_COMPARE, student, pixels, u64::from(Kernel::THREADS)) }?;
        // SAFETY: the values were just written, and the levels have room in the workspace.
        unsafe { on.total(pixels, kept.levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let (kept, _) = self.kept(on.at.workspace);
        let Pulled { gradient, to_teacher, factor } = to;
        let task = LaTask { gradient, factor, ..self.task(on, &kept, to_teacher) };
        let typed = if task.extent.is_last() { Typed::LA_PULL_LAST } else { Typed::LA_PULL_PLANES };
        // SAFETY: as above; the gradient is as long as the map.
        unsafe { on.run(on.kernel(typed)?, task, task.extent.positions, task.extent.per_block()) }
    }
}
