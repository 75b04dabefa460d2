//! Cortex-M: vectors, the FPU, semihosting, instructions by `SysTick`.

use core::arch::asm;

#[path = "semihosting.rs"]
mod semihosting;

pub(crate) use semihosting::{exit, write};

/// A semihosting call.
fn call(operation: usize, argument: usize) {
    // SAFETY: the emulator answers this breakpoint, as asked for on its command line, and changes r0 alone.
    unsafe { asm!("bkpt 0xAB", inout("r0") operation => _, in("r1") argument) };
}

/// The address of the stack's end in use.
#[inline(always)]
pub(crate) fn stack_pointer() -> usize {
    let at;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, sp", out(reg) at) };
    at
}

/// Control, reload and current value: a counter of 24 bits that goes down with the processor's clock.
const SYSTICK: *mut u32 = 0xE000_E010 as *mut u32;

/// Instructions of one tick, ten times: one takes a nanosecond on the emulator. The clocks are 16, 25 and 20 MHz.
const TEN_TICKS: u32 = if cfg!(not(target_abi = "eabihf")) {
    625
} else if cfg!(cortex_m33) {
    500
} else {
    400
};

/// What [`instructions`] counts from.
pub(crate) fn now() -> u32 {
    // SAFETY: a register of every Cortex-M.
    unsafe { SYSTICK.add(2).read_volatile() }
}

/// Instructions from one reading to a later one, up to 4e8, to a tick's.
pub(crate) fn instructions(from: u32, to: u32) -> u32 {
    (u64::from(from.wrapping_sub(to) & 0x00ff_ffff) * u64::from(TEN_TICKS) / 10) as u32
}

/// Starts the counter and, where there is one, the FPU.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    #[cfg(target_abi = "eabihf")]
    // SAFETY: the coprocessor access register of every Cortex-M with an FPU; barriers as Arm asks for them.
    unsafe {
        let access = 0xE000_ED88 as *mut u32;
        access.write_volatile(access.read_volatile() | 0xF << 20);
        asm!("dsb", "isb");
    }
    // SAFETY: registers of every Cortex-M; the processor's clock, no interrupt.
    unsafe {
        SYSTICK.add(1).write_volatile(0x00ff_ffff);
        SYSTICK.add(2).write_volatile(0);
        SYSTICK.write_volatile(5);
    }
    crate::run()
}

extern "C" fn fault() -> ! {
    crate::host::exit(crate::host::FAULT)
}

/// Where the stack begins, and what is run at the start, at an interrupt nobody masks and at a hard fault.
#[repr(C)]
struct Vectors(*const u32, [extern "C" fn() -> !; 3]);

// SAFETY: never written.
unsafe impl Sync for Vectors {}

unsafe extern "C" {
    static stack_top: u32;
}

#[unsafe(link_section = ".vectors")]
#[used]
static VECTORS: Vectors = Vectors(&raw const stack_top, [start, fault, fault]);
