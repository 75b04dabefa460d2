//! Intra-class feature variation: what the kernels of `ifvd.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::kernel::{Kernel, Typed};
use crate::on::{Extent, On, Pulled, Room};
use densekd_core::{IfvdOptions, Order, Shape};

/// The same bytes as `IfvdSide` in `kernels/ifvd.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    prototypes: u64,
    shared: u64,
    norms: u64,
    pulls: u64,
    alpha: u64,
    beta: u64,
    along: u64,
}

/// The parameter of the kernels: the same bytes as `IfvdTask` there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct IfvdTask {
    map: u64,
    gradient: u64,
    classes: u64,
    counts: u64,
    starts: u64,
    segments: u64,
    order: u64,
    differences: u64,
    values: u64,
    overflowed: u64,
    extent: Extent,
    images: u64,
    image: u64,
    count: u64,
    segments_of_image: u64,
    factor: f64,
    own: Side,
    other: Side,
    is_weighted: u32,
    bit: u32,
}

const _: () = assert!(size_of::<IfvdTask>() == 264 && align_of::<IfvdTask>() == 8);

/// Positions that a block puts into the order of their classes.
const SEGMENT: u64 = 4096;

/// Two maps of the same positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Variation {
    pub(crate) options: IfvdOptions,
    pub(crate) teacher: Shape,
    pub(crate) student: Shape,
    pub(crate) order: Order,
}

impl Variation {
    /// The sides' tasks, teacher and student, in a workspace that begins so, and where the levels of the sum begin.
    fn tasks(&self, workspace: u64) -> ([IfvdTask; 2], u64, Room) {
        let (images, image) = (self.student.images() as u64, self.student.positions() as u64);
        let (count, segments_of_image) = (self.options.num_classes.get() as u64, image.div_ceil(SEGMENT));
        let (positions, classes) = (images * image, images.saturating_mul(count));
        let mut room = Room::from(workspace);
        let values = room.take(images, size_of::<f64>());
        let levels = room.take(Device::levels(self.student.images()) as u64, 1);
        let mut words = |count| room.take(count, size_of::<u32>());
        let shared = IfvdTask {
            values,
            counts: words(classes),
            starts: words(classes),
            segments: words(classes.saturating_mul(segments_of_image)),
            order: words(positions),
            images,
            image,
            count,
            segments_of_image,
            ..IfvdTask::default()
        };
        let mut numbers = |count| room.take(count, size_of::<f64>());
        let shared = IfvdTask { differences: numbers(positions), ..shared };
        let [teacher, student] = [self.teacher, self.student].map(|shape| {
            let table = classes.saturating_mul(shape.channels() as u64);
            Side {
                prototypes: numbers(table),
                shared: numbers(table),
                norms: numbers(classes),
                pulls: numbers(classes),
                alpha: numbers(positions),
                beta: numbers(positions),
                along: numbers(positions),
            }
        });
        let side = |shape, own, other, bit| IfvdTask {
            extent: Extent::new(shape, self.order),
            own,
            other,
            bit,
            ..shared
        };
        let tasks = [side(self.teacher, teacher, student, 2), side(self.student, student, teacher, 1)];
        (tasks, levels, room)
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self) -> usize {
        self.tasks(0).2.bytes()
    }

    fn tasks_on(&self, on: &On<'_>, classes: u64) -> ([IfvdTask; 2], u64) {
        let ([teacher, student], levels, _) = self.tasks(on.at.workspace);
        let placed = |task, map| IfvdTask { map, classes, overflowed: on.at.overflowed, ..task };
        ([placed(teacher, on.at.teacher), placed(student, on.at.student)], levels)
    }

    /// What finds the sums of a side's classes.
    fn sums(on: &On<'_>, task: &IfvdTask) -> Result<(Kernel, u64, u64), Error> {
        let (classes, channels) = (task.images * task.count, task.extent.channels);
        Ok(if task.extent.is_last() {
            (on.kernel(Typed::IFVD_SUMS_LAST)?, classes * channels.div_ceil(32), 1)
        } else {
            (on.kernel(Typed::IFVD_SUMS_PLANES)?, classes * channels, u64::from(Kernel::THREADS / 32))
        })
    }

    /// Starts the value: prototypes and cosines stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by: `classes` an `i32`
    /// a position.
    pub(crate) unsafe fn measure(&self, on: &On<'_>, classes: u64) -> Result<(), Error> {
        let (tasks, levels) = self.tasks_on(on, classes);
        let [_, student] = tasks;
        let (images, warps) = (student.images, u64::from(Kernel::THREADS / 32));
        let segments = images * student.segments_of_image;
        let orders = [
            (Kernel::IFVD_COUNT, segments, 1),
            (Kernel::IFVD_START, images, 1),
            (Kernel::IFVD_PLACE, segments, 1),
        ];
        // SAFETY: the kernels' one parameter is an `IfvdTask`; the map is the caller's, and what is kept has room in the
        // workspace where `tasks` has counted it.
        unsafe { on.run_each(&student, orders) }?;
        for task in tasks {
            let extent = task.extent;
            let typed = if extent.is_last() { Typed::IFVD_COSINES_LAST } else { Typed::IFVD_COSINES_PLANES };
            let cosines = [
                Self::sums(on, &task)?,
                (Kernel::IFVD_NORMS, images * task.count, warps),
                (on.kernel(typed)?, extent.positions, extent.per_block()),
            ];
            // SAFETY: as above; each reads what was just written.
            unsafe { on.run_each(&task, cosines) }?;
        }
        let compared = [
            (Kernel::IFVD_COMPARE, student.extent.positions, u64::from(Kernel::THREADS)),
            (Kernel::IFVD_IMAGES, images, 1),
        ];
        // SAFETY: as above.
        unsafe { on.run_each(&student, compared) }?;
        // SAFETY: the values were just written, and the levels have room in the workspace.
        unsafe { on.total(images, levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, classes: u64, to: Pulled) -> Result<(), Error> {
        let ([teacher, student], _) = self.tasks_on(on, classes);
        let Pulled { gradient, to_teacher, factor } = to;
        let task =
            IfvdTask { gradient, factor, is_weighted: 1, ..if to_teacher { teacher } else { student } };
        let extent = task.extent;
        let typed = if extent.is_last() { Typed::IFVD_PULL_LAST } else { Typed::IFVD_PULL_PLANES };
        let pulls = [
            (Kernel::IFVD_ALONG, task.images * task.count, u64::from(Kernel::THREADS / 32)),
            Self::sums(on, &task)?,
            (on.kernel(typed)?, extent.positions, extent.per_block()),
        ];
        // SAFETY: as in `measure`; the gradient is as long as the map.
        unsafe { on.run_each(&task, pulls) }
    }
}
