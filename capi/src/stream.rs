//! A row that comes in pieces: a state of 64 bytes, in `f64` where sums are concerned.

use crate::memory::{one, pair};
use crate::status::{DENSEKD_OK, DENSEKD_TEMPERATURE};
use densekd_core::{RowState as State, Temperature};

/// A row of which pieces have been seen. To be initialised before anything else is asked of it; may be copied.
#[repr(C)]
pub struct RowState {
    /// Nobody's but the library's.
    opaque: [u64; 8],
}

const _: () =
    assert!(size_of::<State>() <= size_of::<RowState>() && align_of::<State>() <= align_of::<RowState>());

fn temperature(tau: f32) -> Result<Temperature, i32> {
    if !(1e-30..=1e30).contains(&tau) {
        return Err(DENSEKD_TEMPERATURE);
    }
    Temperature::new(f64::from(tau)).map_err(|_| DENSEKD_TEMPERATURE)
}

fn status(done: Result<(), i32>) -> i32 {
    done.err().unwrap_or(DENSEKD_OK)
}

/// # Safety
/// A pointer that is neither null nor unaligned addresses a state. Any bytes are one: it holds numbers alone.
unsafe fn state<'a>(pointer: *mut RowState) -> Result<&'a mut State, i32> {
    // SAFETY: the caller's promise; the state fits, see above.
    unsafe { one(pointer)? };
    // SAFETY: as before.
    unsafe { one(pointer.cast()) }
}

/// Makes `row` one of which nothing has been seen.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_state_init(row: *mut RowState) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { state(row) }.map(|row| *row = State::new()))
}

/// Adds `len` elements, a piece of any length. Every call of one row names the same temperature. Takes up to 20 KB of stack:
/// blocks of 256 elements, in `double` where `float` does not hold them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_state_push_f32(
    row: *mut RowState,
    tau: f32,
    teacher: *const f32,
    student: *const f32,
    len: usize,
) -> i32 {
    let push = || {
        let tau = temperature(tau)?;
        // SAFETY: the caller's promise.
        let row = unsafe { state(row)? };
        // SAFETY: the caller's promise.
        let [teacher, student] = unsafe { pair(teacher, student, len)? };
        row.push(tau, teacher, student);
        Ok(())
    };
    status(push())
}

/// Adds what `other` has seen: another piece of the same row, in any order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_state_merge(
    row: *mut RowState,
    tau: f32,
    other: *const RowState,
) -> i32 {
    let merge = || {
        let tau = temperature(tau)?;
        // SAFETY: the caller's promise. A copy, since it may be the row itself.
        let other = *unsafe { state(other.cast_mut())? };
        // SAFETY: as before.
        unsafe { state(row)? }.merge(tau, &other);
        Ok(())
    };
    status(merge())
}

/// `value` = the divergence of the row as pushed so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_state_value(row: *const RowState, tau: f32, value: *mut f64) -> i32 {
    let finish = || {
        let tau = temperature(tau)?;
        // SAFETY: the caller's promise. A copy, since `value` may lie over it.
        let row = *unsafe { state(row.cast_mut())? };
        // SAFETY: as before.
        *unsafe { one(value)? } = row.finish(tau).kl_divergence();
        Ok(())
    };
    status(finish())
}
