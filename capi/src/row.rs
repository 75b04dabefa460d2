//! A row that lies in memory, in `f32` arithmetic.

use crate::memory::{one, overlaps, read, write};
use crate::status::{DENSEKD_OK, DENSEKD_OVERLAP, DENSEKD_TEMPERATURE};
use densekd_core::Element;
use densekd_core::single::{Polynomial, Row, RowKl};
use half::{bf16, f16};

/// Where C has stored a row.
pub(crate) trait Stored {
    type Row<'a>: Row;

    /// # Safety
    /// Its pointers address `len` values each, which nobody writes meanwhile.
    unsafe fn row<'a>(&self, len: usize) -> Result<Self::Row<'a>, i32>;

    /// Whether a gradient of so many numbers there lies over it.
    fn is_under(&self, gradient: *const f32, len: usize) -> bool;
}

impl<E: Element> Stored for *const E {
    type Row<'a> = &'a [E];

    unsafe fn row<'a>(&self, len: usize) -> Result<&'a [E], i32> {
        // SAFETY: the caller's promise.
        unsafe { read(*self, len) }
    }

    fn is_under(&self, gradient: *const f32, len: usize) -> bool {
        overlaps((gradient, len), (*self, len))
    }
}

pub(crate) fn loss(tau: f32) -> Result<RowKl<Polynomial>, i32> {
    RowKl::new(tau).ok_or(DENSEKD_TEMPERATURE)
}

pub(crate) fn status(done: Result<(), i32>) -> i32 {
    done.err().unwrap_or(DENSEKD_OK)
}

/// The rows of a teacher and a student.
///
/// # Safety
/// As of [`Stored::row`], for both.
pub(crate) unsafe fn entries<'a, T: Stored, S: Stored>(
    (teacher, student, len): &(T, S, usize),
) -> Result<(T::Row<'a>, S::Row<'a>), i32> {
    // SAFETY: the caller's promise.
    let teacher = unsafe { teacher.row(*len)? };
    // SAFETY: the caller's promise.
    Ok((teacher, unsafe { student.row(*len)? }))
}

/// That a gradient of as many numbers lies over neither.
pub(crate) fn apart<T: Stored, S: Stored>(
    (teacher, student, len): &(T, S, usize),
    gradient: *const f32,
) -> Result<(), i32> {
    let is_under = teacher.is_under(gradient, *len) || student.is_under(gradient, *len);
    if is_under { Err(DENSEKD_OVERLAP) } else { Ok(()) }
}

/// # Safety
/// The pointers address what they say.
pub(crate) unsafe fn value_of<T: Stored, S: Stored>(
    rows: (T, S, usize),
    tau: f32,
    value: *mut f32,
) -> Result<(), i32> {
    let loss = loss(tau)?;
    // SAFETY: the caller's promise.
    let (teacher, student) = unsafe { entries(&rows)? };
    let kl = loss.value(&teacher, &student);
    // SAFETY: the caller's promise; the inputs are no longer read.
    *unsafe { one(value)? } = kl;
    Ok(())
}

/// # Safety
/// The pointers address what they say.
pub(crate) unsafe fn gradient_of<T: Stored, S: Stored>(
    rows: (T, S, usize),
    (tau, scale): (f32, f32),
    gradient: *mut f32,
    value: *mut f32,
) -> Result<(), i32> {
    let loss = loss(tau)?;
    apart(&rows, gradient)?;
    // SAFETY: the caller's promise. Looked at before anything is written, and not held.
    unsafe { one(value)? };
    // SAFETY: the caller's promise.
    let (teacher, student) = unsafe { entries(&rows)? };
    // SAFETY: the caller's promise; apart from both inputs.
    let gradient = unsafe { write(gradient, rows.2)? };
    let kl = loss.gradient(&teacher, &student, scale, gradient);
    // SAFETY: the caller's promise; nothing else is read or written any more.
    *unsafe { one(value)? } = kl;
    Ok(())
}

/// `value` = KL(softmax(teacher / tau) || softmax(student / tau)) of `len` elements each. 0 elements have value 0, and
/// their pointers are not looked at. `value` may lie anywhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_f32(
    teacher: *const f32,
    student: *const f32,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { value_of((teacher, student, len), tau, value) })
}

/// As `densekd_row_kl_f32`, of the bits of binary16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_f16(
    teacher: *const u16,
    student: *const u16,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise; an `f16` is its bits.
    status(unsafe { value_of((teacher.cast::<f16>(), student.cast::<f16>(), len), tau, value) })
}

/// As `densekd_row_kl_f32`, of the upper halves of binary32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_bf16(
    teacher: *const u16,
    student: *const u16,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise; a `bf16` is its bits.
    status(unsafe { value_of((teacher.cast::<bf16>(), student.cast::<bf16>(), len), tau, value) })
}

/// The same value, and `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau, of `len` elements; it
/// must not lie over an input. `value` lies over no input and not over the gradient.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_f32(
    teacher: *const f32,
    student: *const f32,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { gradient_of((teacher, student, len), (tau, scale), gradient, value) })
}

/// As `densekd_row_kl_gradient_f32`, of the bits of binary16; the gradient is not rounded to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_f16(
    teacher: *const u16,
    student: *const u16,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    let inputs = (teacher.cast::<f16>(), student.cast::<f16>(), len);
    // SAFETY: the caller's promise; an `f16` is its bits.
    status(unsafe { gradient_of(inputs, (tau, scale), gradient, value) })
}

/// As `densekd_row_kl_gradient_f32`, of the upper halves of binary32; the gradient is not rounded to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_bf16(
    teacher: *const u16,
    student: *const u16,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    let inputs = (teacher.cast::<bf16>(), student.cast::<bf16>(), len);
    // SAFETY: the caller's promise; a `bf16` is its bits.
    status(unsafe { gradient_of(inputs, (tau, scale), gradient, value) })
}

/// What the proof must catch: an index that nobody checked.
#[cfg(feature = "broken")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_broken(teacher: *const f32, len: usize) -> f32 {
    // SAFETY: never run.
    unsafe { read(teacher, len) }.map_or(0.0, |teacher| teacher[7])
}
