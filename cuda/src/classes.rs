//! Losses over the classes of positions: what the kernels of `classes.cu` are asked for.
#![allow(unsafe_code, reason = "kernels write through addresses that only the caller can vouch for")]

use crate::Error;
use crate::device::Device;
use crate::form::real;
use crate::kernel::Typed;
use crate::on::{Extent, On};
use crate::task::split;
use densekd_core::{Order, Shape, Temperature};

/// The parameter of the kernels: the same bytes as `ClassTask` in `kernels/classes.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct ClassTask {
    teacher: u64,
    student: u64,
    gradient: u64,
    classes: u64,
    values: u64,
    overflowed: u64,
    positions: u64,
    channels: u64,
    inner: u64,
    per_bit: f32,
    per_nat: f32,
    tau: f32,
    mantissa: f32,
    power: f32,
    of_target: f32,
    of_rest: f32,
    smoothing: f32,
    spread: f32,
    unused: u32,
}

const _: () = assert!(size_of::<ClassTask>() == 112 && align_of::<ClassTask>() == 8);

/// What is made of a position's classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Of {
    /// The target's divergence and that of the rest, so weighted.
    Decoupled { target: f64, rest: f64 },
    /// The cross-entropy with labels that leave such a share to all classes.
    Smoothed { share: f64 },
}

/// A loss over classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Classes {
    pub(crate) of: Of,
    pub(crate) tau: Temperature,
    pub(crate) shape: Shape,
    pub(crate) order: Order,
}

impl Classes {
    const fn positions(&self) -> usize {
        self.shape.images() * self.shape.positions()
    }

    /// Bytes of workspace: a value a position, and the levels of their sum.
    pub(crate) fn workspace(&self) -> usize {
        self.positions() * size_of::<f64>() + Device::levels(self.positions())
    }

    /// Starts the value and the gradient to the student.
    ///
    /// # Safety
    /// The addresses are of device memory that holds what this says, until the stream has come by: `classes` an `i32`
    /// a position, the gradient as much as the student.
    #[allow(clippy::cast_possible_truncation, reason = "the kernels' arithmetic is f32")]
    pub(crate) unsafe fn start(
        &self,
        on: &On<'_>,
        (classes, gradient, factor): (u64, Option<u64>, f64),
    ) -> Result<(), Error> {
        let (planes, last) = match self.of {
            Of::Decoupled { .. } => (Typed::DKD_PLANES, Typed::DKD_LAST),
            Of::Smoothed { .. } => (Typed::SMOOTH_PLANES, Typed::SMOOTH_LAST),
        };
        let (at, map) = (&on.at, Extent::new(self.shape, self.order));
        let kernel = on.kernel(if map.is_last() { last } else { planes })?;
        let (target, rest, share) = match self.of {
            Of::Decoupled { target, rest } => (target, rest, 0.0),
            Of::Smoothed { share } => (0.0, 0.0, share),
        };
        let tau = self.tau.get();
        let (mantissa, power) = split(factor / tau);
        let task = ClassTask {
            teacher: at.teacher,
            student: at.student,
            gradient: gradient.unwrap_or_default(),
            classes,
            values: at.workspace,
            overflowed: at.overflowed,
            positions: map.positions,
            channels: map.channels,
            inner: map.inner,
            per_bit: (std::f64::consts::LOG2_E / tau) as f32,
            per_nat: (1.0 / tau) as f32,
            tau: tau as f32,
            mantissa,
            power,
            of_target: target as f32,
            of_rest: rest as f32,
            smoothing: share as f32,
            spread: (share / real(self.shape.channels())) as f32,
            unused: 0,
        };
        // SAFETY: the kernel's one parameter is a `ClassTask`, whose memory the caller vouches for; the values have
        // room in the workspace.
        unsafe { on.run(kernel, task, map.positions, map.per_block()) }?;
        let levels = at.workspace + task.positions * size_of::<f64>() as u64;
        // SAFETY: the values were just written, and the levels have room at the workspace's end.
        unsafe { on.total(task.positions, levels) }
    }
}
