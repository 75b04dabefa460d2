//! A row that comes in pieces, its gradient too: a state of 64 bytes, in `float`.

use crate::int8::{Int8Row, rows};
use crate::memory::{one, overlaps, write};
use crate::row::{Stored, apart, entries, loss, status};
use crate::status::{DENSEKD_AGAIN, DENSEKD_OVERLAP};
use crate::table::part;
use densekd_core::single::RowPieces as Pieces;
use half::{bf16, f16};

/// A row of which pieces have been seen. To be initialised before anything else is asked of it; may be copied.
#[repr(C)]
pub struct RowPieces {
    /// Nobody's but the library's.
    opaque: [u64; 8],
}

const _: () =
    assert!(size_of::<Pieces>() <= size_of::<RowPieces>() && align_of::<Pieces>() <= align_of::<RowPieces>());

/// # Safety
/// A pointer that is neither null nor unaligned addresses a state. Any bytes are one: it holds numbers alone.
unsafe fn state<'a>(pointer: *mut RowPieces) -> Result<&'a mut Pieces, i32> {
    // SAFETY: the caller's promise; the state fits, see above.
    unsafe { one(pointer)? };
    // SAFETY: as before.
    unsafe { one(pointer.cast()) }
}

/// # Safety
/// The pointers address what they say.
unsafe fn init<T: Stored, S: Stored>(row: *mut RowPieces, piece: (T, S, usize), tau: f32) -> Result<(), i32> {
    let loss = loss(tau)?;
    // SAFETY: the caller's promise.
    let (teacher, student) = unsafe { entries(&piece)? };
    let made = Pieces::new(&loss, &teacher, &student);
    // SAFETY: the caller's promise; the entries are no longer read.
    *unsafe { state(row)? } = made;
    Ok(())
}

/// # Safety
/// The pointers address what they say.
unsafe fn push<T: Stored, S: Stored>(row: *mut RowPieces, piece: (T, S, usize), tau: f32) -> Result<(), i32> {
    let loss = loss(tau)?;
    // SAFETY: the caller's promise.
    let row = unsafe { state(row)? };
    // SAFETY: the caller's promise.
    let (teacher, student) = unsafe { entries(&piece)? };
    row.push(&loss, &teacher, &student);
    Ok(())
}

/// # Safety
/// The pointers address what they say.
unsafe fn gradient_of_piece<T: Stored, S: Stored>(
    row: *const RowPieces,
    piece: (T, S, usize),
    (tau, scale): (f32, f32),
    gradient: *mut f32,
) -> Result<(), i32> {
    let loss = loss(tau)?;
    apart(&piece, gradient)?;
    if overlaps((gradient, piece.2), (row, 1)) {
        return Err(DENSEKD_OVERLAP);
    }
    // SAFETY: the caller's promise.
    let row = *unsafe { state(row.cast_mut())? };
    // SAFETY: the caller's promise.
    let (teacher, student) = unsafe { entries(&piece)? };
    // SAFETY: the caller's promise; apart from both inputs.
    row.gradient(&loss, &teacher, &student, scale, unsafe { write(gradient, piece.2)? });
    Ok(())
}

/// After the last piece: `value` = the divergence, or `DENSEKD_AGAIN` where all pieces are to be pushed once more, which is
/// asked for up to nine times.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_end(row: *mut RowPieces, tau: f32, value: *mut f32) -> i32 {
    let end = || {
        let loss = loss(tau)?;
        // SAFETY: the caller's promise. Looked at before anything is written, and not held.
        unsafe { one(value)? };
        // SAFETY: the caller's promise.
        let kl = unsafe { state(row)? }.end(&loss).ok_or(DENSEKD_AGAIN)?;
        // SAFETY: the caller's promise; the state is no longer held.
        *unsafe { one(value)? } = kl;
        Ok(())
    };
    status(end())
}

/// Makes `row` one of which these are some elements, those at the same places of both: its first piece, or what stands for it
/// better. A row that they stand for is pushed once, another more often. Every call of one row names the same temperature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_init_f32(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const f32,
    student: *const f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { init(row, (teacher, student, len), tau) })
}

/// Adds `len` elements: all pieces of a row, in order, until `densekd_row_pieces_end`. The bits of what follows are the same
/// wherever the row is cut. `row` lies over no piece.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_push_f32(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const f32,
    student: *const f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { push(row, (teacher, student, len), tau) })
}

/// `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau of a piece, of a row that has ended; pieces may
/// come in any order. It lies neither over the piece nor over `row`. NaN of a row that has not ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_gradient_f32(
    row: *const RowPieces,
    tau: f32,
    teacher: *const f32,
    student: *const f32,
    len: usize,
    scale: f32,
    gradient: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { gradient_of_piece(row, (teacher, student, len), (tau, scale), gradient) })
}

