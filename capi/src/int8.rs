//! Rows of int8, as networks for microcontrollers store them.

use crate::memory::{one, overlaps, pair, read, write};
use crate::row::{Stored, gradient_of, status, value_of};
use crate::status::{DENSEKD_OVERLAP, DENSEKD_SCALE, DENSEKD_TABLES, DENSEKD_TEMPERATURE};
use densekd_core::single::{ExpTable as Table, Int8Kl, Quantized, QuantizedChannels};

/// A row of int8 with one meaning: of a tensor quantised as a whole, or one channel of a map. Its numbers are
/// scale (value - zero_point), as TFLite and CMSIS-NN have it.
#[repr(C)]
pub struct Int8Row {
    values: *const i8,
    scale: f32,
    zero_point: i32,
}

/// A position's channels in int8, each with a meaning of its own.
#[repr(C)]
pub struct Int8Channels {
    values: *const i8,
    scales: *const f32,
    zero_points: *const i32,
}

impl Stored for &Int8Row {
    type Row<'a> = Quantized<'a>;

    unsafe fn row<'a>(&self, len: usize) -> Result<Quantized<'a>, i32> {
        // SAFETY: the caller's promise.
        Ok(Quantized::new(unsafe { read(self.values, len)? }, self.scale, self.zero_point))
    }

    fn is_under(&self, gradient: *const f32, len: usize) -> bool {
        overlaps((gradient, len), (self.values, len))
    }
}

impl Stored for &Int8Channels {
    type Row<'a> = QuantizedChannels<'a>;

    unsafe fn row<'a>(&self, len: usize) -> Result<QuantizedChannels<'a>, i32> {
        // SAFETY: the caller's promise.
        let values = unsafe { read(self.values, len)? };
        // SAFETY: the caller's promise.
        let scales = unsafe { read(self.scales, len)? };
        // SAFETY: the caller's promise.
        Ok(QuantizedChannels::new(values, scales, unsafe { read(self.zero_points, len)? }))
    }

    fn is_under(&self, gradient: *const f32, len: usize) -> bool {
        overlaps((gradient, len), (self.values, len))
            || overlaps((gradient, len), (self.scales, len))
            || overlaps((gradient, len), (self.zero_points, len))
    }
}

/// What a pointer to a description addresses.
///
/// # Safety
/// A pointer that is neither null nor unaligned addresses one that nobody writes meanwhile.
unsafe fn stored<'a, S>(pointer: *const S) -> Result<&'a S, i32> {
    // SAFETY: the caller's promise.
    unsafe { read(pointer, 1)? }.first().ok_or(crate::status::DENSEKD_NULL)
}

/// A teacher and a student by their descriptions, of so many values each.
///
/// # Safety
/// As of [`stored`], for both.
pub(crate) unsafe fn rows<'a, S>(
    teacher: *const S,
    student: *const S,
    len: usize,
) -> Result<(&'a S, &'a S, usize), i32> {
    // SAFETY: the caller's promise.
    let teacher = unsafe { stored(teacher)? };
    // SAFETY: the caller's promise.
    Ok((teacher, unsafe { stored(student)? }, len))
}

/// `value` = KL(softmax(teacher / tau) || softmax(student / tau)) of `len` int8 each, as exact as of `float`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_i8(
    teacher: *const Int8Row,
    student: *const Int8Row,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|rows| {
        // SAFETY: as before.
        unsafe { value_of(rows, tau, value) }
    }))
}

/// The same value, and `gradient` = scale (softmax(student / tau) - softmax(teacher / tau)) / tau: to the numbers, not to the
/// steps. It lies over no input, as `value` does not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_i8(
    teacher: *const Int8Row,
    student: *const Int8Row,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|rows| {
        // SAFETY: as before.
        unsafe { gradient_of(rows, (tau, scale), gradient, value) }
    }))
}

/// As `densekd_row_kl_i8`, of channels with a scale and zero point each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_i8_channels(
    teacher: *const Int8Channels,
    student: *const Int8Channels,
    len: usize,
    tau: f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|rows| {
        // SAFETY: as before.
        unsafe { value_of(rows, tau, value) }
    }))
}

