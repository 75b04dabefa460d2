//! A fixed teacher's rows in flash.

use crate::memory::{one, overlaps, read};
use crate::row::{Stored, gradient_of, status, value_of};
use crate::status::{DENSEKD_ROW, DENSEKD_TABLE};
use densekd_core::single::{TableRow, TeacherTable};

/// What a table of a teacher's rows is of.
#[repr(C)]
pub struct TeacherShape {
    /// How many rows there are.
    rows: usize,
    /// Elements of a row.
    entries: usize,
    /// The temperature of which the rows are, and of a divergence from them.
    tau: f32,
}

/// Of so many bytes.
///
/// # Safety
/// A pointer that is not null addresses them, and nobody writes them meanwhile.
unsafe fn open<'a>(table: *const u8, size: usize) -> Result<(&'a [u8], TeacherTable<'a>), i32> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { read(table, size)? };
    TeacherTable::new(bytes).map(|table| (bytes, table)).map_err(|_| DENSEKD_TABLE)
}

/// A row where it lies.
pub(crate) struct InFlash<'t> {
    bytes: &'t [u8],
    row: TableRow<'t>,
}

impl<'t> Stored for InFlash<'t> {
    type Row<'a> = TableRow<'t>;

    unsafe fn row<'a>(&self, _: usize) -> Result<Self::Row<'a>, i32> {
        Ok(self.row)
    }

    fn is_under(&self, gradient: *const f32, len: usize) -> bool {
        overlaps((gradient, len), (self.bytes.as_ptr(), self.bytes.len()))
    }
}

/// A row of a table and the temperature.
///
/// # Safety
/// As of [`open`].
unsafe fn row<'t>(table: *const u8, size: usize, row: usize, len: usize) -> Result<(InFlash<'t>, f32), i32> {
    // SAFETY: the caller's promise.
    let (bytes, table) = unsafe { open(table, size)? };
    let found = table.row(row).filter(|_| table.entries() == len).ok_or(DENSEKD_ROW)?;
    Ok((InFlash { bytes, row: found }, table.tau()))
}

/// Some elements of a row of a table, from `start` on, and the temperature.
///
/// # Safety
/// As of [`open`].
pub(crate) unsafe fn part<'t>(
    table: *const u8,
    size: usize,
    (index, start, len): (usize, usize, usize),
) -> Result<(InFlash<'t>, f32), i32> {
    // SAFETY: the caller's promise.
    let (bytes, table) = unsafe { open(table, size)? };
    let end = start.checked_add(len).ok_or(DENSEKD_ROW)?;
    let found = table.row(index).and_then(|row| row.part(start..end)).ok_or(DENSEKD_ROW)?;
    Ok((InFlash { bytes, row: found }, table.tau()))
}

/// What a table of `size` bytes is of, as `densekd prepare` writes one. It may lie at any address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_teacher_read_shape(
    table: *const u8,
    size: usize,
    shape: *mut TeacherShape,
) -> i32 {
    let run = || {
        // SAFETY: the caller's promise.
        let (_, table) = unsafe { open(table, size)? };
        let found = TeacherShape { rows: table.rows(), entries: table.entries(), tau: table.tau() };
        // SAFETY: the caller's promise; the table is no longer read.
        *unsafe { one(shape)? } = found;
        Ok(())
    };
    status(run())
}

/// `value` = KL(a row of the table || softmax(student / tau)), tau being the table's and `len` its rows' elements; `value`
/// does not lie over the table. What the table's rounding costs is said where the format is described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_teacher_kl_f32(
    table: *const u8,
    size: usize,
    index: usize,
    student: *const f32,
    len: usize,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { row(table, size, index, len) }.and_then(|(teacher, tau)| {
        // SAFETY: as before.
        unsafe { value_of((teacher, student, len), tau, value) }
    }))
}

/// The same value, and `gradient` = scale (softmax(student / tau) - p) / tau, p being the row's probabilities. It lies neither
/// over the student nor over the table; `value` lies over none of the three.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_teacher_kl_gradient_f32(
    table: *const u8,
    size: usize,
    index: usize,
    student: *const f32,
    len: usize,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { row(table, size, index, len) }.and_then(|(teacher, tau)| {
        // SAFETY: as before.
        unsafe { gradient_of((teacher, student, len), (tau, scale), gradient, value) }
    }))
}
