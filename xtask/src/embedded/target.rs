//! What the core is built for and run on.

/// A target, and the board that stands for it.
pub(crate) struct Target {
    /// Rust's name.
    pub(crate) name: &'static str,
    /// The core that people know it by.
    pub(crate) core: &'static str,
    /// The emulator and its machine; none where another program runs it.
    pub(crate) board: Option<(&'static str, &'static [&'static str])>,
}

const ARM: &str = "qemu-system-arm";
const RISCV: (&str, &[&str]) = ("qemu-system-riscv32", &["-machine", "virt", "-bios", "none"]);

/// Every target.
pub(crate) const TARGETS: [Target; 6] = [
    Target { name: "thumbv6m-none-eabi", core: "M0", board: Some((ARM, &["-machine", "microbit"])) },
    Target { name: "thumbv7em-none-eabihf", core: "M4F", board: Some((ARM, &["-machine", "mps2-an386"])) },
    Target {
        name: "thumbv8m.main-none-eabihf",
        core: "M33",
        board: Some((ARM, &["-machine", "mps2-an505"])),
    },
    Target { name: "riscv32imac-unknown-none-elf", core: "RV32IMAC", board: Some(RISCV) },
    Target { name: "riscv32imafc-unknown-none-elf", core: "RV32IMAFC", board: Some(RISCV) },
    Target { name: "wasm32-unknown-unknown", core: "wasm32", board: None },
];
