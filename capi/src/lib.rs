//! The C library: rows of the KL divergence, whole or in pieces.
//!
//! Functions answer with a status and write nothing unless it is `DENSEKD_OK`. What a pointer must address, its function
//! says; a null pointer, one that is not aligned and a length that no memory has are found and named. That a pointer
//! addresses what is said of it, nobody but the caller can know.
#![no_std]
#![allow(clippy::missing_safety_doc, reason = "what a caller owes is said of each pointer, for C")]

mod int8;
mod integer;
mod maximum;
mod memory;
mod pieces;
mod row;
mod status;
mod stream;
mod table;

unsafe extern "C" {
    fn densekd_must_not_panic() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never called: nobody defines it, so no program links that could reach it.
    unsafe { densekd_must_not_panic() }
}
