//! Scores of a discriminator: what the kernels of `ho.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::form::real;
use crate::kernel::{Kernel, Typed};
use crate::on::{On, Pulled, Room};
use densekd_core::{DType, HoAdversary, HoOptions, HoRole, Shape};

/// The parameter of the kernels: the same bytes as `HoTask` in `kernels/ho.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct HoTask {
    numbers: u64,
    gradient: u64,
    parts: u64,
    lengths: u64,
    values: u64,
    overflowed: u64,
    vectors: u64,
    length: u64,
    parts_of_vector: u64,
    share: f64,
    factor: f64,
    game: u32,
    is_negative: u32,
    bit: u32,
    unused: u32,
}

const _: () = assert!(size_of::<HoTask>() == 104 && align_of::<HoTask>() == 8);

/// Tensors of scores, or a gradient of theirs in the student's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scores {
    pub(crate) options: HoOptions,
    pub(crate) teacher: Shape,
    pub(crate) student: Shape,
}

impl Scores {
    fn is_length(&self) -> bool {
        self.options.role == HoRole::GradientPenalty
    }

    /// The sides that the value is of.
    fn sides(&self) -> &'static [bool] {
        if self.options.role == HoRole::Discriminator { &[false, true] } else { &[false] }
    }

    /// What the sum is divided by.
    pub(crate) fn divisor(&self) -> f64 {
        real(if self.is_length() { self.student.images() } else { self.student.len() })
    }

    /// A side's task but for where its sums are.
    fn task(&self, dtype: DType, to_teacher: bool) -> HoTask {
        let shape = if to_teacher { self.teacher } else { self.student };
        let vectors = if self.is_length() { shape.images() as u64 } else { 1 };
        let length = shape.len() as u64 / vectors.max(1);
        let pack = if dtype == DType::F64 { 1 } else { 16 / dtype.size() as u64 };
        // Vectors begin anywhere between two boundaries.
        let packs = (length + 2 * (pack - 1)) / pack;
        let judges = self.options.role == HoRole::Discriminator;
        HoTask {
            vectors,
            length,
            parts_of_vector: packs.div_ceil(8 * u64::from(Kernel::THREADS)),
            // A mean over the teacher's scores, as part of one over the student's.
            share: if to_teacher { real(self.student.len()) / real(self.teacher.len()) } else { 1.0 },
            game: match self.options.adversary {
                _ if self.is_length() => 2,
                HoAdversary::Hinge if judges => 1,
                _ => 0,
            },
            // A generator wants its scores as high as a discriminator wants those of the teacher.
            is_negative: u32::from(!judges || to_teacher),
            bit: if to_teacher { 2 } else { 1 },
            ..HoTask::default()
        }
    }

    /// The task of each side, how many values there are, and where the levels of their sum begin.
    fn tasks(&self, dtype: DType, workspace: u64) -> ([HoTask; 2], u64, u64, Room) {
        let mut tasks = [false, true].map(|to_teacher| self.task(dtype, to_teacher));
        let mut room = Room::from(workspace);
        let parts = |task: &HoTask| task.vectors * task.parts_of_vector;
        let of_sides: u64 = self.sides().iter().zip(&tasks).map(|(_, task)| parts(task)).sum();
        let values = if self.is_length() { tasks[0].vectors } else { of_sides };
        let at = room.take(values, size_of::<f64>());
        let lengths = room.take(values, size_of::<f64>());
        // Scores' parts are values themselves, the teacher's after the student's.
        let first = if self.is_length() { room.take(of_sides, size_of::<f64>()) } else { at };
        let second = first + parts(&tasks[0]) * size_of::<f64>() as u64;
        for (task, parts) in tasks.iter_mut().zip([first, second]) {
            *task = HoTask { parts, lengths, values: at, ..*task };
        }
        let count = usize::try_from(values).unwrap_or(usize::MAX);
        let levels = room.take(Device::levels(count) as u64, 1);
        (tasks, values, levels, room)
    }

    /// Bytes of workspace.
    pub(crate) fn workspace(&self, dtype: DType) -> usize {
        let (.., room) = self.tasks(dtype, 0);
        room.bytes()
    }

    fn on(on: &On<'_>, task: HoTask, to_teacher: bool) -> HoTask {
        let numbers = if to_teacher { on.at.teacher } else { on.at.student };
        HoTask { numbers, overflowed: on.at.overflowed, ..task }
    }

    /// Starts the value: lengths stay in the workspace for [`pull`](Self::pull).
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by.
    pub(crate) unsafe fn measure(&self, on: &On<'_>) -> Result<(), Error> {
        let (tasks, values, levels, _) = self.tasks(on.dtype, on.at.workspace);
        for (&to_teacher, task) in self.sides().iter().zip(tasks) {
            let task = Self::on(on, task, to_teacher);
            // SAFETY: the kernel's one parameter is an `HoTask`; the numbers are the caller's, and sums have room in the
            // workspace.
            unsafe { on.run(on.kernel(Typed::HO_SUMS)?, task, task.vectors * task.parts_of_vector, 1) }?;
        }
        if self.is_length() {
            let (task, warps) = (tasks[0], u64::from(Kernel::THREADS / 32));
            // SAFETY: the same; the parts' sums were just written.
            unsafe { on.run(Kernel::HO_CLOSE, task, task.vectors, warps) }?;
        }
        // SAFETY: the values were just written, and the levels have room.
        unsafe { on.total(values, levels) }
    }

    /// Starts the gradient to a side, after [`measure`](Self::measure).
    ///
    /// # Safety
    /// As [`measure`](Self::measure).
    pub(crate) unsafe fn pull(&self, on: &On<'_>, to: Pulled) -> Result<(), Error> {
        let ([student, teacher], ..) = self.tasks(on.dtype, on.at.workspace);
        let Pulled { gradient, to_teacher, factor } = to;
        let task = Self::on(on, if to_teacher { teacher } else { student }, to_teacher);
        let task = HoTask { gradient, factor, ..task };
        // SAFETY: as above; the gradient is as long as the numbers.
        unsafe { on.run(on.kernel(Typed::HO_PULL)?, task, task.vectors * task.parts_of_vector, 1) }
    }
}