/// As `densekd_row_kl_gradient_i8`, of channels with a scale and zero point each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_row_kl_gradient_i8_channels(
    teacher: *const Int8Channels,
    student: *const Int8Channels,
    len: usize,
    tau: f32,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    // SAFETY: the caller's promise.
    status(unsafe { rows(teacher, student, len) }.and_then(|rows| {
        // SAFETY: as before.
        unsafe { gradient_of(rows, (tau, scale), gradient, value) }
    }))
}

/// A table of exponentials for one scale and temperature, of 1040 bytes. To be initialised before it is used.
#[repr(C)]
pub struct ExpTable {
    /// Nobody's but the library's.
    opaque: [u64; 130],
}

const _: () =
    assert!(size_of::<Table>() <= size_of::<ExpTable>() && align_of::<Table>() <= align_of::<ExpTable>());

/// Makes the table: 256 exponentials, once for a scale and a temperature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_exp_table_init(table: *mut ExpTable, scale: f32, tau: f32) -> i32 {
    let init = || {
        // SAFETY: the caller's promise; a table fits, see above.
        unsafe { one(table)? };
        if !(1e-30..=1e30).contains(&tau) {
            return Err(DENSEKD_TEMPERATURE);
        }
        let made = Table::new(scale, tau).ok_or(DENSEKD_SCALE)?;
        // SAFETY: as before.
        *unsafe { one(table.cast::<Table>())? } = made;
        Ok(())
    };
    status(init())
}

/// A divergence by two tables.
///
/// # Safety
/// The pointers address tables. Any bytes are one: it holds numbers alone.
unsafe fn by_tables<'a>(teacher: *const ExpTable, student: *const ExpTable) -> Result<Int8Kl<'a>, i32> {
    // SAFETY: the caller's promise; a table fits, see above.
    let teacher = unsafe { stored(teacher.cast())? };
    // SAFETY: as before.
    Int8Kl::new(teacher, unsafe { stored(student.cast())? }).ok_or(DENSEKD_TABLES)
}

/// The same by tables, which may be one: three fifths of the cost, a twentieth without an FPU. The error is absolute, at most
/// len 2^-32 (1 + R) for log-ratios up to R. NaN for more than 2^24 elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_int8_kl(
    teacher_table: *const ExpTable,
    student_table: *const ExpTable,
    teacher: *const i8,
    student: *const i8,
    len: usize,
    value: *mut f32,
) -> i32 {
    let run = || {
        // SAFETY: the caller's promise.
        let loss = unsafe { by_tables(teacher_table, student_table)? };
        // SAFETY: the caller's promise.
        let [teacher, student] = unsafe { pair(teacher, student, len)? };
        let kl = loss.value(teacher, student);
        // SAFETY: the caller's promise; the inputs are no longer read.
        *unsafe { one(value)? } = kl;
        Ok(())
    };
    status(run())
}

/// The same value, and the gradient as `densekd_row_kl_gradient_i8` has it. It lies over no row and no table.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn densekd_int8_kl_gradient(
    teacher_table: *const ExpTable,
    student_table: *const ExpTable,
    teacher: *const i8,
    student: *const i8,
    len: usize,
    scale: f32,
    gradient: *mut f32,
    value: *mut f32,
) -> i32 {
    let run = || {
        let over_row = |row: *const i8| overlaps((gradient, len), (row, len));
        let over_table = |table: *const ExpTable| overlaps((gradient, len), (table, 1));
        if over_row(teacher) || over_row(student) || over_table(teacher_table) || over_table(student_table) {
            return Err(DENSEKD_OVERLAP);
        }
        // SAFETY: the caller's promise. Looked at before anything is written, and not held.
        unsafe { one(value)? };
        // SAFETY: the caller's promise.
        let loss = unsafe { by_tables(teacher_table, student_table)? };
        // SAFETY: the caller's promise.
        let [teacher, student] = unsafe { pair(teacher, student, len)? };
        // SAFETY: the caller's promise; apart from the rows and the tables.
        let gradient = unsafe { write(gradient, len)? };
        let kl = loss.gradient(teacher, student, scale, gradient);
        // SAFETY: the caller's promise; nothing else is read or written any more.
        *unsafe { one(value)? } = kl;
        Ok(())
    };
    status(run())
}
