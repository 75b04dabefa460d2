//! The memory of the target's board, as a linker script.

use std::path::Path;
use std::{env, error, fs};

/// How a target's name begins, and where its board has flash and RAM.
const BOARDS: [(&str, &str, &str); 4] = [
    ("thumbv6m", "0x00000000, LENGTH = 256K", "0x20000000, LENGTH = 16K"),
    ("thumbv7em", "0x00000000, LENGTH = 4M", "0x20000000, LENGTH = 4M"),
    ("thumbv8m.main", "0x10000000, LENGTH = 4M", "0x38000000, LENGTH = 2M"),
    ("riscv32", "0x80000000, LENGTH = 4M", "0x80400000, LENGTH = 4M"),
];

/// Bytes at the end of RAM that the stack may take.
const STACK: &str = "12K";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET")?;
    let Some((_, flash, ram)) = BOARDS.iter().find(|(name, ..)| target.starts_with(name)) else {
        return Ok(());
    };
    let script = format!(
        "MEMORY {{ FLASH (rx) : ORIGIN = {flash}\n RAM (rw) : ORIGIN = {ram} }}
ENTRY(start)
SECTIONS {{
  .text : {{ KEEP(*(.vectors)) *(.text .text.* .rodata .rodata.*) }} > FLASH
  .ram (NOLOAD) : {{ *(.data .data.* .bss .bss.*) }} > RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
  stack_low = stack_top - {STACK};
  ASSERT(SIZEOF(.ram) + {STACK} <= LENGTH(RAM), \"what is static leaves no room for the stack\")
  ASSERT(SIZEOF(.ram) == 0 || DEFINED(statics_are_cleared), \"nothing clears what is static\")
  /DISCARD/ : {{ *(.ARM.exidx* .eh_frame* .comment) }}
}}\n"
    );
    let path = Path::new(&env::var("OUT_DIR")?).join("board.ld");
    fs::write(&path, script)?;
    // What the compiler does not tell: the Cortex-M33's clock is another than the M4's.
    println!("cargo:rustc-check-cfg=cfg(cortex_m33)");
    if target.starts_with("thumbv8m.main") {
        println!("cargo:rustc-cfg=cortex_m33");
    }
    println!("cargo:rustc-link-arg-bins=-T{}", path.display());
    Ok(())
}
