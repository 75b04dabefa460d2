//! A row in integers, for cores without a floating-point unit.

use crate::memory::{one, overlaps, pair, write};
use crate::row::status;
use crate::status::{DENSEKD_OVERLAP, DENSEKD_RANGE, DENSEKD_TEMPERATURE};
use densekd_core::single::IntegerKl;

fn loss(tau: f32) -> Result<IntegerKl, i32> {
    IntegerKl::new(tau).ok_or(DENSEKD_TEMPERATURE)
}

/// As `densekd_row_kl_f32`, in integers: for cores without an FPU. The error is absolute, at most 4e-8 (1 + R) len/Z for
/// log-ratios up to R and exponentials, of which the largest is 1, that sum up to Z. `DENSEKD_RANGE` where the row is empty,
/// has an element that is not finite, or two that are 22 tau or more apart: `densekd_row_kl_f32` has an answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_integer_f32(
    teacher: *const f32,
    student: *const f32,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    let run = || {
        let loss = loss(tau)?;
        // SAFETY: the caller's promise.
        let [teacher, student] = unsafe { pair(teacher, student, len)? };
        let kl = loss.value(teacher, student).ok_or(DENSEKD_RANGE)?;
        // SAFETY: the caller's promise; the inputs are no longer read.
        *unsafe { one(value)? } = kl;
        Ok(())
    };
    status(run())
}

/// The same value, and the gradient as `densekd_row_kl_gradient_f32` has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_integer_f32(
    teacher: *const f32,
    student: *const f32,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    let run = || {
        let loss = loss(tau)?;
        if [teacher, student].iter().any(|&row| overlaps((gradient, len), (row, len))) {
            return Err(DENSEKD_OVERLAP);
        }
        // SAFETY: the caller's promise. Looked at before anything is written, and not held.
        unsafe { one(value)? };
        // SAFETY: the caller's promise.
        let [teacher, student] = unsafe { pair(teacher, student, len)? };
        // SAFETY: the caller's promise; apart from both inputs.
        let gradient = unsafe { write(gradient, len)? };
        let kl = loss.gradient(teacher, student, scale, gradient).ok_or(DENSEKD_RANGE)?;
        // SAFETY: the caller's promise; nothing else is read or written any more.
        *unsafe { one(value)? } = kl;
        Ok(())
    };
    status(run())
}
