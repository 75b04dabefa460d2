//! Times of rows on the device itself, beside those of a copy of as many bytes.
#![allow(unsafe_code, reason = "kernels write through addresses, here of buffers made for them")]

use crate::Error;
use crate::device::Device;
use crate::host::HostCall;
use std::num::NonZeroU32;

/// Seconds of one turn, by the device's own clock.
///
/// ```
/// let turn = densekd_cuda::Turn { copy: 1e-3, loss: 2e-3 };
/// assert_eq!(turn.share(), 0.5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Of a copy within device memory that reads and writes, together, as many bytes as the loss has to: each input
    /// once, each gradient once.
    pub copy: f64,
    /// Of the loss.
    pub loss: f64,
}

impl Turn {
    /// The share of the copy's speed that the loss has.
    pub fn share(&self) -> f64 {
        self.copy / self.loss
    }
}

impl Device {
    /// Times a plan on tensors in host memory, which are copied to the device before: so many turns of a copy and the
    /// loss, after one that does not count. What the call asks to be written is not.
    ///
    /// # Errors
    /// As [`Device::submit`].
    ///
    /// ```
    /// use densekd_core::{KeptStatistics, Order, Plan, Recipe, RowOptions, Shape};
    /// use densekd_cuda::{Device, HostCall};
    /// let plan = Plan::new(Recipe::new(RowOptions::CWD)?, Shape::new([1, 1, 1, 3])?, Order::Nchw)?;
    /// let (teacher, student) = ([0.0_f32, 1.0, 2.0], [2.0_f32, 1.0, 0.0]);
    /// let call = HostCall {
    ///     plan: &plan,
    ///     teacher: teacher[..].into(),
    ///     student: student[..].into(),
    ///     mask: None,
    ///     factor: 1.0,
    ///     grad_student: None,
    ///     grad_teacher: None,
    ///     row_values: None,
    ///     statistics: KeptStatistics::Drop,
    /// };
    /// if let Ok(device) = Device::open(0) {
    ///     assert_eq!(device.time(&call, std::num::NonZeroU32::MIN)?.len(), 1);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn time(&self, call: &HostCall<'_>, turns: NonZeroU32) -> Result<Vec<Turn>, Error> {
        let read = call.check()?;
        let gpu = self.gpu.enter()?;
        let held = call.hold(&gpu, read.as_deref())?;
        let once = held.call(call, gpu.stream()?);
        // A copy of half as many bytes reads and writes as many.
        let half = held.moved().div_ceil(2);
        let (from, to) = (gpu.buffer(half)?, gpu.buffer(half)?);
        gpu.clear(&from)?;
        let marks = [gpu.mark()?, gpu.mark()?, gpu.mark()?];
        let mut times = Vec::new();
        for _ in 0..=turns.get() {
            gpu.record(&marks[0])?;
            gpu.copy(&to, &from)?;
            gpu.record(&marks[1])?;
            // SAFETY: as in `Device::submit`.
            unsafe { self.start(&gpu, &once) }?;
            gpu.record(&marks[2])?;
            gpu.synchronise(once.stream)?;
            times.push(Turn {
                copy: gpu.between(&marks[0], &marks[1])?,
                loss: gpu.between(&marks[1], &marks[2])?,
            });
        }
        Ok(times.split_off(1))
    }
}
