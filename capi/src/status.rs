//! Statuses, and what they say.

use core::ffi::{CStr, c_char};

/// Done.
pub const DENSEKD_OK: i32 = 0;
/// A pointer is null.
pub const DENSEKD_NULL: i32 = 1;
/// A pointer is not aligned to what it points to.
pub const DENSEKD_UNALIGNED: i32 = 2;
/// More elements than memory has.
pub const DENSEKD_LENGTH: i32 = 3;
/// The gradient lies over an input.
pub const DENSEKD_OVERLAP: i32 = 4;
/// The temperature is not a number from 1e-30 to 1e30.
pub const DENSEKD_TEMPERATURE: i32 = 5;
/// The scale is not a number from 1e-30 to 1e30.
pub const DENSEKD_SCALE: i32 = 6;
/// The tables are of two temperatures.
pub const DENSEKD_TABLES: i32 = 7;
/// The row is none that integers hold.
pub const DENSEKD_RANGE: i32 = 8;
/// The bytes are no table of a teacher's rows.
pub const DENSEKD_TABLE: i32 = 9;
/// The table has no such row of so many elements.
pub const DENSEKD_ROW: i32 = 10;
/// The row is to be pushed once more.
pub const DENSEKD_AGAIN: i32 = 11;

/// What a status says: a text of static life, for any number.
#[unsafe(no_mangle)]
pub extern "C" fn densekd_status_text(status: i32) -> *const c_char {
    let text: &CStr = match status {
        DENSEKD_OK => c"done",
        DENSEKD_NULL => c"a pointer is null",
        DENSEKD_UNALIGNED => c"a pointer is not aligned to what it points to",
        DENSEKD_LENGTH => c"there are more elements than memory has",
        DENSEKD_OVERLAP => c"the gradient lies over an input",
        DENSEKD_TEMPERATURE => c"the temperature is not a number from 1e-30 to 1e30",
        DENSEKD_SCALE => c"the scale is not a number from 1e-30 to 1e30",
        DENSEKD_TABLES => c"the tables are of two temperatures",
        DENSEKD_RANGE => c"the row is none that integers hold",
        DENSEKD_TABLE => c"the bytes are no table of a teacher's rows",
        DENSEKD_ROW => c"the table has no such row of so many elements",
        DENSEKD_AGAIN => c"the row is to be pushed once more",
        _ => c"no status of densekd",
    };
    text.as_ptr()
}

/// The version, as `major.minor.patch`: a text of static life.
#[unsafe(no_mangle)]
pub extern "C" fn densekd_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
