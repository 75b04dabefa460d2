//! Correlations between classes and between positions: what the kernels of `dist.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::form::real;
use crate::kernel::{Kernel, Typed};
use crate::on::{Extent, On, Pulled, Room};
use densekd_core::{DistOptions, Order, Shape};

/// The parameter of the kernels: the same bytes as `DistTask` in `kernels/dist.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct DistTask {
    teacher: u64,
    student: u64,
    gradient: u64,
    values: u64,
    rows: u64,
    parts: u64,
    columns: u64,
    sum: u64,
    overflowed: u64,
    map: Extent,
    parts_of_column: u64,
    per_tau: f64,
    eps: f64,
    of_row: f64,
    of_column: f64,
    factor: f64,
    to_teacher: u32,
    unused: u32,
}

const _: () = assert!(size_of::<DistTask>() == 152 && align_of::<DistTask>() == 8);

/// Bytes that are kept of a position, of a part of a class (`Comoments`) and of a class (`Column`).
const ROW: usize = 7 * size_of::<f64>();
const PART: usize = 8 * size_of::<f64>();
const COLUMN: usize = 7 * size_of::<f64>();

/// Two maps of logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dist {
    pub(crate) options: DistOptions,
    pub(crate) shape: Shape,
    pub(crate) order: Order,
}

impl Dist {
    /// Parts of a class, by the shape alone.
    fn parts(map: &Extent) -> u64 {
        map.positions.div_ceil(if map.is_last() { 256 } else { 2048 })
    }

    /// The task with all but what a gradient adds, and where the levels of the values' sum begin, with a workspace
    /// that begins so.
    fn task(&self, workspace: u64) -> (DistTask, u64, Room) {
        let map = Extent::new(self.shape, self.order);
        let parts_of_column = Self::parts(&map);
        let mut room = Room::from(workspace);
        let values = room.take(map.positions + map.channels, size_of::<f64>());
        let task = DistTask {
            values,
            rows: room.take(map.positions, ROW),
            parts: room.take(map.channels * parts_of_column, PART),
            columns: room.take(map.channels, COLUMN),
            map,
            parts_of_column,
            per_tau: 1.0 / self.options.tau.get(),
            eps: self.options.eps.get(),
            of_row: self.options.inter_weight.get() / real(self.shape.images() * self.shape.positions()),
            of_column: self.options.intra_weight.get() / real(self.shape.channels()),
            ..DistTask::default()
        };
        let count = self.shape.images() * self.shape.positions() + self.shape.channels();
        let levels = room.take(Device::levels(count) as u64, 1);
        (task, levels, room)
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self) -> usize {
        self.task(0).2.bytes()
    }

    fn task_on(&self, on: &On<'_>) -> (DistTask, u64) {
        let at = &on.at;
        let (task, levels, _) = self.task(at.workspace);
        let (teacher, student, sum, overflowed) = (at.teacher, at.student, at.sum, at.overflowed);
        (DistTask { teacher, student, sum, overflowed, ..task }, levels)
    }

    /// Starts the value: softmaxes and correlations stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let (task, levels) = self.task_on(on);
        let map = task.map;
        let (rows, columns, of_block) = if map.is_last() {
            (Typed::DIST_ROWS_LAST, Typed::DIST_COLUMNS_LAST, 32)
        } else {
            (Typed::DIST_ROWS_PLANES, Typed::DIST_COLUMNS_PLANES, 1)
        };
        let parts = map.channels.div_ceil(of_block) * task.parts_of_column;
        let sweeps = [
            (on.kernel(rows)?, map.positions, map.per_block()),
            (on.kernel(columns)?, parts, 1),
            (Kernel::DIST_CLOSE, map.channels, u64::from(Kernel::THREADS / 32)),
        ];
        // SAFETY: the kernels' one parameter is a `DistTask`; the maps are the caller's, and what is kept has room in
        // the workspace where `task` has counted it.
        unsafe { on.run_each(&task, sweeps) }?;
        // SAFETY: the values were just written, and the levels have room where `task` has counted it.
        unsafe { on.total(map.positions + map.channels, levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let (task, _) = self.task_on(on);
        let Pulled { gradient, to_teacher, factor } = to;
        let task = DistTask { gradient, factor, to_teacher: u32::from(to_teacher), ..task };
        let typed = if task.map.is_last() { Typed::DIST_PULL_LAST } else { Typed::DIST_PULL_PLANES };
        // SAFETY: as above; the gradient is as long as the map.
        unsafe { on.run(on.kernel(typed)?, task, task.map.positions, task.map.per_block()) }
    }
}
