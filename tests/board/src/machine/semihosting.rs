//! Text and exit status through the emulator's debugger.

use super::call;

/// Writes text.
pub(crate) fn write(text: &str) {
    const WRITE0: usize = 0x04;
    for piece in text.as_bytes().chunks(63) {
        let mut terminated = [0_u8; 64];
        terminated[..piece.len()].copy_from_slice(piece);
        call(WRITE0, terminated.as_ptr() as usize);
    }
}

/// Ends the emulator with this status.
pub(crate) fn exit(status: u32) -> ! {
    const EXIT_EXTENDED: usize = 0x20;
    const APPLICATION_EXIT: u32 = 0x20026;
    let block = [APPLICATION_EXIT, status];
    loop {
        call(EXIT_EXTENDED, block.as_ptr() as usize);
    }
}
