//! RISC-V: start-up, the FPU, semihosting, instructions by `minstret`.

use core::arch::{asm, global_asm};

#[path = "semihosting.rs"]
mod semihosting;

pub(crate) use semihosting::{exit, write};

/// A semihosting call.
fn call(operation: usize, argument: usize) {
    // SAFETY: the emulator knows these three uncompressed instructions on one page, and changes a0 alone.
    unsafe {
        asm!(
            ".balign 16", ".option push", ".option norvc", "slli x0, x0, 0x1f", "ebreak", "srai x0, x0, 7",
            ".option pop", inout("a0") operation => _, in("a1") argument,
        );
    }
}

/// The address of the stack's end in use.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let at;
    // SAFETY: reads a register.
    unsafe { asm!("mv {}, sp", out(reg) at) };
    at
}

/// What [`instructions`] counts from.
pub(crate) fn now() -> u32 {
    let count;
    // SAFETY: reads a counter.
    unsafe { asm!("csrr {}, minstret", out(reg) count) };
    count
}

/// Instructions from one reading to a later one.
pub(crate) fn instructions(from: u32, to: u32) -> u32 {
    to.wrapping_sub(from)
}

// The FPU's state is on before the first function that may use it; a trap ends the run.
global_asm!(
    ".section .vectors,\"ax\"",
    ".globl start",
    "start:",
    "la sp, stack_top",
    "li t0, 0x2000",
    "csrs mstatus, t0",
    "la t0, 1f",
    "csrw mtvec, t0",
    "j begin",
    ".balign 4",
    "1:",
    "j fault",
);

#[unsafe(no_mangle)]
extern "C" fn begin() -> ! {
    crate::run()
}

#[unsafe(no_mangle)]
extern "C" fn fault() -> ! {
    crate::host::exit(crate::host::FAULT)
}
