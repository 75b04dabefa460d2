//! Programs in C on the simulated Cortex-M4F.

use super::WARNINGS;
use crate::call;
use crate::embedded::tools::Tools;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The board, and where its library lies.
pub(super) struct Board<'a> {
    pub(super) root: &'a Path,
    pub(super) tools: &'a Tools,
    pub(super) machine: (&'static str, &'static [&'static str]),
    pub(super) folder: PathBuf,
}

impl Board<'_> {
    /// The core that programs in C are run on.
    pub(super) const CORE: &'static str = "M4F";

    /// GNU's compiler for it, with the library's header.
    pub(super) fn gcc(&self, standard: &str, level: &str) -> Result<Command> {
        let mut gcc = self.tools.arm_gcc()?;
        gcc.args([standard, level]).args(WARNINGS).args([
            "-mcpu=cortex-m4",
            "-mthumb",
            "-mfloat-abi=hard",
            "-mfpu=fpv4-sp-d16",
            "-Wl,--gc-sections",
            "-Wl,--no-warn-rwx-segments",
        ]);
        gcc.arg("-I").arg(self.folder.join("include"));
        Ok(gcc)
    }

    /// Links with the library, runs, and gives what the program says.
    pub(super) fn run(&self, name: &str, mut gcc: Command, libraries: &[&str]) -> Result<String> {
        let program = self.folder.join(name).with_extension("elf");
        gcc.arg(self.folder.join("lib/libdensekd.a")).args(libraries).arg("-o").arg(&program);
        call(&mut gcc)?;
        let (emulator, arguments) = self.machine;
        call(self.tools.emulator(emulator, arguments).arg(&program))
    }

    /// The example, without any library but the compiler's own.
    pub(super) fn run_example(&self) -> Result<()> {
        let source = self.root.join("examples/c/cortex_m4f");
        let mut gcc = self.gcc("-std=c99", "-Os")?;
        gcc.args(["-ffreestanding", "-nostdlib", "-T"]).arg(source.with_extension("ld"));
        gcc.arg(source.with_extension("c"));
        self.run("cortex_m4f", gcc, &["-lgcc"])?;
        println!("c: examples/c/cortex_m4f.c runs on a simulated Cortex-M4F, with an expf of its own");
        Ok(())
    }
}
