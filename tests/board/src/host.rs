//! Text and exit status, whatever runs the board.

use crate::machine;
use core::fmt;

/// The exit status of a hard fault, and of a panic.
#[cfg(target_os = "none")]
pub(crate) const FAULT: u32 = 99;
const PANIC: u32 = 101;

pub(crate) use machine::exit;

/// Whoever reads what the board says.
pub(crate) struct Host;

impl fmt::Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        machine::write(text);
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("{info}");
    exit(PANIC)
}

/// Prints; nothing can be done about an emulator that does not listen.
macro_rules! print {
    ($($part:tt)*) => {{
        use core::fmt::Write as _;
        let _ = write!($crate::host::Host, $($part)*);
    }};
}
pub(crate) use print;

/// Prints a line.
macro_rules! say {
    ($($part:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::host::Host, $($part)*);
    }};
}
pub(crate) use say;