/// As `densekd_row_pieces_init_f32`, of the bits of binary16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_init_f16(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise; an `f16` is its bits.
    status(unsafe { init(row, (teacher.cast::<f16>(), student.cast::<f16>(), len), tau) })
}

/// As `densekd_row_pieces_push_f32`, of the bits of binary16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_push_f16(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise; an `f16` is its bits.
    status(unsafe { push(row, (teacher.cast::<f16>(), student.cast::<f16>(), len), tau) })
}

/// As `densekd_row_pieces_gradient_f32`, of the bits of binary16; the gradient is not rounded to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_gradient_f16(
    row: *const RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
    scale: f32,
    gradient: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise; an `f16` is its bits.
    status(unsafe {
        gradient_of_piece(row, (teacher.cast::<f16>(), student.cast::<f16>(), len), (tau, scale), gradient)
    })
}

/// As `densekd_row_pieces_init_f32`, of the upper halves of binary32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_init_bf16(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise; a `bf16` is its bits.
    status(unsafe { init(row, (teacher.cast::<bf16>(), student.cast::<bf16>(), len), tau) })
}

/// As `densekd_row_pieces_push_f32`, of the upper halves of binary32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_push_bf16(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise; a `bf16` is its bits.
    status(unsafe { push(row, (teacher.cast::<bf16>(), student.cast::<bf16>(), len), tau) })
}

/// As `densekd_row_pieces_gradient_f32`, of the upper halves of binary32; the gradient is not rounded to them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_gradient_bf16(
    row: *const RowPieces,
    tau: f32,
    teacher: *const u16,
    student: *const u16,
    len: usize,
    scale: f32,
    gradient: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise; a `bf16` is its bits.
    status(unsafe {
        gradient_of_piece(row, (teacher.cast::<bf16>(), student.cast::<bf16>(), len), (tau, scale), gradient)
    })
}

/// As `densekd_row_pieces_init_f32`, of int8 each: the descriptions are of these elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_init_i8(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const Int8Row,
    student: *const Int8Row,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|piece| {
        // SAFETY: as before.
        unsafe { init(row, piece, tau) }
    }))
}

/// As `densekd_row_pieces_push_f32`, of int8 each: the descriptions are of the piece.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_push_i8(
    row: *mut RowPieces,
    tau: f32,
    teacher: *const Int8Row,
    student: *const Int8Row,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|piece| {
        // SAFETY: as before.
        unsafe { push(row, piece, tau) }
    }))
}

/// As `densekd_row_pieces_gradient_f32`, of int8 each: to the numbers, not to the steps.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_gradient_i8(
    row: *const RowPieces,
    tau: f32,
    teacher: *const Int8Row,
    student: *const Int8Row,
    len: usize,
    scale: f32,
    gradient: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|piece| {
        // SAFETY: as before.
        unsafe { gradient_of_piece(row, piece, (tau, scale), gradient) }
    }))
}

/// As `densekd_row_pieces_init_f32`, of a row of a teacher's table from its element `start` on, at the table's temperature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_init_teacher_f32(
    row: *mut RowPieces,
    table: *const u8,
    size: usize,
    index: usize,
    start: usize,
    student: *const f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { part(table, size, (index, start, len)) }.and_then(|(teacher, tau)| {
        // SAFETY: as before.
        unsafe { init(row, (teacher, student, len), tau) }
    }))
}

/// As `densekd_row_pieces_push_f32`, beside `len` elements of a row of a teacher's table from `start` on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_push_teacher_f32(
    row: *mut RowPieces,
    table: *const u8,
    size: usize,
    index: usize,
    start: usize,
    student: *const f32,
    len: usize,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { part(table, size, (index, start, len)) }.and_then(|(teacher, tau)| {
        // SAFETY: as before.
        unsafe { push(row, (teacher, student, len), tau) }
    }))
}

/// As `densekd_row_pieces_gradient_f32`, beside `len` elements of a row of a teacher's table from `start` on. It does not lie over
/// the table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_pieces_gradient_teacher_f32(
    row: *const RowPieces,
    table: *const u8,
    size: usize,
    index: usize,
    start: usize,
    student: *const f32,
    len: usize,
    scale: f32,
    gradient: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { part(table, size, (index, start, len)) }.and_then(|(teacher, tau)| {
        // SAFETY: as before.
        unsafe { gradient_of_piece(row, (teacher, student, len), (tau, scale), gradient) }
    }))
}
