//! What C hands over, checked as far as it can be.

use crate::status::{DENSEKD_LENGTH, DENSEKD_NULL, DENSEKD_UNALIGNED};

/// The status of a pointer to so many values.
fn check<T>(pointer: *const T, len: usize) -> Result<(), i32> {
    if pointer.is_null() {
        return Err(DENSEKD_NULL);
    }
    if !pointer.is_aligned() {
        return Err(DENSEKD_UNALIGNED);
    }
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
    let end = bytes.and_then(|bytes| pointer.addr().checked_add(bytes));
    end.map(|_| ()).ok_or(DENSEKD_LENGTH)
}

/// So many values to read; none where there are none, whatever the pointer.
///
/// # Safety
/// A pointer that is neither null nor unaligned addresses `len` values that nobody writes meanwhile.
pub(crate) unsafe fn read<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T], i32> {
    if len == 0 {
        return Ok(&[]);
    }
    check(pointer, len)?;
    // SAFETY: not null, aligned, within the address space, and the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(pointer, len) })
}

/// A teacher and a student of so many values each.
///
/// # Safety
/// As of [`read`], for both.
pub(crate) unsafe fn pair<'a, T>(
    teacher: *const T,
    student: *const T,
    len: usize,
) -> Result<[&'a [T]; 2], i32> {
    // SAFETY: the caller's promise.
    let teacher = unsafe { read(teacher, len)? };
    // SAFETY: the caller's promise.
    Ok([teacher, unsafe { read(student, len)? }])
}

/// So many values to write.
///
/// # Safety
/// As of [`read`], and nobody else reads or writes them meanwhile.
pub(crate) unsafe fn write<'a, T>(pointer: *mut T, len: usize) -> Result<&'a mut [T], i32> {
    if len == 0 {
        return Ok(&mut []);
    }
    check(pointer, len)?;
    // SAFETY: as in `read`, and the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts_mut(pointer, len) })
}

/// One value to write.
///
/// # Safety
/// As of [`write`].
pub(crate) unsafe fn one<'a, T>(pointer: *mut T) -> Result<&'a mut T, i32> {
    check(pointer, 1)?;
    // SAFETY: as in `write`.
    Ok(unsafe { &mut *pointer })
}

/// Whether so many values here and so many there have a byte in common.
#[inline(always)]
pub(crate) fn overlaps<T, U>((a, a_len): (*const T, usize), (b, b_len): (*const U, usize)) -> bool {
    let bytes = |len: usize, size: usize| len.saturating_mul(size);
    meet((a.addr(), bytes(a_len, size_of::<T>())), (b.addr(), bytes(b_len, size_of::<U>())))
}

/// One for every pair of types. What has no bytes meets nothing.
#[inline(never)]
fn meet((a, a_bytes): (usize, usize), (b, b_bytes): (usize, usize)) -> bool {
    // How far each begins behind the other, or around all of memory.
    b.wrapping_sub(a) < a_bytes && b_bytes > 0 || a.wrapping_sub(b) < b_bytes && a_bytes > 0
}
